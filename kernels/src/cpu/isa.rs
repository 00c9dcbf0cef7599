//! Which instruction set the kernels use: detected once, or forced by `ZEROLLM_ISA`.

use std::sync::OnceLock;

/// An instruction set that kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Plain Rust, one lane. The definition that the others are tested against.
    Scalar,
    /// x86-64 AVX2 with FMA: 8 lanes.
    Avx2,
    /// x86-64 AVX-512 F, BW, DQ, VL: 16 lanes.
    Avx512,
    /// As `Avx512`, and `vdpbf16ps`.
    Avx512Bf16,
    /// AArch64 NEON: 4 lanes. Compiled and tested where such a machine runs the tests; never measured.
    Neon,
}

/// `ZEROLLM_ISA` names something that does not exist or that this machine lacks.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("ZEROLLM_ISA={given}: expected one of {expected}")]
pub struct IsaError {
    given: String,
    expected: String,
}

impl Isa {
    /// The sets that this machine has, plainest first.
    pub fn available() -> Vec<Self> {
        let mut sets = vec![Self::Scalar];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("fma")
                && is_x86_feature_detected!("f16c")
            {
                sets.push(Self::Avx2);
                if ["avx512f", "avx512bw", "avx512dq", "avx512vl"]
                    .iter()
                    .all(|feature| match *feature {
                        "avx512f" => is_x86_feature_detected!("avx512f"),
                        "avx512bw" => is_x86_feature_detected!("avx512bw"),
                        "avx512dq" => is_x86_feature_detected!("avx512dq"),
                        _ => is_x86_feature_detected!("avx512vl"),
                    })
                {
                    sets.push(Self::Avx512);
                    if is_x86_feature_detected!("avx512bf16") {
                        sets.push(Self::Avx512Bf16);
                    }
                }
            }
        }
        #[cfg(target_arch = "aarch64")]
        sets.push(Self::Neon);
        sets
    }

    /// The name that `ZEROLLM_ISA`, events and `--version` use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            Self::Avx2 => "avx2",
            Self::Avx512 => "avx512",
            Self::Avx512Bf16 => "avx512bf16",
            Self::Neon => "neon",
        }
    }

    /// The fastest of [`Isa::available`]: the last one, except that Intel's cores (Sapphire Rapids measured) start
    /// `vdpbf16ps` every other cycle only, which makes `bf16` products half as fast as `f32` ones with rounded factors. AMD's
    /// start two a cycle.
    fn fastest() -> Self {
        let best = *Self::available().last().expect("scalar is always there");
        if best == Self::Avx512Bf16 && is_intel() {
            Self::Avx512
        } else {
            best
        }
    }

    /// The fastest set, or the one that `requested` names (`avx512` is the faster of the two that have it).
    ///
    /// # Errors
    /// If `requested` is unknown or this machine lacks it.
    pub fn choose(requested: Option<&str>) -> Result<Self, IsaError> {
        let sets = Self::available();
        let best = Self::fastest();
        let Some(name) = requested else {
            return Ok(best);
        };
        if name == "avx512" && best == Self::Avx512Bf16 {
            return Ok(best);
        }
        sets.iter()
            .copied()
            .find(|set| set.name() == name)
            .ok_or_else(|| IsaError {
                given: name.to_owned(),
                expected: sets
                    .iter()
                    .map(|set| set.name())
                    .collect::<Vec<_>>()
                    .join(", "),
            })
    }

    /// The set of this process: chosen once. A wrong `ZEROLLM_ISA` is refused by the program's start, which calls
    /// [`Isa::choose`] first; here it falls back to the best.
    pub fn detected() -> Self {
        static CHOSEN: OnceLock<Isa> = OnceLock::new();
        *CHOSEN.get_or_init(|| {
            let requested = std::env::var("ZEROLLM_ISA").ok();
            Self::choose(requested.as_deref())
                .unwrap_or_else(|_| Self::choose(None).expect("scalar is always there"))
        })
    }
}

/// Whether the processor says that Intel made it.
fn is_intel() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        let id = std::arch::x86_64::__cpuid(0);
        [id.ebx, id.edx, id.ecx].map(u32::to_le_bytes) == [*b"Genu", *b"ineI", *b"ntel"]
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn choice() {
        assert_eq!(Isa::choose(Some("scalar")), Ok(Isa::Scalar));
        assert_eq!(Isa::choose(None), Ok(Isa::fastest()));
        for isa in Isa::available() {
            let chosen = Isa::choose(Some(isa.name())).unwrap();
            assert!(chosen == isa || isa == Isa::Avx512 && chosen == Isa::Avx512Bf16);
        }
        let error = Isa::choose(Some("sse9")).unwrap_err().to_string();
        assert!(
            error.contains("sse9") && error.contains("scalar"),
            "{error}"
        );
    }
}
