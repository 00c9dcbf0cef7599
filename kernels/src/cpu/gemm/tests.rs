//! Every instruction set, layout and mix of types against the definition in `f64`.

use super::{Epilogue, Mat, MatMut, gemm, packed_bytes, workspace_bytes};
use crate::arena::Arena;
use crate::philox::Stream;
use crate::{Bf16, Cpu, Dtype, Elem as _, Isa, Precision, Slot, SlotMut};

/// Numbers in memory, as `f32` or `bf16`.
#[derive(Clone, PartialEq, Debug)]
enum Data {
    F32(Vec<f32>),
    Bf16(Vec<Bf16>),
}

impl Data {
    fn new(values: &[f32], dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32(values.to_vec()),
            _ => Self::Bf16(values.iter().map(|x| Bf16::put(*x)).collect()),
        }
    }
    fn slot(&self) -> Slot<'_> {
        match self {
            Self::F32(v) => Slot::new(v),
            Self::Bf16(v) => Slot::new(v),
        }
    }
    fn slot_mut(&mut self) -> SlotMut<'_> {
        match self {
            Self::F32(v) => SlotMut::new(v),
            Self::Bf16(v) => SlotMut::new(v),
        }
    }
    fn bits(&self) -> Vec<u32> {
        match self {
            Self::F32(v) => v.iter().map(|x| x.to_bits()).collect(),
            Self::Bf16(v) => v.iter().map(|x| u32::from(x.0)).collect(),
        }
    }
}

/// One product: sizes, how the operands are stored, and what is done with the result.
#[derive(Clone, Copy, Debug)]
struct Case {
    size: (usize, usize, usize),
    transposed: (bool, bool),
    types: (Dtype, Dtype, Dtype),
    /// Elements between the end of a stored line and the start of the next.
    gap: usize,
    accumulate: bool,
    bias: bool,
}

impl Case {
    /// C = A B alone, without gaps.
    fn new(
        size: (usize, usize, usize),
        transposed: (bool, bool),
        types: (Dtype, Dtype, Dtype),
    ) -> Self {
        Self {
            size,
            transposed,
            types,
            gap: 0,
            accumulate: false,
            bias: false,
        }
    }
}

struct Inputs {
    a: Vec<f32>,
    b: Vec<f32>,
    c: Vec<f32>,
    bias: Vec<f32>,
    strides: (usize, usize, usize),
}

/// Random values, rounded to bf16 if `exact`, so that only sums round. Gaps hold NaN: nothing may read them.
fn inputs(case: &Case, exact: bool) -> Inputs {
    let (m, n, k) = case.size;
    let mut random = Stream::new(7, (m * 31 + n * 7 + k) as u64);
    let mut matrix = |lines: usize, length: usize, exact: bool| -> Vec<f32> {
        let mut values = Vec::new();
        for _ in 0..lines {
            for _ in 0..length {
                let x = (random.uniform() * 2.0 - 1.0) as f32;
                values.push(if exact { Bf16::put(x).get() } else { x });
            }
            values.extend(std::iter::repeat_n(f32::NAN, case.gap));
        }
        values
    };
    let (ta, tb) = case.transposed;
    let a = if ta { (k, m) } else { (m, k) };
    let b = if tb { (n, k) } else { (k, n) };
    Inputs {
        strides: (a.1 + case.gap, b.1 + case.gap, n + case.gap),
        a: matrix(a.0, a.1, exact),
        b: matrix(b.0, b.1, exact),
        c: matrix(m, n, true),
        bias: matrix(1, n, false)[..n].to_vec(),
    }
}

fn run(cpu: &Cpu, precision: Precision, case: &Case, inputs: &Inputs) -> Data {
    run_with(cpu, precision, case, inputs, false)
}

