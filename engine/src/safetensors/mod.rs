//! Reading and writing safetensors files, the format that weights and optimizer state lie in on disk.
//!
//! A file is a little-endian `u64` header length, a JSON header `{name: {dtype, shape, data_offsets: [begin, end)}}` with
//! an optional `"__metadata__"` of strings, and the data: contiguous, without gaps, offsets counted from the end of the
//! header. Nothing in a file is executed and nothing in it is believed: `header.rs` checks every number against the file's
//! real size before memory is asked for. [`SafeTensors`] reads one file, [`Weights`] a model's one file or its shards,
//! [`write()`] streams tensors out. Format: <https://github.com/huggingface/safetensors>.

mod header;
mod read;
mod weights;
mod write;

#[cfg(test)]
mod tests;

pub use header::{Entry, MAX_HEADER};
pub use read::SafeTensors;
pub use weights::Weights;
pub use write::{encode, write};

use std::fmt::{self, Display};
use std::io;
use std::path::PathBuf;

/// Type of a stored tensor's elements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the format's own")]
pub enum Dtype {
    Bool,
    U8,
    I8,
    F8E4M3,
    F8E5M2,
    U16,
    I16,
    F16,
    Bf16,
    U32,
    I32,
    F32,
    U64,
    I64,
    F64,
}

impl Dtype {
    const NAMES: [(Self, &'static str, u64); 15] = [
        (Self::Bool, "BOOL", 1),
        (Self::U8, "U8", 1),
        (Self::I8, "I8", 1),
        (Self::F8E4M3, "F8_E4M3", 1),
        (Self::F8E5M2, "F8_E5M2", 1),
        (Self::U16, "U16", 2),
        (Self::I16, "I16", 2),
        (Self::F16, "F16", 2),
        (Self::Bf16, "BF16", 2),
        (Self::U32, "U32", 4),
        (Self::I32, "I32", 4),
        (Self::F32, "F32", 4),
        (Self::U64, "U64", 8),
        (Self::I64, "I64", 8),
        (Self::F64, "F64", 8),
    ];

    /// The format's name for it.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize].1
    }

    /// Bytes an element takes.
    pub fn size(self) -> u64 {
        Self::NAMES[self as usize].2
    }

    /// The type that the format calls `name`.
    pub fn parse(name: &str) -> Option<Self> {
        let found = Self::NAMES.iter().find(|(_, known, _)| *known == name);
        found.map(|(dtype, _, _)| *dtype)
    }
}

/// What is known of a tensor before its data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TensorInfo {
    /// Its name, unique within a model.
    pub name: String,
    /// Type of its elements on disk.
    pub dtype: Dtype,
    /// Sizes, outermost first; empty for a scalar.
    pub shape: Vec<usize>,
}

impl TensorInfo {
    /// A tensor of `f32`.
    pub fn f32(name: impl Into<String>, shape: impl Into<Vec<usize>>) -> Self {
        Self {
            name: name.into(),
            dtype: Dtype::F32,
            shape: shape.into(),
        }
    }

    /// Number of elements; `None` if it overflows.
    pub fn elements(&self) -> Option<u64> {
        let mut product = 1u64;
        for &size in &self.shape {
            product = product.checked_mul(size as u64)?;
        }
        Some(product)
    }

    /// Bytes of its data; `None` if they overflow.
    pub fn bytes(&self) -> Option<u64> {
        self.elements()?.checked_mul(self.dtype.size())
    }
}

/// What is wrong with a file.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file as a whole is not what it should be.
    #[error("{}: not a valid safetensors file: {message}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// One tensor is not what it should be.
    #[error("{}: tensor {}: {message}", path.display(), Shown(tensor))]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// What is wrong.
        message: String,
    },
}

/// A name from a file in a message: control characters escaped, cut where it is very long.
pub(crate) struct Shown<'a>(pub &'a str);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const LIMIT: usize = 100;
        for c in self.0.chars().take(LIMIT) {
            if c.is_control() {
                write!(f, "{}", c.escape_unicode())?;
            } else {
                write!(f, "{c}")?;
            }
        }
        if self.0.chars().nth(LIMIT).is_some() {
            f.write_str("...")?;
        }
        Ok(())
    }
}
