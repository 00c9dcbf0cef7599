//! Which devices there are, and how one is opened: what `--device` and `zerollm doctor` ask.

use super::compiled::Cache;
use super::driver::{Driver, Info, Kind};
use super::{Gpu, GpuError, cuda, rocm};

/// A device that may be there.
#[derive(Clone, Debug)]
pub struct Found {
    /// What kind.
    pub kind: Kind,
    /// Its number among its kind; `None` stands for the whole kind, where none of it can be seen.
    pub index: Option<usize>,
    /// Its name, as its driver gives it, where it does.
    pub name: Option<String>,
    /// What it is, or why it cannot be used and how to get what is missing.
    pub info: Result<Info, GpuError>,
}

/// Every device of every kind; for a kind without devices one entry that says why. No GPU is opened.
pub fn list() -> Vec<Found> {
    let mut all = gpus();
    let info = emulated(None).map(|gpu| gpu.info().clone());
    all.push(Found {
        kind: Kind::Emulated,
        index: info.as_ref().ok().map(|info| info.index),
        name: info.as_ref().ok().map(|info| info.name.clone()),
        info,
    });
    all
}

fn gpus() -> Vec<Found> {
    let cuda = cuda::found().map(|found| {
        let named = found.iter().map(|one| (one.name.clone(), one.info()));
        named.collect()
    });
    let rocm = rocm::found().map(|found| {
        let named = found.iter().map(|one| (one.name().to_owned(), one.info()));
        named.collect()
    });
    let mut all = of_kind(Kind::Cuda, cuda);
    all.extend(of_kind(Kind::Rocm, rocm));
    all
}

type Named = (String, Result<Info, GpuError>);

fn of_kind(kind: Kind, found: Result<Vec<Named>, GpuError>) -> Vec<Found> {
    let found = match found {
        Ok(found) => found,
        Err(missing) => {
            return vec![Found {
                kind,
                index: None,
                name: None,
                info: Err(missing),
            }];
        }
    };
    let numbered = (0..).zip(found);
    numbered
        .map(|(index, (name, info))| Found {
            kind,
            index: Some(index),
            name: Some(name),
            info,
        })
        .collect()
}

/// The GPU that is taken where none is named: the first of NVIDIA that can be used, else the first of AMD, else none. The
/// emulation is slower than the CPU, and must be asked for.
pub fn first(cache: Option<Cache>) -> Option<Gpu> {
    let (kind, index) = auto(&gpus())?;
    open(kind, index, cache).ok()
}

fn auto(found: &[Found]) -> Option<(Kind, usize)> {
    let usable = |kind| {
        let mut of_kind = found.iter().filter(|one| one.kind == kind);
        let one = of_kind.find(|one| one.info.is_ok())?;
        Some((kind, one.index?))
    };
    usable(Kind::Cuda).or_else(|| usable(Kind::Rocm))
}

/// Opens a device. Compiled kernels and the choices of matrix products are kept in `cache`, where there is one.
///
/// # Errors
/// [`GpuError::Missing`] if there is no such device or what is needed to use it is not installed, with how to get it;
/// else if the device does not answer.
pub fn open(kind: Kind, index: usize, cache: Option<Cache>) -> Result<Gpu, GpuError> {
    let driver = match kind {
        Kind::Cuda => open_cuda(index, cache.as_ref()),
        Kind::Rocm => open_rocm(index, cache.as_ref()),
        Kind::Emulated if index == 0 => return emulated(cache),
        Kind::Emulated => return Err(none(kind, index, 1)),
    };
    let driver = driver.map_err(|error| advised(kind, error, gpus))?;
    Ok(Gpu::new(driver, cache))
}

fn open_cuda(index: usize, cache: Option<&Cache>) -> Result<Box<dyn Driver>, GpuError> {
    nth(Kind::Cuda, index, &cuda::found()?)?.open(cache)
}

fn open_rocm(index: usize, cache: Option<&Cache>) -> Result<Box<dyn Driver>, GpuError> {
    nth(Kind::Rocm, index, &rocm::found()?)?.open(cache)
}

/// Who asked for one vendor's device on a machine with another's is told so.
fn advised(kind: Kind, error: GpuError, found: impl FnOnce() -> Vec<Found>) -> GpuError {
    let GpuError::Missing(why) = error else {
        return error;
    };
    let found = found();
    let other = found
        .iter()
        .filter(|one| one.kind != kind)
        .find_map(|one| Some((one.kind, one.info.as_ref().ok()?)));
    GpuError::Missing(match other {
        Some((kind, info)) => format!(
            "{why}. There is {} here: give --device {}",
            info.name,
            kind.name()
        ),
        None => why,
    })
}

fn nth<T>(kind: Kind, index: usize, found: &[T]) -> Result<&T, GpuError> {
    found
        .get(index)
        .ok_or_else(|| none(kind, index, found.len()))
}

fn none(kind: Kind, index: usize, count: usize) -> GpuError {
    let name = kind.name();
    GpuError::Missing(format!(
        "there is no device {name}:{index}: the last is {name}:{}",
        count - 1
    ))
}

