use super::*;
use crate::check::{Trial, normalised_error};
use crate::{Isa, Scalars};

#[test]
fn generic_checks() {
    for case in cases() {
        crate::check::all(&case, 5e-6, 2e-2);
        crate::gpu::check::all(&case, 5e-6, 2e-2);
    }
}

fn case_of(op: &Attention, [b, t]: [usize; 2], document: usize) -> Case {
    Case::new(
        op.clone(),
        vec![
            Input::new([b, t, op.qkv_cols()], Role::Compute, Fill::Normal(1.0)),
            Input::new([b, t], Role::Index, Fill::Documents(t, document)),
        ],
    )
}

/// The definition, with a T x T matrix of probabilities, in `f64`: output and gradient of `qkv`.
fn dense(op: &Attention, [b, t]: [usize; 2], trial: &Trial<'_>) -> (Vec<f64>, Vec<f64>) {
    let (d, cols, group) = (op.head_dim, op.qkv_cols(), op.heads / op.kv_heads);
    let (qkv, starts, d_out) = (&trial.inputs[0], &trial.inputs[1], &trial.d_outputs[0]);
    let mut out = vec![0.0; b * t * op.heads * d];
    let mut d_qkv = vec![0.0; qkv.len()];
    let dot = |a: &[f64], b: &[f64]| -> f64 { a.iter().zip(b).map(|(x, y)| x * y).sum() };
    for (row, head) in (0..b * t).flat_map(|row| (0..op.heads).map(move |head| (row, head))) {
        let (first, i) = (row / t * t, row % t);
        let q = row * cols + head * d;
        let k = |j: usize| (first + j) * cols + (op.heads + head / group) * d;
        let v = |j: usize| k(j) + op.kv_heads * d;
        let o = (row * op.heads + head) * d;
        let start = starts[row] as usize;
        let scores: Vec<f64> = (start..=i)
            .map(|j| op.scale * dot(&qkv[q..q + d], &qkv[k(j)..k(j) + d]))
            .collect();
        let top = scores.iter().copied().fold(f64::MIN, f64::max);
        let sum: f64 = scores.iter().map(|s| (s - top).exp()).sum();
        let p: Vec<f64> = scores.iter().map(|s| (s - top).exp() / sum).collect();
        let dp: Vec<f64> = (start..=i)
            .map(|j| dot(&d_out[o..o + d], &qkv[v(j)..v(j) + d]))
            .collect();
        let delta = dot(&p, &dp);
        for (j, (p, dp)) in (start..).zip(p.iter().zip(&dp)) {
            let ds = op.scale * p * (dp - delta);
            for c in 0..d {
                out[o + c] += p * qkv[v(j) + c];
                d_qkv[v(j) + c] += p * d_out[o + c];
                d_qkv[q + c] += ds * qkv[k(j) + c];
                d_qkv[k(j) + c] += ds * qkv[q + c];
            }
        }
    }
    (out, d_qkv)
}

fn assert_dense(
    op: &Attention,
    size: [usize; 2],
    document: usize,
    precision: Precision,
    limit: f64,
) {
    let case = case_of(op, size, document);
    let trial = case.trial(precision, 7);
    let (out, d_qkv) = dense(op, size, &trial);
    for isa in Isa::available() {
        let got = trial.run(&Cpu::with_isa(1, isa), GradMode::Set);
        for (got, want) in [(&got.outputs[0], &out), (&got.d_inputs[0], &d_qkv)] {
            let error = normalised_error(got, want);
            assert!(error < limit, "{op:?} {size:?} {isa:?}: {error:e}");
        }
    }
}

#[test]
fn streaming_equals_dense_for_every_length() {
    for t in (1..12).chain([31, 32, 33, 63, 65, 127, 129, 191, 250, 300]) {
        assert_dense(
            &Attention::new(1, 1, 32),
            [1, t],
            1000,
            Precision::F32,
            3e-6,
        );
        assert_dense(&Attention::new(2, 1, 20), [1, t], 37, Precision::F32, 3e-6);
    }
    assert_dense(
        &Attention::new(3, 1, 16),
        [2, 131],
        50,
        Precision::F64,
        1e-13,
    );
    // More than one task of queries a head.
    assert_dense(
        &Attention::new(1, 1, 8),
        [1, 1100],
        700,
        Precision::F32,
        3e-6,
    );
}

#[test]
fn bf16_products_are_close_to_the_definition() {
    for dim in [32, 64, 96, 128] {
        assert_dense(
            &Attention::new(2, 1, dim),
            [1, 133],
            61,
            Precision::Bf16,
            1.5e-2,
        );
    }
}

