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
            let want = 1.0 / (1.0 + (-t).exp());
            assert!(
                t < -86.0 || ((sigmoid - want) / want).abs() < 5e-7,
                "{isa:?} sigmoid({x}) = {sigmoid}, not {want}"
            );
            assert_eq!(half, f64::from(Bf16::put(x).get()), "{isa:?} bf16({x})");
        }
    }
}

struct RoundPair<'a>(&'a [f32], Store);
impl Kernel<f32> for RoundPair<'_> {
    type Out = [[f32; 16]; 2];
    #[inline(always)]
    fn run<S: Simd<A = f32>>(self) -> Self::Out {
        #[repr(align(64))]
        struct Line([Bf16; 32]);
        let mut line = Line([Bf16::default(); 32]);
        let mut out = [[0f32; 16]; 2];
        // SAFETY: there are 32 numbers, and a vector has at most 16.
        unsafe {
            let pair = [
                S::load(self.0.as_ptr()),
                S::load(self.0.as_ptr().add(S::LANES)),
            ];
            match self.1 {
                Store::Cached => S::store_pair(line.0.as_mut_ptr(), pair),
                Store::Streamed => S::stream_pair(line.0.as_mut_ptr(), pair),
            }
            for (out, v) in out.iter_mut().zip(S::load_pair(line.0.as_ptr())) {
                S::store(out.as_mut_ptr(), v);
            }
        }
        out
    }
}

#[test]
fn pairs_are_rounded_as_single_numbers_are() {
    let uppers = [
        0u32, 1, 0x3f80, 0x3f81, 0x7f7e, 0x7f7f, 0x7f80, 0x007f, 0x8000, 0xbf80, 0xff7f, 0xff80,
        0x7fc0, 0x7f80,
    ];
    let lowers = [0u32, 1, 0x7ffe, 0x7fff, 0x8000, 0x8001, 0xfffe, 0xffff];
    let mut random = crate::philox::Stream::new(6, 6);
    for isa in Isa::available() {
        for round in 0..300 {
            let xs: Vec<f32> = (0..32)
                .map(|_| {
                    let upper = uppers[random.below(if round % 3 == 0 { 14 } else { 11 }) as usize];
                    f32::from_bits(upper << 16 | lowers[random.below(8) as usize])
                })
                .collect();
            for to in [Store::Cached, Store::Streamed] {
                let got = run(isa, RoundPair(&xs, to));
                let lanes = lanes(isa);
                for (i, &x) in xs[..2 * lanes].iter().enumerate() {
                    let (got, want) = (got[i / lanes][i % lanes], Bf16::put(x).get());
                    let same = got.to_bits() == want.to_bits() || (got.is_nan() && want.is_nan());
                    assert!(
                        same,
                        "{isa:?} {to:?} {x:e} {:#x}: {got:e}, not {want:e}",
                        x.to_bits()
                    );
                }
            }
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
        zip::<S, f32>(a, b, &mut wide, Store::Cached, &Product);
        let [a, b] = [a, b].map(|x| x.iter().map(|x| Bf16::put(*x)).collect::<Vec<_>>());
        let mut half = vec![Bf16::default(); a.len()];
        zip::<S, Bf16>(&a, &b, &mut half, Store::Cached, &Product);
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

struct Streams<'a>(&'a [f32], usize);
impl Kernel<f32> for Streams<'_> {
    type Out = [Vec<f32>; 2];
    #[inline(always)]
    fn run<S: Simd<A = f32>>(self) -> Self::Out {
        let (a, b) = self.0.split_at(self.0.len() / 2);
        [Store::Cached, Store::Streamed].map(|to| {
            let mut y = vec![7f32; a.len() + self.1];
            zip::<S, f32>(a, b, &mut y[self.1..], to, &Product);
            let mut narrow = vec![Bf16::default(); a.len() + self.1];
            let [a, b] = [a, b].map(|x| x.iter().map(|x| Bf16::put(*x)).collect::<Vec<_>>());
            zip::<S, Bf16>(&a, &b, &mut narrow[self.1..], to, &Product);
            S::fence();
            y.extend(narrow.iter().map(|y| y.get()));
            y
        })
    }
}

#[test]
fn what_is_streamed_is_what_is_stored_wherever_it_begins() {
    let xs: Vec<f32> = (0..2 * 117).map(|i| i as f32 * 0.37 - 20.0).collect();
    for isa in Isa::available() {
        for offset in [0, 1, 3, 8, 16, 31] {
            let [stored, streamed] = run(isa, Streams(&xs, offset));
            assert_eq!(stored, streamed, "{isa:?} from {offset} on");
        }
    }
}

/// Lanes of a vector.
fn lanes(isa: Isa) -> usize {
    match isa {
        Isa::Scalar => 1,
        Isa::Neon => 4,
        Isa::Avx2 => 8,
        Isa::Avx512 | Isa::Avx512Bf16 => 16,
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
        let lanes = lanes(isa);
        assert_eq!(sum, xs[..lanes].iter().sum::<f32>(), "{isa:?}");
        assert_eq!(
            max,
            xs[..lanes].iter().copied().fold(f32::MIN, f32::max),
            "{isa:?}"
        );
    }
}
