//! The host's C++ compiler: finds it, and makes shared objects of the execution model and of kernels.

use super::Options;
use crate::gpu::GpuError;
use crate::gpu::compiled::Cache;
use crate::gpu::unit::{Source, Unit};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

/// A compiler that takes the flags of GCC.
#[derive(Clone, Debug)]
pub(super) struct Compiler {
    program: String,
    version: String,
}

/// The execution model, as the cache names it; it is compiled without the prelude.
static CORE: Unit = Unit {
    name: "gpu/emulator/emulator.cpp",
    text: concat!(include_str!("emulator.cpp"), include_str!("async.cpp")),
    pieces: &[],
};

impl Compiler {
    /// `CXX` where it is set, else the first of the usual names that answers.
    pub(super) fn find() -> Result<Self, GpuError> {
        let named = std::env::var("CXX").ok().filter(|name| !name.is_empty());
        let usual = ["g++", "clang++", "c++"].map(str::to_owned);
        for program in named.into_iter().chain(usual) {
            let answer = Command::new(&program).arg("--version").output();
            let Some(answer) = answer.ok().filter(|answer| answer.status.success()) else {
                continue;
            };
            let text = String::from_utf8_lossy(&answer.stdout);
            let version = text.lines().next().unwrap_or_default().to_owned();
            return Ok(Self { program, version });
        }
        Err(GpuError::Missing(
            "the emulated device needs a C++ compiler: install g++ or clang++, or name one in CXX"
                .to_owned(),
        ))
    }

    pub(super) fn version(&self) -> &str {
        &self.version
    }

    pub(super) fn description(&self, options: Options) -> String {
        let flags = self.flags(options).join(" ");
        format!("{} {} {flags}", self.program, self.version)
    }

    fn flags(&self, options: Options) -> Vec<String> {
        let traps = if self.version.contains("clang") {
            "-fsanitize-trap=all"
        } else {
            "-fsanitize-undefined-trap-on-error"
        };
        let warp = format!("-DEMU_WARP={}", options.warp);
        let mut flags = vec!["-std=c++17", "-fPIC", "-ffp-contract=off", "-w", &warp];
        if options.checked {
            flags.extend(["-g", "-O1", "-fstack-clash-protection", "-fsanitize=thread"]);
            flags.extend(["-fsanitize=bounds,shift,integer-divide-by-zero", traps]);
        } else {
            flags.push("-O2");
        }
        flags.into_iter().map(str::to_owned).collect()
    }

    /// The execution model as a shared object.
    pub(super) fn core(
        &self,
        scratch: &Scratch,
        cache: Option<&Cache>,
    ) -> Result<Vec<u8>, GpuError> {
        let flags = ["-std=c++17", "-O2", "-fPIC"].map(str::to_owned);
        let compile = || self.build(scratch, CORE.name, CORE.text, &flags);
        match cache {
            Some(cache) => {
                let source = Source {
                    unit: &CORE,
                    defines: Vec::new(),
                };
                cache.get(&format!("{} core", self.version), &source, compile)
            }
            None => compile(),
        }
    }

    /// A unit of kernels as a shared object.
    pub(super) fn kernel(
        &self,
        scratch: &Scratch,
        source: &Source,
        options: Options,
    ) -> Result<Vec<u8>, GpuError> {
        self.build(
            scratch,
            &source.title(),
            &source.text(),
            &self.flags(options),
        )
    }

