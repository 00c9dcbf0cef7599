//! The activation functions: value and derivative for a vector, shared by [`super::activation`] and [`super::gated`].
//!
//! A new one is a variant of [`Act`] with its name and its two formulas. Where to go next: [`super::gated`].

use crate::Float as _;
use crate::cpu::simd::{Binary, Scalar32, Simd};
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// An activation function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// `x s(x)` with the logistic function s (Elfwing et al. 2017, arXiv:1702.03118).
    Silu,
    /// `x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) / 2`, the approximation of GPT-2 (arXiv:1606.08415).
    GeluTanh,
    /// `x Phi(x)` with the normal distribution function Phi (Hendrycks and Gimpel 2016, arXiv:1606.08415).
    Gelu,
    /// `max(x, 0)`.
    Relu,
    /// `max(x, 0)^2` (So et al. 2021, arXiv:2109.08668).
    Relu2,
}

/// `f(gate) up`, element by element.
pub(super) struct Gate(pub Act);

impl Binary for Gate {
    #[inline(always)]
    fn of<S: Simd>(&self, gate: S::V, up: S::V) -> S::V {
        S::mul(self.0.value::<S>(gate), up)
    }
}

/// `sqrt(2 / pi)`.
const ROOT: f64 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
/// Coefficient of the cube in [`Act::GeluTanh`].
const CUBE: f64 = 0.044_715;

impl Act {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Silu,
        Self::GeluTanh,
        Self::Gelu,
        Self::Relu,
        Self::Relu2,
    ];

    /// The name that configs use.
    pub fn name(self) -> &'static str {
        match self {
            Self::Silu => "silu",
            Self::GeluTanh => "gelu_tanh",
            Self::Gelu => "gelu",
            Self::Relu => "relu",
            Self::Relu2 => "relu2",
        }
    }

    /// The function that configs call `name`.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|act| act.name() == name)
    }

    /// What kernels of a GPU take as the definition `ACT` ([`crate::gpu::unit::ACT`]).
    pub fn define(self) -> String {
        self.name().to_uppercase()
    }

    /// `f(x)` of one number: for who looks at values rather than computes with them.
    pub fn at(self, x: f32) -> f32 {
        self.value::<Scalar32>(x)
    }

    /// `f(x)`.
    #[inline(always)]
    pub(super) fn value<S: Simd>(self, x: S::V) -> S::V {
        match self {
            Self::Silu => S::div(x, S::one_and_exp_of_minus(x)),
            Self::GeluTanh => S::mul(x, gelu_gate::<S>(x)),
            Self::Gelu => S::mul(x, phi::<S>(x)),
            // In this order a NaN stays one.
            Self::Relu => S::max(S::zero(), x),
            Self::Relu2 => {
                let positive = S::max(S::zero(), x);
                S::mul(positive, positive)
            }
        }
    }

    /// `f(x)` and `f'(x)`.
    #[inline(always)]
    pub(super) fn value_and_derivative<S: Simd>(self, x: S::V) -> (S::V, S::V) {
        let one = S::splat(S::A::ONE);
        match self {
            Self::Silu => {
                let s = S::sigmoid(x);
                let value = S::mul(x, s);
                (value, S::fma(value, S::sub(one, s), s))
            }
            Self::GeluTanh => {
                let s = gelu_gate::<S>(x);
                // Beyond 16 the second term is zero, and its factors must not overflow.
                let near = S::max(S::c(-16.0), S::min(S::c(16.0), x));
                let slope = S::fma(
                    S::mul(near, near),
                    S::c(6.0 * ROOT * CUBE),
                    S::c(2.0 * ROOT),
                );
                let bell = S::mul(s, S::sub(one, s));
                (S::mul(x, s), S::fma(S::mul(near, slope), bell, s))
            }
            Self::Gelu => {
                let below = phi::<S>(x);
                let density = S::mul(S::exp(S::mul(S::mul(x, x), S::c(-0.5))), S::c(0.5 * ROOT));
                (S::mul(x, below), S::fma(x, density, below))
            }
            Self::Relu => (
                S::max(S::zero(), x),
                S::select_gt(x, S::zero(), one, S::zero()),
            ),
            Self::Relu2 => {
                let positive = S::max(S::zero(), x);
                (S::mul(positive, positive), S::add(positive, positive))
            }
        }
    }
}

/// `(1 + tanh u) / 2 = s(2 u)` with `u = sqrt(2/pi) (x + 0.044715 x^3)`: the logistic function takes fewer steps.
#[inline(always)]
fn gelu_gate<S: Simd>(x: S::V) -> S::V {
    let inner = S::fma(S::mul(x, x), S::c(2.0 * ROOT * CUBE), S::c(2.0 * ROOT));
    S::sigmoid(S::mul(x, inner))
}

/// The normal distribution function.
#[inline(always)]
fn phi<S: Simd>(x: S::V) -> S::V {
    let e = S::erf(S::mul(x, S::c(FRAC_1_SQRT_2)));
    S::fma(e, S::c(0.5), S::c(0.5))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::simd::Scalar64;

    #[test]
    fn names_round_trip() {
        for act in Act::ALL {
            assert_eq!(Act::from_name(act.name()), Some(act));
        }
        assert_eq!(Act::from_name("swish"), None);
    }

    #[test]
    fn the_two_gelus_are_close() {
        let mut apart: f64 = 0.0;
        for i in -800..800 {
            let x = f64::from(i) * 0.01;
            let d = Act::Gelu.value::<Scalar64>(x) - Act::GeluTanh.value::<Scalar64>(x);
            apart = apart.max(d.abs());
        }
        assert!(apart < 5e-4 && apart > 1e-4, "{apart}");
    }

    #[test]
    fn large_and_missing_values() {
        for act in Act::ALL {
            for x in [-1e30f32, 1e30] {
                let (value, derivative) = act.value_and_derivative::<Scalar32>(x);
                assert_eq!(value, act.value::<Scalar32>(x), "{act:?}");
                assert!(!derivative.is_nan(), "{act:?} at {x}");
                if x < 0.0 {
                    assert_eq!((value, derivative), (0.0, 0.0), "{act:?}");
                }
            }
            assert!(act.value::<Scalar32>(f32::NAN).is_nan(), "{act:?}");
        }
    }
}
