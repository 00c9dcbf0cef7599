//! The header: from bytes that may be anything to entries that are known to fit the file, and back.

use super::{Dtype, TensorInfo};
use serde::de::{Error as _, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::collections::BTreeMap;
use std::fmt;

/// The longest header accepted, in bytes, as in the reference implementation.
pub const MAX_HEADER: u64 = 100_000_000;

/// More dimensions than any tensor has; a header with more is hostile.
const MAX_DIMS: usize = 32;

/// Where a tensor lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Name, type and shape.
    pub info: TensorInfo,
    /// First byte, counted from the end of the header.
    pub begin: u64,
    /// One past the last byte.
    pub end: u64,
}

/// A parsed header. Entries are sorted by name.
#[derive(Debug)]
pub(super) struct Header {
    pub entries: Vec<Entry>,
    pub metadata: BTreeMap<String, String>,
}

/// What is wrong with a header: the tensor at fault, if one is, and why.
pub(super) type Fault = (Option<String>, String);

impl Header {
    /// Reads and checks a header that `data` bytes follow.
    pub(super) fn parse(json: &[u8], data: u64) -> Result<Self, Fault> {
        let raw: Raw = serde_json::from_slice(json)
            .map_err(|error| (None, format!("the header is not valid JSON: {error}")))?;
        let mut entries = Vec::with_capacity(raw.tensors.len());
        for (name, tensor) in raw.tensors {
            let fault = |message: String| (Some(name.clone()), message);
            let dtype = Dtype::parse(&tensor.dtype).ok_or_else(|| {
                fault(format!(
                    "unknown type {:?}",
                    tensor.dtype.chars().take(20).collect::<String>()
                ))
            })?;
            let info = TensorInfo {
                name: name.clone(),
                dtype,
                shape: tensor.shape.0,
            };
            let (begin, end) = tensor.data_offsets;
            let bytes = info
                .bytes()
                .ok_or_else(|| fault(format!("the shape {:?} overflows", info.shape)))?;
            if end.checked_sub(begin) != Some(bytes) {
                return Err(fault(format!(
                    "data_offsets [{begin}, {end}] do not hold the {bytes} bytes of {} {:?}",
                    dtype.name(),
                    info.shape
                )));
            }
            entries.push(Entry { info, begin, end });
        }
        check_layout(&mut entries, data)?;
        entries.sort_by(|a, b| a.info.name.cmp(&b.info.name));
        if let Some(pair) = entries
            .windows(2)
            .find(|pair| pair[0].info.name == pair[1].info.name)
        {
            return Err((
                Some(pair[0].info.name.clone()),
                "occurs twice in the header".to_owned(),
            ));
        }
        Ok(Self {
            entries,
            metadata: raw.metadata.unwrap_or_default(),
        })
    }
}

/// Every byte of the data belongs to exactly one tensor.
fn check_layout(entries: &mut [Entry], data: u64) -> Result<(), Fault> {
    entries.sort_by_key(|entry| (entry.begin, entry.end));
    let mut expected = 0;
    for entry in &*entries {
        let name = || Some(entry.info.name.clone());
        if entry.begin < expected {
            return Err((name(), "overlaps the tensor before it".to_owned()));
        }
        if entry.begin > expected {
            return Err((
                name(),
                format!("a hole of {} bytes lies before it", entry.begin - expected),
            ));
        }
        if entry.end > data {
            return Err((
                name(),
                format!(
                    "ends {} bytes behind the end of the file (truncated?)",
                    entry.end - data
                ),
            ));
        }
        expected = entry.end;
    }
    if expected < data {
        return Err((
            None,
            format!("{} bytes at its end belong to no tensor", data - expected),
        ));
    }
    Ok(())
}

/// The header as it stands in the file.
struct Raw {
    tensors: Vec<(String, RawTensor)>,
    metadata: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawTensor {
    dtype: String,
    shape: Shape,
    data_offsets: (u64, u64),
}

/// A shape that cannot grow without bound while it is read.
struct Shape(Vec<usize>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Sizes;
        impl<'de> Visitor<'de> for Sizes {
            type Value = Shape;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of sizes")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
                let mut shape = Vec::new();
                while let Some(size) = seq.next_element::<usize>()? {
                    if shape.len() == MAX_DIMS {
                        return Err(A::Error::custom("a shape of too many dimensions"));
                    }
                    shape.push(size);
                }
                Ok(Shape(shape))
            }
        }
        deserializer.deserialize_seq(Sizes)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Raw;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of tensors")
            }
            // By hand, because a map type would silently keep one of two tensors of the same name.
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw, A::Error> {
                let mut raw = Raw {
                    tensors: Vec::new(),
                    metadata: None,
                };
                while let Some(name) = map.next_key::<String>()? {
                    if name != "__metadata__" {
                        raw.tensors.push((name, map.next_value()?));
                    } else if raw.metadata.replace(map.next_value()?).is_some() {
                        return Err(A::Error::custom("__metadata__ occurs twice"));
                    }
                }
                Ok(raw)
            }
        }
        deserializer.deserialize_map(Entries)
    }
}