/// The same, with B packed beforehand or not.
fn run_with(cpu: &Cpu, precision: Precision, case: &Case, inputs: &Inputs, packed: bool) -> Data {
    let (m, n, k) = case.size;
    let (a, b) = (
        Data::new(&inputs.a, case.types.0),
        Data::new(&inputs.b, case.types.1),
    );
    let mut c = Data::new(&inputs.c, case.types.2);
    let bytes = workspace_bytes(cpu, precision, m, n, k);
    let mut arena = Arena::new(bytes);
    arena.fill(0..bytes, 0xff);
    // SAFETY: the arena has that many bytes, and nobody else uses them.
    let workspace = unsafe { std::slice::from_raw_parts_mut(arena.at(0), bytes) };
    let mut right = Mat {
        data: b.slot(),
        rows: k,
        cols: n,
        stride: inputs.strides.1,
        transposed: case.transposed.1,
        panels: None,
    };
    let bytes = packed_bytes(cpu, precision, n, k);
    let mut panels = Arena::new(bytes);
    panels.fill(0..bytes, 0xff);
    if packed {
        // SAFETY: the arena has that many bytes, and nobody else uses them.
        let scratch = unsafe { std::slice::from_raw_parts_mut(panels.at(0), bytes) };
        right = right.packed(cpu, precision, scratch);
    }
    gemm(
        cpu,
        precision,
        Mat {
            data: a.slot(),
            rows: m,
            cols: k,
            stride: inputs.strides.0,
            transposed: case.transposed.0,
            panels: None,
        },
        right,
        MatMut {
            data: c.slot_mut(),
            rows: m,
            cols: n,
            stride: inputs.strides.2,
        },
        Epilogue {
            accumulate: case.accumulate,
            bias: case.bias.then(|| Slot::new(&inputs.bias)),
        },
        workspace,
    );
    c
}

/// Compares with the definition: `round` is applied to the factors.
fn compare(case: &Case, inputs: &Inputs, result: &Data, round: impl Fn(f32) -> f32, label: &str) {
    let (m, n, k) = case.size;
    let got = result.slot().to_f64();
    let (sa, sb, sc) = inputs.strides;
    for i in 0..m {
        for j in 0..n {
            let (mut sum, mut size) = (0f64, 1e-30f64);
            for q in 0..k {
                let a = inputs.a[if case.transposed.0 {
                    q * sa + i
                } else {
                    i * sa + q
                }];
                let b = inputs.b[if case.transposed.1 {
                    j * sb + q
                } else {
                    q * sb + j
                }];
                let product = f64::from(round(a)) * f64::from(round(b));
                sum += product;
                size += product.abs();
            }
            if case.bias {
                sum += f64::from(inputs.bias[j]);
                size += f64::from(inputs.bias[j].abs());
            }
            if case.accumulate {
                sum += f64::from(inputs.c[i * sc + j]);
                size += f64::from(inputs.c[i * sc + j].abs());
            }
            // A bf16 result is rounded once: half of its last place, and the error of the sum before that.
            let rounding = if case.types.2 == Dtype::Bf16 {
                sum.abs() * (2f64.powi(-8) * 1.001)
            } else {
                0.0
            };
            let error = (got[i * sc + j] - sum).abs();
            assert!(
                error <= 1e-6 * size + rounding,
                "{label} {case:?} at ({i}, {j}): {} instead of {sum}",
                got[i * sc + j]
            );
        }
        for gap in n..sc.min(got.len() - i * sc) {
            assert!(
                got[i * sc + gap].is_nan(),
                "{label} {case:?}: wrote into a gap"
            );
        }
    }
}

const LAYOUTS: [(bool, bool); 4] = [(false, false), (false, true), (true, false), (true, true)];
const SIZES: [(usize, usize, usize); 12] = [
    (1, 1, 1),
    (1, 37, 19),
    (3, 70, 129),
    (5, 7, 31),
    (13, 33, 2),
    (12, 32, 16),
    (37, 65, 71),
    (61, 5, 300),
    (25, 101, 1100),
    (7, 129, 515),
    (131, 47, 257),
    (30, 200, 2051),
];

fn everything(check: impl Fn(&Cpu, &Case)) {
    use Dtype::{Bf16, F32};
    let types = [
        (F32, F32, F32),
        (Bf16, F32, Bf16),
        (F32, Bf16, F32),
        (Bf16, Bf16, Bf16),
    ];
    for isa in Isa::available() {
        let cpu = Cpu::with_isa(2, isa);
        for (index, size) in SIZES.into_iter().enumerate() {
            for (layout, transposed) in LAYOUTS.into_iter().enumerate() {
                // Sums longer than a block take long in the plainest form: there, every mix once.
                for (mix, types) in types.into_iter().enumerate() {
                    if size.2 > 1000 && mix != layout {
                        continue;
                    }
                    check(
                        &cpu,
                        &Case {
                            size,
                            transposed,
                            types,
                            gap: (index + mix) % 3,
                            accumulate: (index + layout + mix) % 2 == 1,
                            bias: (index / 2 + layout + mix) % 2 == 1,
                        },
                    );
                }
            }
        }
    }
}

#[test]
fn f32_is_the_definition() {
    everything(|cpu, case| {
        let inputs = inputs(case, true);
        let result = run(cpu, Precision::F32, case, &inputs);
        compare(case, &inputs, &result, |x| x, cpu.isa.name());
    });
}

