//! Products on the emulated device, every access watched, against sums in `f64`.

use super::plan::{MATRIX, Tile, VECTOR};
use super::*;
use crate::gpu::compiled::Cache;
use crate::gpu::emulator::{Emulator, Options};
use crate::gpu::survey::Survey;
use crate::gpu::{Buffer, GpuError};
use crate::philox::Stream;
use crate::{Bf16, Elem as _};

fn device(warp: u32) -> Option<Gpu> {
    device_of(warp, "host")
}

/// The emulated device with the matrix instructions of an architecture.
fn device_of(warp: u32, arch: &str) -> Option<Gpu> {
    emulated(warp, 0, |emulator| emulator.with_arch(arch))
}

/// An emulated device, every access watched, changed by `made`.
fn emulated(warp: u32, order: u32, made: impl Fn(Emulator) -> Emulator) -> Option<Gpu> {
    let options = Options {
        warp,
        checked: true,
        order,
    };
    let program = std::env::current_exe().expect("a test knows its file");
    let cache = Cache::new(program.with_file_name("emulated"));
    match Emulator::new(options, Some(&cache)) {
        Ok(emulator) => Some(Gpu::new(Box::new(made(emulator)), Some(cache))),
        Err(GpuError::Missing(why)) => {
            eprintln!("skipped: products on the emulated device: {why}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// A product to be checked. Lines of the factors and of C are `gap` elements longer than they need be.
#[derive(Clone, Copy, Debug)]
pub(in crate::gpu) struct Trial {
    pub(in crate::gpu) size: [usize; 3],
    pub(in crate::gpu) transposed: [bool; 2],
    pub(in crate::gpu) types: [Dtype; 3],
    pub(in crate::gpu) precision: Precision,
    pub(in crate::gpu) gap: usize,
    pub(in crate::gpu) accumulate: bool,
    pub(in crate::gpu) bias: bool,
    /// A tile and a number of parts; else what [`product`] chooses.
    pub(in crate::gpu) cut: Option<(Tile, usize)>,
}

pub(in crate::gpu) const BF16: Trial = Trial {
    size: [70, 75, 72],
    transposed: [false, true],
    types: [Dtype::Bf16; 3],
    precision: Precision::Bf16,
    gap: 0,
    accumulate: false,
    bias: false,
    cut: Some((MATRIX[2], 1)),
};
const F32: Trial = Trial {
    types: [Dtype::F32; 3],
    precision: Precision::F32,
    cut: Some((VECTOR[1], 1)),
    ..BF16
};
/// Factors in bf16, their product in f32.
pub(in crate::gpu) const WIDE: [Dtype; 3] = [Dtype::Bf16, Dtype::Bf16, Dtype::F32];
/// Trials that several devices are given.
const BIASED: Trial = Trial { bias: true, ..BF16 };
/// A weight's gradient, in parts.
const GRADIENT: Trial = Trial {
    size: [72, 80, 170],
    transposed: [true, false],
    types: WIDE,
    accumulate: true,
    cut: Some((MATRIX[2], 3)),
    ..BF16
};
/// Lines that start anywhere and end anywhere.
const RAGGED: Trial = Trial {
    size: [67, 33, 41],
    transposed: [true, true],
    gap: 3,
    accumulate: true,
    ..BIASED
};
/// More columns than a tile of any width.
const BROAD: Trial = Trial {
    size: [72, 264, 72],
    transposed: [false, false],
    types: WIDE,
    cut: Some((MATRIX[0], 1)),
    ..BF16
};

fn round(x: f32) -> f32 {
    Bf16::put(x).get()
}

/// A matrix of lines that are longer than need be, on the device; what lies between the lines is NaN.
struct Stored {
    memory: Buffer,
    view: View,
    stride: usize,
    values: Vec<f32>,
}

impl Stored {
    fn new(gpu: &Gpu, lines: usize, length: usize, gap: usize, dtype: Dtype, seed: u64) -> Self {
        let stride = length + gap;
        let mut stream = Stream::new(seed, 1);
        let mut values = vec![f32::NAN; lines * stride];
        for line in values.chunks_exact_mut(stride.max(1)) {
            for x in &mut line[..length] {
                let value = stream.normal() as f32;
                *x = if dtype == Dtype::Bf16 {
                    round(value)
                } else {
                    value
                };
            }
        }
        let bytes: Vec<u8> = match dtype {
            Dtype::Bf16 => values
                .iter()
                .flat_map(|x| ((x.to_bits() >> 16) as u16).to_le_bytes())
                .collect(),
            _ => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        };
        let memory = gpu.alloc(bytes.len()).expect("memory");
        if !bytes.is_empty() {
            gpu.driver()
                .upload(memory.address(), &bytes)
                .expect("an upload");
        }
        let view = memory.view(0, values.len(), dtype);
        Self {
            memory,
            view,
            stride,
            values,
        }
    }

    fn download(&self, gpu: &Gpu) -> Vec<f32> {
        let mut bytes = vec![0; self.memory.bytes()];
        gpu.driver()
            .download(&mut bytes, self.memory.address())
            .expect("a download");
        match self.view.dtype {
            Dtype::Bf16 => bytes
                .chunks_exact(2)
                .map(|b| f32::from_le_bytes([0, 0, b[0], b[1]]))
                .collect(),
            _ => bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                .collect(),
        }
    }
}

impl Trial {
    /// Whether the copy engine reads the factors: then their lines are a multiple of 16 bytes apart.
    fn engine(&self) -> bool {
        self.cut
            .is_some_and(|(tile, _)| hopper::TILES.contains(&tile))
    }

    /// Runs it; panics where it fails, an element is further from the sum in `f64` than rounding explains, or a gap was written.
    pub(in crate::gpu) fn check(self, gpu: &Gpu) {
        if let Err(error) = self.run(gpu) {
            panic!("{self:?}: {error}");
        }
    }

    /// As [`Trial::check`], with the device's answer.
    pub(in crate::gpu) fn run(self, gpu: &Gpu) -> Result<(), GpuError> {
        let Self {
            size: [m, n, k],
            transposed: [a_t, b_t],
            types,
            precision,
            ..
        } = self;
        let factor = |rows: usize, cols: usize, t: bool, dtype, seed| {
            let (lines, length) = if t { (cols, rows) } else { (rows, cols) };
            let odd = if self.engine() {
                length.next_multiple_of(8) - length
            } else {
                0
            };
            Stored::new(gpu, lines, length, self.gap + odd, dtype, seed)
        };
        let a = factor(m, k, a_t, types[0], 1);
        let b = factor(k, n, b_t, types[1], 2);
        let c = Stored::new(gpu, m, n, self.gap, types[2], 3);
        let bias = Stored::new(gpu, 1, n, 0, Dtype::F32, 4);
        let product_of = Product {
            m,
            n,
            k,
            a: Factor {
                view: a.view,
                stride: a.stride,
                transposed: a_t,
            },
            b: Factor {
                view: b.view,
                stride: b.stride,
                transposed: b_t,
            },
            c: c.view,
            c_stride: c.stride,
            accumulate: self.accumulate,
            bias: self.bias.then_some(bias.view),
        };
        let plan = match self.cut {
            Some((tile, parts)) if self.engine() => hopper::cut(tile, parts, k),
            Some((tile, parts)) => Plan::with(tile, parts, k),
            None => Plan::new(precision, m, n, k),
        };
        let scratch = gpu
            .alloc(plan.bytes(m, n).next_multiple_of(256))
            .expect("memory");
        let scratch = scratch.view(0, scratch.bytes() / 4, Dtype::I32);
        // A stand-in for a library works at once, not on the stream.
        gpu.driver().synchronize()?;
        match self.cut {
            Some(_) if self.engine() => Hopper::with(plan, &product_of)
                .expect("factors that the copy engine can read")
                .run(gpu, &product_of, scratch)?,
            Some(_) => in_tiles(gpu, precision, plan, &product_of, scratch)?,
            None => product(gpu, precision, &product_of, scratch)?,
        }
        let got = c.download(gpu);
        let inner = |x: f32| match precision {
            Precision::Bf16 => f64::from(round(x)),
            _ => f64::from(x),
        };
        let at = |s: &Stored, i: usize, j: usize, t: bool| {
            inner(
                s.values[if t {
                    j * s.stride + i
                } else {
                    i * s.stride + j
                }],
            )
        };
        for i in 0..m {
            for j in 0..n {
                let terms = (0..k).map(|p| at(&a, i, p, a_t) * at(&b, p, j, b_t));
                let (mut want, mut scale) = (0.0, 1e-30);
                for term in terms {
                    want += term;
                    scale += f64::abs(term);
                }
                if self.bias {
                    want += f64::from(bias.values[j]);
                }
                if self.accumulate {
                    want += f64::from(c.values[i * c.stride + j]);
                }
                let mut limit = scale * 2e-6 + want.abs() * 2e-7;
                if types[2] == Dtype::Bf16 {
                    limit += want.abs() / 255.0;
                }
                let got = f64::from(got[i * c.stride + j]);
                assert!(
                    (got - want).abs() <= limit,
                    "{self:?}: row {i}, column {j} is {got}, not {want}"
                );
            }
            let gap = i * c.stride + n..(i + 1) * c.stride;
            assert!(
                got[gap].iter().all(|x| x.is_nan()),
                "{self:?}: row {i} is too long"
            );
        }
        Ok(())
    }
}

#[test]
fn tensor_core_products_in_all_layouts() {
    let Some(gpu) = device(32) else { return };
    let small = [
        BIASED,
        // Both stored along C.
        Trial {
            size: [72, 80, 70],
            gap: 8,
            cut: BF16.cut,
            ..GRADIENT
        },
        GRADIENT,
        RAGGED,
        Trial {
            size: [3, 130, 200],
            transposed: [false, false],
            types: [Dtype::F32, Dtype::Bf16, Dtype::F32],
            gap: 1,
            ..BF16
        },
    ];
    for trial in small {
        trial.check(&gpu);
    }
    for (tile, transposed) in [
        (MATRIX[0], [false, false]),
        (MATRIX[1], [true, true]),
        (MATRIX[0], [true, true]),
    ] {
        let trial = Trial {
            transposed,
            cut: Some((tile, 1)),
            ..BROAD
        };
        trial.check(&gpu);
    }
}

#[test]
fn tensor_core_products_with_warps_of_64() {
    let Some(gpu) = device(64) else { return };
    BIASED.check(&gpu);
    GRADIENT.check(&gpu);
}

/// Each family of AMD's instructions, on warps of its width, in all layouts.
#[test]
fn products_on_amd_matrix_cores() {
    for (arch, warp) in [("gfx942", 64), ("gfx1100", 32), ("gfx1201", 32)] {
        let Some(gpu) = emulated(warp, 0, |emulator| emulator.with_arch(arch)) else {
            return;
        };
        let trials = [
            BIASED,
            // K odd, so that the last part is short.
            Trial {
                size: [72, 80, 171],
                gap: 8,
                ..GRADIENT
            },
            RAGGED,
            Trial {
                size: [40, 72, 67],
                transposed: [true, false],
                types: [Dtype::F32; 3],
                ..BF16
            },
            // What `product` chooses by itself.
            Trial {
                size: [9, 130, 200],
                transposed: [false, false],
                types: [Dtype::F32, Dtype::Bf16, Dtype::F32],
                gap: 1,
                cut: None,
                ..BF16
            },
            BROAD,
        ];
        for trial in trials {
            trial.check(&gpu);
        }
    }
}

#[test]
fn float_products_in_all_layouts() {
    for warp in [32, 64] {
        let Some(gpu) = device(warp) else { return };
        let trials = [
            Trial { bias: true, ..F32 },
            Trial {
                size: [130, 136, 40],
                transposed: [false, false],
                accumulate: true,
                cut: Some((VECTOR[0], 1)),
                ..F32
            },
            Trial {
                types: F32.types,
                precision: Precision::F32,
                gap: 4,
                cut: Some((VECTOR[1], 3)),
                ..GRADIENT
            },
            // In bf16 without tensor cores.
            Trial {
                types: [Dtype::Bf16, Dtype::F32, Dtype::F32],
                accumulate: false,
                bias: false,
                cut: F32.cut,
                ..RAGGED
            },
        ];
        for trial in trials {
            trial.check(&gpu);
        }
    }
}

#[test]
fn a_few_rows_and_nothing() {
    for warp in [32, 64] {
        let Some(gpu) = device(warp) else { return };
        let chosen = |trial| Trial { cut: None, ..trial };
        let trials = [
            chosen(Trial {
                size: [1, 35, 1032],
                bias: true,
                ..BF16
            }),
            chosen(Trial {
                size: [5, 9, 67],
                types: [Dtype::F32, Dtype::Bf16, Dtype::Bf16],
                accumulate: true,
                gap: 1,
                ..BF16
            }),
            chosen(Trial {
                size: [3, 6, 40],
                types: [Dtype::Bf16, Dtype::F32, Dtype::F32],
                ..F32
            }),
            // No rows, no columns, no sum: C is the bias.
            chosen(Trial {
                size: [0, 5, 8],
                ..F32
            }),
            chosen(Trial {
                size: [12, 7, 0],
                bias: true,
                accumulate: true,
                ..F32
            }),
        ];
        for trial in trials {
            trial.check(&gpu);
        }
    }
}

/// What [`product`] chooses by itself, cut into parts.
#[test]
fn a_long_sum_is_folded() {
    let Some(gpu) = device(32) else { return };
    let trial = Trial {
        size: [9, 12, 1100],
        transposed: [true, false],
        types: WIDE,
        bias: true,
        cut: None,
        ..BF16
    };
    let [m, n, k] = trial.size;
    assert!(Plan::new(Precision::Bf16, m, n, k).parts > 1);
    assert!(scratch_bytes(Precision::Bf16, m, n, k) > 0);
    trial.check(&gpu);
}

/// The kernel for `sm_90a` alone against the definition: all layouts, edges everywhere, more tiles than the device has
/// multiprocessors, more steps than stages, parts, threads in every order.
#[test]
fn warpgroup_products_in_all_layouts() {
    let [large, small] = hopper::TILES;
    let wide = Trial {
        size: [200, 300, 200],
        types: WIDE,
        gap: 8,
        accumulate: true,
        cut: Some((large, 1)),
        ..BF16
    };
    let narrow = Trial {
        size: [67, 133, 75],
        gap: 0,
        bias: true,
        accumulate: false,
        cut: Some((small, 1)),
        ..wide
    };
    let in_parts = Trial {
        size: [136, 264, 1100],
        transposed: [true, false],
        cut: Some((small, 2)),
        ..wide
    };
    for order in 0..4 {
        let Some(gpu) = emulated(32, order, Emulator::as_hopper) else {
            return;
        };
        in_parts.check(&gpu);
        for transposed in [[false, true], [false, false], [true, false], [true, true]] {
            // One layout shows whether the order of threads matters.
            if order == 0 || transposed == [true, false] {
                Trial { transposed, ..wide }.check(&gpu);
                Trial {
                    transposed,
                    ..narrow
                }
                .check(&gpu);
            }
        }
    }
}

/// Whose lines the copy engine cannot read goes to the portable kernel, and so does what is small.
#[test]
fn hopper_is_asked_for_what_it_can_read() {
    let asks = |arch, size: [usize; 3], stride| {
        let (survey, asked) = Survey::new(crate::gpu::Kind::Cuda, arch, 32);
        let gpu = Gpu::new(Box::new(survey), None);
        let [m, n, k] = size;
        let view = |len, dtype| View::new(1 << 20, len, dtype);
        let product_of = Product {
            m,
            n,
            k,
            a: Factor {
                stride,
                ..Factor::new(view(m * stride, Dtype::Bf16), k)
            },
            b: Factor::t(view(n * k, Dtype::Bf16), k),
            c: view(m * n, Dtype::Bf16),
            c_stride: n,
            accumulate: false,
            bias: None,
        };
        let scratch = view(scratch_bytes(Precision::Bf16, m, n, k) / 4, Dtype::I32);
        product(&gpu, Precision::Bf16, &product_of, scratch).unwrap();
        let asked = crate::gpu::lock(&asked);
        asked[0].unit.name
    };
    let large = [8192, 3072, 768];
    assert_eq!(asks("sm_90a", large, 768), "gpu/gemm/hopper.cu");
    assert_eq!(asks("sm_90a", large, 776), "gpu/gemm/hopper.cu");
    assert_eq!(asks("sm_90a", large, 769), "gpu/gemm/tiles.cu");
    assert_eq!(asks("sm_90", large, 768), "gpu/gemm/tiles.cu");
    assert_eq!(asks("sm_90a", [64, 64, 768], 768), "gpu/gemm/tiles.cu");
}

#[test]
fn hopper_and_its_twin_agree() {
    let Some(plain) = device(32) else { return };
    assert_eq!(twins::compare(&plain, &[[8, 8, 8]]), Ok(None));
    let Some(gpu) = emulated(32, 0, Emulator::as_hopper) else {
        return;
    };
    let error = twins::compare(&gpu, &[[72, 136, 136]]).unwrap().unwrap();
    assert!(error < 1e-6, "{error:e}");
}
