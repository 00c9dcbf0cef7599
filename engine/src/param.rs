//! Named parameters in flat buffers: one allocation for all values, one with the same layout for all gradients.
//!
//! Clipping, the optimizer, statistics and checkpoints are then single passes. Parameters of one [`Group`] lie together, so
//! that an optimizer treats a group as one range. What a model names before there is memory is [`spec`]'s.
//!
//! Who only reads with a model ([`Params::for_reading`]) has no use for more bits than the products take: in precision `bf16`
//! all but gains and biases then lie in memory as `bf16`, half as many bytes to hold and, a token, to read.

mod spec;

use kernels::arena::{Arena, Slot, scratch_of};
use kernels::philox::Stream;
use kernels::{Bf16, Dtype, Elem as _, Precision, with_elem};
pub use spec::{Group, Init, ParamId, ParamSpec, ParamSpecs};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Elements that each parameter's place is rounded up to: a cache line of `f32`. What is between stays zero for ever.
const PAD: usize = 16;

/// As many elements in `bf16`.
const HALF_PAD: usize = 32;

/// Numbers that are drawn or rounded at once.
const PIECE: usize = 4096;

/// Whether a parameter of this group is rounded for who only reads: a factor of products, or a row of a table.
fn is_rounded(group: Group) -> bool {
    group != Group::Vector
}

/// Parameters with memory.
#[derive(Debug)]
pub struct Params {
    specs: ParamSpecs,
    starts: Vec<usize>,
    len: usize,
    /// So many elements in front lie in memory as `bf16`, all of whole groups.
    halves: usize,
    groups: Vec<(Group, Range<usize>)>,
    dtype: Dtype,
    values: Arena,
    gradients: Arena,
    version: u64,
}