#[cfg(unix)]
fn emulated(cache: Option<Cache>) -> Result<Gpu, GpuError> {
    use super::emulator::{Emulator, Options};
    let emulator = Emulator::new(Options::default(), cache.as_ref())?;
    Ok(Gpu::new(Box::new(emulator), cache))
}

#[cfg(not(unix))]
fn emulated(_: Option<Cache>) -> Result<Gpu, GpuError> {
    Err(GpuError::Missing(
        "the emulated device is there on Linux and macOS alone".to_owned(),
    ))
}

/// Reads what `--device` takes for a GPU: `cuda`, `rocm:1`, `emulated`.
///
/// # Errors
/// With the forms that are understood.
pub fn parse(text: &str) -> Result<(Kind, usize), String> {
    let (name, index) = text.split_once(':').unwrap_or((text, "0"));
    let kinds = [Kind::Cuda, Kind::Rocm, Kind::Emulated];
    let kind = kinds.into_iter().find(|kind| kind.name() == name);
    match (kind, index.parse()) {
        (Some(kind), Ok(index)) => Ok((kind, index)),
        _ => Err(format!(
            "`{text}` is no device: give cuda, cuda:1, rocm, rocm:1 or emulated"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_devices() {
        assert_eq!(parse("cuda"), Ok((Kind::Cuda, 0)));
        assert_eq!(parse("rocm:3"), Ok((Kind::Rocm, 3)));
        assert_eq!(parse("emulated"), Ok((Kind::Emulated, 0)));
        for wrong in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "rocm:1:2"] {
            let error = parse(wrong).expect_err(wrong);
            assert!(error.contains("give cuda"), "{error}");
        }
    }

    #[test]
    fn every_kind_is_listed_and_what_is_missing_says_so() {
        let found = list();
        for kind in [Kind::Cuda, Kind::Rocm, Kind::Emulated] {
            let of_kind: Vec<_> = found.iter().filter(|one| one.kind == kind).collect();
            assert!(!of_kind.is_empty(), "{kind:?}");
            for one in of_kind {
                match &one.info {
                    Ok(info) => assert_eq!(Some(info.index), one.index),
                    Err(GpuError::Missing(why)) => {
                        assert!(why.len() > 20 && !why.contains('\n'), "{why}");
                        let opened = open(kind, one.index.unwrap_or(0), None);
                        let error = opened.expect_err("it cannot be used").to_string();
                        assert!(error.starts_with(why), "{error}");
                    }
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }

    fn info(kind: Kind) -> Info {
        Info {
            kind,
            index: 0,
            name: "A Device".to_owned(),
            arch: "sm_90a".to_owned(),
            versions: "version 1".to_owned(),
            warp: 32,
            multiprocessors: 1,
            shared_bytes: 0,
            memory: 0,
        }
    }

    fn found(kind: Kind, index: usize, usable: bool) -> Found {
        Found {
            kind,
            index: Some(index),
            name: None,
            info: if usable {
                Ok(info(kind))
            } else {
                Err(GpuError::Missing(String::new()))
            },
        }
    }

    #[test]
    fn who_asks_for_the_other_vendor_is_told_which_device_is_there() {
        let missing = || GpuError::Missing("HIP is not installed".to_owned());
        let nvidia = || vec![found(Kind::Rocm, 0, false), found(Kind::Cuda, 0, true)];
        assert_eq!(
            advised(Kind::Rocm, missing(), nvidia).to_string(),
            "HIP is not installed. There is A Device here: give --device cuda"
        );
        let unusable = || vec![found(Kind::Rocm, 0, true), found(Kind::Cuda, 0, false)];
        assert_eq!(advised(Kind::Rocm, missing(), unusable), missing());
        let failed = GpuError::Device("it fell off the bus".to_owned());
        assert_eq!(advised(Kind::Rocm, failed.clone(), nvidia), failed);
    }

    #[test]
    fn kernels_in_a_portable_form_are_told() {
        let mut device = info(Kind::Cuda);
        for (arch, told) in [
            ("sm_90a", false),
            ("gfx942", false),
            ("compute_121", true),
            ("gfx11-generic", true),
        ] {
            arch.clone_into(&mut device.arch);
            let said = device.portable();
            assert_eq!(said.is_some(), told, "{arch}");
            assert!(
                said.is_none_or(|line| line.contains("version 1") && line.starts_with("cuda:0"))
            );
        }
    }

    #[test]
    fn the_first_usable_gpu_is_taken_and_never_the_emulation() {
        let emulated = found(Kind::Emulated, 0, true);
        assert_eq!(auto(std::slice::from_ref(&emulated)), None);
        let mut all = vec![
            emulated,
            found(Kind::Rocm, 0, true),
            found(Kind::Cuda, 0, false),
            found(Kind::Cuda, 1, true),
        ];
        assert_eq!(auto(&all), Some((Kind::Cuda, 1)));
        all.pop();
        assert_eq!(auto(&all), Some((Kind::Rocm, 0)));
    }
}