/// Outputs and gradient of `qkv` with one thread and the best instruction set.
fn outcome(trial: &Trial<'_>) -> (Vec<f64>, Vec<f64>) {
    let mut outcome = trial.run(&Cpu::new(1), GradMode::Set);
    (outcome.outputs.remove(0), outcome.d_inputs.remove(0))
}

#[test]
fn grouped_queries_equal_repeated_keys_and_values() {
    let (grouped, full) = (Attention::new(4, 2, 16), Attention::new(4, 4, 16));
    let (t, d) = (45, 16);
    let case = case_of(&grouped, [1, t], 20);
    let trial = case.trial(Precision::F32, 3);
    let repeated_case = case_of(&full, [1, t], 20);
    let mut repeated = repeated_case.trial(Precision::F32, 3);
    repeated.d_outputs = trial.d_outputs.clone();
    // Source column, and its head's columns, of each column of the repeated tensor.
    let source = |col: usize| match (col / d, col % d) {
        (head @ 0..4, c) => head * d + c,
        (head, c) => (4 + (head - 4) / 2) * d + c,
    };
    let (from, to) = (grouped.qkv_cols(), full.qkv_cols());
    for i in 0..t * to {
        repeated.inputs[0][i] = trial.inputs[0][i / to * from + source(i % to)];
    }
    let ((out, grad), (repeated_out, repeated_grad)) = (outcome(&trial), outcome(&repeated));
    assert!(normalised_error(&out, &repeated_out) < 1e-6);
    let mut summed = vec![0.0; grad.len()];
    for (i, g) in repeated_grad.iter().enumerate() {
        summed[i / to * from + source(i % to)] += g;
    }
    assert!(normalised_error(&grad, &summed) < 1e-6);
}

#[test]
fn a_later_token_changes_no_earlier_output() {
    let op = Attention::new(2, 1, 32);
    let case = case_of(&op, [1, 150], 150);
    for precision in [Precision::F32, Precision::Bf16] {
        let mut trial = case.trial(precision, 9);
        let (before, _) = outcome(&trial);
        for changed in [149, 100, 64, 33, 1] {
            let cols = op.qkv_cols();
            trial.inputs[0][changed * cols..(changed + 1) * cols].fill(9.0);
            let (after, _) = outcome(&trial);
            let kept = changed * op.heads * op.head_dim;
            assert_eq!(before[..kept], after[..kept], "token {changed}");
            assert_ne!(before[kept..], after[kept..], "token {changed}");
        }
    }
}

#[test]
fn packed_documents_equal_documents_alone() {
    let op = Attention::new(2, 2, 32);
    let (cols, out_cols) = (op.qkv_cols(), 64);
    let lengths = [70, 1, 131, 19];
    let t: usize = lengths.iter().sum();
    for (precision, limit) in [(Precision::F32, 1e-5), (Precision::Bf16, 1e-2)] {
        let case = case_of(&op, [1, t], t);
        let mut packed = case.trial(precision, 21);
        let mut at = 0;
        for length in lengths {
            packed.inputs[1][at..at + length].fill(at as f64);
            at += length;
        }
        let (out, grad) = outcome(&packed);
        at = 0;
        for length in lengths {
            let alone_case = case_of(&op, [1, length], length);
            let mut alone = alone_case.trial(precision, 21);
            let (rows, outs) = (
                at * cols..(at + length) * cols,
                at * out_cols..(at + length) * out_cols,
            );
            alone.inputs[0] = packed.inputs[0][rows.clone()].to_vec();
            alone.d_outputs[0] = packed.d_outputs[0][outs.clone()].to_vec();
            let (alone_out, alone_grad) = outcome(&alone);
            assert!(normalised_error(&out[outs], &alone_out) < limit);
            assert!(normalised_error(&grad[rows], &alone_grad) < limit);
            at += length;
        }
    }
}

#[test]
fn no_gradient_crosses_a_document() {
    let op = Attention::new(2, 1, 32);
    let (cols, out_cols) = (op.qkv_cols(), 64);
    for precision in [Precision::F32, Precision::Bf16] {
        let case = case_of(&op, [1, 150], 75);
        let mut trial = case.trial(precision, 2);
        trial.d_outputs[0][..75 * out_cols].fill(0.0);
        let (_, grad) = outcome(&trial);
        assert!(grad[..75 * cols].iter().all(|g| *g == 0.0));
        assert!(grad[75 * cols..].iter().any(|g| *g != 0.0));
    }
}

