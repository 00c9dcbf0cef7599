//! Matrices as Hopper's copy engine is told of them: [`Arg::Map`](super::Arg), `TENSOR_MAP` of `hopper.cuh`.
//!
//! A [`TensorMap`] is plain numbers. Each driver turns it at the launch into the 128 bytes that its device reads: CUDA's into
//! what `cuTensorMapEncodeTiled` makes, the emulation's into [`TensorMap::plain`]. A captured launch keeps those bytes.

use super::View;
use crate::Dtype;

/// Bytes of a line of a box: the swizzle's span.
const LINE: usize = 128;
/// The most dimensions that kernels ask for.
const MOST: usize = 4;

/// A tensor of `bf16` in device memory, and the box of it that one load brings to shared memory: lines of 64 elements, with the
/// 128-byte swizzle; what lies beyond the edges is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TensorMap {
    /// Address of its first element.
    pub address: u64,
    /// Dimensions: 2 to 4.
    pub rank: u32,
    /// Elements in each, innermost first; 1 beyond the rank.
    pub dims: [u32; MOST],
    /// Bytes between the elements of the dimensions from the second on; 0 beyond the rank.
    pub strides: [u64; MOST - 1],
    /// Elements of a box in each dimension; 1 beyond the rank.
    pub sides: [u32; MOST],
}

/// What a kernel is given for a tensor, aligned as its parameter is.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(128))]
pub(super) struct Encoded(pub(super) [u64; 16]);

impl TensorMap {
    /// The tensor at `view` with `dims` elements, innermost first, `strides` elements between those of the dimensions from the
    /// second on, read in boxes of 64 x `sides` elements. `None` where the copy engine cannot read it: an address or a stride
    /// that is no multiple of 16 bytes, a side over 256, an empty dimension, another type.
    ///
    /// # Panics
    /// If there are not 2 to 4 dimensions, or not one stride and one side less.
    pub fn new(view: View, dims: &[usize], strides: &[usize], sides: &[usize]) -> Option<Self> {
        let rank = dims.len();
        assert!(
            (2..=MOST).contains(&rank) && strides.len() == rank - 1 && sides.len() == rank - 1,
            "{dims:?} with strides {strides:?} in boxes of {sides:?}"
        );
        let size = Dtype::Bf16.size();
        let whole = view.ptr.is_multiple_of(16)
            && strides
                .iter()
                .all(|n| (n * size).is_multiple_of(16) && n * size < 1 << 40);
        let fits = dims.iter().all(|n| (1..1 << 31).contains(n))
            && sides.iter().all(|n| (1..=256).contains(n));
        if view.dtype != Dtype::Bf16 || !whole || !fits {
            return None;
        }
        let mut map = Self {
            address: view.ptr,
            rank: rank as u32,
            dims: [1; MOST],
            strides: [0; MOST - 1],
            sides: [1; MOST],
        };
        for (to, n) in map.dims.iter_mut().zip(dims) {
            *to = *n as u32;
        }
        for (to, n) in map.strides.iter_mut().zip(strides) {
            *to = (n * size) as u64;
        }
        map.sides[0] = (LINE / size) as u32;
        for (to, n) in map.sides[1..].iter_mut().zip(sides) {
            *to = *n as u32;
        }
        Some(map)
    }

    /// As `struct Map` of the emulation lays it out: address, strides, then in halves rank, bytes of an element, dimensions,
    /// sides.
    pub(super) fn plain(&self) -> Encoded {
        let mut words = [0; 16];
        words[0] = self.address;
        words[1..4].copy_from_slice(&self.strides);
        let [d, s] = [self.dims, self.sides];
        let halves = [
            [self.rank, Dtype::Bf16.size() as u32],
            [d[0], d[1]],
            [d[2], d[3]],
            [s[0], s[1]],
            [s[2], s[3]],
        ];
        for (word, [low, high]) in words[4..].iter_mut().zip(halves) {
            *word = u64::from(low) | u64::from(high) << 32;
        }
        Encoded(words)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_copy_engine_cannot_read_is_none() {
        let view = View::new(4096, 1 << 20, Dtype::Bf16);
        let map = TensorMap::new(view, &[75, 30], &[80], &[128]).unwrap();
        assert_eq!((map.dims, map.sides), ([75, 30, 1, 1], [64, 128, 1, 1]));
        assert_eq!((map.rank, map.strides), (2, [160, 0, 0]));
        let words = map.plain().0;
        let halves = |low: u64, high: u64| low + (high << 32);
        assert_eq!(words[..5], [4096, 160, 0, 0, halves(2, 2)]);
        let sides = [halves(64, 128), halves(1, 1)];
        assert_eq!(
            words[5..9],
            [halves(75, 30), halves(1, 1), sides[0], sides[1]]
        );
        assert_eq!(
            TensorMap::new(view, &[75, 30], &[75], &[128]),
            None,
            "lines of 150 bytes"
        );
        assert_eq!(TensorMap::new(view.from(3), &[75, 30], &[80], &[128]), None);
        assert_eq!(TensorMap::new(view, &[75, 30], &[80], &[257]), None);
        assert_eq!(TensorMap::new(view, &[75, 0], &[80], &[128]), None);
        let floats = View::new(4096, 1 << 20, Dtype::F32);
        assert_eq!(TensorMap::new(floats, &[75, 30], &[80], &[128]), None);
    }
}
