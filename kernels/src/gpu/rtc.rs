//! Compilers that vendors ship as libraries: NVRTC and hipRTC. The two have one set of functions under two prefixes.
//!
//! No device is needed to compile: `tests/gpu_compile.rs` compiles every kernel of the program where NVRTC is installed.

#![expect(
    unsafe_code,
    reason = "calls the compiler through its C functions, whose signatures both headers give alike"
)]

use super::GpuError;
use super::driver::Kind;
use super::library::{self, Wanted, calls};
use super::unit::{Source, Unit};
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;

const NVRTC: Wanted = Wanted {
    what: "NVRTC, the compiler of CUDA kernels,",
    variable: "ZEROLLM_NVRTC",
    names: if cfg!(windows) {
        &["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"]
    } else {
        &["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"]
    },
    folders: library::CUDA_FOLDERS,
    get: "install the CUDA toolkit 12 or 13, not newer than the driver",
};
const HIPRTC: Wanted = Wanted {
    what: "hipRTC, the compiler of ROCm kernels,",
    variable: "ZEROLLM_HIPRTC",
    names: if cfg!(windows) {
        &["hiprtc0701.dll", "hiprtc0700.dll", "hiprtc0604.dll"]
    } else {
        &["libhiprtc.so.7", "libhiprtc.so.6", "libhiprtc.so"]
    },
    folders: library::ROCM_FOLDERS,
    get: "install ROCm 6 or 7",
};

type Program = *mut c_void;
type Size = unsafe extern "C" fn(Program, *mut usize) -> c_int;
type Text = unsafe extern "C" fn(Program, *mut c_char) -> c_int;
type Archs = unsafe extern "C" fn(*mut c_int) -> c_int;

calls! {
    struct Calls {
        version = "Version": fn(*mut c_int, *mut c_int) -> c_int;
        create = "CreateProgram": fn(
            *mut Program, *const c_char, *const c_char, c_int, *const *const c_char, *const *const c_char
        ) -> c_int;
        compile = "CompileProgram": fn(Program, c_int, *const *const c_char) -> c_int;
        destroy = "DestroyProgram": fn(*mut Program) -> c_int;
        log_size = "GetProgramLogSize": fn(Program, *mut usize) -> c_int;
        log = "GetProgramLog": fn(Program, *mut c_char) -> c_int;
        words = "GetErrorString": fn(c_int) -> *const c_char;
    }
}

/// A compiler in a library.
#[derive(Debug)]
pub struct Rtc {
    kind: Kind,
    calls: Calls,
    code_size: Size,
    code: Text,
    ptx: Option<(Size, Text)>,
    version: (c_int, c_int),
    archs: Vec<u32>,
}

/// What a compiler made.
#[derive(Clone, Debug)]
pub struct Image {
    /// Machine code of one architecture, or PTX where the architecture is a virtual one.
    pub bytes: Vec<u8>,
    /// What the compiler said beside.
    pub log: String,
}

/// Compute capabilities times ten that NVRTC 11 and newer always know, where it cannot be asked.
const OLDEST: u32 = 80;

impl Rtc {
    /// NVRTC: the file that `ZEROLLM_NVRTC` names, or an installed one.
    ///
    /// # Errors
    /// [`GpuError::Missing`] if there is none.
    pub fn nvrtc() -> Result<Self, GpuError> {
        let library = NVRTC.open()?;
        let calls = Calls::of(library, "nvrtc")?;
        // SAFETY: types of `nvrtc.h`.
        let (code, ptx, count, list) = unsafe {
            (
                (
                    library::symbol(library, "nvrtcGetCUBINSize")?,
                    library::symbol(library, "nvrtcGetCUBIN")?,
                ),
                (
                    library::symbol(library, "nvrtcGetPTXSize")?,
                    library::symbol(library, "nvrtcGetPTX")?,
                ),
                library::symbol::<Archs>(library, "nvrtcGetNumSupportedArchs")?,
                library::symbol::<Archs>(library, "nvrtcGetSupportedArchs")?,
            )
        };
        let mut rtc = Self::new(Kind::Cuda, calls, code, Some(ptx))?;
        let mut known: c_int = 0;
        // SAFETY: writes one number.
        rtc.ask(unsafe { count(&raw mut known) })?;
        let mut archs = vec![0; known.max(0) as usize];
        // SAFETY: writes as many numbers as it said.
        rtc.ask(unsafe { list(archs.as_mut_ptr()) })?;
        rtc.archs = archs.iter().map(|arch| *arch as u32).collect();
        Ok(rtc)
    }

