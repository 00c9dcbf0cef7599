//! The three products of a linear map, with values in memory as in training: weights and their gradients `f32`, the others
//! in the type of the precision. A single row is decoding, for which weights are of that type too.

use super::case::{Kind, Runner, Stage};
use super::tensor::Tensor;
use kernels::arena::Arena;
use kernels::cpu::gemm::{Epilogue, Mat, MatMut, gemm, workspace_bytes};
use kernels::{Cpu, Dtype, Meta, Precision};

/// `x (M, K)`, `w (N, K)`, `y (M, N)`.
pub static MATMUL: Kind = Kind {
    name: "matmul",
    dims: "M x K x N",
    rank: 3,
    // A single row is decoding, which has no gradients.
    stages: |dims| match dims {
        [1, ..] => &[Stage::Forward],
        _ => &[Stage::Forward, Stage::InputGradient, Stage::WeightGradient],
    },
    bf16: true,
    bytes: |dims| {
        let [m, k, n] = [dims[0], dims[1], dims[2]].map(|size| size as u64);
        // Scratch holds up to two packed operands.
        4 * (2 * m * k + 3 * n * k + 2 * m * n)
    },
    build: |cpu, precision, dims| {
        let matmul = Matmul::new(cpu, precision, [dims[0], dims[1], dims[2]]);
        Ok(Box::new(matmul))
    },
};

struct Matmul {
    precision: Precision,
    /// M, K, N.
    size: [usize; 3],
    /// (M, K); the gradient of the input is written here too.
    x: Tensor,
    /// (N, K)
    w: Tensor,
    /// (N, K)
    dw: Tensor,
    /// (M, N); read as the gradient of the output.
    y: Tensor,
    workspace: Arena,
}

impl Matmul {
    fn new(cpu: &Cpu, precision: Precision, [m, k, n]: [usize; 3]) -> Self {
        let compute = precision.compute();
        let tensor = |rows, cols, dtype| Tensor::new(Meta::new([rows, cols], dtype));
        let scratch = [(m, n, k), (m, k, n), (n, k, m)]
            .map(|(m, n, k)| workspace_bytes(cpu, precision, m, n, k));
        Self {
            precision,
            size: [m, k, n],
            x: tensor(m, k, compute),
            w: tensor(n, k, if m == 1 { compute } else { Dtype::F32 }),
            dw: tensor(n, k, Dtype::F32),
            y: tensor(m, n, compute),
            workspace: Arena::new(scratch.into_iter().max().unwrap_or(0)),
        }
    }
}

impl Runner for Matmul {
    fn run(&mut self, cpu: &Cpu, stage: Stage) {
        let [m, k, n] = self.size;
        let w = Mat::new(self.w.slot(), n, k);
        let (a, b, c) = match stage {
            Stage::InputGradient => (
                Mat::new(self.y.slot(), m, n),
                w,
                MatMut::new(self.x.slot_mut().expect("floats"), m, k),
            ),
            Stage::WeightGradient => (
                Mat::new(self.y.slot(), m, n).t(),
                Mat::new(self.x.slot(), m, k),
                MatMut::new(self.dw.slot_mut().expect("floats"), n, k),
            ),
            _ => (
                Mat::new(self.x.slot(), m, k),
                w.t(),
                MatMut::new(self.y.slot_mut().expect("floats"), m, n),
            ),
        };
        let workspace = self.workspace.as_bytes_mut();
        gemm(cpu, self.precision, a, b, c, Epilogue::default(), workspace);
    }

    fn work(&self, _: Stage) -> (u64, u64) {
        let [m, k, n] = self.size.map(|size| size as u64);
        let tensors = [&self.x, &self.w, &self.y];
        let bytes: usize = tensors.iter().map(|tensor| tensor.meta().bytes()).sum();
        (2 * m * k * n, bytes as u64)
    }
}
