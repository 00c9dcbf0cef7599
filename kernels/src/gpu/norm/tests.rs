//! What the generic checks of the operations do not reach: gradients left out, and the choice of teams.

use super::*;
use crate::gpu::Buffer;
use crate::gpu::emulator::{Emulator, Options};
use crate::philox::Stream;

fn device(warp: u32) -> Option<Gpu> {
    let options = Options {
        warp,
        checked: true,
        order: 3,
    };
    match Emulator::new(options, None) {
        Ok(emulator) => Some(Gpu::new(Box::new(emulator), None)),
        Err(GpuError::Missing(why)) => {
            eprintln!("skipped: norms on the emulated device: {why}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn a_team_holds_its_row() {
    for warp in [32, 64] {
        let Some(gpu) = device(warp) else { return };
        for cols in [1, 8, 64, 128, 513, 768, 1024, 2048, 8192, 65536] {
            let width = if cols % 8 == 0 { 8 } else { 1 };
            let team = Team::new(&gpu, cols, width, 3, 2);
            assert!(team.lanes * team.packs * width >= cols, "{cols}: {team:?}");
            let threads = team.threads(&gpu) as usize;
            let block = team.lanes > warp as usize;
            assert!(threads.is_multiple_of(64) && threads.is_multiple_of(team.lanes));
            assert!(!block || threads == team.lanes, "{cols}: {team:?}");
        }
    }
}

const ROWS: usize = 19;
const COLS: usize = 24;

/// Tensors of a backward in device memory.
struct Bench {
    gpu: Gpu,
    memory: Vec<Buffer>,
}

impl Bench {
    fn tensor(&mut self, values: &[f32]) -> View {
        let buffer = self.gpu.alloc(values.len() * 4).expect("memory");
        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
        let driver = self.gpu.driver();
        driver.upload(buffer.address(), &bytes).expect("an upload");
        let view = buffer.view(0, values.len(), Dtype::F32);
        self.memory.push(buffer);
        view
    }

    fn grad(&mut self, len: usize) -> GpuGrad {
        GpuGrad {
            view: self.tensor(&vec![f32::NAN; len]),
            mode: GradMode::Set,
        }
    }

    fn values(&self, view: View) -> Vec<f32> {
        let mut bytes = vec![0; view.len * 4];
        let driver = self.gpu.driver();
        driver.download(&mut bytes, view.ptr).expect("a download");
        let words = bytes.as_chunks::<4>().0.iter();
        words.map(|word| f32::from_le_bytes(*word)).collect()
    }
}

#[test]
fn a_gradient_does_not_depend_on_which_others_are_wanted() {
    let Some(gpu) = device(32) else { return };
    let mut bench = Bench {
        gpu: gpu.clone(),
        memory: Vec::new(),
    };
    let mut stream = Stream::new(2, 2);
    let mut random = |len: usize| -> Vec<f32> {
        let values = (0..len).map(|_| stream.normal() as f32);
        values.collect()
    };
    let all = Backward {
        kind: Kind::Layer,
        x: bench.tensor(&random(ROWS * COLS)),
        dn: bench.tensor(&random(ROWS * COLS)),
        through: Some(bench.tensor(&random(ROWS * COLS))),
        mean: Some(bench.tensor(&random(ROWS))),
        reciprocal: bench.tensor(&random(ROWS)),
        w: bench.tensor(&random(COLS)),
        zero_centered: false,
        dx: Some(bench.grad(ROWS * COLS)),
        dy: Some(bench.grad(ROWS * COLS)),
        d_params: [Some(bench.grad(COLS)), Some(bench.grad(COLS))],
        workspace: bench.tensor(&vec![f32::NAN; scratch_bytes(ROWS, 2 * COLS) / 4]),
    };
    let wanted = |all: &Backward| [all.dx, all.dy, all.d_params[0], all.d_params[1]];
    backward(&gpu, &all).unwrap();
    let want = wanted(&all).map(|d| bench.values(d.unwrap().view));
    assert!(want.iter().flatten().all(|x| x.is_finite()));
    assert_eq!(want[0], want[1]);
    for mask in 0..16 {
        let mut some = all;
        let lens = [ROWS * COLS, ROWS * COLS, COLS, COLS];
        let [dx, dy, dw, db] =
            [0, 1, 2, 3].map(|i| (mask >> i & 1 == 1).then(|| bench.grad(lens[i])));
        (some.dx, some.dy, some.d_params) = (dx, dy, [dw, db]);
        backward(&gpu, &some).unwrap();
        for (d, want) in wanted(&some).into_iter().zip(&want) {
            assert!(d.is_none_or(|d| bench.values(d.view) == *want), "{mask:b}");
        }
    }
    // In place, what comes by the other way lies where dx is made.
    let mut some = all;
    let through = bench.values(all.through.unwrap());
    let view = bench.tensor(&through);
    (some.through, some.dx) = (
        None,
        Some(GpuGrad {
            view,
            mode: GradMode::InPlace,
        }),
    );
    backward(&gpu, &some).unwrap();
    assert_eq!(bench.values(view), want[0]);
    // A gradient of zero is the same as none.
    some = all;
    some.through = None;
    backward(&gpu, &some).unwrap();
    let none = bench.values(some.dx.unwrap().view);
    some.through = Some(bench.tensor(&vec![0.0; ROWS * COLS]));
    backward(&gpu, &some).unwrap();
    assert_eq!(bench.values(some.dx.unwrap().view), none);
    assert_ne!(none, want[0]);
}