    /// hipRTC: the file that `ZEROLLM_HIPRTC` names, or an installed one.
    ///
    /// # Errors
    /// [`GpuError::Missing`] if there is none.
    pub fn hiprtc() -> Result<Self, GpuError> {
        let library = HIPRTC.open()?;
        let calls = Calls::of(library, "hiprtc")?;
        // SAFETY: types of `hiprtc.h`.
        let code = unsafe {
            (
                library::symbol(library, "hiprtcGetCodeSize")?,
                library::symbol(library, "hiprtcGetCode")?,
            )
        };
        Self::new(Kind::Rocm, calls, code, None)
    }

    fn new(
        kind: Kind,
        calls: Calls,
        code: (Size, Text),
        ptx: Option<(Size, Text)>,
    ) -> Result<Self, GpuError> {
        let mut rtc = Self {
            kind,
            calls,
            code_size: code.0,
            code: code.1,
            ptx,
            version: (0, 0),
            archs: Vec::new(),
        };
        let (mut major, mut minor) = (0, 0);
        // SAFETY: writes two numbers.
        rtc.ask(unsafe { (rtc.calls.version)(&raw mut major, &raw mut minor) })?;
        rtc.version = (major, minor);
        Ok(rtc)
    }

    /// Its name and version.
    pub fn name(&self) -> String {
        let name = if self.kind == Kind::Rocm {
            "hipRTC"
        } else {
            "NVRTC"
        };
        format!("{name} {}.{}", self.version.0, self.version.1)
    }

    /// Its version: major, minor.
    pub fn version(&self) -> (i32, i32) {
        self.version
    }

    /// What NVRTC is told to compile for a device of compute capability `cc` (times ten).
    ///
    /// # Errors
    /// [`GpuError::Missing`] if it knows nothing that the device can run.
    pub fn arch(&self, cc: u32) -> Result<String, GpuError> {
        arch(self.version, &self.archs, cc).ok_or_else(|| {
            GpuError::Missing(format!(
                "{} compiles for no device of compute capability {}.{}: {}",
                self.name(),
                cc / 10,
                cc % 10,
                if cc < OLDEST {
                    "the kernels need 8.0 (Ampere) or newer"
                } else {
                    NVRTC.get
                }
            ))
        })
    }

    /// What hipRTC is told to compile for a device of architecture `own`: that, or where it does not know it, what the
    /// architectures of its family have in common. It cannot be asked which it knows, so that a small kernel is compiled.
    ///
    /// # Errors
    /// [`GpuError::Missing`] if it compiles for neither.
    pub fn family(&self, own: &str) -> Result<String, GpuError> {
        let compiles = |arch: &str| self.compile(&PROBE.kernel("probe").source(), arch, &[]);
        family(own, |arch| compiles(arch).map(drop)).map_err(|refused| {
            let refused = refused.to_string();
            let words = refused.lines().next().unwrap_or_default();
            GpuError::Missing(format!(
                "{} compiles for no device like {own}: update ROCm ({words})",
                self.name()
            ))
        })
    }

    /// The options that every kernel is compiled with.
    pub fn options(&self, arch: &str) -> Vec<String> {
        match self.kind {
            Kind::Rocm => {
                let mut options = vec![
                    format!("--gpu-architecture={arch}"),
                    "-std=c++17".to_owned(),
                    "-O3".to_owned(),
                ];
                if arch.ends_with(GENERIC) {
                    // The first form of machine code that such architectures have.
                    options.push("-mcode-object-version=6".to_owned());
                }
                options
            }
            // Lambdas that carry no mark are device code: there is no other.
            _ => vec![
                format!("-arch={arch}"),
                "--std=c++17".to_owned(),
                "-default-device".to_owned(),
            ],
        }
    }

