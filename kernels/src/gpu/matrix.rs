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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::survey::Survey;
    use crate::gpu::{Driver as _, Kind};

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
