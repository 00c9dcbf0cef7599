//! Moving values between a file's tensors and ours, one tensor at a time.

use super::{HfError, Names};
use crate::checkpoint::{TensorSink, TensorSource};
use crate::safetensors::{Dtype, TensorInfo, Weights, encode};
use std::collections::HashMap;
use std::io::{self, Write};
use std::path::Path;

/// Numbers that are read at once.
const PIECE: usize = 1 << 20;

/// Fills every tensor of `sink` from the weights of a folder or file.
///
/// # Errors
/// If a tensor is missing, unexpected, of another shape, not of floats, or cannot be read; if one that must be zero or
/// equal to another is not. `sink` may then have been written in part.
pub fn load(
    weights: &mut Weights,
    names: &Names,
    sink: &mut dyn TensorSink,
) -> Result<(), HfError> {
    let path = weights.path().to_owned();
    let spelling = Spelling::of(weights, names);
    check_names(weights, names, &spelling)?;
    let ours: HashMap<String, (usize, usize)> = sink
        .tensors()
        .into_iter()
        .enumerate()
        .map(|(index, info)| (info.name, (index, info.shape.iter().product())))
        .collect();
    let fault = |tensor: &str, message: String| HfError::Tensor {
        path: path.clone(),
        tensor: tensor.to_owned(),
        message,
    };
    let mut scratch = Vec::new();
    let mut filled = 0;
    for map in &names.maps {
        let Some(&(index, elements)) = ours.get(&map.ours) else {
            return Err(fault(
                &spelling.name(&map.theirs[0].name),
                format!("the model has no place for it (no {})", map.ours),
            ));
        };
        if elements != map.shape.iter().product::<usize>() {
            return Err(fault(
                &spelling.name(&map.theirs[0].name),
                format!(
                    "{} has {elements} elements in the model, but {:?} in config.json's shape",
                    map.ours, map.shape
                ),
            ));
        }
        for part in &map.theirs {
            let name = spelling.name(&part.name);
            check_shape(weights, &path, &name, &map.their_shape(part))?;
            let width = map.width();
            let place = part.rows.start * width..part.rows.end * width;
            if map.transpose {
                scratch.resize(place.len(), 0.0);
                weights.read_into(&name, &mut scratch)?;
                let rows = sink.part(index, place);
                transpose(&scratch, width, part.rows.len(), rows);
                continue;
            }
            // Where the place keeps fewer bits, no more than a piece is there with all of them.
            for from in place.clone().step_by(PIECE) {
                let to = place.end.min(from + PIECE);
                weights.read_at(&name, from - place.start, sink.part(index, from..to))?;
            }
        }
        filled += 1;
    }
    if filled != ours.len() {
        let named: Vec<&str> = names.maps.iter().map(|map| map.ours.as_str()).collect();
        let mut missing: Vec<String> = ours.into_keys().collect();
        missing.retain(|name| !named.contains(&name.as_str()));
        missing.sort();
        return Err(HfError::Missing {
            path,
            names: missing,
        });
    }
    for (name, shape) in &names.zeros {
        let name = spelling.name(name);
        check_shape(weights, &path, &name, shape)?;
        scratch.resize(shape.iter().product(), 0.0);
        weights.read_into(&name, &mut scratch)?;
        if scratch.iter().any(|&x| x != 0.0) {
            return Err(fault(
                &name,
                "the model has no such bias, but it is not zero".to_owned(),
            ));
        }
    }
    for (copy, original) in &names.copies {
        check_copy(weights, &path, copy, &spelling.name(original))?;
    }
    Ok(())
}

/// How a file spells the names: with or without the prefix.
struct Spelling {
    strip: &'static str,
}

impl Spelling {
    fn of(weights: &Weights, names: &Names) -> Self {
        let prefixed = weights.names().any(|name| name.starts_with(names.prefix));
        Self {
            strip: if prefixed { "" } else { names.prefix },
        }
    }

    fn name(&self, name: &str) -> String {
        name.strip_prefix(self.strip).unwrap_or(name).to_owned()
    }
}

fn check_names(weights: &Weights, names: &Names, spelling: &Spelling) -> Result<(), HfError> {
    let mut expected: Vec<String> = Vec::new();
    for part in names.maps.iter().flat_map(|map| &map.theirs) {
        expected.push(spelling.name(&part.name));
    }
    expected.extend(names.zeros.iter().map(|(name, _)| spelling.name(name)));
    expected.sort();
    let path = weights.path().to_owned();
    let mut missing = expected.clone();
    missing.retain(|name| weights.entry(name).is_none());
    if !missing.is_empty() {
        return Err(HfError::Missing {
            path,
            names: missing,
        });
    }
    let unexpected: Vec<String> = weights
        .names()
        .filter(|name| {
            let known = expected
                .binary_search_by(|known| known.as_str().cmp(name))
                .is_ok();
            let copy = names.copies.iter().any(|(copy, _)| copy == name);
            let ignored = names.ignored.iter().any(|end| name.ends_with(end));
            !(known || copy || ignored)
        })
        .map(str::to_owned)
        .collect();
    if unexpected.is_empty() {
        return Ok(());
    }
    Err(HfError::Unexpected {
        path,
        names: unexpected,
    })
}

