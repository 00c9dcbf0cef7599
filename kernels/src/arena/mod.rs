//! Host memory: one aligned, huge-page, pre-touched block ([`Arena`]), and typed views into such memory
//! ([`Slot`], [`SlotMut`]) that operations receive.

#![expect(
    unsafe_code,
    reason = "owns raw memory and hands out typed views of it"
)]

mod slot;

pub use slot::{Slot, SlotMut};
use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};

/// Alignment of every buffer inside an arena, in bytes: a cache line, and a full AVX-512 vector.
pub const ALIGN: usize = 64;

const HUGE: usize = 2 << 20;

/// One block of memory for all values, gradients and scratch of a run.
///
/// Blocks of 2 MiB and more are aligned to huge pages, which the kernel is asked for, and every page is touched once, so
/// that no page fault happens inside a training step.
#[derive(Debug)]
pub struct Arena {
    start: *mut u8,
    layout: Layout,
}

// SAFETY: the block is plain memory owned by the arena; views into it are handed out only under `&mut self`, or by unsafe
// code that promises not to overlap.
unsafe impl Send for Arena {}
// SAFETY: as above; a shared reference gives out nothing but the address.
unsafe impl Sync for Arena {}

impl Arena {
    /// Memory for `bytes` bytes, zeroed.
    pub fn new(bytes: usize) -> Self {
        let (size, align) = if bytes >= HUGE {
            (bytes.next_multiple_of(HUGE), HUGE)
        } else {
            (bytes.max(1).next_multiple_of(ALIGN), ALIGN)
        };
        let layout =
            Layout::from_size_align(size, align).expect("an arena's size fits the address space");
        // SAFETY: the layout's size is at least ALIGN.
        let start = unsafe { alloc(layout) };
        if start.is_null() {
            handle_alloc_error(layout);
        }
        #[cfg(target_os = "linux")]
        if size >= HUGE {
            // SAFETY: the range is the block just allocated. The call is advice: a refusal changes nothing.
            unsafe { libc::madvise(start.cast(), size, libc::MADV_HUGEPAGE) };
        }
        // SAFETY: the block has `size` bytes.
        unsafe { start.write_bytes(0, size) };
        Self { start, layout }
    }

    /// The size in bytes.
    pub fn size(&self) -> usize {
        self.layout.size()
    }

    /// The address of byte `offset`.
    pub fn at(&self, offset: usize) -> *mut u8 {
        assert!(
            offset <= self.layout.size(),
            "offset {offset} lies outside an arena of {} bytes",
            self.layout.size()
        );
        // SAFETY: inside the block, or one past its end.
        unsafe { self.start.add(offset) }
    }

    /// The whole block as elements of type `T`.
    pub fn as_slice<T: crate::Elem>(&self) -> &[T] {
        // SAFETY: the block is aligned, initialised, and as long as its layout says; any bits are a number.
        unsafe {
            std::slice::from_raw_parts(self.start.cast(), self.layout.size() / size_of::<T>())
        }
    }

    /// The whole block as `f32` values.
    pub fn as_f32(&self) -> &[f32] {
        // SAFETY: the block is aligned, initialised, and as long as its layout says; any bits are an `f32`.
        unsafe { std::slice::from_raw_parts(self.start.cast(), self.layout.size() / 4) }
    }

    /// The whole block as `f32` values, mutable.
    pub fn as_f32_mut(&mut self) -> &mut [f32] {
        // SAFETY: as for `as_f32`, and `&mut self` makes the view the only one.
        unsafe { std::slice::from_raw_parts_mut(self.start.cast(), self.layout.size() / 4) }
    }

    /// The whole block as bytes: scratch for one operation.
    pub fn as_bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: the block is initialised and as long as its layout says, and `&mut self` makes the view the only one.
        unsafe { std::slice::from_raw_parts_mut(self.start, self.layout.size()) }
    }

    /// Fills the byte range with `value`.
    pub fn fill(&mut self, range: std::ops::Range<usize>, value: u8) {
        assert!(
            range.start <= range.end && range.end <= self.layout.size(),
            "range outside the arena"
        );
        // SAFETY: the range lies inside the block.
        unsafe {
            self.start
                .add(range.start)
                .write_bytes(value, range.end - range.start)
        };
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: allocated with this layout in `new`.
        unsafe { dealloc(self.start, self.layout) };
    }
}

/// Asks the allocator to give freed memory back to the system, which it otherwise keeps for the next request. Where it
/// cannot be asked, nothing happens.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the call touches free memory only, and takes the allocator's own locks.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// The bytes of a slice of words.
pub fn bytes_of(words: &mut [u64]) -> &mut [u8] {
    // SAFETY: any bits are valid bytes, and the borrow is passed on.
    unsafe { std::slice::from_raw_parts_mut(words.as_mut_ptr().cast(), words.len() * 8) }
}

/// A scratch buffer as a slice of `T`: its whole elements. Panics if it is not aligned, which a workspace always is.
pub fn scratch_of<T: crate::Elem>(bytes: &mut [u8]) -> &mut [T] {
    assert!(
        bytes.as_ptr().addr().is_multiple_of(align_of::<T>()),
        "scratch is not aligned"
    );
    // SAFETY: aligned, as long as the bytes it is made of, and any bits are a valid number.
    unsafe {
        std::slice::from_raw_parts_mut(bytes.as_mut_ptr().cast(), bytes.len() / size_of::<T>())
    }
}

/// A base pointer that tasks of a kernel share, each writing elements of its own.
#[derive(Clone, Copy, Debug)]
pub struct Shared<T>(*mut T);

// SAFETY: see `Shared::slice`: whoever uses it promises that ranges do not overlap.
unsafe impl<T: Send> Send for Shared<T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for Shared<T> {}

impl<T> Shared<T> {
    /// Shares a slice among tasks.
    pub fn new(slice: &mut [T]) -> Self {
        Self(slice.as_mut_ptr())
    }

    /// Elements `start..start + len`.
    ///
    /// # Safety
    /// They lie inside the slice, the slice is still borrowed, and no other task touches them meanwhile.
    pub unsafe fn slice<'a>(&self, start: usize, len: usize) -> &'a mut [T] {
        // SAFETY: promised by the caller.
        unsafe { std::slice::from_raw_parts_mut(self.0.add(start), len) }
    }

    /// The address of element `start`.
    ///
    /// # Safety
    /// It lies inside the slice (or one past its end).
    pub unsafe fn at(&self, start: usize) -> *mut T {
        // SAFETY: promised by the caller.
        unsafe { self.0.add(start) }
    }
}
