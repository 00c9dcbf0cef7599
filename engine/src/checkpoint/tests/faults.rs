//! Disks that fail or die at any operation: nothing that was there is lost.

use super::*;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A disk whose n-th operation, and every later one if `dead`, fails.
pub(super) struct Faulty {
    left: AtomicUsize,
    kind: ErrorKind,
    dead: bool,
}

impl Faulty {
    fn new(n: usize, kind: ErrorKind, dead: bool) -> Self {
        let left = AtomicUsize::new(n);
        Self { left, kind, dead }
    }

    fn count(&self) -> io::Result<()> {
        match self.left.load(Ordering::Relaxed) {
            0 if self.dead => Err(self.kind.into()),
            0 => Ok(()),
            n => {
                self.left.store(n - 1, Ordering::Relaxed);
                if n == 1 {
                    Err(self.kind.into())
                } else {
                    Ok(())
                }
            }
        }
    }
}

struct FaultyFile<'a>(&'a Faulty, Box<dyn DiskFile>);

impl Write for FaultyFile<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // In small pieces, so that failures fall between any two of them; the failing one leaves a part behind.
        let part = &bytes[..bytes.len().min(40)];
        if let Err(error) = self.0.count() {
            self.1.write_all(&part[..part.len() / 2])?;
            return Err(error);
        }
        self.1.write(part)
    }
    fn flush(&mut self) -> io::Result<()> {
        self.1.flush()
    }
}

impl DiskFile for FaultyFile<'_> {
    fn sync(&mut self) -> io::Result<()> {
        self.0.count()?;
        self.1.sync()
    }
}

impl Disk for &'static Faulty {
    fn create(&self, path: &Path) -> io::Result<Box<dyn DiskFile>> {
        self.count()?;
        Ok(Box::new(FaultyFile(self, RealDisk.create(path)?)))
    }
    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.count()?;
        RealDisk.create_dir_all(path)
    }
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.count()?;
        RealDisk.create_dir(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.count()?;
        RealDisk.rename(from, to)
    }
    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.count()?;
        RealDisk.sync_dir(path)
    }
    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.count()?;
        RealDisk.remove_file(path)
    }
    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.count()?;
        RealDisk.remove_dir_all(path)
    }
}

pub(super) fn faulty(n: usize, kind: ErrorKind, dead: bool) -> &'static Faulty {
    Box::leak(Box::new(Faulty::new(n, kind, dead)))
}

/// Operations of a save that meets no fault.
fn operations() -> usize {
    let folder = scratch();
    let disk = faulty(1_000_000, ErrorKind::Other, false);
    save_on(&disk, folder.path(), 2).unwrap();
    1_000_000 - disk.left.load(Ordering::Relaxed)
}

#[test]
fn a_failure_at_any_point_loses_nothing() {
    let folder = scratch();
    save(folder.path(), 1);
    let before = contents(folder.path());
    let total = operations();
    assert!(total > 50, "{total}");
    for n in 1..=total {
        for kind in [ErrorKind::StorageFull, ErrorKind::PermissionDenied] {
            let disk = faulty(n, kind, false);
            let error = save_on(&disk, folder.path(), 2).unwrap_err();
            match (&error, kind) {
                (CheckpointError::DiskFull { .. }, ErrorKind::StorageFull)
                | (CheckpointError::Io { .. }, ErrorKind::PermissionDenied) => {}
                _ => panic!("operation {n}: {error:?}"),
            }
            let line = error.to_string();
            assert!(
                !line.contains('\n') && line.contains("are intact"),
                "{line}"
            );
            // The old one is there, whole, and nothing else: the temporary folder has gone.
            assert_eq!(contents(folder.path()), before, "operation {n}");
            assert_eq!(
                fs::read_dir(folder.path()).unwrap().count(),
                1,
                "operation {n}"
            );
        }
    }
    assert_eq!(newest(folder.path()), Some(1));
    save(folder.path(), 2);
    assert_eq!(newest(folder.path()), Some(2));
}

#[test]
fn a_death_at_any_point_loses_nothing() {
    let total = operations();
    for n in 1..=total {
        let folder = scratch();
        save(folder.path(), 1);
        let before = contents(folder.path());
        // After the n-th operation nothing reaches the disk any more: as if the process had been killed there.
        save_on(&faulty(n, ErrorKind::Other, true), folder.path(), 2).unwrap_err();
        // Only the last operation (the sync of the parent) comes after the rename: then the new one is there, whole.
        let expected = if n == total { 2 } else { 1 };
        assert_eq!(newest(folder.path()), Some(expected), "operation {n}");
        let leftovers = clean(folder.path()).unwrap();
        assert_eq!(leftovers, usize::from(n > 2 && n != total), "operation {n}");
        if n != total {
            assert_eq!(contents(folder.path()), before, "operation {n}");
            // The next attempt is not in the way of the dead one.
            save(folder.path(), 2);
            assert_eq!(newest(folder.path()), Some(2));
        }
    }
}

#[test]
fn a_small_file_is_replaced_whole_or_not_at_all() {
    let folder = scratch();
    let path = folder.path().join("run.json");
    write_atomic(&RealDisk, &path, b"old").unwrap();
    let disk = faulty(1_000_000, ErrorKind::Other, false);
    write_atomic(&disk, &path, b"old").unwrap();
    let total = 1_000_000 - disk.left.load(Ordering::Relaxed);
    for n in 1..=total {
        let outcome = write_atomic(&faulty(n, ErrorKind::StorageFull, false), &path, b"new");
        let now = fs::read(&path).unwrap();
        // A failed removal of a leftover is no failure, and a failed sync of the folder leaves the new contents.
        assert!(now == b"old" || n == 1 || n == total, "operation {n}");
        assert!(outcome.is_err() || n == 1, "operation {n}");
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "operation {n}"
        );
        write_atomic(&RealDisk, &path, b"old").unwrap();
    }
}
