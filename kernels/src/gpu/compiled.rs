//! Compiled kernels on disk, so that only the first run on a machine compiles.
//!
//! A file's name is a hash of the whole text and of the compiler with its options; its contents begin with a checksum, so
//! that a file that was cut short or changed is compiled anew. A folder that cannot be written is no error: the kernels are
//! then compiled every time.

use super::GpuError;
use super::unit::Source;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// A folder of compiled kernels.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
}

impl Cache {
    /// Kernels in `folder`, which is made when the first is written.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
        }
    }

    /// The image of `source`: from its file, or compiled and then written.
    ///
    /// # Errors
    /// If it does not compile.
    pub fn get(
        &self,
        compiler: &str,
        source: &Source,
        compile: impl FnOnce() -> Result<Vec<u8>, GpuError>,
    ) -> Result<Vec<u8>, GpuError> {
        let key = hash(&[compiler.as_bytes(), source.text().as_bytes()]);
        let path = self.folder.join(format!("{key:016x}.kernel"));
        if let Some(image) = read(&path) {
            return Ok(image);
        }
        let image = compile()?;
        // The next run compiles again if this fails; nothing else depends on it.
        drop(write(&self.folder, &path, &image));
        Ok(image)
    }

    /// The lines that [`Cache::keep_line`] added to the file `name`, whole ones only.
    pub(super) fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.folder.join(name)).unwrap_or_default();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(str::to_owned).collect()
    }

    /// Adds a line to the file `name`.
    pub(super) fn keep_line(&self, name: &str, line: &str) {
        let add = || {
            std::fs::create_dir_all(&self.folder)?;
            let path = self.folder.join(name);
            let mut file = std::fs::OpenOptions::new()
                .append(true)
                .create(true)
                .open(path)?;
            // In one call, so that the lines of two processes do not mix.
            file.write_all(format!("{line}\n").as_bytes())
        };
        // As for a compiled kernel: the next run finds the line out again.
        drop(add());
    }
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let bytes = std::fs::read(path).ok()?;
    let (sum, image) = bytes.split_at_checked(8)?;
    (sum == hash(&[image]).to_le_bytes() && !image.is_empty()).then(|| image.to_vec())
}

/// Under another name first, so that no reader sees half a file.
fn write(folder: &Path, path: &Path, image: &[u8]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    let own = path.with_extension(format!("{}-tmp", std::process::id()));
    let mut file = std::fs::File::create(&own)?;
    let written = file
        .write_all(&hash(&[image]).to_le_bytes())
        .and_then(|()| file.write_all(image))
        .and_then(|()| std::fs::rename(&own, path));
    if written.is_err() {
        std::fs::remove_file(&own)?;
    }
    written
}

/// FNV-1a of the parts, each followed by its length.
fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut eat = |byte: u8| hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    for part in parts {
        part.iter().copied().for_each(&mut eat);
        (part.len() as u64)
            .to_le_bytes()
            .into_iter()
            .for_each(&mut eat);
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::unit::Unit;

    static UNIT: Unit = Unit {
        name: "test.cu",
        text: "int x;",
        pieces: &[],
    };

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("zerollm-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        folder
    }

    #[test]
    fn compiles_once_and_again_where_the_file_is_damaged() {
        let folder = folder("kernel-cache");
        let cache = Cache::new(&folder);
        let source = UNIT.kernel("k").source();
        let mut times = 0;
        let mut get = |compiler: &str| {
            cache.get(compiler, &source, || {
                times += 1;
                Ok(vec![7, 8, 9])
            })
        };
        assert_eq!(get("a"), Ok(vec![7, 8, 9]));
        assert_eq!(get("a"), Ok(vec![7, 8, 9]));
        get("b").expect("compiles");
        assert_eq!(times, 2, "once for each compiler");
        for damage in [&b""[..], b"1234567", b"12345678", b"12345678abc"] {
            for entry in std::fs::read_dir(&folder).expect("a folder") {
                std::fs::write(entry.expect("an entry").path(), damage).expect("writable");
            }
            let mut again = false;
            let image = cache.get("a", &source, || {
                again = true;
                Ok(vec![1])
            });
            assert_eq!((image, again), (Ok(vec![1]), true), "{damage:?}");
        }
        std::fs::remove_dir_all(&folder).expect("a folder");
    }

    #[test]
    fn lines_are_kept_and_a_torn_one_is_not_read() {
        let folder = folder("kernel-lines");
        let cache = Cache::new(&folder);
        assert_eq!(cache.lines("a"), [""; 0]);
        cache.keep_line("a", "one 1");
        cache.keep_line("a", "two 2");
        let path = folder.join("a");
        let torn = std::fs::read_to_string(&path).expect("written") + "thre";
        std::fs::write(&path, torn).expect("writable");
        assert_eq!(cache.lines("a"), ["one 1", "two 2"]);
        std::fs::remove_dir_all(&folder).expect("a folder");
    }

    #[test]
    fn a_folder_that_cannot_be_made_only_costs_time() {
        let file = folder("kernel-cache-file");
        std::fs::write(&file, "a file where the folder should be").expect("writable");
        let cache = Cache::new(&file);
        let source = UNIT.kernel("k").source();
        for _ in 0..2 {
            assert_eq!(cache.get("a", &source, || Ok(vec![3])), Ok(vec![3]));
        }
        std::fs::remove_file(&file).expect("a file");
    }
}