/// A number that no values have had: the versions of all parameters in the process.
fn next_version() -> u64 {
    static LAST: AtomicU64 = AtomicU64::new(0);
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

impl Params {
    /// Memory for all of `specs`; everything is zero. Without `gradients` (evaluation, generation) their buffer is empty.
    pub fn new(specs: ParamSpecs, precision: Precision, gradients: bool) -> Self {
        let params = Self::laid_out(specs, precision);
        let gradients = Arena::new(if gradients { params.bytes() } else { 0 });
        Self {
            values: Arena::new(params.bytes()),
            gradients,
            ..params
        }
    }

    /// Memory for who reads all of `specs` and never changes them: as of [`Params::new`] without gradients, but in precision
    /// `bf16` only gains and biases in `f32`, and all else in `bf16`. Everything is zero.
    pub fn for_reading(specs: ParamSpecs, precision: Precision) -> Self {
        let mut params = Self::laid_out(specs, precision);
        if precision == Precision::Bf16 {
            let rounded = params.groups.iter().filter(|(group, _)| is_rounded(*group));
            params.halves = rounded.map(|(_, range)| range.end).max().unwrap_or(0);
        }
        params.values = Arena::new(params.bytes());
        params
    }

    /// Parameters without memory.
    fn laid_out(specs: ParamSpecs, precision: Precision) -> Self {
        let mut order: Vec<usize> = (0..specs.all().len()).collect();
        order.sort_by_key(|&i| (specs.all()[i].group, i));
        let mut starts = vec![0; order.len()];
        let mut groups: Vec<(Group, Range<usize>)> = Vec::new();
        let mut len = 0;
        for i in order {
            let spec = &specs.all()[i];
            starts[i] = len;
            len += spec.shape.iter().product::<usize>().next_multiple_of(PAD);
            match groups.last_mut() {
                Some((group, range)) if *group == spec.group => range.end = len,
                _ => groups.push((spec.group, starts[i]..len)),
            }
        }
        Self {
            specs,
            starts,
            len,
            halves: 0,
            groups,
            dtype: precision.wide(),
            values: Arena::new(0),
            gradients: Arena::new(0),
            version: next_version(),
        }
    }

    /// Bytes of one flat buffer for `specs`, without making it.
    pub fn flat_bytes(specs: &ParamSpecs, precision: Precision) -> usize {
        let padded = |spec: &ParamSpec| spec.shape.iter().product::<usize>().next_multiple_of(PAD);
        specs.all().iter().map(padded).sum::<usize>() * precision.wide().size()
    }

    /// Bytes of the values of [`Params::for_reading`], without making them.
    pub fn reading_bytes(specs: &ParamSpecs, precision: Precision) -> usize {
        if precision != Precision::Bf16 {
            return Self::flat_bytes(specs, precision);
        }
        let mut elements = [0, 0];
        for spec in specs.all() {
            let padded = spec.shape.iter().product::<usize>().next_multiple_of(PAD);
            elements[usize::from(is_rounded(spec.group))] += padded;
        }
        4 * elements[0] + 2 * elements[1].next_multiple_of(HALF_PAD)
    }

    /// The parameters' descriptions.
    pub fn specs(&self) -> &ParamSpecs {
        &self.specs
    }

    /// Length of the flat buffers, padding included.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no parameter.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of one flat buffer.
    pub fn bytes(&self) -> usize {
        2 * self.halves.next_multiple_of(HALF_PAD) + (self.len - self.halves) * self.dtype.size()
    }

    /// Type of the numbers: `f32`, or `f64` in gradient checks. Those that are only read may lie in memory as `bf16`.
    pub fn dtype(&self) -> Dtype {
        self.dtype
    }

    /// A parameter's values as they lie in memory.
    pub fn slot(&self, id: ParamId) -> Slot<'_> {
        let range = self.range(id);
        if range.start < self.halves {
            return Slot::new(&self.values.as_slice::<Bf16>()[range]);
        }
        let range = self.wide_index(range.start)..self.wide_index(range.end);
        with_elem!(self.dtype, T => Slot::new(&self.values.as_slice::<T>()[range]))
    }

    /// Place of element `index`, which is not in `bf16`, among as wide ones in the memory of the values.
    fn wide_index(&self, index: usize) -> usize {
        index - self.halves + self.halves.next_multiple_of(HALF_PAD) / 2
    }

    /// Sets the values from flat element `start` on, all of one parameter; rounded where they lie in memory as `bf16`.
    pub fn set(&mut self, start: usize, values: &[f32]) {
        assert_eq!(
            self.dtype,
            Dtype::F32,
            "only f32 parameters are written as f32"
        );
        self.version = next_version();
        if start < self.halves {
            let to = &mut scratch_of::<Bf16>(self.values.as_bytes_mut())[start..][..values.len()];
            for (to, x) in to.iter_mut().zip(values) {
                *to = Bf16::put(*x);
            }
        } else {
            let start = self.wide_index(start);
            self.values.as_f32_mut()[start..][..values.len()].copy_from_slice(values);
        }
    }

    fn check_wide(&self) {
        assert_eq!(
            (self.dtype, self.halves),
            (Dtype::F32, 0),
            "only f32 parameters are read as f32"
        );
    }

    /// The groups and their ranges in the flat buffers.
    pub fn groups(&self) -> &[(Group, Range<usize>)] {
        &self.groups
    }

    /// Where a parameter lies in the flat buffers.
    pub fn range(&self, id: ParamId) -> Range<usize> {
        let start = self.starts[id.0 as usize];
        start..start + self.specs.get(id).shape.iter().product::<usize>()
    }

    /// All ids with their names.
    pub fn ids(&self) -> impl Iterator<Item = (ParamId, &str)> {
        self.specs
            .all()
            .iter()
            .enumerate()
            .map(|(i, spec)| (ParamId(i as u32), spec.name.as_str()))
    }

    /// The id of a name.
    pub fn id(&self, name: &str) -> Option<ParamId> {
        self.ids()
            .find(|(_, other)| *other == name)
            .map(|(id, _)| id)
    }

    /// All values. Panics in `f64`, and of parameters that are only read and rounded for it.
    pub fn values(&self) -> &[f32] {
        self.check_wide();
        &self.values.as_f32()[..self.len]
    }

    /// All values, to be changed.
    pub fn values_mut(&mut self) -> &mut [f32] {
        self.check_wide();
        self.version = next_version();
        &mut self.values.as_f32_mut()[..self.len]
    }

    /// All gradients.
    pub fn gradients(&self) -> &[f32] {
        self.check_wide();
        &self.gradients.as_f32()[..self.len]
    }

    /// All gradients, to be changed.
    pub fn gradients_mut(&mut self) -> &mut [f32] {
        self.check_wide();
        &mut self.gradients.as_f32_mut()[..self.len]
    }

    /// Values to be changed and gradients to be changed, at once: what an optimizer works on.
    pub fn both_mut(&mut self) -> (&mut [f32], &mut [f32]) {
        self.version = next_version();
        (
            &mut self.values.as_f32_mut()[..self.len],
            &mut self.gradients.as_f32_mut()[..self.len],
        )
    }

    /// One parameter's values.
    pub fn value(&self, id: ParamId) -> &[f32] {
        &self.values()[self.range(id)]
    }

    /// One parameter's gradient.
    pub fn gradient(&self, id: ParamId) -> &[f32] {
        &self.gradients()[self.range(id)]
    }

    /// Number of the values as they are now: every change of a value gives another, and no two sets of parameters share one.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Raw memory of the values, for the tape.
    pub(crate) fn value_arena(&self) -> &Arena {
        &self.values
    }

    /// Raw memory of the gradients, for the tape.
    pub(crate) fn gradient_arena(&self) -> &Arena {
        &self.gradients
    }

    /// Byte offset of a parameter in the gradients.
    pub(crate) fn offset(&self, id: ParamId) -> usize {
        self.starts[id.0 as usize] * self.dtype.size()
    }

    /// Draws every parameter anew. Each has a random stream of its own, keyed by the seed and a hash of its name, so that
    /// adding one does not change the others.
    pub fn init(&mut self, seed: u64) {
        for i in 0..self.specs.all().len() {
            let spec = self.specs.all()[i].clone();
            let mut stream = Stream::new(seed, fnv(&spec.name));
            let range = self.range(ParamId(i as u32));
            let mut piece = [0f32; PIECE];
            for start in range.clone().step_by(PIECE) {
                let piece = &mut piece[..PIECE.min(range.end - start)];
                for x in &mut *piece {
                    *x = match spec.init {
                        Init::Normal(std) => (stream.normal() * std) as f32,
                        Init::Zeros => 0.0,
                        Init::Ones => 1.0,
                    };
                }
                self.set(start, piece);
            }
        }
    }

    /// Values of parameters of another precision, rounded (gradient checks copy `f32` values into `f64`, chats those of a run
    /// into what they read).
    pub fn copy_from(&mut self, other: &Self) {
        assert_eq!(self.starts, other.starts, "parameters of another model");
        if self.dtype == Dtype::F32 {
            for (id, _) in other.ids() {
                self.set(self.starts[id.0 as usize], other.value(id));
            }
        } else {
            for (i, x) in other.values().iter().enumerate() {
                self.set_f64(i, f64::from(*x));
            }
        }
    }

    /// One value of the flat buffer, as `f64`.
    pub fn get_f64(&self, index: usize) -> f64 {
        match self.dtype {
            Dtype::F64 => f64::from_bits(u64_at(self.values.as_f32(), index)),
            _ => f64::from(self.values()[index]),
        }
    }

    /// Sets one value of the flat buffer.
    pub fn set_f64(&mut self, index: usize, x: f64) {
        self.version = next_version();
        match self.dtype {
            Dtype::F64 => {
                let bits = x.to_bits();
                let words = self.values.as_f32_mut();
                words[2 * index] = f32::from_bits(bits as u32);
                words[2 * index + 1] = f32::from_bits((bits >> 32) as u32);
            }
            _ => self.values_mut()[index] = x as f32,
        }
    }

    /// One gradient of the flat buffer, as `f64`.
    pub fn gradient_f64(&self, index: usize) -> f64 {
        match self.dtype {
            Dtype::F64 => f64::from_bits(u64_at(self.gradients.as_f32(), index)),
            _ => f64::from(self.gradients()[index]),
        }
    }
}

