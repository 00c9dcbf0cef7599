//! Hopper's copy engine, barriers and products of a warpgroup: what the twins compute, and that planted faults are seen.

use super::*;
use crate::gpu::{Gpu, HOPPER, Kernel, TensorMap, Unit, View};
use crate::philox::Stream;
use crate::{Bf16, Dtype, Elem as _};

static UNIT: Unit = Unit {
    name: "gpu/emulator/hopper.cu",
    text: include_str!("hopper.cu"),
    pieces: &[HOPPER],
};

fn device(order: u32) -> Option<Gpu> {
    let options = Options {
        warp: 32,
        checked: true,
        order,
    };
    match Emulator::new(options, None) {
        Ok(emulator) => Some(Gpu::new(Box::new(emulator.as_hopper()), None)),
        Err(GpuError::Missing(why)) => {
            eprintln!("skipped: the emulated device: {why}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// `lines x length` numbers that `bf16` holds, `stride` apart, on the device; NaN between the lines.
struct Matrix {
    memory: crate::gpu::Buffer,
    values: Vec<f32>,
    size: [usize; 2],
    stride: usize,
}

impl Matrix {
    fn new(gpu: &Gpu, size: [usize; 2], stride: usize, seed: u64) -> Self {
        let mut stream = Stream::new(seed, 3);
        let mut values = vec![f32::NAN; size[0] * stride];
        for line in values.chunks_exact_mut(stride) {
            for x in &mut line[..size[1]] {
                *x = Bf16::put(stream.normal() as f32).get();
            }
        }
        let bytes: Vec<u8> = values
            .iter()
            .flat_map(|x| ((x.to_bits() >> 16) as u16).to_le_bytes())
            .collect();
        let memory = gpu.alloc(bytes.len()).unwrap();
        gpu.driver().upload(memory.address(), &bytes).unwrap();
        Self {
            memory,
            values,
            size,
            stride,
        }
    }

    fn view(&self) -> View {
        self.memory.view(0, self.values.len(), Dtype::Bf16)
    }

    fn map(&self, box_lines: usize) -> TensorMap {
        let [lines, length] = self.size;
        TensorMap::new(self.view(), &[length, lines], &[self.stride], &[box_lines]).unwrap()
    }

    /// Zero beyond the edges.
    fn at(&self, line: usize, i: usize) -> f64 {
        let [lines, length] = self.size;
        if line < lines && i < length {
            f64::from(self.values[line * self.stride + i])
        } else {
            0.0
        }
    }
}

/// A kernel that does not depend on the definitions of `probe_wgmma`.
fn probe(name: &'static str) -> Kernel {
    let defines = ["A_COLS", "B_COLS", "A_REGS", "START"];
    let kernel = UNIT.kernel(name).with("COLS", 64);
    defines
        .iter()
        .fold(kernel, |kernel, name| kernel.with(name, 0))
}

fn floats(gpu: &Gpu, memory: &crate::gpu::Buffer) -> Vec<f32> {
    let mut bytes = vec![0; memory.bytes()];
    gpu.driver().download(&mut bytes, memory.address()).unwrap();
    let word = |b: &[u8]| f32::from_le_bytes([b[0], b[1], b[2], b[3]]);
    bytes.chunks_exact(4).map(word).collect()
}

/// A tile lies as the copy engine's manual says: 16-byte chunk `c` of line `r` at chunk `c ^ (r % 8)`, zero beyond the edges, also
/// before the first element. The descriptors are the words that CUTLASS's bit fields give for these layouts.
#[test]
fn tiles_and_descriptors_are_as_published() {
    let Some(gpu) = device(0) else { return };
    let [x, y, z, w] = [40i32, -2, 1, 1];
    // 90 x 5 x 2 x 2 elements, with gaps between the lines and between the planes.
    let (dims, strides, sides) = ([90, 5, 2, 2], [96, 504, 1016], [6, 2, 1]);
    let a = Matrix::new(&gpu, [1, 3000], 3000, 1);
    let map = TensorMap::new(a.view(), &dims, &strides, &sides).unwrap();
    let words = 64 * 6 * 2 / 2;
    let out = gpu.alloc(4 * (4 + words)).unwrap();
    let args = [
        out.view(0, 4 + words, Dtype::I32).into(),
        Arg::Map(map),
        Arg::I32(x),
        Arg::I32(y),
        Arg::I32(z),
        Arg::I32(w),
        words.into(),
    ];
    let grid = Grid::new(1, 128).with_shared(4096);
    gpu.launch(&probe("probe_tile"), grid, &args).unwrap();
    let got: Vec<u32> = floats(&gpu, &out).iter().map(|x| x.to_bits()).collect();
    let low = |bytes: u32, leading: u32| bytes / 16 + leading / 16 * 65_536;
    let high = 1024 / 16 + (1 << 30);
    assert_eq!(got[..4], [low(2048, 16), high, low(2048, 8192), high]);
    for line in 0..12 {
        for i in 0..64 {
            let at = [x + i, y + line % 6, z + line / 6, w];
            let inside = at
                .iter()
                .zip(dims)
                .all(|(at, n)| (0..n as i32).contains(at));
            let place = at[0] + at[1] * 96 + at[2] * 504 + at[3] * 1016;
            let want = if inside {
                a.values[place as usize]
            } else {
                0.0
            };
            let chunk = (i / 8) ^ (line % 8);
            let element = (line * 64 + chunk * 8 + i % 8) as usize;
            let half = got[4 + element / 2] >> (16 * (element % 2)) & 0xffff;
            assert_eq!(half << 16, want.to_bits(), "line {line}, element {i}");
        }
    }
}

/// Both factors in both layouts, A from registers too, boxes that reach beyond the edges: the sums are where the instruction's
/// manual says (PTX ISA, "Matrix fragments for wgmma.mma_async.m64nNk16").
#[test]
fn products_of_a_warpgroup_in_all_layouts() {
    let Some(gpu) = device(0) else { return };
    for (n, a_cols, b_cols, a_regs, start) in [
        (64, false, false, false, 1),
        (128, false, true, false, 0),
        (256, true, true, false, 1),
        (64, true, false, false, 1),
        (128, false, true, true, 1),
        (256, false, false, true, 0),
        (64, false, true, true, 0),
    ] {
        // First row, column, k of the block; some of the rows and of K lie beyond the edges.
        let [first_a, first_b, first_k] = [8, 16, 24];
        let [rows, cols, k] = [first_a + 60, first_b + n - 5, first_k + 51];
        let sizes = |lines, cols| if cols { [k, lines] } else { [lines, k] };
        let (a_size, b_size) = (sizes(rows, a_cols), sizes(cols, b_cols));
        let a = Matrix::new(&gpu, a_size, a_size[1].next_multiple_of(8) + 8, 1);
        let b = Matrix::new(&gpu, b_size, b_size[1].next_multiple_of(8), 2);
        let out = gpu.alloc(4 * 64 * n).unwrap();
        let kernel = UNIT
            .kernel("probe_wgmma")
            .with("COLS", n)
            .with("A_COLS", u8::from(a_cols))
            .with("B_COLS", u8::from(b_cols))
            .with("A_REGS", u8::from(a_regs))
            .with("START", start);
        let args = [
            out.view(0, 64 * n, Dtype::F32).into(),
            Arg::Map(a.map(64)),
            Arg::Map(b.map(if b_cols { 64 } else { n })),
            first_a.into(),
            first_b.into(),
            first_k.into(),
        ];
        let grid = Grid::new(1, 128).with_shared((64 + n) * 128);
        gpu.launch(&kernel, grid, &args).unwrap();
        let got = floats(&gpu, &out);
        let at = |m: &Matrix, cols: bool, i: usize, p: usize| {
            if cols { m.at(p, i) } else { m.at(i, p) }
        };
        for t in 0..128 {
            for (i, got) in got[t..].iter().step_by(128).enumerate() {
                let row = t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8;
                let col = i / 4 * 8 + t % 4 * 2 + i % 2;
                let want: f64 = (first_k..first_k + 64)
                    .map(|p| at(&a, a_cols, first_a + row, p) * at(&b, b_cols, first_b + col, p))
                    .sum();
                let want = want + 0.5 * f64::from(start);
                assert!(
                    (f64::from(*got) - want).abs() < 1e-4,
                    "{n} columns, A {a_cols} {a_regs}, B {b_cols}: row {row}, column {col} is {got}, not {want}"
                );
            }
        }
    }
}

#[test]
fn warpgroups_pass_numbers_by_barriers() {
    for order in 0..4 {
        let Some(gpu) = device(order) else { return };
        let out = gpu.alloc(4 * 128).unwrap();
        let kernel = probe("probe_pass");
        let args = [out.view(0, 128, Dtype::I32).into(), 5usize.into()];
        gpu.launch(&kernel, Grid::new(1, 256), &args).unwrap();
        let got: Vec<u32> = floats(&gpu, &out).iter().map(|x| x.to_bits()).collect();
        let want: Vec<u32> = (0..128).map(|t| (127 - t) * 50 + 10).collect();
        assert_eq!(got, want, "order {order}");
    }
}

#[test]
fn planted_faults_of_hopper_are_seen() {
    let faults = [
        (1, "not initialised|nobody wrote"),
        (2, "divergence"),
        (3, "in flight|before a wait"),
        (4, "in flight"),
        (5, "without wgmma_fence"),
        (6, "descriptor"),
        (7, "nobody wrote|out of bounds"),
        (8, "not waited for"),
        (9, "race"),
        (10, "different places"),
        (11, "not waited for"),
    ];
    for order in [0, 1, 3] {
        let Some(gpu) = device(order) else { return };
        let a = Matrix::new(&gpu, [64, 128], 128, 1);
        let out = gpu.alloc(4 * 64 * 64).unwrap();
        let run = |fault: usize| {
            let kernel = probe("planted");
            let args = [
                out.view(0, 64 * 64, Dtype::F32).into(),
                Arg::Map(a.map(64)),
                fault.into(),
            ];
            let grid = Grid::new(1, 128).with_shared(2 * 8192);
            gpu.launch(&kernel, grid, &args)
        };
        assert_eq!(run(0), Ok(()), "order {order}");
        for (fault, words) in faults {
            let verdict = run(fault);
            let Err(GpuError::Kernel { message, .. }) = verdict else {
                panic!("fault {fault} was not seen in order {order}: {verdict:?}");
            };
            assert!(
                words.split('|').any(|words| message.contains(words)),
                "fault {fault}, order {order}: {message}"
            );
        }
    }
}
