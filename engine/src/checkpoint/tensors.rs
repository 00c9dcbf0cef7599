//! Where the tensors of a file come from and go to, so that no second copy of a model's weights is needed.

use crate::safetensors::{self, SafeTensors, TensorInfo};
use std::collections::HashSet;
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

/// Tensors to be written.
pub trait TensorSource {
    /// What there is, in the order of the file.
    fn tensors(&self) -> Vec<TensorInfo>;

    /// Writes the data of tensor `index`: little-endian, of its type, row by row.
    ///
    /// # Errors
    /// Those of `out`.
    fn write(&self, index: usize, out: &mut dyn Write) -> io::Result<()>;
}

/// Tensors to be filled.
pub trait TensorSink {
    /// What there is; the types do not matter, everything is read as `f32`.
    fn tensors(&self) -> Vec<TensorInfo>;

    /// Where elements `range` of tensor `index` go. What was given out before is filled when this is called, or never will
    /// be.
    fn part(&mut self, index: usize, range: Range<usize>) -> &mut [f32];
}

/// Fills every tensor of `sink` from a file that holds just these, by name.
///
/// # Errors
/// If the file is not valid, or a tensor is missing, unexpected or of another shape.
pub fn load_tensors(path: &Path, sink: &mut dyn TensorSink) -> Result<(), safetensors::Error> {
    let mut file = SafeTensors::open(path)?;
    let wanted = sink.tensors();
    let fault = |tensor: &str, message: String| safetensors::Error::Tensor {
        path: path.to_owned(),
        tensor: tensor.to_owned(),
        message,
    };
    for info in &wanted {
        match file.entry(&info.name) {
            None => return Err(fault(&info.name, "is missing".to_owned())),
            Some(found) if found.info.shape != info.shape => {
                let message = format!(
                    "has shape {:?}, but {:?} is needed",
                    found.info.shape, info.shape
                );
                return Err(fault(&info.name, message));
            }
            Some(_) => {}
        }
    }
    let known: HashSet<&str> = wanted.iter().map(|info| info.name.as_str()).collect();
    let mut found = file.entries().iter().map(|entry| &entry.info.name);
    if let Some(name) = found.find(|name| !known.contains(name.as_str())) {
        return Err(fault(name, "is not expected here".to_owned()));
    }
    for (index, info) in wanted.iter().enumerate() {
        let len = info.shape.iter().product();
        file.read_into(&info.name, sink.part(index, 0..len))?;
    }
    Ok(())
}