#[test]
fn bf16_is_the_emulation() {
    everything(|cpu, case| {
        let inputs = inputs(case, false);
        let result = run(cpu, Precision::Bf16, case, &inputs);
        let round = |x: f32| Bf16::put(x).get();
        compare(case, &inputs, &result, round, cpu.isa.name());
    });
}

#[test]
fn weights_packed_beforehand_change_no_bit() {
    for precision in [Precision::F32, Precision::Bf16] {
        everything(|cpu, case| {
            let inputs = inputs(case, false);
            let want = run(cpu, precision, case, &inputs).bits();
            let got = run_with(cpu, precision, case, &inputs, true).bits();
            assert!(got == want, "{:?} {precision:?} {case:?}", cpu.isa);
        });
    }
}

#[test]
fn kept_weights_are_packed_once_for_each_version() {
    let cpu = Cpu::new(2);
    let (m, n, k) = (40, 70, 30);
    let a = vec![1f32; m * k];
    let mut b = vec![1f32; k * n];
    let addresses = b.as_ptr() as usize..b.as_ptr() as usize + 4 * b.len();
    let bytes = workspace_bytes(&cpu, Precision::F32, m, n, k);
    let arena = Arena::new(bytes);
    let product = |b: &[f32]| {
        let mut c = vec![0f32; m * n];
        // SAFETY: the arena has that many bytes, and nobody else uses them meanwhile.
        let workspace = unsafe { std::slice::from_raw_parts_mut(arena.at(0), bytes) };
        gemm(
            &cpu,
            Precision::F32,
            Mat::new(Slot::new(&a), m, k),
            Mat::new(Slot::new(b), k, n),
            MatMut::new(SlotMut::new(&mut c), m, n),
            Epilogue::default(),
            workspace,
        );
        c[m * n - 1]
    };
    cpu.packs.keep(Some((addresses.clone(), 1)));
    assert_eq!(product(&b), 30.0);
    // Of the same version nothing is read but the panels: that is what was promised.
    b.fill(2.0);
    assert_eq!(product(&b), 30.0);
    cpu.packs.keep(Some((addresses.clone(), 2)));
    assert_eq!(product(&b), 60.0);
    // Another address is none of the weights.
    let other = vec![3f32; k * n];
    assert_eq!(product(&other), 90.0);
    cpu.packs.keep(None);
    b.fill(4.0);
    assert_eq!(product(&b), 120.0);
}

#[test]
fn threads_change_no_bit() {
    let case = |size, types, transposed| Case {
        gap: 1,
        accumulate: true,
        bias: true,
        ..Case::new(size, transposed, types)
    };
    let f = Dtype::F32;
    let cases = [
        case((150, 300, 1100), (f, f, f), (false, true)),
        case((40, 700, 1300), (f, f, Dtype::Bf16), (true, false)),
        case(
            (300, 150, 1300),
            (Dtype::Bf16, f, Dtype::Bf16),
            (false, false),
        ),
        case((2, 3000, 70), (f, f, f), (false, true)),
    ];
    for isa in Isa::available() {
        for precision in [Precision::F32, Precision::Bf16] {
            for case in &cases {
                let inputs = inputs(case, false);
                let results: Vec<_> = [1, 2, 3]
                    .into_iter()
                    .map(|threads| run(&Cpu::with_isa(threads, isa), precision, case, &inputs))
                    .collect();
                assert_eq!(results[0].bits(), results[1].bits(), "{isa:?} {case:?}");
                assert_eq!(results[0].bits(), results[2].bits(), "{isa:?} {case:?}");
            }
        }
    }
}

/// A few rows by weights that lie in memory rounded, or that are rounded on the way.
#[test]
fn weights_in_bf16_change_no_bit() {
    for isa in Isa::available() {
        for m in [1, 2, 3, 4, 5, 7, 8, 9] {
            for (n, k) in [(5, 3), (37, 70), (130, 96), (67, 1031)] {
                let types = |b| (Dtype::Bf16, b, Dtype::F32);
                let case = |b| Case {
                    bias: true,
                    ..Case::new((m, n, k), (false, true), types(b))
                };
                let inputs = inputs(&case(Dtype::F32), false);
                let of = |threads: usize, b: Dtype| {
                    let cpu = Cpu::with_isa(threads, isa);
                    run(&cpu, Precision::Bf16, &case(b), &inputs).bits()
                };
                let want = of(1, Dtype::F32);
                assert_eq!(of(1, Dtype::Bf16), want, "{isa:?} {m} x {k} x {n}");
                assert_eq!(of(3, Dtype::Bf16), want, "{isa:?} {m} x {k} x {n}");
            }
        }
    }
}

