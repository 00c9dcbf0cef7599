//! Which devices there are.

use super::compiled::Cache;
use super::driver::Kind;
#[cfg(unix)]
use super::emulator::{self, Emulator};
use super::{Gpu, GpuError};

/// The first device that can be used, the emulation left out.
pub fn first(_: Option<Cache>) -> Option<Gpu> {
    None
}

/// Opens a device. Compiled kernels are kept in `cache`.
///
/// # Errors
/// If it is not there or cannot be used.
pub fn open(kind: Kind, index: usize, cache: Option<Cache>) -> Result<Gpu, GpuError> {
    match kind {
        #[cfg(unix)]
        Kind::Emulated if index == 0 => {
            let emulator = Emulator::new(emulator::Options::default(), cache.as_ref())?;
            Ok(Gpu::new(Box::new(emulator), cache))
        }
        _ => Err(GpuError::Missing("there is no such device".to_owned())),
    }
}
