//! Tensors of random numbers, in huge pages that were touched, as in a run.

use kernels::arena::{Arena, scratch_of};
use kernels::philox::Stream;
use kernels::{Dtype, Elem, Float as _, Meta, Slot, SlotMut, with_elem};

/// A tensor with memory of its own.
#[derive(Debug)]
pub struct Tensor {
    meta: Meta,
    memory: Memory,
}

#[derive(Debug)]
enum Memory {
    Floats(Arena),
    Ids(Vec<i32>),
}

/// Random numbers are made once and repeated: the kernels do not look at the values, and a generator would take longer than
/// what is measured.
const PERIOD: usize = 1 << 16;

impl Tensor {
    /// Uniform values between -1 and 1; of an index tensor zeros.
    pub fn new(meta: Meta) -> Self {
        if meta.dtype == Dtype::I32 {
            let memory = Memory::Ids(vec![0; meta.len()]);
            return Self { meta, memory };
        }
        let mut stream = Stream::new(1, meta.len() as u64);
        let values: Vec<f64> = (0..PERIOD.min(meta.len()))
            .map(|_| 2.0 * stream.uniform() - 1.0)
            .collect();
        let mut arena = Arena::new(meta.bytes());
        with_elem!(meta.dtype, T => {
            let values: Vec<T> = values
                .iter()
                .map(|x| <T as Elem>::put(<T as Elem>::Acc::from_f64(*x)))
                .collect();
            for part in scratch_of::<T>(arena.as_bytes_mut())[..meta.len()].chunks_mut(PERIOD) {
                part.copy_from_slice(&values[..part.len()]);
            }
        });
        let memory = Memory::Floats(arena);
        Self { meta, memory }
    }

    /// An index tensor.
    pub fn ids(shape: &[usize], ids: Vec<i32>) -> Self {
        Self {
            meta: Meta::new(shape, Dtype::I32),
            memory: Memory::Ids(ids),
        }
    }

    /// Shape and type.
    pub fn meta(&self) -> &Meta {
        &self.meta
    }

    /// For reading.
    pub fn slot(&self) -> Slot<'_> {
        match &self.memory {
            Memory::Ids(ids) => Slot::new_i32(ids),
            Memory::Floats(arena) => with_elem!(self.meta.dtype, T => {
                Slot::new(&arena.as_slice::<T>()[..self.meta.len()])
            }),
        }
    }

    /// For writing; none of an index tensor.
    pub fn slot_mut(&mut self) -> Option<SlotMut<'_>> {
        let Memory::Floats(arena) = &mut self.memory else {
            return None;
        };
        Some(with_elem!(self.meta.dtype, T => {
            SlotMut::new(&mut scratch_of::<T>(arena.as_bytes_mut())[..self.meta.len()])
        }))
    }

    /// The values of an `f32` tensor.
    pub fn values(&self) -> &[f32] {
        self.slot().as_slice()
    }

    /// As [`Tensor::values`], for writing.
    pub fn values_mut(&mut self) -> &mut [f32] {
        self.slot_mut().expect("floats").into_slice()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fill_the_tensor_and_differ() {
        for dtype in [Dtype::F32, Dtype::Bf16] {
            let mut tensor = Tensor::new(Meta::new([3, PERIOD], dtype));
            let values = tensor.slot().to_f64();
            assert_eq!(values.len(), 3 * PERIOD);
            assert!(values.iter().all(|x| (-1.0..=1.0).contains(x)));
            assert!(values[0] != values[1] && values[0] == values[PERIOD]);
            assert_eq!(tensor.slot_mut().unwrap().len(), 3 * PERIOD);
        }
        let mut ids = Tensor::ids(&[2], vec![4, 5]);
        assert_eq!(ids.slot().as_i32(), [4, 5]);
        assert!(ids.slot_mut().is_none());
    }
}
