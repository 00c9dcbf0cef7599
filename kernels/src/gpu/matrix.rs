//! The matrix instructions that kernels are written for, and which of them a device has.
//!
//! `prelude.cuh` says how their values lie in a warp; products ([`super::gemm`]) choose their kernel by them.

use super::driver::Info;

/// Instructions that multiply matrices of `bf16` and add in `f32`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Matrix {
    /// `mma.sync` of NVIDIA's tensor cores; the emulated device has its twin.
    MmaSync,
    /// `v_mfma_f32_16x16x16_bf16` of CDNA2 and CDNA3.
    Mfma,
    /// `v_wmma_f32_16x16x16_bf16` of RDNA3.
    Wmma,
    /// The same of RDNA4, which holds its values in other lanes.
    Wmma12,
}

impl Matrix {
    /// What `info` has; none on AMD's older and unknown architectures.
    pub(crate) fn of(info: &Info) -> Option<Self> {
        match &*info.arch {
            "gfx90a" | "gfx940" | "gfx941" | "gfx942" | "gfx950" => Some(Self::Mfma),
            "gfx1100" | "gfx1101" | "gfx1102" | "gfx1103" | "gfx1150" | "gfx1151" | "gfx1152"
            | "gfx1153" => Some(Self::Wmma),
            "gfx1200" | "gfx1201" => Some(Self::Wmma12),
            other => (!other.starts_with("gfx")).then_some(Self::MmaSync),
        }
    }

    /// What the prelude is told by `MATRIX`; nothing for NVIDIA's, which it always has.
    pub(crate) fn define(self) -> Option<&'static str> {
        match self {
            Self::MmaSync => None,
            Self::Mfma => Some("MFMA"),
            Self::Wmma => Some("WMMA"),
            Self::Wmma12 => Some("WMMA12"),
        }
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use crate::Dtype;
    use crate::gpu::emulator::{Emulator, Options};
    use crate::gpu::survey::Survey;
    use crate::gpu::{Driver as _, Gpu, GpuError, Grid, Kind, Unit};

    /// D of one product; each lane is given its words of A and of B, and gives its sums.
    static PROBE: Unit = Unit {
        name: "a product of one warp",
        text: "KERNEL(probe, 64, (float* d, const Frag* a, const Frag* b)) {
                 if (TID / WARP > 0) return;
                 Sums sums = {};
                 mma_frags(sums, b[TID], a[TID]);
                 for (int i = 0; i < SUMS; i++) d[TID * SUMS + i] = sums.v[i];
               }",
        pieces: &[],
    };

    /// Where AMD's calculator of matrix instructions puts the elements, as (lane, value in the lane): k of line `i` of a factor
    /// (its copies too), and row `i` of column `j` of D.
    type Place = (usize, usize);
    struct Layout {
        arch: &'static str,
        lanes: usize,
        factor: fn(usize, usize) -> Vec<Place>,
        sum: fn(usize, usize) -> Place,
    }

    /// Fragments are filled by the published layouts; the host's twins must give the matrix product in the published places.
    #[test]
    fn fragments_have_the_published_layouts() {
        let layouts = [
            Layout {
                arch: "gfx90a",
                lanes: 64,
                factor: |i, k| vec![(i + k / 4 * 16, k % 4)],
                sum: |i, j| (j + i / 4 * 16, i % 4),
            },
            Layout {
                arch: "gfx1100",
                lanes: 32,
                factor: |i, k| vec![(i, k), (i + 16, k)],
                sum: |i, j| (j + i % 2 * 16, i / 2),
            },
            Layout {
                arch: "gfx1201",
                lanes: 32,
                factor: |i, k| vec![(i + k / 8 * 16, k % 8)],
                sum: |i, j| (j + i / 8 * 16, i % 8),
            },
        ];
        let a = |i: usize, k: usize| ((i * 7 + k * 3) % 11) as f32 - 5.0;
        let b = |k: usize, j: usize| ((k * 5 + j) % 13) as f32 - 6.0;
        for layout in layouts {
            let options = Options {
                warp: layout.lanes as u32,
                checked: true,
                order: 0,
            };
            let emulator = match Emulator::new(options, None) {
                Ok(emulator) => emulator.with_arch(layout.arch),
                Err(GpuError::Missing(why)) => {
                    eprintln!("skipped: the emulated device: {why}");
                    return;
                }
                Err(error) => panic!("{error}"),
            };
            let gpu = Gpu::new(Box::new(emulator), None);
            let copies = (layout.factor)(0, 0).len();
            let held = 256 * copies / layout.lanes;
            let upload = |element: &dyn Fn(usize, usize) -> f32| {
                let mut bytes = vec![0; 2 * held * layout.lanes];
                for (i, k) in (0..256).map(|at| (at / 16, at % 16)) {
                    for (lane, value) in (layout.factor)(i, k) {
                        let half = (element(i, k).to_bits() >> 16) as u16;
                        bytes[2 * (lane * held + value)..][..2]
                            .copy_from_slice(&half.to_le_bytes());
                    }
                }
                let buffer = gpu.alloc(bytes.len()).expect("memory");
                gpu.driver()
                    .upload(buffer.address(), &bytes)
                    .expect("copied");
                buffer
            };
            let (left, right) = (upload(&a), upload(&|j, k| b(k, j)));
            let out = gpu.alloc(4 * 256).expect("memory");
            let views = [
                out.view(0, 256, Dtype::F32),
                left.view(0, left.bytes() / 4, Dtype::I32),
                right.view(0, right.bytes() / 4, Dtype::I32),
            ];
            let name = Matrix::of(gpu.info()).and_then(Matrix::define);
            let kernel = PROBE.kernel("probe").with("MATRIX", name.expect("a name"));
            gpu.launch(&kernel, Grid::new(1, 64), &views.map(Into::into))
                .expect("it runs");
            let mut bytes = vec![0; 4 * 256];
            gpu.driver()
                .download(&mut bytes, out.address())
                .expect("copied");
            for (i, j) in (0..256).map(|at| (at / 16, at % 16)) {
                let (lane, value) = (layout.sum)(i, j);
                let at = 4 * (lane * 256 / layout.lanes + value);
                let got = f32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
                let want: f32 = (0..16).map(|k| a(i, k) * b(k, j)).sum();
                assert_eq!(got, want, "{}: row {i}, column {j}", layout.arch);
            }
        }
    }

    #[test]
    fn each_architecture_has_its_own() {
        let of = |kind, arch, warp| Matrix::of(Survey::new(kind, arch, warp).0.info());
        for (arch, warp, want) in [
            ("gfx90a", 64, Some(Matrix::Mfma)),
            ("gfx942", 64, Some(Matrix::Mfma)),
            ("gfx1100", 32, Some(Matrix::Wmma)),
            ("gfx1201", 32, Some(Matrix::Wmma12)),
            // MFMA of another shape, none, and WMMA of another shape.
            ("gfx908", 64, None),
            ("gfx1030", 32, None),
            ("gfx1250", 32, None),
        ] {
            assert_eq!(of(Kind::Rocm, arch, warp), want, "{arch}");
        }
        assert_eq!(of(Kind::Cuda, "sm_90a", 32), Some(Matrix::MmaSync));
        assert_eq!(of(Kind::Emulated, "host", 64), Some(Matrix::MmaSync));
    }
}
