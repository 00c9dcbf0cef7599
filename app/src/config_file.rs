//! The run's configuration file, written back: one value at a time, its comments and its order kept.
//!
//! The new text goes into a file beside it, which then takes its place: who reads sees the old one or the new one. What is
//! written is told to [`Known`], so that the watch does not take it for somebody else's edit.

use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use engine::run_folder::RunRecord;
use toml_edit::{DocumentMut, Item, Table, TableLike, Value};

use crate::watch_file::{Known, contents};

/// The file.
#[derive(Clone, Debug)]
pub struct File {
    path: PathBuf,
    known: Known,
}

impl File {
    /// The file at `path`, and what it is known to hold.
    pub fn new(path: &Path, known: Known) -> Self {
        Self {
            path: path.to_owned(),
            known,
        }
    }

    /// The file that the run in a folder watches in another process, by its record; none where it watches none.
    pub fn of_run(folder: &Path) -> Option<Self> {
        let path = RunRecord::read(folder)?.file?;
        let known = Known::of(&path);
        Some(Self { path, known })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Lets the file say `key = value`, a TOML value or a bare word.
    ///
    /// # Errors
    /// If it is gone, another user's, cannot be read, is no TOML, or cannot be written; one line.
    pub fn set(&self, key: &str, value: &str) -> Result<(), String> {
        let failed = |what: &dyn std::fmt::Display| format!("{}: {what}", self.path.display());
        // To put another file in its place would make it ours.
        ours(&self.path).map_err(|why| failed(&why))?;
        let old = contents(&self.path).ok_or_else(|| failed(&"cannot be read"))?;
        let old = String::from_utf8(old).map_err(|error| failed(&error))?;
        let value = engine::config::check(key, value).map_err(|error| failed(&error))?;
        let new = with_value(&old, key, &value).map_err(|error| failed(&error))?;
        self.known
            .change(new.as_bytes(), |bytes| replace(&self.path, bytes))
            .map_err(|error| failed(&error))
    }
}

/// Whether the file may be written by who runs this.
fn ours(path: &Path) -> Result<(), String> {
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err("it is not there any more, so nothing is written".to_owned());
        }
        Err(error) => return Err(error.to_string()),
    };
    if !found.is_file() {
        return Err("it is no file any more, so nothing is written".to_owned());
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        if found.uid() != rustix::process::geteuid().as_raw() {
            return Err("it is another user's, so nothing is written".to_owned());
        }
    }
    Ok(())
}

/// Puts a file with this content in the place of another; its permissions stay, and a link goes on pointing where it did.
fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let path = path.canonicalize()?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new()
        .prefix(".zerollm-")
        .tempfile_in(folder)?;
    file.write_all(bytes)?;
    file.as_file()
        .set_permissions(std::fs::metadata(&path)?.permissions())?;
    file.as_file().sync_all()?;
    file.persist(&path).map_err(|error| error.error)?;
    Ok(())
}

/// The text with `key = value` in it: in the place of its old value, else at the end of its table.
fn with_value(text: &str, key: &str, value: &str) -> Result<String, String> {
    let mut document: DocumentMut = text
        .parse()
        .map_err(|error: toml_edit::TomlError| error.message().replace('\n', "; "))?;
    let mut value: Value = value
        .parse()
        .map_err(|error: toml_edit::TomlError| error.message().to_owned())?;
    let (tables, name) = match key.rsplit_once('.') {
        Some((tables, name)) => (tables.split('.').collect(), name),
        None => (Vec::new(), key),
    };
    let mut table: &mut dyn TableLike = document.as_table_mut();
    for part in tables {
        if table.get(part).is_none() {
            table.insert(part, Item::Table(Table::new()));
        }
        let item = table.get_mut(part).ok_or("a table is missing")?;
        table = item
            .as_table_like_mut()
            .ok_or_else(|| format!("{part} is no table in this file"))?;
    }
    match table.get_mut(name) {
        Some(Item::Value(old)) => {
            // What stands before and behind it, such as a comment.
            *value.decor_mut() = old.decor().clone();
            *old = value;
        }
        _ => {
            table.insert(name, Item::Value(value));
        }
    }
    Ok(document.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_order_and_form_stay() {
        let text = "# a run\nrun.name = \"r\" # its name\n\n[optimizer]\nlr = 1e-3  # tried 3e-3\nbetas = [0.9, 0.95]\n\n\
                    [train]\nmax_steps = 100\nclip_norm = 1.0\n# the end\n";
        let new = with_value(text, "optimizer.lr", "0.0005").unwrap();
        assert_eq!(new, text.replace("1e-3 ", "0.0005 "));
        let new = with_value(text, "train.keep_last", "5").unwrap();
        assert!(new.contains("clip_norm = 1.0\nkeep_last = 5\n"), "{new}");
        let new = with_value(text, "schedule.lr_scale", "0.5").unwrap();
        assert!(
            new.ends_with("[schedule]\nlr_scale = 0.5\n")
                || new.contains("[schedule]\nlr_scale = 0.5\n")
        );
        // In the forms that people write.
        for (text, expected) in [
            (
                "schedule = { kind = \"cosine\", lr_scale = 1.0 } # why\n",
                "schedule = { kind = \"cosine\", lr_scale = 0.5 } # why\n",
            ),
            ("schedule.lr_scale = 1\n", "schedule.lr_scale = 0.5\n"),
            (
                "schedule = { kind = \"cosine\" }\n",
                "schedule = { kind = \"cosine\" , lr_scale = 0.5 }\n",
            ),
        ] {
            let new = with_value(text, "schedule.lr_scale", "0.5").unwrap();
            let tight = |text: &str| text.replace(' ', "");
            assert_eq!(tight(&new), tight(expected));
        }
        for text in ["schedule = 3\n", "schedule = \n"] {
            assert!(with_value(text, "schedule.lr_scale", "0.5").is_err());
        }
    }

    #[test]
    fn the_file_is_replaced_whole_and_its_watch_knows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        std::fs::write(&path, "optimizer.lr = 1.0 # high\n").unwrap();
        let known = Known::of(&path);
        let file = File::new(&path, known.clone());
        file.set("optimizer.lr", "0.5").unwrap();
        file.set("schedule.kind", "wsd").unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("optimizer.lr = 0.5 # high\n"), "{text}");
        assert!(text.contains("kind = \"wsd\""), "{text}");
        assert!(known.is(text.as_bytes()));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        for (key, value) in [("optimizer.lr", "fast"), ("optimizer.speed", "1")] {
            let why = file.set(key, value).unwrap_err();
            assert!(why.contains("c.toml") && !why.contains('\n'), "{why}");
        }
        std::fs::write(&path, "optimizer.lr = \n").unwrap();
        assert!(file.set("optimizer.lr", "0.5").is_err());
        std::fs::remove_file(&path).unwrap();
        let why = file.set("optimizer.lr", "0.5").unwrap_err();
        assert!(why.contains("not there any more"), "{why}");
        std::fs::create_dir(&path).unwrap();
        let why = file.set("optimizer.lr", "0.5").unwrap_err();
        assert!(why.contains("no file"), "{why}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn the_file_of_another_user_is_left_alone() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can give a file to another user");
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("c.toml");
        let text = "optimizer.lr = 1.0\n";
        std::fs::write(&path, text).unwrap();
        let file = File::new(&path, Known::of(&path));
        std::os::unix::fs::chown(&path, Some(12345), None).unwrap();
        let why = file.set("optimizer.lr", "0.5").unwrap_err();
        assert!(why.contains("another user's"), "{why}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }
}
