//! Writing one safetensors file, tensor by tensor.

use super::{Dtype, TensorInfo};
use kernels::{Bf16, Elem as _};
use serde_json::{Map, Value, json};
use std::io::{self, Error, ErrorKind, Write};

/// Writes a whole file: the header with `metadata` (`{"format": "pt"}` for weights), then each tensor's data as
/// `data(index, out)` writes it: little-endian, in the order of `infos`. Returns the bytes written.
///
/// # Errors
/// If writing fails, two tensors have one name, or `data` writes another number of bytes than a shape has.
pub fn write(
    out: &mut dyn Write,
    infos: &[TensorInfo],
    metadata: &[(&str, &str)],
    data: &mut dyn FnMut(usize, &mut dyn Write) -> io::Result<()>,
) -> io::Result<u64> {
    let (header, sizes) = header(infos, metadata)?;
    out.write_all(&(header.len() as u64).to_le_bytes())?;
    out.write_all(&header)?;
    for (index, &size) in sizes.iter().enumerate() {
        let mut counted = Exactly {
            out: &mut *out,
            left: size,
        };
        data(index, &mut counted)?;
        if counted.left != 0 {
            let name = &infos[index].name;
            let message = format!(
                "tensor {name}: {} of {size} bytes were not written",
                counted.left
            );
            return Err(Error::new(ErrorKind::InvalidInput, message));
        }
    }
    Ok(8 + header.len() as u64 + sizes.iter().sum::<u64>())
}

fn header(infos: &[TensorInfo], metadata: &[(&str, &str)]) -> io::Result<(Vec<u8>, Vec<u64>)> {
    let bad = |message: String| Error::new(ErrorKind::InvalidInput, message);
    let mut object = Map::new();
    if !metadata.is_empty() {
        let strings: Map<String, Value> = metadata
            .iter()
            .map(|(key, value)| ((*key).to_owned(), json!(value)))
            .collect();
        object.insert("__metadata__".to_owned(), Value::Object(strings));
    }
    let mut sizes = Vec::with_capacity(infos.len());
    let mut begin = 0u64;
    for info in infos {
        let end = info
            .bytes()
            .and_then(|bytes| {
                sizes.push(bytes);
                begin.checked_add(bytes)
            })
            .ok_or_else(|| bad(format!("tensor {}: its shape overflows", info.name)))?;
        let entry = json!({
            "dtype": info.dtype.name(), "shape": info.shape, "data_offsets": [begin, end],
        });
        if info.name == "__metadata__" || object.insert(info.name.clone(), entry).is_some() {
            return Err(bad(format!("two tensors are called {}", info.name)));
        }
        begin = end;
    }
    let mut header = serde_json::to_vec(&object)?;
    // Spaces up to a multiple of 8, so that the data is aligned when the file is mapped.
    header.resize(header.len().next_multiple_of(8), b' ');
    Ok((header, sizes))
}

/// Passes on exactly so many bytes.
struct Exactly<'a> {
    out: &'a mut dyn Write,
    left: u64,
}

impl Write for Exactly<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() as u64 > self.left {
            return Err(Error::new(
                ErrorKind::InvalidInput,
                "more bytes were written than the tensor's shape has",
            ));
        }
        let written = self.out.write(bytes)?;
        self.left -= written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Writes values as little-endian F32, F64 or BF16 (rounded to nearest even).
///
/// # Errors
/// If writing fails or `dtype` is another type.
pub fn encode(dtype: Dtype, values: &[f32], out: &mut dyn Write) -> io::Result<()> {
    match dtype {
        Dtype::F32 => each(values, out, f32::to_le_bytes),
        Dtype::F64 => each(values, out, |x| f64::from(x).to_le_bytes()),
        Dtype::Bf16 => each(values, out, |x| Bf16::put(x).0.to_le_bytes()),
        _ => Err(Error::new(
            ErrorKind::InvalidInput,
            format!("f32 values are not written as {}", dtype.name()),
        )),
    }
}

fn each<const N: usize>(
    values: &[f32],
    out: &mut dyn Write,
    convert: impl Fn(f32) -> [u8; N],
) -> io::Result<()> {
    let mut bytes = Vec::new();
    for part in values.chunks(1 << 16) {
        bytes.clear();
        bytes.extend(part.iter().flat_map(|&x| convert(x)));
        out.write_all(&bytes)?;
    }
    Ok(())
}