    /// Compiles `source` for `arch`, with more options than [`Rtc::options`] where they are wanted.
    ///
    /// # Errors
    /// [`GpuError::Compile`] with the compiler's words, which name the line of the `.cu`.
    pub fn compile(&self, source: &Source, arch: &str, more: &[&str]) -> Result<Image, GpuError> {
        let title = source.title();
        let refused = |message: String| GpuError::Compile {
            title: title.clone(),
            arch: arch.to_owned(),
            message,
        };
        let text = |text: &str| {
            CString::new(text).map_err(|error| refused(format!("a text with a zero: {error}")))
        };
        let (code, file) = (text(&source.text())?, text(source.unit.name)?);
        let mut options = Vec::new();
        for option in self
            .options(arch)
            .iter()
            .map(|option| &**option)
            .chain(more.iter().copied())
        {
            options.push(text(option)?);
        }
        let options: Vec<_> = options.iter().map(|option| option.as_ptr()).collect();
        let mut program: Program = ptr::null_mut();
        // SAFETY: the texts live until the program is destroyed; there are no headers.
        self.ask(unsafe {
            (self.calls.create)(
                &raw mut program,
                code.as_ptr(),
                file.as_ptr(),
                0,
                ptr::null(),
                ptr::null(),
            )
        })?;
        // SAFETY: the program was made above, the options are texts that end with a zero.
        let done = unsafe {
            let many = options.len() as c_int;
            (self.calls.compile)(program, many, options.as_ptr())
        };
        let log = self.bytes(program, self.calls.log_size, self.calls.log);
        let log = log.map(|log| {
            String::from_utf8_lossy(&log)
                .trim_end_matches(['\0', '\n'])
                .to_owned()
        });
        let image = match (done, self.ptx) {
            (0, Some((size, ptx))) if arch.starts_with("compute_") => {
                self.bytes(program, size, ptx)
            }
            (0, _) => self.bytes(program, self.code_size, self.code),
            (status, _) => Err(refused(match &log {
                Ok(log) if !log.is_empty() => log.clone(),
                _ => self.words(status),
            })),
        };
        // SAFETY: the program was made above and is not used any more.
        unsafe { (self.calls.destroy)(&raw mut program) };
        Ok(Image {
            bytes: image?,
            log: log?,
        })
    }

    fn bytes(&self, program: Program, size: Size, text: Text) -> Result<Vec<u8>, GpuError> {
        let mut len = 0;
        // SAFETY: the caller made the program; writes one number.
        self.ask(unsafe { size(program, &raw mut len) })?;
        let mut bytes = vec![0; len];
        // SAFETY: writes as many bytes as it said.
        self.ask(unsafe { text(program, bytes.as_mut_ptr().cast()) })?;
        Ok(bytes)
    }

    fn ask(&self, status: c_int) -> Result<(), GpuError> {
        if status == 0 {
            return Ok(());
        }
        let name = self.name();
        Err(GpuError::Device(format!("{name}: {}", self.words(status))))
    }

    fn words(&self, status: c_int) -> String {
        // SAFETY: the library gives a text that lives as long as itself, for any number.
        unsafe {
            let words = (self.calls.words)(status);
            if words.is_null() {
                return format!("error {status}");
            }
            CStr::from_ptr(words).to_string_lossy().into_owned()
        }
    }
}

/// A kernel that compiles wherever the prelude does.
static PROBE: Unit = Unit {
    name: "probe.cu",
    text: "KERNEL(probe, 64, (int* x)) { x[0] = 0; }",
    pieces: &[],
};
/// How the architectures are called that stand for a family.
pub(super) const GENERIC: &str = "-generic";