    fn build(
        &self,
        scratch: &Scratch,
        title: &str,
        text: &str,
        flags: &[String],
    ) -> Result<Vec<u8>, GpuError> {
        let name = scratch.fresh();
        let source = scratch.write(&format!("{name}.cc"), text.as_bytes())?;
        let (object, library) = (source.with_extension("o"), source.with_extension("so"));
        // The link is a step of its own, so that the sanitizer's library is not drawn in.
        let steps = [
            Command::new(&self.program)
                .current_dir(&scratch.folder)
                .args(flags)
                .arg(format!("-fdebug-prefix-map={}=.", scratch.folder.display()))
                .args(["-x", "c++", "-c"])
                .arg(&source)
                .arg("-o")
                .arg(&object)
                .output(),
            Command::new(&self.program)
                .args(["-shared", "-o"])
                .args([&library, &object])
                .output(),
        ];
        for step in steps {
            let output = step.map_err(|error| device("run the C++ compiler", &error))?;
            if !output.status.success() {
                return Err(GpuError::Compile {
                    title: title.to_owned(),
                    arch: "the host".to_owned(),
                    message: String::from_utf8_lossy(&output.stderr).into_owned(),
                });
            }
        }
        std::fs::read(&library).map_err(|error| device("read what the compiler made", &error))
    }
}

fn device(what: &str, error: &std::io::Error) -> GpuError {
    GpuError::Device(format!("cannot {what}: {error}"))
}

/// How the names of the folders begin; the number of their process follows.
const PREFIX: &str = "zerollm-emulator-";

/// Removes folders that processes left which were ended before they could.
fn sweep(temp: &Path) {
    // Without the list of processes nobody knows who is gone.
    if !Path::new("/proc/self").exists() {
        return;
    }
    for entry in std::fs::read_dir(temp).into_iter().flatten().flatten() {
        let name = entry.file_name();
        let number = name.to_str().and_then(|name| {
            let (number, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
            number.parse::<u32>().ok()
        });
        if number.is_some_and(|number| !Path::new(&format!("/proc/{number}")).exists()) {
            // Another user's folder stays where it is.
            drop(std::fs::remove_dir_all(entry.path()));
        }
    }
}

/// A folder of this process alone, removed with its owner.
#[derive(Debug)]
pub(super) struct Scratch {
    folder: PathBuf,
    next: AtomicU32,
}

impl Scratch {
    pub(super) fn new() -> Result<Self, GpuError> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        if number == 0 {
            sweep(&std::env::temp_dir());
        }
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        // What lies there is of a process that is gone and had this one's number.
        drop(std::fs::remove_dir_all(&folder));
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .map_err(|error| device("make a folder for compiled kernels", &error))?;
        Ok(Self {
            folder,
            next: AtomicU32::new(0),
        })
    }

    fn fresh(&self) -> u32 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(super) fn write(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, GpuError> {
        let path = self.folder.join(name);
        std::fs::write(&path, bytes).map_err(|error| device("write a compiled kernel", &error))?;
        Ok(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // Libraries that are loaded stay in memory; what cannot be removed now lies in the system's temporary folder.
        drop(std::fs::remove_dir_all(&self.folder));
    }
}

/// The line of a `.cu` that an address of a shared object belongs to: `ops/add/gpu.cu:17`.
pub(super) fn line_of(object: &str, at: u64) -> Option<String> {
    let output = Command::new("addr2line")
        .args(["-i", "-e", object, &format!("{at:x}")])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let line = text.lines().find(|line| line.contains(".cu:"))?;
    let line = line.trim_start_matches("./");
    Some(line.split(' ').next().unwrap_or(line).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_processes_that_are_gone_are_removed() {
        if !Path::new("/proc/self").exists() {
            return;
        }
        let temp = std::env::temp_dir().join(format!("zerollm-sweep-{}", std::process::id()));
        let gone = temp.join(format!("{PREFIX}4294967295-0"));
        let kept = [
            temp.join(format!("{PREFIX}{}-0", std::process::id())),
            temp.join(format!("{PREFIX}nobody")),
            temp.join("another"),
        ];
        for folder in kept.iter().chain([&gone]) {
            std::fs::create_dir_all(folder).unwrap();
            std::fs::write(folder.join("k.so"), "x").unwrap();
        }
        sweep(&temp);
        assert!(!gone.exists());
        assert!(kept.iter().all(|folder| folder.join("k.so").exists()));
        std::fs::remove_dir_all(&temp).unwrap();
    }
}
