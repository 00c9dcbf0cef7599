//! Speed of matrix products as a share of the machine's peak, which is measured just before and after each.
//!
//! ```text
//! cargo run --release -p kernels --example gemm_speed -- [threads] [isa or best] [part of a line's name]
//! ```
//!
//! NT is the forward of a linear map (weights `[N, K]`), NN the gradient of its input, TN that of its weights. Each figure
//! is the median of some tries.

use kernels::arena::{Arena, scratch_of};
use kernels::cpu::gemm::{Epilogue, Mat, MatMut, gemm, workspace_bytes};
use kernels::cpu::peak;
use kernels::{Cpu, Dtype, Elem, Float as _, Isa, Precision, Slot, SlotMut, with_elem};
use std::time::Instant;

const TRIES: usize = 7;

/// M, K, N, layout.
const SHAPES: [(usize, usize, usize, &str); 10] = [
    (8192, 512, 512, "NT"),
    (8192, 512, 1408, "NT"),
    (8192, 1408, 512, "NT"),
    (8192, 512, 6400, "NT"),
    (1024, 768, 50304, "NT"),
    (8192, 512, 1408, "NN"),
    (8192, 1408, 512, "NN"),
    (512, 8192, 512, "TN"),
    (512, 8192, 1408, "TN"),
    (512, 8192, 6400, "TN"),
];

fn main() {
    let mut arguments = std::env::args().skip(1);
    let threads = arguments
        .next()
        .map_or(1, |x| x.parse().expect("a number of threads"));
    let isa = arguments.next().filter(|name| name != "best");
    let isa = Isa::choose(isa.as_deref()).unwrap_or_else(|error| panic!("{error}"));
    let filter = arguments.next().unwrap_or_default();
    let cpu = Cpu::with_isa(threads, isa);
    let peak = peak::measure(&cpu);
    println!("{threads} threads, {}: {peak:.0?}", isa.name());
    let half = Dtype::Bf16;
    for (precision, stored) in [
        (Precision::F32, Dtype::F32),
        (Precision::Bf16, Dtype::F32),
        (Precision::Bf16, half),
    ] {
        for (m, k, n, layout) in SHAPES {
            // Weights and their gradients stay f32.
            let types = match layout {
                "TN" => [stored, stored, Dtype::F32],
                _ => [stored, Dtype::F32, stored],
            };
            let name = format!("{} {m}x{k}x{n} {layout} in {stored:?}", precision.name());
            if name.contains(&filter) {
                let mut product = Product::new(&cpu, precision, (m, k, n), layout, types);
                let mut shares: Vec<_> = (0..TRIES).map(|_| product.share_of_peak()).collect();
                shares.sort_by(|a, b| a.0.total_cmp(&b.0));
                let (share, gflops) = shares[TRIES / 2];
                println!("{name:34} {gflops:6.0} GFLOP/s {:4.0} %", share * 100.0);
            }
        }
    }
    for (precision, stored) in [
        (Precision::F32, Dtype::F32),
        (Precision::Bf16, Dtype::F32),
        (Precision::Bf16, half),
    ] {
        let (n, k) = (100_000, 768);
        let name = format!("{} row by {stored:?} weights [{n}, {k}]", precision.name());
        if name.contains(&filter) {
            let types = [Dtype::F32, stored, Dtype::F32];
            let mut product = Product::new(&cpu, precision, (1, k, n), "NT", types);
            let mut rates: Vec<_> = (0..TRIES)
                .map(|_| (n * k * stored.size()) as f64 / product.seconds() / 1e9)
                .collect();
            rates.sort_by(f64::total_cmp);
            let (rate, limit) = (rates[TRIES / 2], peak::read_gbps(&cpu, 256 << 20));
            println!("{name:34} {rate:6.1} GB/s {:4.0} %", rate / limit * 100.0);
        }
    }
}

/// Random numbers in memory, stored as `f32` or `bf16`.
struct Values {
    arena: Arena,
    len: usize,
    dtype: Dtype,
}

impl Values {
    fn new(len: usize, dtype: Dtype) -> Self {
        let mut state = len as u32 | 1;
        let mut random = || {
            state = state.wrapping_mul(1664525).wrapping_add(1013904223);
            (state >> 8) as f32 / 8388608.0 - 1.0
        };
        let mut arena = Arena::new(len * dtype.size());
        with_elem!(dtype, T => {
            scratch_of::<T>(arena.as_bytes_mut())[..len]
                .fill_with(|| <T as Elem>::put(<T as Elem>::Acc::from_f64(f64::from(random()))));
        });
        Self { arena, len, dtype }
    }

    fn slot(&self) -> Slot<'_> {
        with_elem!(self.dtype, T => Slot::new(&self.arena.as_slice::<T>()[..self.len]))
    }

    fn slot_mut(&mut self) -> SlotMut<'_> {
        let bytes = self.arena.as_bytes_mut();
        with_elem!(self.dtype, T => SlotMut::new(&mut scratch_of::<T>(bytes)[..self.len]))
    }
}

struct Product<'a> {
    cpu: &'a Cpu,
    precision: Precision,
    /// M, K, N.
    size: (usize, usize, usize),
    layout: &'a str,
    a: Values,
    b: Values,
    c: Values,
    workspace: Arena,
}

impl<'a> Product<'a> {
    fn new(
        cpu: &'a Cpu,
        precision: Precision,
        (m, k, n): (usize, usize, usize),
        layout: &'a str,
        [a, b, c]: [Dtype; 3],
    ) -> Self {
        let mut product = Self {
            cpu,
            precision,
            size: (m, k, n),
            layout,
            a: Values::new(m * k, a),
            b: Values::new(k * n, b),
            c: Values::new(m * n, c),
            workspace: Arena::new(workspace_bytes(cpu, precision, m, n, k)),
        };
        product.seconds();
        product
    }

    /// Time of one product.
    fn seconds(&mut self) -> f64 {
        let (m, k, n) = self.size;
        let a = match self.layout {
            "TN" => Mat::new(self.a.slot(), k, m).t(),
            _ => Mat::new(self.a.slot(), m, k),
        };
        let b = match self.layout {
            "NT" => Mat::new(self.b.slot(), n, k).t(),
            _ => Mat::new(self.b.slot(), k, n),
        };
        let c = MatMut::new(self.c.slot_mut(), m, n);
        let workspace = self.workspace.as_bytes_mut();
        let start = Instant::now();
        gemm(
            self.cpu,
            self.precision,
            a,
            b,
            c,
            Epilogue::default(),
            workspace,
        );
        start.elapsed().as_secs_f64()
    }

    /// Share of the peak, and GFLOP/s.
    fn share_of_peak(&mut self) -> (f64, f64) {
        let (m, k, n) = self.size;
        let before = peak::gflops(self.cpu, self.precision);
        let gflops = 2.0 * (m * k * n) as f64 / self.seconds() / 1e9;
        let after = peak::gflops(self.cpu, self.precision);
        (gflops / before.max(after), gflops)
    }
}