#[test]
fn a_sliding_window_is_a_document_start() {
    let op = Attention::new(1, 1, 32);
    let case = case_of(&op, [1, 200], 200);
    let mut trial = case.trial(Precision::F32, 4);
    for (i, start) in trial.inputs[1].iter_mut().enumerate() {
        *start = i.saturating_sub(16) as f64;
    }
    let (want, d_want) = dense(&op, [1, 200], &trial);
    let (out, grad) = outcome(&trial);
    assert!(normalised_error(&out, &want) < 3e-6);
    assert!(normalised_error(&grad, &d_want) < 3e-6);
}

#[test]
fn extreme_scores_stay_finite() {
    let op = Attention::new(1, 1, 64);
    let case = case_of(&op, [1, 140], 60);
    for precision in [Precision::F32, Precision::Bf16] {
        let mut trial = case.trial(precision, 5);
        // Scores of about +-1e4.
        trial.inputs[0].iter_mut().for_each(|x| *x *= 35.0);
        for isa in Isa::available() {
            let got = trial.run(&Cpu::with_isa(1, isa), GradMode::Set);
            assert!(got.outputs[0].iter().all(|x| x.is_finite()), "{isa:?}");
            assert!(got.d_inputs[0].iter().all(|x| x.is_finite()), "{isa:?}");
        }
    }
}

#[test]
fn equals_pytorch() {
    let fixture: serde_json::Value =
        serde_json::from_str(include_str!("../../../tests/fixtures/attention.json")).unwrap();
    let numbers = |key: &str| -> Vec<f64> {
        let values = fixture[key].as_array().unwrap();
        values.iter().map(|x| x.as_f64().unwrap()).collect()
    };
    let sizes: Vec<usize> = numbers("sizes").iter().map(|x| *x as usize).collect();
    let op = Attention::new(sizes[2], sizes[3], sizes[4]);
    let case = case_of(&op, [sizes[0], sizes[1]], 1);
    for (precision, limit) in [
        (Precision::F64, 1e-11),
        (Precision::F32, 1e-6),
        (Precision::Bf16, 1e-2),
    ] {
        let mut trial = case.trial(precision, 1);
        trial.inputs = vec![numbers("qkv"), numbers("doc_start")];
        trial.d_outputs = vec![numbers("d_out")];
        let (out, grad) = outcome(&trial);
        for (got, key) in [(out, "out"), (grad, "d_qkv")] {
            let error = normalised_error(&got, &numbers(key));
            assert!(error < limit, "{key} in {precision:?}: {error:e}");
        }
    }
}

#[test]
fn a_missing_upstream_gradient_is_zero() {
    let op = Attention::new(1, 1, 4);
    let metas = [
        Meta::new([1, 3, 12], Dtype::F32),
        Meta::new([1, 3], Dtype::I32),
    ];
    for (mode, want) in [(GradMode::Set, 0.0), (GradMode::Add, 7.0)] {
        let mut d_qkv = vec![7f32; 36];
        op.backward_cpu(&mut Backward {
            cpu: &Cpu::new(1),
            scalars: &Scalars::default(),
            metas: &metas,
            inputs: &[None, None],
            outputs: &[None],
            late_outputs: Vec::new(),
            d_outputs: &[None],
            d_inputs: vec![
                Some(crate::Grad {
                    slot: crate::SlotMut::new(&mut d_qkv),
                    mode,
                }),
                None,
            ],
            saved: &[],
            workspace: &mut [],
        });
        assert!(d_qkv.iter().all(|x| *x == want), "{mode:?}");
    }
}

#[test]
fn wrong_shapes_are_named() {
    let outputs = |op: &Attention, qkv: &[usize], starts: &[usize]| {
        let metas = [Meta::new(qkv, Dtype::F32), Meta::new(starts, Dtype::I32)];
        op.outputs(&metas, Precision::F32)
    };
    let op = Attention::new(4, 2, 8);
    let good = outputs(&op, &[2, 5, 64], &[2, 5]).unwrap();
    assert_eq!(good[0].shape, [2, 5, 32]);
    for (op, qkv, starts, named) in [
        (op.clone(), [2, 5, 60], [2, 5], "64"),
        (op.clone(), [2, 5, 64], [5, 2], "[2, 5]"),
        (Attention::new(3, 2, 8), [2, 5, 56], [2, 5], "3 over 2"),
        (Attention { scale: -1.0, ..op }, [2, 5, 64], [2, 5], "-1"),
    ] {
        let error = outputs(&op, &qkv, &starts).unwrap_err().to_string();
        assert!(error.contains(named), "{error}");
    }
}
