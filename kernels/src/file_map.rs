//! Memory-mapped files: bytes of a file that the system reads when they are touched, and may drop again.
//!
//! Token shards and weights are read this way, so that a corpus larger than memory trains. The only mapping of the program
//! is here.

#![expect(unsafe_code, reason = "a mapping can change under its reader")]

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::path::Path;

use memmap2::Mmap;

/// A whole file, mapped for reading. Dereferences to its bytes.
#[derive(Debug)]
pub struct FileMap(Option<Mmap>);

impl FileMap {
    /// Maps `path`. An empty file gives no bytes.
    ///
    /// The file must not be shortened or overwritten while it is mapped: a reader would see other bytes, or the system
    /// would end the process. The program replaces its own files by renaming, which leaves a mapping whole.
    ///
    /// # Errors
    /// If the file cannot be opened or mapped, or is no plain file.
    pub fn open(path: impl AsRef<Path>) -> io::Result<Self> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a plain file",
            ));
        }
        if metadata.len() == 0 {
            return Ok(Self(None));
        }
        // SAFETY: the mapping is private to this value and read only. That nobody shortens or rewrites the file meanwhile
        // is the caller's duty, stated above; no type can promise it.
        let map = unsafe { Mmap::map(&file)? };
        Ok(Self(Some(map)))
    }
}

impl Deref for FileMap {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_holds_the_bytes_of_its_file() {
        let path = std::env::temp_dir().join(format!("zerollm-file-map-{}", std::process::id()));
        std::fs::write(&path, b"0123456789").unwrap();
        let map = FileMap::open(&path).unwrap();
        // Replacing by renaming leaves the mapping as it was.
        let other = path.with_extension("new");
        std::fs::write(&other, b"").unwrap();
        std::fs::rename(&other, &path).unwrap();
        assert_eq!(&*map, b"0123456789");
        assert!(FileMap::open(&path).unwrap().is_empty());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(
            FileMap::open(&path).unwrap_err().kind(),
            io::ErrorKind::NotFound
        );
        assert!(FileMap::open(std::env::temp_dir()).is_err());
    }
}
