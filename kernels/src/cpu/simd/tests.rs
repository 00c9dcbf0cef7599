use super::*;
use crate::Bf16;

struct Functions<'a>(&'a [f32], &'a mut Vec<[f32; 5]>);
impl Kernel<f32> for Functions<'_> {
    type Out = ();
    #[inline(always)]
    fn run<S: Simd<A = f32>>(self) {
        for chunk in self.0.chunks(S::LANES) {
            let mut out = [[0f32; 16]; 5];
            // SAFETY: a chunk has at most LANES elements, a row of `out` has 16.
            unsafe {
                let x = if chunk.len() == S::LANES {
                    S::load(chunk.as_ptr())
                } else {
                    S::load_part(chunk.as_ptr(), chunk.len())
                };
                S::store(out[0].as_mut_ptr(), S::exp(x));
                S::store(out[1].as_mut_ptr(), S::tanh(x));
                S::store(out[2].as_mut_ptr(), S::erf(x));
                S::store(out[3].as_mut_ptr(), S::sigmoid(x));
                let mut half = [Bf16::default(); 16];
                S::store(half.as_mut_ptr(), x);
                S::store(out[4].as_mut_ptr(), S::load(half.as_ptr()));
                let mut rounded = [0f32; 16];
                S::store(rounded.as_mut_ptr(), S::round_bf16(x));
                for (x, y) in rounded.iter().zip(&out[4]) {
                    assert!(x.to_bits() == y.to_bits(), "{x} {y}");
                }
            }
            self.1
                .extend((0..chunk.len()).map(|i| std::array::from_fn(|f| out[f][i])));
        }
    }
}

#[test]
fn functions_are_accurate_on_every_instruction_set() {
    let mut xs: Vec<f32> = (-2000..2000).map(|i| i as f32 * 0.037).collect();
    xs.extend([
        f32::INFINITY,
        f32::NEG_INFINITY,
        f32::NAN,
        0.0,
        -0.0,
        1e-30,
        100.0,
        -100.0,
        88.0,
        -87.0,
    ]);
    for isa in Isa::available() {
        let mut out = Vec::new();
        run(isa, Functions(&xs, &mut out));
        for (&x, got) in xs.iter().zip(&out) {
            let [exp, tanh, erf, sigmoid, half] = got.map(f64::from);
            let t = f64::from(x);
            if x.is_nan() {
                assert!(got.iter().all(|y| y.is_nan()), "{isa:?} {got:?}");
                continue;
            }
            let want = if t > 88.72 {
                f64::INFINITY
            } else if t < -87.34 {
                0.0
            } else {
                t.exp()
            };
            assert!(
                exp == want || ((exp - want) / want).abs() < 3e-7,
                "{isa:?} exp({x}) = {exp}, not {want}"
            );
            assert!((tanh - t.tanh()).abs() < 3e-7, "{isa:?} tanh({x}) = {tanh}");
            assert!(
                (erf - libm::erf(t)).abs() < 4e-7,
                "{isa:?} erf({x}) = {erf}"
            );
            assert!(
                (sigmoid - 1.0 / (1.0 + (-t).exp())).abs() < 2e-7,
                "{isa:?} sigmoid({x}) = {sigmoid}"
            );
            assert_eq!(half, f64::from(Bf16::put(x).get()), "{isa:?} bf16({x})");
        }
    }
}

struct Pairs<'a>(&'a [f32]);
struct Product;
impl Binary for Product {
    #[inline(always)]
    fn of<S: Simd>(&self, a: S::V, b: S::V) -> S::V {
        S::mul(a, b)
    }
}
impl Kernel<f32> for Pairs<'_> {
    type Out = (Vec<f32>, Vec<Bf16>);
    #[inline(always)]
    fn run<S: Simd<A = f32>>(self) -> Self::Out {
        let (a, b) = self.0.split_at(self.0.len() / 2);
        let mut wide = vec![0f32; a.len()];
        zip::<S, f32>(a, b, &mut wide, &Product);
        let [a, b] = [a, b].map(|x| x.iter().map(|x| Bf16::put(*x)).collect::<Vec<_>>());
        let mut half = vec![Bf16::default(); a.len()];
        zip::<S, Bf16>(&a, &b, &mut half, &Product);
        (wide, half)
    }
}

#[test]
fn pairs_of_vectors_keep_their_places() {
    let mut stream = crate::philox::Stream::new(5, 5);
    for len in [1, 16, 31, 32, 33, 100] {
        let mut xs: Vec<f32> = (0..2 * len).map(|_| stream.normal() as f32).collect();
        (xs[0], xs[len]) = (f32::from_bits(0x7f80_0001), 1.0);
        for isa in Isa::available() {
            let (wide, half) = run(isa, Pairs(&xs));
            for i in 0..len {
                let (a, b) = (xs[i], xs[len + i]);
                let rounded = Bf16::put(Bf16::put(a).get() * Bf16::put(b).get());
                assert!(wide[i] == a * b || i == 0, "{isa:?} {len} at {i}");
                assert!(half[i] == rounded || i == 0, "{isa:?} {len} at {i}");
            }
            assert!(wide[0].is_nan() && half[0].get().is_nan(), "{isa:?}");
        }
    }
}

struct Reductions<'a>(&'a [f32]);
impl Kernel<f32> for Reductions<'_> {
    type Out = (f32, f32);
    #[inline(always)]
    fn run<S: Simd<A = f32>>(self) -> (f32, f32) {
        // SAFETY: the slice has 16 elements.
        let v = unsafe { S::load(self.0.as_ptr()) };
        (S::sum(v), S::max_lane(v))
    }
}

#[test]
fn reductions() {
    let xs: Vec<f32> = (0..16).map(|i| (i * 7 % 16) as f32 - 5.0).collect();
    for isa in Isa::available() {
        let (sum, max) = run(isa, Reductions(&xs));
        let lanes = match isa {
            Isa::Scalar => 1,
            Isa::Neon => 4,
            Isa::Avx2 => 8,
            Isa::Avx512 | Isa::Avx512Bf16 => 16,
        };
        assert_eq!(sum, xs[..lanes].iter().sum::<f32>(), "{isa:?}");
        assert_eq!(
            max,
            xs[..lanes].iter().copied().fold(f32::MIN, f32::max),
            "{isa:?}"
        );
    }
}