/// Word `index` of a buffer of little-endian `u64` seen as pairs of `f32`.
fn u64_at(words: &[f32], index: usize) -> u64 {
    u64::from(words[2 * index].to_bits()) | u64::from(words[2 * index + 1].to_bits()) << 32
}

/// FNV-1a, 64 bits.
pub(crate) fn fnv(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_and_init() {
        let mut specs = ParamSpecs::default();
        let gain = specs.add("norm.weight", &[5], Group::Vector, Init::Ones);
        let w = specs.add("w", &[40, 30], Group::Matrix, Init::Normal(0.5));
        let e = specs.add("e", &[7, 3], Group::Embedding, Init::Zeros);
        assert_eq!(specs.count(), 5 + 1200 + 21);
        let mut params = Params::new(specs.clone(), Precision::F32, true);
        params.init(3);
        assert_eq!(
            params.groups().iter().map(|g| g.0).collect::<Vec<_>>(),
            [Group::Matrix, Group::Embedding, Group::Vector]
        );
        assert!(
            params.value(gain).iter().all(|x| *x == 1.0)
                && params.value(e).iter().all(|x| *x == 0.0)
        );
        let std = (params.value(w).iter().map(|x| x * x).sum::<f32>() / 1200.0).sqrt();
        assert!((std - 0.5).abs() < 0.04, "{std}");
        let mut other = ParamSpecs::default();
        other.add("first", &[100], Group::Matrix, Init::Normal(1.0));
        let same = other.add("w", &[40, 30], Group::Matrix, Init::Normal(0.5));
        let mut more = Params::new(other, Precision::F32, false);
        more.init(3);
        assert_eq!(
            more.value(same),
            params.value(w),
            "another parameter changed this one's start"
        );
        let mut wide = Params::new(specs, Precision::F64, true);
        wide.copy_from(&params);
        let at = params.range(w).start + 7;
        assert_eq!(wide.get_f64(at), f64::from(params.values()[at]));
        wide.set_f64(at, 0.1);
        assert_eq!(wide.get_f64(at), 0.1);
    }

    #[test]
    fn for_reading_factors_are_rounded_and_half_as_large() {
        let mut specs = ParamSpecs::default();
        let gain = specs.add("norm.weight", &[5], Group::Vector, Init::Normal(1.0));
        // A padded place that ends in the middle of a cache line of bf16.
        let w = specs.add("w", &[3, 35], Group::Matrix, Init::Normal(0.5));
        let e = specs.add("e", &[7, 3000], Group::Embedding, Init::Normal(1.0));
        for precision in [Precision::F32, Precision::Bf16] {
            let mut params = Params::new(specs.clone(), precision, false);
            params.init(4);
            let mut reading = Params::for_reading(specs.clone(), precision);
            reading.init(4);
            assert_eq!(reading.bytes(), Params::reading_bytes(&specs, precision));
            assert!(reading.values.size() >= reading.bytes());
            let mut copied = Params::for_reading(specs.clone(), precision);
            copied.copy_from(&params);
            for id in [gain, w, e] {
                let rounded = precision == Precision::Bf16 && id != gain;
                let want: Vec<f64> = params
                    .value(id)
                    .iter()
                    .map(|x| f64::from(if rounded { Bf16::put(*x).get() } else { *x }))
                    .collect();
                assert_eq!(reading.slot(id).to_f64(), want);
                assert_eq!(copied.slot(id).to_f64(), want);
            }
            if precision == Precision::Bf16 {
                assert!(2 * reading.bytes() < params.bytes() + 200);
            }
        }
    }
}
