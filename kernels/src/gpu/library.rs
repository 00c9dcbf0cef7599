//! Vendors' libraries, found when the program runs: the program is built and starts where none of them is.

use super::GpuError;
use libloading::Library;
use std::path::{Path, PathBuf};

/// A library that may be installed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// What people call it.
    pub(super) what: &'static str,
    /// The environment variable that names its file, for one that lies where the loader does not look.
    pub(super) variable: &'static str,
    /// File names, the preferred first.
    pub(super) names: &'static [&'static str],
    /// Folders where its vendor puts it, for loaders that were not told.
    pub(super) folders: &'static [&'static str],
    /// How to get it.
    pub(super) get: &'static str,
}

/// Where CUDA's installers put libraries.
pub(super) const CUDA_FOLDERS: &[&str] = &[
    "/usr/local/cuda/lib64",
    "/usr/local/cuda/targets/x86_64-linux/lib",
    "/usr/local/cuda/targets/sbsa-linux/lib",
];
/// Where ROCm's installers put libraries.
pub(super) const ROCM_FOLDERS: &[&str] = &["/opt/rocm/lib", "/opt/rocm/lib64"];

impl Wanted {
    /// The library: the file that the variable names, else what the loader finds, else the vendor's folders. It stays loaded:
    /// drivers have threads of their own, and are not made to leave a process.
    ///
    /// # Errors
    /// [`GpuError::Missing`] with how to get it.
    pub(super) fn open(&self) -> Result<&'static Library, GpuError> {
        if let Some(file) = std::env::var_os(self.variable).filter(|file| !file.is_empty()) {
            let file = PathBuf::from(file);
            return open_file(&file).map_err(|error| {
                let variable = self.variable;
                GpuError::Missing(format!("{variable} names no library: {error}"))
            });
        }
        let by_name = self.names.iter().map(PathBuf::from);
        let in_folders = self.folders.iter().flat_map(|folder| {
            let names = self.names.iter();
            names.map(move |name| Path::new(folder).join(name))
        });
        let found = by_name
            .chain(in_folders)
            .find_map(|file| open_file(&file).ok());
        found.ok_or_else(|| {
            let Self {
                what,
                variable,
                get,
                ..
            } = self;
            GpuError::Missing(format!(
                "{what} is not installed: {get} (or name its file in {variable})"
            ))
        })
    }
}

/// Opens a file, after the parts of it that lie beside and that it looks for by name alone (NVRTC's `builtins`).
#[expect(unsafe_code, reason = "loads libraries of the vendors")]
fn open_file(file: &Path) -> Result<&'static Library, libloading::Error> {
    let stem = file
        .file_name()
        .and_then(|name| name.to_str()?.split('.').next());
    if let (Some(folder), Some(stem)) = (file.parent().filter(|folder| folder.is_dir()), stem) {
        let prefix = format!("{stem}-builtins.");
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        for part in entries.filter(|entry| {
            let name = entry.file_name();
            name.to_string_lossy().starts_with(&prefix)
        }) {
            // SAFETY: as below. The library finds it by its name, once it is loaded; what is no library is left.
            if let Ok(part) = unsafe { Library::new(part.path()) } {
                Box::leak(Box::new(part));
            }
        }
    }
    // SAFETY: libraries of GPU vendors do nothing when they are loaded but set themselves up.
    unsafe { Library::new(file) }.map(|library| &*Box::leak(Box::new(library)))
}

/// A function of a library, called `name` there.
///
/// # Safety
/// `T` is the type of a pointer to that function.
///
/// # Errors
/// [`GpuError::Missing`] if the library has none of that name: it is too old.
#[expect(unsafe_code, reason = "the type of a symbol is the caller's word")]
pub(super) unsafe fn symbol<T: Copy>(library: &'static Library, name: &str) -> Result<T, GpuError> {
    // SAFETY: as for this function.
    let found = unsafe { library.get::<T>(format!("{name}\0").as_bytes()) };
    found.map(|symbol| *symbol).map_err(|error| {
        GpuError::Missing(format!(
            "the installed library is too old, it has no {name}: update it ({error})"
        ))
    })
}

/// A struct of functions of a library, found by their names.
macro_rules! calls {
    ($(#[$meta:meta])* $vis:vis struct $Calls:ident { $($field:ident = $symbol:literal: fn($($arg:ty),*) -> $back:ty;)* }) => {
        $(#[$meta])*
        #[derive(Debug)]
        $vis struct $Calls {
            $($vis $field: unsafe extern "C" fn($($arg),*) -> $back,)*
        }

        impl $Calls {
            /// The functions of `library`, whose names there begin with `prefix`.
            $vis fn of(library: &'static libloading::Library, prefix: &str) -> Result<Self, GpuError> {
                $(
                    let name = format!("{prefix}{}", $symbol);
                    // SAFETY: the types are those of the vendor's header.
                    let $field = unsafe { crate::gpu::library::symbol(library, &name)? };
                )*
                Ok(Self { $($field,)* })
            }
        }
    };
}
pub(super) use calls;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_says_how_to_get_it() {
        let wanted = Wanted {
            what: "libnone",
            variable: "ZEROLLM_NO_SUCH_VARIABLE",
            names: &["libzerollm-none.so.1"],
            folders: &["/nowhere"],
            get: "install the package none",
        };
        let error = wanted.open().expect_err("there is none").to_string();
        assert_eq!(
            error,
            "libnone is not installed: install the package none (or name its file in ZEROLLM_NO_SUCH_VARIABLE)"
        );
    }
}
