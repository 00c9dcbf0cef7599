//! What is measured alone: kinds of work, and the sizes that people quote. A size is one line of [`CASES`].

use super::{matmul, ops, update};
use kernels::{Cpu, Precision, ShapeError};

/// Which part of a kind of work is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// A forward: of a linear map `y = x w^T` (NT).
    Forward,
    /// A backward alone.
    Backward,
    /// A forward and its backward.
    Both,
    /// Gradient of a linear map's input, `dx = dy w` (NN).
    InputGradient,
    /// Gradient of a linear map's weights, `dw = dy^T x` (TN).
    WeightGradient,
    /// A pass over flat buffers.
    Update,
}

impl Stage {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Forward => "forward",
            Self::Backward => "backward",
            Self::Both => "forward+backward",
            Self::InputGradient => "dX",
            Self::WeightGradient => "dW",
            Self::Update => "update",
        }
    }
}

/// Something with memory that can be run again and again.
pub trait Runner {
    /// Does it once.
    fn run(&mut self, cpu: &Cpu, stage: Stage);
    /// Floating-point operations of one run, and the least bytes that it must read and write.
    fn work(&self, stage: Stage) -> (u64, u64);
}

/// A runner, or sizes that do not fit each other.
pub type Built = Result<Box<dyn Runner>, ShapeError>;

/// A kind of work.
pub struct Kind {
    /// Its name on the command line.
    pub name: &'static str,
    /// What its sizes mean.
    pub dims: &'static str,
    /// How many sizes there are.
    pub rank: usize,
    /// Stages for given sizes.
    pub stages: fn(&[usize]) -> &'static [Stage],
    /// Whether it can be done in `bf16` too.
    pub bf16: bool,
    /// Bytes of memory for given sizes, about.
    pub bytes: fn(&[usize]) -> u64,
    /// Makes it, with its memory.
    pub build: fn(&Cpu, Precision, &[usize]) -> Built,
}

/// All kinds.
pub static KINDS: &[&Kind] = &[
    &matmul::MATMUL,
    &ops::ATTENTION,
    &ops::ATTENTION_CACHED,
    &ops::CLASSIFIER,
    &ops::CROSS_ENTROPY,
    &ops::RMSNORM,
    &ops::GATED,
    &update::ADAMW,
    &update::NORM,
];

/// The sizes, by kind.
pub static CASES: &[(&str, &[usize])] = &[
    ("matmul", &[2048, 2048, 2048]),
    ("matmul", &[8192, 512, 512]),
    ("matmul", &[8192, 512, 1408]),
    ("matmul", &[8192, 512, 2048]),
    ("matmul", &[8192, 512, 6400]),
    ("matmul", &[8192, 768, 3072]),
    ("matmul", &[1024, 768, 50304]),
    ("matmul", &[1, 768, 3072]),
    ("matmul", &[1, 768, 100_000]),
    ("attention", &[16, 8, 8, 512, 64]),
    ("attention", &[16, 8, 2, 512, 64]),
    ("attention", &[4, 8, 8, 2048, 64]),
    ("attention", &[16, 4, 4, 512, 128]),
    ("attention", &[16, 16, 16, 512, 32]),
    ("attention_cached", &[8, 64, 8192]),
    ("classifier", &[8192, 512, 6400]),
    ("cross_entropy", &[8192, 6400]),
    ("rmsnorm", &[8192, 512]),
    ("gated", &[8192, 1408]),
    ("adamw", &[22_000_000]),
    ("norm", &[31_000_000]),
];

/// The kind of a name.
pub fn kind(name: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|kind| kind.name == name)
}

impl Kind {
    /// Sizes as they are written: `8192x512x2048`.
    pub fn shape(dims: &[usize]) -> String {
        let dims: Vec<String> = dims.iter().map(ToString::to_string).collect();
        dims.join("x")
    }

    /// Sizes as they were written, if they fit this kind.
    ///
    /// # Errors
    /// What is wrong with them.
    pub fn parse(&self, shape: &str) -> Result<Vec<usize>, String> {
        let dims: Option<Vec<usize>> = shape
            .split('x')
            .map(|size| {
                size.parse()
                    .ok()
                    .filter(|size| (1..=1 << 32).contains(size))
            })
            .collect();
        dims.filter(|dims| dims.len() == self.rank).ok_or_else(|| {
            format!(
                "--shape {}: {} takes {}: positive numbers with an x between them",
                crate::text::escape(shape),
                self.name,
                self.dims
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_case_is_of_a_known_kind_and_fits_it() {
        for (name, dims) in CASES {
            let kind = kind(name).unwrap_or_else(|| panic!("{name} is no kind"));
            assert_eq!(dims.len(), kind.rank, "{name} takes {}", kind.dims);
            assert!(!(kind.stages)(dims).is_empty());
            assert_eq!(kind.parse(&Kind::shape(dims)).as_deref(), Ok(*dims));
        }
        for kind in KINDS {
            let used = CASES.iter().any(|(name, _)| *name == kind.name);
            assert!(used, "{} has no case", kind.name);
            assert_eq!(kind.dims.split(" x ").count(), kind.rank, "{}", kind.name);
        }
    }

    #[test]
    fn shapes_are_refused_with_what_would_be_right() {
        let matmul = kind("matmul").unwrap();
        for shape in [
            "",
            "1x2",
            "1x2x3x4",
            "0x1x2",
            "axbxc",
            "1x2x-3",
            "1 x 2 x 3",
        ] {
            let error = matmul.parse(shape).unwrap_err();
            assert!(error.contains("M x K x N"), "{error}");
        }
    }

    #[test]
    fn every_kind_runs_small_in_every_stage() {
        let cpu = Cpu::new(2);
        for kind in KINDS {
            let dims: &[usize] = match kind.name {
                "matmul" => &[3, 5, 7],
                "attention" => &[2, 4, 2, 9, 8],
                "attention_cached" => &[2, 8, 33],
                "classifier" => &[9, 8, 13],
                "adamw" | "norm" => &[1000],
                _ => &[5, 16],
            };
            let precisions: &[Precision] = if kind.bf16 {
                &[Precision::F32, Precision::Bf16]
            } else {
                &[Precision::F32]
            };
            for precision in precisions {
                let mut runner = (kind.build)(&cpu, *precision, dims).unwrap();
                for stage in (kind.stages)(dims) {
                    runner.run(&cpu, *stage);
                    let (flops, bytes) = runner.work(*stage);
                    assert!(flops > 0 && bytes > 0, "{} {}", kind.name, stage.name());
                    assert!(bytes <= 4 * (kind.bytes)(dims), "{}", kind.name);
                }
            }
        }
    }
}
