//! Every kernel that the program can ask for compiles with the vendors' compilers, without a device: with NVRTC for NVIDIA's
//! architectures, where registers may spill only as [`SPILLS`] says, and with clang for AMD's.
//!
//! The list is made by the code that launches, on a device that only writes down what it is asked for
//! (`gpu_compile/sources.rs`). A compiler that is not installed is a visible `skipped:`, and a failure where
//! `ZEROLLM_REQUIRE_GPU_COMPILERS=1`. NVRTC is the library that `ZEROLLM_NVRTC` names or an installed one, clang the program that
//! `ZEROLLM_CLANG` names or `clang-19`. `ZEROLLM_GPU_REGISTERS=1` prints what each kernel takes (with `--nocapture`).
//!
//! One architecture of each vendor gets every source, the others a few of each unit, so that the gate stays short;
//! `ZEROLLM_GPU_COMPILE=all` compiles all for all.

#[path = "gpu_compile/sources.rs"]
mod sources;

use kernels::gpu::driver::Kind;
use kernels::gpu::rtc::Rtc;
use kernels::gpu::unit::Source;
use sources::{Target, of};
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

const NVIDIA: [Target; 4] = [
    Target::new(Kind::Cuda, "sm_80", 32),
    Target::new(Kind::Cuda, "sm_90", 32),
    Target::new(Kind::Cuda, "sm_90a", 32).whole(),
    Target::new(Kind::Cuda, "sm_120", 32),
];
const AMD: [Target; 4] = [
    Target::new(Kind::Rocm, "gfx90a", 64),
    Target::new(Kind::Rocm, "gfx942", 64).whole(),
    Target::new(Kind::Rocm, "gfx1100", 32),
    Target::new(Kind::Rocm, "gfx1201", 32),
];

/// Kernels that keep a few of their values in memory (L1) rather than give up warps or tile sizes, and the most bytes that
/// each may store and load for it. Every other kernel spills nothing.
const SPILLS: [(&str, u32); 1] = [("product_rows", 8)];

/// Says that a compiler is missing; fails where it must not be.
fn missing(why: &str) {
    let required = std::env::var_os("ZEROLLM_REQUIRE_GPU_COMPILERS").is_some_and(|set| set == "1");
    assert!(!required, "{why}");
    eprintln!("skipped: {why}");
}

/// Compiles every source for every target on all cores. Gives what `compile` says of each, in order; fails with all that it
/// refuses.
fn compile_all<T: Send>(
    name: &str,
    targets: &[Target],
    compile: impl Fn(&Source, &str) -> Result<T, String> + Sync,
) -> Vec<T> {
    let start = Instant::now();
    let work: Vec<(&Target, Source)> = targets
        .iter()
        .flat_map(|target| of(target).into_iter().map(move |source| (target, source)))
        .collect();
    assert!(work.len() > 60, "only {} sources", work.len());
    let (listed, start) = (start.elapsed(), Instant::now());
    let next = AtomicUsize::new(0);
    let done = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((target, source)) = work.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let at = source.title();
                    let result = compile(source, target.arch)
                        .map_err(|why| format!("{at} for {}:\n{why}", target.arch));
                    done.lock()
                        .expect("no thread panicked")
                        .push((at, target.arch, result));
                }
            });
        }
    });
    let mut done = done.into_inner().expect("no thread panicked");
    done.sort_by(|a, b| (&a.0, a.1).cmp(&(&b.0, b.1)));
    eprintln!(
        "{name}: {} compilations for {} architectures in {:.1} s on {threads} threads, after {:.1} s to list them",
        work.len(),
        targets.len(),
        start.elapsed().as_secs_f64(),
        listed.as_secs_f64(),
    );
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for (_, _, result) in done {
        match result {
            Ok(one) => good.push(one),
            Err(why) => bad.push(why),
        }
    }
    assert!(
        bad.is_empty(),
        "{} of {name}:\n{}",
        bad.len(),
        bad.join("\n")
    );
    good
}

/// What `ptxas` says of a kernel.
#[derive(Debug, Default, PartialEq)]
struct Taken {
    kernel: String,
    registers: u32,
    stack: u32,
    spilled: u32,
}

