//! The few things that are asked of a disk, behind a trait, so that tests can make each of them fail.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;

/// A file being written.
pub trait DiskFile: Write + Send {
    /// Waits until the contents are on the disk.
    ///
    /// # Errors
    /// If the disk could not take them.
    fn sync(&mut self) -> io::Result<()>;
}

/// A disk.
pub trait Disk: Sync {
    /// Makes a new file; it is an error if it exists.
    ///
    /// # Errors
    /// Those of the operating system; so for the other methods.
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>>;
    /// Makes a folder and those above it.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Makes a new folder; it is an error if it exists.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// Moves a file or folder within a folder.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Waits until a folder's list of files is on the disk.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Deletes a file.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Deletes a folder with all that is in it.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
}

/// The disk of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl DiskFile for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_all()
    }
}

impl Disk for RealDisk {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().write(true).create_new(true).open(path)?;
        Ok(Box::new(file))
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)
    }

    fn create_dir(&self, path: &Path) -> io::Result<()> {
        fs::create_dir(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    #[cfg(unix)]
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    // Elsewhere a folder cannot be opened as a file; the file system's own journal keeps the order.
    #[cfg(not(unix))]
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir_all(path)
    }
}

/// Writes a small file so that a reader finds the old contents or the new ones, never a part; after a failure the old
/// ones are there.
///
/// # Errors
/// Those of the disk.
pub fn write_atomic(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = folder.join(format!("{TEMPORARY}{name}-{}", std::process::id()));
    // Left behind by a process of the same id that was killed.
    drop(disk.remove_file(&temporary));
    let written = (|| {
        let mut file = disk.create(&temporary)?;
        file.write_all(bytes)?;
        file.sync()?;
        drop(file);
        disk.rename(&temporary, path)
    })();
    if written.is_err() {
        drop(disk.remove_file(&temporary));
        return written;
    }
    disk.sync_dir(folder)
}

/// What the names of unfinished files and folders begin with.
pub(crate) const TEMPORARY: &str = ".tmp-";
