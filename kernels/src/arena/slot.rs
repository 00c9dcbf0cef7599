//! Typed views: a tensor's memory whose element type is known only at run time.

use crate::{Bf16, Dtype, Elem};
use std::marker::PhantomData;

/// A tensor that may be read.
#[derive(Clone, Copy, Debug)]
pub struct Slot<'a> {
    data: *const u8,
    len: usize,
    dtype: Dtype,
    life: PhantomData<&'a u8>,
}

/// A tensor that may be written; there is no other view of its memory.
#[derive(Debug)]
pub struct SlotMut<'a> {
    data: *mut u8,
    len: usize,
    dtype: Dtype,
    life: PhantomData<&'a mut u8>,
}

// SAFETY: a `Slot` is a `&[T]`, a `SlotMut` a `&mut [T]`, of plain numbers.
unsafe impl Send for Slot<'_> {}
// SAFETY: as above.
unsafe impl Sync for Slot<'_> {}
// SAFETY: as above.
unsafe impl Send for SlotMut<'_> {}

impl<'a> Slot<'a> {
    /// A view of a slice.
    pub fn new<T: Elem>(data: &'a [T]) -> Self {
        Self {
            data: data.as_ptr().cast(),
            len: data.len(),
            dtype: T::DTYPE,
            life: PhantomData,
        }
    }

    /// A view of token ids, positions or document starts.
    pub fn new_i32(data: &'a [i32]) -> Self {
        Self {
            data: data.as_ptr().cast(),
            len: data.len(),
            dtype: Dtype::I32,
            life: PhantomData,
        }
    }

    /// A view of raw memory.
    ///
    /// # Safety
    /// `data` is aligned for `dtype`, holds `len` initialised elements, and nobody writes them during `'a`.
    pub unsafe fn from_raw(data: *const u8, len: usize, dtype: Dtype) -> Self {
        Self {
            data,
            len,
            dtype,
            life: PhantomData,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The type of the elements.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// Where the first element lies.
    pub fn address(&self) -> usize {
        self.data as usize
    }

    /// The elements. Panics if they are not of type `T`: that is a bug in the operation.
    pub fn as_slice<T: Elem>(&self) -> &'a [T] {
        assert_eq!(self.dtype, T::DTYPE, "tensor read as the wrong type");
        // SAFETY: promised by whoever made the view; the type was just checked.
        unsafe { std::slice::from_raw_parts(self.data.cast(), self.len) }
    }

    /// The elements of an index tensor.
    pub fn as_i32(&self) -> &'a [i32] {
        assert_eq!(self.dtype, Dtype::I32, "tensor read as the wrong type");
        // SAFETY: as in `as_slice`.
        unsafe { std::slice::from_raw_parts(self.data.cast(), self.len) }
    }

    /// The elements, converted to `f64` (for statistics, tests and debugging).
    pub fn to_f64(&self) -> Vec<f64> {
        match self.dtype {
            Dtype::F32 => self
                .as_slice::<f32>()
                .iter()
                .map(|x| f64::from(*x))
                .collect(),
            Dtype::Bf16 => self
                .as_slice::<Bf16>()
                .iter()
                .map(|x| f64::from(x.get()))
                .collect(),
            Dtype::F64 => self.as_slice::<f64>().to_vec(),
            Dtype::I32 => self.as_i32().iter().map(|x| f64::from(*x)).collect(),
        }
    }
}

impl<'a> SlotMut<'a> {
    /// A view of a slice.
    pub fn new<T: Elem>(data: &'a mut [T]) -> Self {
        Self {
            data: data.as_mut_ptr().cast(),
            len: data.len(),
            dtype: T::DTYPE,
            life: PhantomData,
        }
    }

    /// A view of raw memory.
    ///
    /// # Safety
    /// `data` is aligned for `dtype`, holds `len` initialised elements, and nobody else reads or writes them during `'a`.
    pub unsafe fn from_raw(data: *mut u8, len: usize, dtype: Dtype) -> Self {
        Self {
            data,
            len,
            dtype,
            life: PhantomData,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The type of the elements.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// The elements. Panics if they are not of type `T`: that is a bug in the operation.
    pub fn into_slice<T: Elem>(self) -> &'a mut [T] {
        assert_eq!(self.dtype, T::DTYPE, "tensor written as the wrong type");
        // SAFETY: promised by whoever made the view; the type was just checked, and the view is consumed.
        unsafe { std::slice::from_raw_parts_mut(self.data.cast(), self.len) }
    }
}