/// Reads the log of `--ptxas-options=-v`.
fn taken(log: &str) -> Vec<Taken> {
    let number = |line: &str, before: &str| -> u32 {
        let words: Vec<&str> = line.split_whitespace().collect();
        let unit: Vec<&str> = before.split(' ').collect();
        let at = words.windows(unit.len()).position(|some| {
            let same = |(word, want): (&&str, &&str)| word.trim_end_matches([',', ';']) == *want;
            some.iter().zip(&unit).all(same)
        });
        let number = at.and_then(|at| words.get(at.checked_sub(1)?)?.parse().ok());
        number.unwrap_or(0)
    };
    let mut all: Vec<Taken> = Vec::new();
    for line in log.lines() {
        if let Some((_, rest)) = line.split_once("Compiling entry function '") {
            all.push(Taken {
                kernel: rest.split('\'').next().unwrap_or(rest).to_owned(),
                ..Taken::default()
            });
        } else if let Some(last) = all.last_mut() {
            last.registers = last.registers.max(number(line, "registers"));
            last.stack = last.stack.max(number(line, "bytes stack frame"));
            last.spilled += number(line, "bytes spill stores") + number(line, "bytes spill loads");
        }
    }
    all
}

#[test]
fn the_log_is_understood() {
    let log = "ptxas info    : 0 bytes gmem\n\
        ptxas info    : Compiling entry function 'one' for 'sm_90a'\n\
        ptxas info    : Function properties for one\n    24 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads\n\
        ptxas info    : Used 40 registers, used 1 barriers, 24 bytes cumulative stack size\n\
        ptxas info    : Compiling entry function 'two' for 'sm_90a'\n\
        ptxas info    : Function properties for two\n    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads\n\
        ptxas info    : Used 8 registers\n";
    let one = |kernel: &str, registers, stack, spilled| Taken {
        kernel: kernel.to_owned(),
        registers,
        stack,
        spilled,
    };
    assert_eq!(taken(log), [one("one", 40, 24, 12), one("two", 8, 0, 0)]);
}

#[test]
fn nvrtc_compiles_every_kernel_without_more_spills() {
    let rtc = match Rtc::nvrtc() {
        Ok(rtc) => rtc,
        Err(why) => return missing(&format!("kernels with NVRTC: {why}")),
    };
    let kernels = compile_all(&rtc.name(), &NVIDIA, |source, arch| {
        let image = rtc.compile(source, arch, &["--ptxas-options=-v"]);
        let image = image.map_err(|error| error.to_string())?;
        let kernels = taken(&image.log);
        if kernels.is_empty() {
            return Err(format!("a log without a kernel: {}", image.log));
        }
        // Said of products of a warpgroup that wait for each other, and of registers that do not move.
        if image.log.contains("Potential Performance Loss") {
            return Err(image.log);
        }
        let allowed = |one: &Taken| {
            let known = SPILLS.iter().find(|(name, _)| *name == one.kernel);
            known.map_or(0, |(_, bytes)| *bytes)
        };
        let spills = kernels.iter().filter(|one| one.spilled > allowed(one));
        let spills: Vec<String> = spills
            .map(|one| format!("{one:?} spills registers"))
            .collect();
        if spills.is_empty() {
            Ok((source.title(), arch.to_owned(), kernels))
        } else {
            Err(spills.join("\n"))
        }
    });
    if std::env::var_os("ZEROLLM_GPU_REGISTERS").is_some() {
        println!("registers  stack  architecture  kernel, unit");
        for (title, arch, taken) in kernels {
            for one in taken {
                println!(
                    "{:9}  {:5}  {arch:12}  {}, {title}",
                    one.registers, one.stack, one.kernel
                );
            }
        }
    }
}

#[test]
fn clang_compiles_every_kernel_for_amd() {
    let named = std::env::var("ZEROLLM_CLANG")
        .ok()
        .filter(|name| !name.is_empty());
    let clang = named.unwrap_or_else(|| "clang-19".to_owned());
    let version = Command::new(&clang).arg("--version").output();
    let Some(version) = version.ok().filter(|answer| answer.status.success()) else {
        return missing(&format!(
            "kernels for AMD: there is no {clang}; install clang-19 and lld-19, or name a clang in ZEROLLM_CLANG"
        ));
    };
    let version = String::from_utf8_lossy(&version.stdout);
    let name = version.lines().next().unwrap_or(&clang).to_owned();
    compile_all(&name, &AMD, |source, arch| with_clang(&clang, source, arch));
}

fn with_clang(clang: &str, source: &Source, arch: &str) -> Result<(), String> {
    let mut child = Command::new(clang)
        .args([
            "-x",
            "hip",
            "--offload-device-only",
            "-nogpulib",
            "-nogpuinc",
        ])
        .arg(format!("--offload-arch={arch}"))
        .args(["-std=c++17", "-O3", "-S", "-o", "/dev/null", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    // All is read before anything is compiled or said, so that neither side waits for the other.
    let written = child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(source.text().as_bytes());
    let output = child
        .wait_with_output()
        .map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).into_owned());
    }
    written.map_err(|error| error.to_string())
}