fn check_shape(
    weights: &Weights,
    path: &Path,
    name: &str,
    expected: &[usize],
) -> Result<(), HfError> {
    let found = weights.entry(name).map(|entry| &entry.info.shape);
    match found {
        Some(found) if found != expected => Err(HfError::Tensor {
            path: path.to_owned(),
            tensor: name.to_owned(),
            message: format!("has shape {found:?}, but config.json makes it {expected:?}"),
        }),
        _ => Ok(()),
    }
}

/// Where the embedding is the head, a file may hold it twice; two different ones cannot both be meant.
fn check_copy(
    weights: &mut Weights,
    path: &Path,
    copy: &str,
    original: &str,
) -> Result<(), HfError> {
    let count = |name: &str| weights.entry(name).and_then(|entry| entry.info.elements());
    let Some(elements) = count(copy) else {
        return Ok(());
    };
    let mut same = count(original) == Some(elements);
    let elements = elements as usize;
    let (mut a, mut b) = (Vec::new(), Vec::new());
    for from in (0..elements).step_by(PIECE) {
        if !same {
            break;
        }
        for (name, values) in [(original, &mut b), (copy, &mut a)] {
            values.resize(PIECE.min(elements - from), 0.0);
            weights.read_at(name, from, values)?;
        }
        let bits = |x: &f32| x.to_bits();
        same = a.iter().map(bits).eq(b.iter().map(bits));
    }
    if same {
        return Ok(());
    }
    Err(HfError::Tensor {
        path: path.to_owned(),
        tensor: copy.to_owned(),
        message: format!("differs from {original}, though tie_word_embeddings is true"),
    })
}

/// `out[c][r] = x[r][c]` for x of `rows` rows and `cols` columns.
fn transpose(x: &[f32], rows: usize, cols: usize, out: &mut [f32]) {
    for (c, out) in out.chunks_exact_mut(rows).enumerate() {
        for (r, out) in out.iter_mut().enumerate() {
            *out = x[r * cols + c];
        }
    }
}

/// Finds the values of a tensor of ours by name.
pub type Values<'a> = &'a dyn Fn(&str) -> Option<&'a [f32]>;

/// Our values under their names and shapes, to be written.
pub struct HfSource<'a> {
    dtype: Dtype,
    items: Vec<(TensorInfo, Item<'a>)>,
}

enum Item<'a> {
    Rows(&'a [f32]),
    /// Values and width of our rows.
    Transposed(&'a [f32], usize),
    Zeros(usize),
}

impl<'a> HfSource<'a> {
    /// Pairs the names with the values; `dtype` (F32 or BF16) is the type on disk. An `Err` names the tensor of ours that
    /// is missing or has another number of elements.
    ///
    /// # Errors
    /// If the names do not describe the values: a mistake of the caller.
    pub fn new(names: &Names, dtype: Dtype, values: Values<'a>) -> Result<Self, String> {
        let mut items = Vec::new();
        for map in &names.maps {
            let values = values(&map.ours).ok_or_else(|| format!("{} is missing", map.ours))?;
            if values.len() != map.shape.iter().product::<usize>() {
                return Err(format!(
                    "{}: {} elements for shape {:?}",
                    map.ours,
                    values.len(),
                    map.shape
                ));
            }
            for part in &map.theirs {
                let width = map.width();
                let rows = &values[part.rows.start * width..part.rows.end * width];
                let item = if map.transpose {
                    Item::Transposed(rows, width)
                } else {
                    Item::Rows(rows)
                };
                items.push((info(&part.name, dtype, map.their_shape(part)), item));
            }
        }
        for (name, shape) in &names.zeros {
            let zeros = Item::Zeros(shape.iter().product());
            items.push((info(name, dtype, shape.clone()), zeros));
        }
        Ok(Self { dtype, items })
    }
}

fn info(name: &str, dtype: Dtype, shape: Vec<usize>) -> TensorInfo {
    TensorInfo {
        name: name.to_owned(),
        dtype,
        shape,
    }
}

impl TensorSource for HfSource<'_> {
    fn tensors(&self) -> Vec<TensorInfo> {
        self.items.iter().map(|(info, _)| info.clone()).collect()
    }

    fn write(&self, index: usize, out: &mut dyn Write) -> io::Result<()> {
        match self.items[index].1 {
            Item::Rows(values) => encode(self.dtype, values, out),
            Item::Zeros(len) => encode(self.dtype, &vec![0.0; len], out),
            // Their rows are our columns.
            Item::Transposed(values, width) => {
                let mut row = vec![0.0; values.len() / width];
                for column in 0..width {
                    for (x, ours) in row.iter_mut().zip(values.chunks_exact(width)) {
                        *x = ours[column];
                    }
                    encode(self.dtype, &row, out)?;
                }
                Ok(())
            }
        }
    }
}
