//! One lane in plain Rust: the definition of every other instruction set, in `f32` and in `f64`.

use super::{Elem, Simd};

/// One `f32`.
#[derive(Clone, Copy, Debug)]
pub struct Scalar32;

/// One `f64`, with the standard library's functions at full precision.
#[derive(Clone, Copy, Debug)]
pub struct Scalar64;

macro_rules! scalar {
    ($name:ident, $t:tt, $bits:ty, $bias:expr, $fraction:expr) => {
        impl Simd for $name {
            type A = $t;
            type V = $t;
            const LANES: usize = 1;
            #[inline(always)]
            fn splat(x: $t) -> $t {
                x
            }
            #[inline(always)]
            unsafe fn load<T: Elem<Acc = $t>>(p: *const T) -> $t {
                // SAFETY: the caller vouches for `p`.
                unsafe { p.read_unaligned().get() }
            }
            #[inline(always)]
            unsafe fn store<T: Elem<Acc = $t>>(p: *mut T, v: $t) {
                // SAFETY: the caller vouches for `p`.
                unsafe { p.write_unaligned(T::put(v)) }
            }
            #[inline(always)]
            fn add(a: $t, b: $t) -> $t {
                a + b
            }
            #[inline(always)]
            fn sub(a: $t, b: $t) -> $t {
                a - b
            }
            #[inline(always)]
            fn mul(a: $t, b: $t) -> $t {
                a * b
            }
            #[inline(always)]
            fn div(a: $t, b: $t) -> $t {
                a / b
            }
            /// Plain Rust has no cheap fused multiply-add without hardware support, so this one rounds twice.
            #[inline(always)]
            fn fma(a: $t, b: $t, c: $t) -> $t {
                a * b + c
            }
            #[inline(always)]
            fn max(a: $t, b: $t) -> $t {
                if a > b { a } else { b }
            }
            #[inline(always)]
            fn min(a: $t, b: $t) -> $t {
                if a < b { a } else { b }
            }
            #[inline(always)]
            fn sqrt(a: $t) -> $t {
                a.sqrt()
            }
            #[inline(always)]
            fn round(a: $t) -> $t {
                a.round_ties_even()
            }
            #[inline(always)]
            fn pow2(n: $t) -> $t {
                <$t>::from_bits(((n as i64 + $bias) as $bits) << $fraction)
            }
            #[inline(always)]
            fn select_gt(a: $t, b: $t, x: $t, y: $t) -> $t {
                if a > b { x } else { y }
            }
            #[inline(always)]
            fn sum(a: $t) -> $t {
                a
            }
            #[inline(always)]
            fn max_lane(a: $t) -> $t {
                a
            }
            scalar!(@functions $t);
        }
    };
    (@functions f32) => {};
    (@functions f64) => {
        #[inline(always)]
        fn exp(a: f64) -> f64 {
            a.exp()
        }
        #[inline(always)]
        fn tanh(a: f64) -> f64 {
            a.tanh()
        }
        #[inline(always)]
        fn erf(a: f64) -> f64 {
            libm::erf(a)
        }
    };
}
scalar!(Scalar32, f32, u32, 127, 23);
scalar!(Scalar64, f64, u64, 1023, 52);
