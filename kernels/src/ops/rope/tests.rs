use super::*;
use crate::check::normalised_error;
use crate::op::GradMode;

#[test]
fn generic_checks() {
    for case in cases() {
        crate::check::all(&case, 2e-6, 2e-2);
        crate::gpu::check::all(&case, 2e-6, 2e-2);
    }
}

#[test]
fn pytorch() {
    use crate::ops::torch_fixture::check;
    for (name, layout) in [
        ("rope_half", Layout::Half),
        ("rope_interleaved", Layout::Interleaved),
    ] {
        check(
            name,
            Rope {
                heads: 3,
                total_heads: 4,
                head_dim: 8,
                theta: 10_000.0,
                layout,
            },
        );
    }
}

fn one_row(layout: Layout, positions: &[f64], values: &[f64]) -> Vec<f64> {
    let case = Case::new(
        Rope {
            heads: 1,
            total_heads: 1,
            head_dim: 8,
            theta: 10_000.0,
            layout,
        },
        vec![
            Input::new([1, positions.len(), 8], Role::Compute, Fill::Normal(1.0)),
            Input::new([1, positions.len()], Role::Index, Fill::Ids(1)),
        ],
    );
    let mut trial = case.trial(Precision::F64, 1);
    trial.inputs = vec![values.to_vec(), positions.to_vec()];
    trial.run(&Cpu::new(2), GradMode::Set).outputs.remove(0)
}

const Q: [f64; 8] = [0.3, -1.0, 0.5, 2.0, -0.7, 0.2, 1.1, -0.4];
const K: [f64; 8] = [1.0, 0.1, -0.6, 0.9, 0.8, -1.2, 0.3, 0.5];

#[test]
fn scores_depend_on_the_distance_and_position_zero_is_the_identity() {
    let both: Vec<f64> = Q.into_iter().chain(K).collect();
    let score = |p: [f64; 2]| -> f64 {
        let y = one_row(Layout::Half, &p, &both);
        y[..8].iter().zip(&y[8..]).map(|(q, k)| q * k).sum()
    };
    assert!((score([9.0, 4.0]) - score([1005.0, 1000.0])).abs() < 1e-9);
    assert!((score([9.0, 4.0]) - score([9.0, 5.0])).abs() > 1e-3);
    assert_eq!(one_row(Layout::Interleaved, &[0.0], &Q), Q);
}

#[test]
fn layouts_are_permutations_of_each_other() {
    let permute = |x: &[f64]| -> Vec<f64> {
        (0..8)
            .map(|i| x[if i % 2 == 0 { i / 2 } else { 4 + i / 2 }])
            .collect()
    };
    let half = one_row(Layout::Half, &[13.0], &Q);
    let interleaved = one_row(Layout::Interleaved, &[13.0], &permute(&Q));
    assert_eq!(permute(&half), interleaved);
}

#[test]
fn in_place_turns_there_and_back() {
    let rope = Rope {
        heads: 3,
        total_heads: 4,
        head_dim: 34,
        theta: 500_000.0,
        layout: Layout::Half,
    };
    let cpu = Cpu::new(2);
    let (seq, positions) = (5, [0, 1, 2, 3, 4, 100, 101, 102, 103, 104]);
    let values: Vec<f64> = (0..10 * 4 * 34).map(|i| f64::from(i).sin()).collect();
    let mut x: Vec<f32> = values.iter().map(|x| *x as f32).collect();
    let mut words = vec![0u64; rope.table_bytes(seq, Dtype::F32) / 8 + 8];
    let skip = words.as_ptr().align_offset(crate::arena::ALIGN);
    let workspace = crate::arena::bytes_of(&mut words[skip..]);
    rope.rotate_in_place(&cpu, &mut x, &positions, seq, Turn::Forward, workspace);
    let turned: Vec<f64> = x.iter().copied().map(f64::from).collect();
    assert!(normalised_error(&turned, &values) > 0.1);
    assert!(
        turned[..34]
            .iter()
            .zip(&values)
            .all(|(t, v)| *t as f32 == *v as f32)
    );
    rope.rotate_in_place(&cpu, &mut x, &positions, seq, Turn::Back, workspace);
    let back: Vec<f64> = x.iter().copied().map(f64::from).collect();
    assert!(normalised_error(&back, &values) < 1e-6);
}