/// Chunks of a bf16 C whose K has several blocks and sections: the private lanes exceed one chunk.
#[test]
fn chunks_of_a_bf16_result() {
    let b = Dtype::Bf16;
    for size in [(2100, 1100, 1100), (40, 60_000, 600)] {
        let case = Case::new(size, (false, true), (b, b, b));
        let inputs = inputs(&case, true);
        let cpu = Cpu::new(2);
        let whole = run(&cpu, Precision::Bf16, &case, &inputs).slot().to_f64();
        // The same product in f32, which needs no chunks.
        let case = Case {
            types: (b, b, Dtype::F32),
            ..case
        };
        let sums = run(&cpu, Precision::Bf16, &case, &inputs);
        let Data::F32(sums) = sums else {
            unreachable!()
        };
        for (x, y) in whole.iter().zip(&sums) {
            assert_eq!(*x, f64::from(Bf16::put(*y).get()));
        }
    }
}

#[test]
fn not_a_number_and_infinity_spread() {
    for isa in Isa::available() {
        for (precision, m) in [
            (Precision::F32, 20),
            (Precision::Bf16, 20),
            (Precision::F32, 2),
            (Precision::Bf16, 2),
        ] {
            let f = Dtype::F32;
            let case = Case::new((m, 40, 300), (false, true), (f, f, f));
            let mut inputs = inputs(&case, true);
            inputs.a[300 + 280] = f32::NAN;
            inputs.b[3 * 300 + 5] = f32::INFINITY;
            let result = run(&Cpu::with_isa(1, isa), precision, &case, &inputs);
            let got = result.slot().to_f64();
            for (index, x) in got.iter().enumerate() {
                let (i, j) = (index / 40, index % 40);
                let expected = if i == 1 {
                    x.is_nan()
                } else if j == 3 {
                    x.is_infinite()
                } else {
                    x.is_finite()
                };
                assert!(expected, "{isa:?} {precision:?} ({i}, {j}): {x}");
            }
        }
    }
}

#[test]
fn empty_sums_and_empty_matrices() {
    let cpu = Cpu::new(2);
    for precision in [Precision::F32, Precision::Bf16] {
        let mut c = [1f32, 2.0, 3.0, 4.0];
        let empty: [f32; 0] = [];
        let product = |c: &mut [f32], accumulate| {
            gemm(
                &cpu,
                precision,
                Mat::new(Slot::new(&empty), 2, 0),
                Mat::new(Slot::new(&empty), 0, 2),
                MatMut::new(SlotMut::new(c), 2, 2),
                Epilogue {
                    accumulate,
                    bias: None,
                },
                &mut [],
            );
        };
        product(&mut c, true);
        assert_eq!(c, [1.0, 2.0, 3.0, 4.0]);
        product(&mut c, false);
        assert_eq!(c, [0.0; 4]);
        gemm(
            &cpu,
            precision,
            Mat::new(Slot::new(&empty), 0, 2),
            Mat::new(Slot::new(&c), 2, 2),
            MatMut::new(SlotMut::new(&mut [0f32; 0]), 0, 2),
            Epilogue::default(),
            &mut [],
        );
    }
}

#[test]
fn f64_is_exact_to_rounding() {
    let cpu = Cpu::new(2);
    let (m, n, k) = (3, 4, 5);
    let a: Vec<f64> = (0..m * k).map(|i| (i as f64).sin()).collect();
    let b: Vec<f64> = (0..n * k).map(|i| (i as f64).cos()).collect();
    let bias: Vec<f64> = (0..n).map(|i| i as f64).collect();
    let mut c = vec![1f64; m * n];
    gemm(
        &cpu,
        Precision::F64,
        Mat::new(Slot::new(&a), m, k),
        Mat::new(Slot::new(&b), n, k).t(),
        MatMut::new(SlotMut::new(&mut c), m, n),
        Epilogue {
            accumulate: true,
            bias: Some(Slot::new(&bias)),
        },
        &mut [],
    );
    for i in 0..m {
        for j in 0..n {
            let sum: f64 = (0..k).map(|q| a[i * k + q] * b[j * k + q]).sum();
            assert!((c[i * n + j] - (sum + bias[j] + 1.0)).abs() < 1e-14);
        }
    }
}

#[test]
#[should_panic(expected = "does not give")]
fn sizes_that_do_not_fit() {
    let x = [0f32; 12];
    gemm(
        &Cpu::new(1),
        Precision::F32,
        Mat::new(Slot::new(&x), 3, 4),
        Mat::new(Slot::new(&x), 3, 4),
        MatMut::new(SlotMut::new(&mut [0f32; 9]), 3, 3),
        Epilogue::default(),
        &mut [],
    );
}
