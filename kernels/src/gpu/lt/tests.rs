//! Both wrappers against `fake.c`, which multiplies in the host's memory as the libraries' documentation says: what would be
//! wrong in the order of factors, layouts, leading dimensions, attributes or the layout of structs shows here without a GPU.

use super::vendor::{CUBLASLT, HIPBLASLT};
use super::*;
use crate::gpu::Gpu;
use crate::gpu::gemm::tests::{BF16, Trial, WIDE};
use crate::gpu::native::tests::device_with;
use crate::{Dtype, Precision};
use libloading::Library;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// The stand-in, loaded.
struct Fake(&'static Library);

impl Fake {
    /// Builds it; `None`, and a visible line, where there is no C compiler.
    fn new(vendor: &'static Vendor) -> Option<Self> {
        let named = std::env::var("CC").ok().filter(|name| !name.is_empty());
        let usual = ["cc", "gcc", "clang"].map(str::to_owned);
        let answers = |program: &String| {
            let answer = Command::new(program).arg("--version").output();
            answer.is_ok_and(|answer| answer.status.success())
        };
        let Some(compiler) = named.into_iter().chain(usual).find(answers) else {
            eprintln!(
                "skipped: the wrapper of {}: there is no C compiler (cc, gcc, clang)",
                vendor.name
            );
            return None;
        };
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        // A library of its own for each test: they count what they do.
        let file = format!("zerollm-fake-{}-{number}", std::process::id());
        let file = std::env::temp_dir().join(file);
        let (source, object) = (file.with_extension("c"), file.with_extension("so"));
        std::fs::write(&source, include_str!("fake.c")).expect("written");
        let mut command = Command::new(compiler);
        command.args(["-O1", "-shared", "-fPIC", "-o"]);
        command.arg(&object).arg(&source);
        if vendor.name == HIPBLASLT.name {
            command.arg("-DHIP");
        }
        let output = command.output().expect("a compiler that answered");
        let words = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{words}");
        // SAFETY: built from `fake.c`, which does nothing when it is loaded.
        let library = unsafe { Library::new(&object) }.expect("a library");
        for file in [source, object] {
            std::fs::remove_file(file).expect("removed");
        }
        Some(Self(Box::leak(Box::new(library))))
    }

    fn number(&self, name: &str) -> i32 {
        // SAFETY: the functions of `fake.c` that are asked for have this type.
        unsafe {
            let function = self.0.get::<unsafe extern "C" fn() -> i32>(name.as_bytes());
            function.expect("a function")()
        }
    }

    fn refuse(&self, what: i32) {
        // SAFETY: as above.
        unsafe {
            let function = self.0.get::<unsafe extern "C" fn(i32)>(b"fake_refuse");
            function.expect("a function")(what);
        }
    }

    /// A device in the host's memory with this library.
    fn device(&self, vendor: &'static Vendor, cache: Option<&Cache>) -> Gpu {
        let library = vendor::Api::of(vendor, self.0).expect("all functions");
        let library = Installed(Arc::new(library));
        let blas = |device: &Arc<_>, stream| {
            let lt = library.on(Arc::clone(device) as Arc<dyn Api>, stream, "a fake", cache);
            Some(Box::new(lt.expect("a library")) as Box<dyn Blas>)
        };
        device_with(blas).0
    }
}

const TRIAL: Trial = Trial {
    size: [5, 7, 9],
    cut: None,
    ..BF16
};

fn multiplies(vendor: &'static Vendor, version: &str) {
    let Some(fake) = Fake::new(vendor) else {
        return;
    };
    let gpu = fake.device(vendor, None);
    assert_eq!(gpu.library().map(Blas::name).as_deref(), Some(version));
    for transposed in [[false, false], [false, true], [true, false], [true, true]] {
        for (precision, types) in [
            (Precision::Bf16, [Dtype::Bf16; 3]),
            (Precision::Bf16, WIDE),
            (Precision::F32, [Dtype::F32; 3]),
        ] {
            for (gap, accumulate, bias) in [(0, false, false), (3, true, false), (2, true, true)] {
                let before = fake.number("fake_products");
                let trial = Trial {
                    transposed,
                    types,
                    precision,
                    gap,
                    accumulate,
                    bias,
                    ..TRIAL
                };
                trial.check(&gpu);
                // Two algorithms of four are fit to be timed, once and four times more, and one of them is then taken.
                assert_eq!(fake.number("fake_products") - before, 2 * 5 + 1);
                trial.check(&gpu);
                assert_eq!(fake.number("fake_products") - before, 2 * 5 + 2, "known");
            }
        }
    }
    drop(gpu);
    assert_eq!(fake.number("fake_alive"), 0, "all handles are given back");
}

#[test]
fn cublaslt_gives_the_product() {
    multiplies(&CUBLASLT, "cuBLASLt 13.1.2");
}

#[test]
fn hipblaslt_gives_the_product() {
    multiplies(&HIPBLASLT, "hipBLASLt 1.2.3");
}

/// Where the library is set aside, or has no algorithm, our own kernels are asked for: the device that is made of the host's
/// memory has none, and says which one it lacks.
#[test]
fn own_kernels_take_what_the_library_does_not() {
    for vendor in [&CUBLASLT, &HIPBLASLT] {
        let Some(fake) = Fake::new(vendor) else {
            return;
        };
        let gpu = fake.device(vendor, None);
        let own = |trial: Trial| {
            let before = fake.number("fake_products");
            let error = trial.run(&gpu).expect_err("no kernels").to_string();
            assert!(error.contains("product_rows"), "{error}");
            assert_eq!(fake.number("fake_products"), before);
        };
        gpu.use_own_products(true);
        own(TRIAL);
        gpu.use_own_products(false);
        TRIAL.check(&gpu);
        fake.refuse(1);
        // Known ones stay; another shape is looked for, in vain, and once.
        TRIAL.check(&gpu);
        let other = Trial {
            size: [6, 7, 9],
            ..TRIAL
        };
        own(other);
        fake.refuse(0);
        own(other);
        // A factor that must be rounded is not the library's.
        own(Trial {
            types: [Dtype::F32, Dtype::Bf16, Dtype::Bf16],
            ..TRIAL
        });
    }
}

#[test]
fn a_choice_is_kept_for_later_runs() {
    for vendor in [&CUBLASLT, &HIPBLASLT] {
        let Some(fake) = Fake::new(vendor) else {
            return;
        };
        let folder = format!("zerollm-choices-{}-{}", vendor.name, std::process::id());
        let folder = std::env::temp_dir().join(folder);
        let cache = Cache::new(folder.clone());
        let counted = |count| {
            let before = fake.number("fake_products");
            TRIAL.check(&fake.device(vendor, Some(&cache)));
            assert_eq!(fake.number("fake_products") - before, count);
        };
        counted(2 * 5 + 1);
        counted(1);
        let lines = std::fs::read_to_string(folder.join(CHOICES)).expect("kept");
        assert!(lines.starts_with(vendor.name), "{lines}");
        std::fs::remove_dir_all(folder).expect("removed");
    }
}
