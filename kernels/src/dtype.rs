//! Element types: what is in memory ([`Elem`]) and what it is computed in ([`Float`]).

use crate::Isa;
use crate::cpu::simd::{self, Kernel};
use std::fmt::Debug;
use std::ops::{Add, AddAssign, Div, Mul, Neg, Sub};

/// The type of a tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// IEEE 754 binary32.
    F32,
    /// The upper half of an `f32`: 8 bits of exponent, 7 of fraction.
    Bf16,
    /// IEEE 754 binary64, for gradient checks.
    F64,
    /// Token ids, positions, document starts.
    I32,
}

impl Dtype {
    /// Bytes an element takes.
    pub fn size(self) -> usize {
        match self {
            Self::Bf16 => 2,
            Self::F32 | Self::I32 => 4,
            Self::F64 => 8,
        }
    }

    /// Whether a gradient can exist for values of this type.
    pub fn is_float(self) -> bool {
        self != Self::I32
    }
}

/// The precision of a run: which [`Dtype`] each kind of tensor gets (the table in the crate's page).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Precision {
    /// Everything in `f32`.
    F32,
    /// `bf16` activations and products, `f32` sums, weights, residual stream and statistics.
    Bf16,
    /// Everything in `f64` by the scalar kernels; used by gradient checks.
    F64,
}

impl Precision {
    /// Type of the residual stream, parameters and statistics.
    pub fn wide(self) -> Dtype {
        match self {
            Self::F32 | Self::Bf16 => Dtype::F32,
            Self::F64 => Dtype::F64,
        }
    }

    /// Type of activations between operations.
    pub fn compute(self) -> Dtype {
        match self {
            Self::F32 => Dtype::F32,
            Self::Bf16 => Dtype::Bf16,
            Self::F64 => Dtype::F64,
        }
    }

    /// The name that configs and events use.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
            Self::F64 => "f64",
        }
    }
}

/// What arithmetic is done in: `f32`, or `f64` in gradient checks.
pub trait Float:
    Elem<Acc = Self>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + PartialOrd
{
    /// Zero.
    const ZERO: Self;
    /// One.
    const ONE: Self;
    /// Negative infinity.
    const NEG_INFINITY: Self;
    /// Nearest value to `x`.
    fn from_f64(x: f64) -> Self;
    /// Exact value as `f64`.
    fn to_f64(self) -> f64;
    /// Square root.
    fn sqrt(self) -> Self;
    /// Natural exponential.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Compiles and runs a kernel for the instruction set `isa` (see [`crate::cpu::simd`]).
    fn run_kernel<K: Kernel<Self>>(isa: Isa, kernel: K) -> K::Out;
    /// The larger of two values; `self` where they are not comparable.
    fn max(self, other: Self) -> Self {
        if other > self { other } else { self }
    }
}

macro_rules! float {
    ($t:ty, $run:path) => {
        impl Float for $t {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NEG_INFINITY: Self = <$t>::NEG_INFINITY;
            fn from_f64(x: f64) -> Self {
                x as Self
            }
            fn to_f64(self) -> f64 {
                f64::from(self)
            }
            fn sqrt(self) -> Self {
                self.sqrt()
            }
            fn exp(self) -> Self {
                self.exp()
            }
            fn ln(self) -> Self {
                self.ln()
            }
            fn run_kernel<K: Kernel<Self>>(isa: Isa, kernel: K) -> K::Out {
                $run(isa, kernel)
            }
        }
    };
}
float!(f32, simd::run_f32);
float!(f64, simd::run_f64);

/// What a tensor in memory consists of. Arithmetic happens in [`Elem::Acc`], after [`Elem::get`] and before [`Elem::put`].
pub trait Elem: Copy + Send + Sync + Default + PartialEq + Debug + 'static {
    /// The type that values are computed in.
    type Acc: Float;
    /// The tag of this type.
    const DTYPE: Dtype;
    /// To the computing type, exactly.
    fn get(self) -> Self::Acc;
    /// From the computing type, rounded to nearest, ties to even.
    fn put(x: Self::Acc) -> Self;
}

impl Elem for f32 {
    type Acc = Self;
    const DTYPE: Dtype = Dtype::F32;
    #[inline(always)]
    fn get(self) -> Self {
        self
    }
    #[inline(always)]
    fn put(x: Self) -> Self {
        x
    }
}

impl Elem for f64 {
    type Acc = Self;
    const DTYPE: Dtype = Dtype::F64;
    #[inline(always)]
    fn get(self) -> Self {
        self
    }
    #[inline(always)]
    fn put(x: Self) -> Self {
        x
    }
}

/// A bfloat16: the upper 16 bits of an `f32`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Bf16(pub u16);

impl Elem for Bf16 {
    type Acc = f32;
    const DTYPE: Dtype = Dtype::Bf16;
    #[inline(always)]
    fn get(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 16)
    }
    /// Round to nearest, ties to even; a NaN stays a (quiet) NaN.
    #[inline(always)]
    fn put(x: f32) -> Self {
        let bits = x.to_bits();
        if x.is_nan() {
            return Self((bits >> 16) as u16 | 0x40);
        }
        Self((bits.wrapping_add(0x7fff + ((bits >> 16) & 1)) >> 16) as u16)
    }
}

/// Runs `$body` with the type alias `$T` standing for the element type of a float `$dtype`.
#[macro_export]
macro_rules! with_elem {
    ($dtype:expr, $T:ident => $body:expr) => {
        match $dtype {
            $crate::Dtype::F32 => {
                type $T = f32;
                $body
            }
            $crate::Dtype::Bf16 => {
                type $T = $crate::Bf16;
                $body
            }
            $crate::Dtype::F64 => {
                type $T = f64;
                $body
            }
            $crate::Dtype::I32 => unreachable!("an index tensor where a float tensor belongs"),
        }
    };
}

/// As [`with_elem`] for two tensors that meet in one kernel: both `f64`, or any mix of `f32` and `bf16`.
#[macro_export]
macro_rules! with_elems {
    ($a:expr, $A:ident, $b:expr, $B:ident => $body:expr) => {{
        use $crate::Dtype::{Bf16 as Half, F32 as Single, F64 as Double};
        match ($a, $b) {
            (Single, Single) => {
                type $A = f32;
                type $B = f32;
                $body
            }
            (Single, Half) => {
                type $A = f32;
                type $B = $crate::Bf16;
                $body
            }
            (Half, Single) => {
                type $A = $crate::Bf16;
                type $B = f32;
                $body
            }
            (Half, Half) => {
                type $A = $crate::Bf16;
                type $B = $crate::Bf16;
                $body
            }
            (Double, Double) => {
                type $A = f64;
                type $B = f64;
                $body
            }
            (a, b) => unreachable!("tensors of types {a:?} and {b:?} do not meet in one kernel"),
        }
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bf16_rounds_to_nearest_even() {
        // 1 + 2^-8 is halfway between two bf16 neighbours: the even one (1.0) wins.
        assert_eq!(Bf16::put(1.0 + 2f32.powi(-8)).get(), 1.0);
        assert_eq!(
            Bf16::put(1.0 + 3.0 * 2f32.powi(-8)).get(),
            1.0 + 2.0 * 2f32.powi(-7)
        );
        assert_eq!(Bf16::put(f32::MAX).get(), f32::INFINITY);
        assert!(Bf16::put(f32::NAN).get().is_nan());
        assert!(Bf16::put(f32::from_bits(0x7f80_0001)).get().is_nan());
        assert_eq!(Bf16::put(-0.0).0, 0x8000);
    }
}
