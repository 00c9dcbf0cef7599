//! Files that can be made anew, kept for the next time: token shards, trained tokenizers, compiled kernels.
//!
//! The folder is `ZEROLLM_CACHE`, else `zerollm` in XDG's cache folder. A file is written beside its place and renamed, so
//! that another process sees it whole or not at all; two that make the same file make the same bytes. Where the folder
//! cannot be written the caller does without. The total is capped: what was used longest ago goes first.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

/// A folder of files that can be made anew.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: PathBuf,
    cap: u64,
}

/// Most bytes that the folder keeps.
const CAP: u64 = 16 << 30;

impl Cache {
    /// The user's cache; none if no place for it is known.
    pub fn of_user() -> Option<Self> {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        let folder = set("ZEROLLM_CACHE").map(PathBuf::from).or_else(|| {
            let xdg = set("XDG_CACHE_HOME").map(PathBuf::from);
            let home = || set("HOME").map(|home| PathBuf::from(home).join(".cache"));
            Some(
                xdg.filter(|p| p.is_absolute())
                    .or_else(home)?
                    .join("zerollm"),
            )
        })?;
        Some(Self::at(folder))
    }

    /// A cache in `folder`, which is made when first written to.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            cap: CAP,
        }
    }

    /// The same with another cap, in bytes.
    pub fn with_cap(self, cap: u64) -> Self {
        Self { cap, ..self }
    }

    /// Where it is.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The file called `name`, if it is there; marked as used now.
    pub fn get(&self, name: &str) -> Option<PathBuf> {
        let path = self.folder.join(name);
        let file = File::open(&path).ok()?;
        // Another user's cache may be readable only; its files then keep their time.
        let _ = file.set_modified(SystemTime::now());
        Some(path)
    }

    /// Writes the file called `name` by `write` and puts it in its place; returns where.
    ///
    /// # Errors
    /// If the folder or the file cannot be written, or `write` fails; nothing is left behind then.
    pub fn put<E: From<io::Error>>(
        &self,
        name: &str,
        write: impl FnOnce(&mut BufWriter<File>) -> Result<(), E>,
    ) -> Result<PathBuf, E> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        fs::create_dir_all(&self.folder)?;
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let beside = format!("{name}.{}.{number}{BESIDE}", std::process::id());
        let beside = self.folder.join(beside);
        let mut file = BufWriter::new(File::create_new(&beside)?);
        let written = write(&mut file).and_then(|()| {
            file.flush()?;
            file.get_ref().sync_all()?;
            Ok(())
        });
        drop(file);
        let path = self.folder.join(name);
        let placed = written.and_then(|()| Ok(fs::rename(&beside, &path)?));
        if let Err(error) = placed {
            let _ = fs::remove_file(&beside);
            return Err(error);
        }
        self.trim(&path);
        Ok(path)
    }

    /// Removes what this process has begun to write and will not finish: for work that was given up.
    pub fn discard_unfinished(&self) {
        let own = format!(".{}.", std::process::id());
        for file in self.files() {
            let name = file.path.file_name().unwrap_or_default().to_string_lossy();
            if name.ends_with(BESIDE) && name.contains(&own) {
                // What cannot be removed goes after a day, as those of dead processes do.
                let _ = fs::remove_file(&file.path);
            }
        }
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files().iter().map(|file| file.bytes).sum()
    }

    /// Removes every file; returns the bytes freed.
    ///
    /// # Errors
    /// If a file cannot be removed.
    pub fn clear(&self) -> io::Result<u64> {
        let mut freed = 0;
        for file in self.files() {
            match fs::remove_file(&file.path) {
                Ok(()) => freed += file.bytes,
                // Another process was faster.
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => return Err(e),
            }
        }
        Ok(freed)
    }

    /// Removes what was used longest ago until the cap holds; `newest` stays. Leftovers of dead processes go after a day.
    fn trim(&self, newest: &Path) {
        let mut files = self.files();
        files.sort_by(|a, b| (a.used, &a.path).cmp(&(b.used, &b.path)));
        let mut total: u64 = files.iter().map(|file| file.bytes).sum();
        for file in files {
            let age = file.used.elapsed().unwrap_or_default();
            let leftover = file.path.to_string_lossy().ends_with(BESIDE);
            let stale = leftover && age.as_secs() > 86_400;
            let surplus = total > self.cap && !leftover && file.path != newest;
            if (stale || surplus) && fs::remove_file(&file.path).is_ok() {
                total -= file.bytes;
            }
        }
    }

    fn files(&self) -> Vec<Kept> {
        let entries = fs::read_dir(&self.folder).into_iter().flatten();
        entries
            .filter_map(|entry| {
                let entry = entry.ok()?;
                let metadata = entry.metadata().ok()?;
                metadata.is_file().then_some(Kept {
                    path: entry.path(),
                    bytes: metadata.len(),
                    used: metadata.modified().ok()?,
                })
            })
            .collect()
    }
}

/// Ends the names of files that are being written.
const BESIDE: &str = ".part";

struct Kept {
    path: PathBuf,
    bytes: u64,
    used: SystemTime,
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn put(cache: &Cache, name: &str, bytes: usize) -> PathBuf {
        let path = cache
            .put(name, |file| file.write_all(&vec![1; bytes]))
            .unwrap();
        let ago = SystemTime::now() - Duration::from_secs(1000);
        File::open(&path).unwrap().set_modified(ago).unwrap();
        path
    }

    #[test]
    fn what_was_used_longest_ago_goes_first() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path().join("new")).with_cap(250);
        let (a, b) = (put(&cache, "a", 100), put(&cache, "b", 100));
        assert_eq!(cache.get("a"), Some(a.clone()));
        let c = put(&cache, "c", 100);
        assert!(a.exists() && !b.exists() && c.exists());
        assert_eq!(cache.bytes(), 200);
        let d = put(&cache, "d", 1000);
        assert!(
            d.exists() && !a.exists() && !c.exists(),
            "the newest stays though too large"
        );
        assert_eq!(cache.clear().unwrap(), 1000);
        assert_eq!(cache.get("d"), None);
    }

    #[test]
    fn what_was_given_up_is_removed_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        put(&cache, "a", 10);
        let id = std::process::id();
        let own = folder.path().join(format!("b.{id}.0{BESIDE}"));
        let foreign = folder.path().join(format!("b.1{id}.0{BESIDE}"));
        fs::write(&own, "half").unwrap();
        fs::write(&foreign, "half").unwrap();
        cache.discard_unfinished();
        assert!(!own.exists() && foreign.exists() && cache.get("a").is_some());
    }

    #[test]
    fn a_failed_write_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::at(folder.path());
        let failed = cache.put("a", |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("no"))
        });
        assert!(failed.is_err());
        assert_eq!(cache.bytes(), 0);
        fs::write(folder.path().join("file"), "").unwrap();
        let under_a_file = Cache::at(folder.path().join("file/cache"));
        assert!(under_a_file.put("a", |_| io::Result::Ok(())).is_err());
        assert_eq!(under_a_file.get("a"), None);
    }
}
