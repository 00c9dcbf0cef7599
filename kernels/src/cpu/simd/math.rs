//! Elementary functions from additions, multiplications and powers of two, for any vector.

use super::{Float as _, Simd};

/// `e^x = 2^n e^r` with `n = round(x / ln 2)` and `|r| <= ln 2 / 2`; `x - n ln 2` in two steps (Cody and Waite) so that `r`
/// keeps its bits.
#[inline(always)]
pub(super) fn exp<S: Simd>(x: S::V) -> S::V {
    // Below -87.3 the result is subnormal: give 0. Above 88.7 it overflows: give infinity.
    // A NaN passes both: max and min give their second argument when the first is not comparable.
    let clamped = S::max(S::c(-87.336_54), S::min(S::c(88.722_83), x));
    let n = S::round(S::mul(clamped, S::c(std::f64::consts::LOG2_E)));
    let r = S::fma(n, S::c(-0.693_359_375), clamped);
    let r = S::fma(n, S::c(2.121_944_4e-4), r);
    let p = exp_polynomial::<S>(r);
    // n can be 128, which is no normal exponent: apply it in two halves.
    let half = S::round(S::mul(n, S::c(0.5)));
    let y = S::mul(S::mul(p, S::pow2(half)), S::pow2(S::sub(n, half)));
    let y = S::select_gt(S::c(-87.336_54), x, S::zero(), y);
    S::select_gt(
        x,
        S::c(88.722_83),
        S::splat(S::A::from_f64(f64::INFINITY)),
        y,
    )
}

/// `e^r` for `|r| <= ln 2 / 2`: the polynomial of degree 6 whose largest relative error there is least (1.9e-9, by Remez'
/// exchange), a step less than Taylor's of that accuracy.
#[inline(always)]
pub(super) fn exp_polynomial<S: Simd>(r: S::V) -> S::V {
    let mut p = S::c(0.001_383_684_613_69);
    for c in [
        0.008_374_815_778_16,
        0.041_668_225_566_1,
        0.166_664_201_703,
        0.499_999_920_798,
        1.000_000_036_32,
        1.0,
    ] {
        p = S::fma(p, r, S::c(c));
    }
    p
}

/// `tanh x = sign(x) (1 - 2 / (e^(2|x|) + 1))`.
#[inline(always)]
pub(super) fn tanh<S: Simd>(x: S::V) -> S::V {
    let one = S::splat(S::A::ONE);
    let magnitude = S::max(x, S::neg(x));
    let e = S::exp(S::add(magnitude, magnitude));
    let t = S::sub(one, S::div(S::c(2.0), S::add(e, one)));
    S::select_gt(S::zero(), x, S::neg(t), t)
}

/// Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26 (absolute error below 1.5e-7).
#[inline(always)]
pub(super) fn erf<S: Simd>(x: S::V) -> S::V {
    let one = S::splat(S::A::ONE);
    let magnitude = S::max(x, S::neg(x));
    let t = S::div(one, S::fma(magnitude, S::c(0.327_591_1), one));
    let mut p = S::c(1.061_405_429);
    for c in [
        -1.453_152_027,
        1.421_413_741,
        -0.284_496_736,
        0.254_829_592,
        0.0,
    ] {
        p = S::fma(p, t, S::c(c));
    }
    let y = S::sub(one, S::mul(p, S::exp(S::neg(S::mul(magnitude, magnitude)))));
    S::select_gt(S::zero(), x, S::neg(y), y)
}
