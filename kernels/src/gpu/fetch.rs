//! Tensors of a device brought to the host.

#![expect(
    unsafe_code,
    reason = "views whole bytes of host memory as the elements that were copied into it"
)]

use super::{Gpu, GpuError, View};
use crate::arena::Arena;
use crate::{Dtype, Slot};

/// A copy on the host of a tensor on a device.
#[derive(Debug)]
pub struct Fetched {
    memory: Arena,
    len: usize,
    dtype: Dtype,
}

/// Copies a tensor to the host, after all that was asked of the device before.
///
/// # Errors
/// If the device does not answer, or an earlier launch failed.
pub fn fetch(gpu: &Gpu, view: View) -> Result<Fetched, GpuError> {
    let bytes = view.len * view.dtype.size();
    let mut memory = Arena::new(bytes);
    if bytes > 0 {
        gpu.driver()
            .download(&mut memory.as_bytes_mut()[..bytes], view.ptr)?;
    }
    Ok(Fetched {
        memory,
        len: view.len,
        dtype: view.dtype,
    })
}

impl Fetched {
    /// The elements.
    pub fn slot(&self) -> Slot<'_> {
        // SAFETY: the memory is aligned, holds `len` elements of this type, and is borrowed meanwhile.
        unsafe { Slot::from_raw(self.memory.at(0), self.len, self.dtype) }
    }
}

/// The bytes of `f32` values, as devices of either order of bytes would not have them: both sides are little-endian.
pub fn bytes_of_f32(values: &[f32]) -> &[u8] {
    // SAFETY: any bits are valid bytes, and the borrow is passed on.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}

/// The same, to be written: any bits are a valid `f32`.
pub fn bytes_of_f32_mut(values: &mut [f32]) -> &mut [u8] {
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(values)) }
}

/// The bytes of `i32` values.
pub fn bytes_of_i32(values: &[i32]) -> &[u8] {
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) }
}