/// `own` where `compiles` takes it, else its family's. LLVM's "User Guide for AMDGPU Backend", generic processors.
fn family(own: &str, compiles: impl Fn(&str) -> Result<(), GpuError>) -> Result<String, GpuError> {
    let Err(refused) = compiles(own) else {
        return Ok(own.to_owned());
    };
    let number = own.strip_prefix("gfx").unwrap_or_default();
    // The last two digits are minor number and stepping.
    let (major, minor) = number
        .split_at_checked(number.len().saturating_sub(2))
        .unwrap_or_default();
    let family = match (major, minor.chars().next()) {
        ("9", Some('4' | '5')) => "gfx9-4",
        ("9", _) => "gfx9",
        ("10", Some('1')) => "gfx10-1",
        ("10", _) => "gfx10-3",
        ("11", _) => "gfx11",
        ("12", _) => "gfx12",
        _ => return Err(refused),
    };
    let family = format!("{family}{GENERIC}");
    match compiles(&family) {
        Ok(()) => Ok(family),
        Err(_) => Err(refused),
    }
}

/// What is said of a compiler that does not know the device's own architecture; nothing where it does.
pub(super) fn instead(own: &str, arch: &str) -> String {
    if arch.starts_with(own) {
        return String::new();
    }
    format!(", which does not know {own} and compiles for {arch}")
}

/// What a compiler that knows `archs` is told for a device of capability `cc`: its own architecture; else the nearest lower one
/// of the same major number, whose machine code runs on it; else PTX of the nearest lower one, which the driver translates.
fn arch(version: (c_int, c_int), archs: &[u32], cc: u32) -> Option<String> {
    let lower = archs
        .iter()
        .copied()
        .filter(|arch| (OLDEST..=cc).contains(arch));
    let nearest = lower.max()?;
    Some(match nearest {
        90 if cc == 90 && version >= (12, 0) => "sm_90a".to_owned(),
        _ if nearest / 10 == cc / 10 => format!("sm_{nearest}"),
        _ => format!("compute_{nearest}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_gets_the_nearest_architecture_that_it_can_run() {
        let cuda13 = [75, 80, 86, 87, 88, 89, 90, 100, 103, 110, 120, 121];
        let cases = [
            (80, Some("sm_80")),
            (89, Some("sm_89")),
            (90, Some("sm_90a")),
            (120, Some("sm_120")),
            (122, Some("sm_121")),
            (130, Some("compute_121")),
            (75, None),
        ];
        for (cc, want) in cases {
            assert_eq!(arch((13, 0), &cuda13, cc).as_deref(), want, "{cc}");
        }
        assert_eq!(arch((11, 8), &[80, 90], 90).as_deref(), Some("sm_90"));
        assert_eq!(arch((11, 4), &[80, 86], 90).as_deref(), Some("compute_86"));
    }

    #[test]
    fn an_unknown_architecture_gets_what_its_family_has_in_common() {
        let refused = |arch: &str| GpuError::Compile {
            title: "probe.cu".to_owned(),
            arch: arch.to_owned(),
            message: format!("unknown target CPU '{arch}'"),
        };
        let knows = |known: &'static [&str]| {
            move |arch: &str| {
                let known = known.contains(&arch);
                known.then_some(()).ok_or_else(|| refused(arch))
            }
        };
        let new = knows(&[
            "gfx942",
            "gfx9-4-generic",
            "gfx10-3-generic",
            "gfx11-generic",
        ]);
        for (own, want) in [
            ("gfx942", "gfx942"),
            ("gfx950", "gfx9-4-generic"),
            ("gfx1036", "gfx10-3-generic"),
            ("gfx1103", "gfx11-generic"),
        ] {
            assert_eq!(family(own, new).as_deref(), Ok(want), "{own}");
        }
        // Its family is not known either, or it has none: the device's own refusal is told.
        for own in ["gfx1201", "gfx1010", "gfx906", "gfx13", "gfx", ""] {
            assert_eq!(family(own, new), Err(refused(own)), "{own}");
        }
    }

    #[test]
    fn what_a_compiler_does_not_know_is_said() {
        assert_eq!(instead("sm_90", "sm_90a"), "");
        assert_eq!(instead("gfx942", "gfx942"), "");
        let said = instead("sm_130", "compute_121");
        assert_eq!(
            said,
            ", which does not know sm_130 and compiles for compute_121"
        );
    }
}
