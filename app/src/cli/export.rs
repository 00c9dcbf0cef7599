//! `zerollm export`: a run's record in a form that other programs read.

mod chinese;

use super::{Failure, RunsFlag};
use crate::lang::Lang;
use crate::out;
use clap::Args;
use clap::builder::{PossibleValue, PossibleValuesParser};
use engine::records::{ENGLISH, ExportError, FORMATS, Format, Place, Source};
use engine::run_folder::find;
use serde_json::json;
use std::fs::{self, File};
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};

/// Flags of `zerollm export`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Write a run's record for other programs: tensorboard, csv, layers-csv, prometheus, html",
    long_about = "Write a run's record in a form that other programs read. Of a step that was trained twice, what the last \
        attempt measured.\n\n\
        tensorboard (or tb): an event file in the folder NAME.tensorboard (scalars of steps, evaluations and layers; histograms of \
        layers; samples as text).\n\
        csv: a row a step, on stdout.\n\
        layers-csv: a row a step and layer, on stdout.\n\
        prometheus (or prom): the latest figures as text, on stdout.\n\
        html: one page, NAME.html, with curves, evaluations, layers, samples, checkpoints and configuration; opens offline.",
    after_help = "Examples:\n  zerollm export demo --to csv > demo.csv\n  zerollm export demo --to html --output demo.html\n  \
        zerollm export demo --to tensorboard --output logs/demo\n\nJSON (with --output, or where a file is written anyway): \
        run, format, path, bytes."
)]
pub struct Arguments {
    /// Name of the run, or its folder
    run: String,
    /// Form
    #[arg(long, value_name = "FORM", value_parser = forms())]
    to: String,
    /// File (for tensorboard: folder) to write, replacing what is there; - is stdout
    #[arg(long, value_name = "PATH")]
    output: Option<PathBuf>,
    /// Language of the page: en, zh [default: LANG]
    #[arg(long, value_name = "LANG")]
    lang: Option<String>,
    #[command(flatten)]
    runs: RunsFlag,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Shorter names of forms.
const SHORT: [(&str, &str); 2] = [("tb", "tensorboard"), ("prom", "prometheus")];

/// The forms by all their names.
fn forms() -> PossibleValuesParser {
    let forms = FORMATS.iter().map(|format| {
        let short = SHORT.iter().filter(|pair| pair.1 == format.name);
        PossibleValue::new(format.name).aliases(short.map(|pair| pair.0))
    });
    PossibleValuesParser::new(forms)
}

/// Runs it.
///
/// # Errors
/// If there is no such run, or the file cannot be written.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let lang = match &arguments.lang {
        Some(word) => Lang::parse(word)
            .ok_or_else(|| Failure::new(2, format!("--lang {word}: expected en or zh")))?,
        None => Lang::detect(|name| std::env::var(name).ok()),
    };
    let words = match lang {
        Lang::En => &ENGLISH,
        Lang::Zh => &chinese::CHINESE,
    };
    let short = SHORT.iter().find(|pair| pair.0 == arguments.to);
    let name = short.map_or(&*arguments.to, |pair| pair.1);
    let format = FORMATS
        .iter()
        .find(|format| format.name == name)
        .expect("clap knows the forms");
    let on_stdout = arguments.output.as_deref() == Some(Path::new("-"));
    if on_stdout && matches!(format.place, Place::Folder(_)) {
        let why = format!(
            "--output -: {} is a folder with a file in it, which stdout cannot take; name a folder",
            format.name
        );
        return Err(Failure::new(2, why));
    }
    let folder = find(&arguments.runs.dir(), &arguments.run)?;
    let source = Source::open(&folder, words)?;
    let path = place(format, &source, arguments.output.as_deref());
    let Some(path) = path else {
        if arguments.json {
            return Err(Failure::new(
                2,
                "--json: stdout is taken by the export; name a file with --output",
            ));
        }
        let mut stdout = BufWriter::new(std::io::stdout().lock());
        let written = (format.write)(&source, &mut stdout);
        return match written.and_then(|()| Ok(stdout.flush()?)) {
            Ok(()) => Ok(0),
            Err(ExportError::Write(error)) if error.kind() == ErrorKind::BrokenPipe => Ok(0),
            Err(ExportError::Write(error)) => Err(Failure::new(1, format!("stdout: {error}"))),
            Err(ExportError::Run(error)) => Err(error.into()),
        };
    };
    let bytes = write(format, &source, &path)?;
    if arguments.json {
        out::json(&json!({
            "run": source.name,
            "format": format.name,
            "path": path.display().to_string(),
            "bytes": bytes,
        }))?;
    } else {
        out::line(&crate::text::escape(&path.display().to_string()))?;
    }
    Ok(0)
}

/// The file to write; none for stdout.
fn place(format: &Format, source: &Source, output: Option<&Path>) -> Option<PathBuf> {
    match (format.place, output) {
        (Place::Output | Place::File(_), Some(path)) if path == Path::new("-") => None,
        (Place::Output, None) => None,
        (Place::Output | Place::File(_), Some(path)) => Some(path.to_owned()),
        (Place::File(ending), None) => Some(format!("{}.{ending}", source.name).into()),
        (Place::Folder(ending), output) => {
            let folder = output.map_or_else(
                || PathBuf::from(format!("{}.{ending}", source.name)),
                Path::to_owned,
            );
            // The same name each time: a second export replaces the first.
            Some(folder.join(source.event_file()))
        }
    }
}

/// Writes a file; returns its size.
fn write(format: &Format, source: &Source, path: &Path) -> Result<u64, Failure> {
    within_folders(
        path.parent()
            .filter(|_| matches!(format.place, Place::Folder(_))),
        || replace(path, |file| (format.write)(source, file)),
    )
}

/// Does `write` in a folder that is there, made with those above it where it must be. Where that fails, those that were made
/// are removed again, as far as they are empty.
fn within_folders<T>(
    folder: Option<&Path>,
    write: impl FnOnce() -> Result<T, Failure>,
) -> Result<T, Failure> {
    let above = folder.into_iter().flat_map(Path::ancestors);
    let made: Vec<&Path> = above
        .take_while(|path| !path.as_os_str().is_empty() && path.symlink_metadata().is_err())
        .collect();
    let written = match folder.map_or(Ok(()), fs::create_dir_all) {
        Ok(()) => write(),
        Err(error) => {
            let folder = folder.unwrap_or(Path::new("")).display();
            Err(Failure::new(2, format!("{folder}: {error}")))
        }
    };
    if written.is_err() {
        for folder in made {
            // Who has put something there meanwhile keeps it.
            drop(fs::remove_dir(folder));
        }
    }
    written
}

/// Makes a file of what `write` writes, or replaces the one that is there; returns its size. Where that fails, what was
/// there still is: the bytes go to a file beside it first. A device or a pipe takes them as they come.
fn replace(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> Result<(), ExportError>,
) -> Result<u64, Failure> {
    let named = |error: std::io::Error| Failure::new(2, format!("{}: {error}", path.display()));
    let is_plain = path.metadata().map_or(true, |found| found.is_file());
    // The file behind a link is replaced, not the link.
    let place = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let beside = match place.file_name() {
        Some(name) if is_plain => {
            let name = format!(".{}.{}", name.to_string_lossy(), std::process::id());
            Some(place.with_file_name(name))
        }
        _ => None,
    };
    let file = File::create(beside.as_ref().unwrap_or(&place)).map_err(named)?;
    let mut file = BufWriter::new(file);
    let written = write(&mut file).and_then(|()| Ok(file.flush()?));
    drop(file);
    let written = written.and_then(|()| match &beside {
        Some(beside) => Ok(fs::rename(beside, &place)?),
        None => Ok(()),
    });
    match written {
        Ok(()) => Ok(place.metadata().map_or(0, |metadata| metadata.len())),
        Err(error) => {
            if let Some(beside) = beside {
                drop(fs::remove_file(beside));
            }
            match error {
                ExportError::Run(error) => Err(error.into()),
                ExportError::Write(error) => {
                    Err(Failure::new(1, format!("{}: {error}", path.display())))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;
    use std::io;

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }

    #[test]
    fn what_was_there_stays_where_an_export_fails() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("page.html");
        let whole = |file: &mut dyn Write| Ok(file.write_all(b"old")?);
        assert_eq!(replace(&path, whole).expect("room"), 3);
        let full = || ExportError::Write(io::Error::from(ErrorKind::StorageFull));
        let failed = replace(&path, |file| {
            file.write_all(b"half of the new")?;
            Err(full())
        });
        assert_eq!(failed.expect_err("no room").code, 1);
        assert_eq!(fs::read_to_string(&path).expect("the old one"), "old");
        let whole = |file: &mut dyn Write| Ok(file.write_all(b"newer")?);
        assert_eq!(replace(&path, whole).expect("room"), 5);
        assert_eq!(fs::read_to_string(&path).expect("the new one"), "newer");
        let left = fs::read_dir(folder.path()).expect("a folder").count();
        assert_eq!(left, 1, "half a file is left");
        // As a device would: what is no plain file is written to, never removed or replaced.
        let failed = replace(folder.path(), |_| Err(full()));
        assert_eq!(failed.expect_err("a folder").code, 2);
        assert!(folder.path().is_dir());
    }

    #[test]
    fn a_failed_export_leaves_no_folder_that_it_made() {
        let place = tempfile::tempdir().expect("a folder");
        let there = place.path().join("there");
        fs::create_dir(&there).expect("room");
        let deep = there.join("a").join("b");
        let fails = || Err::<(), _>(Failure::new(1, "no room"));
        for folder in [&deep, &there] {
            within_folders(Some(folder), fails).expect_err("no room");
        }
        assert!(there.is_dir() && !there.join("a").exists());
        // One of them cannot be made.
        fs::write(there.join("file"), "").expect("room");
        let refused = within_folders(Some(&there.join("file").join("a")), || Ok(()));
        assert_eq!(refused.expect_err("a file").code, 2);
        // What somebody else has put there meanwhile stays.
        let busy = || {
            fs::write(there.join("a").join("note"), "mine").expect("room");
            fails()
        };
        within_folders(Some(&deep), busy).expect_err("no room");
        assert!(there.join("a").join("note").is_file() && !deep.exists());
        within_folders(Some(&deep), || Ok(())).expect("room");
        assert!(deep.is_dir());
    }

    #[cfg(unix)]
    #[test]
    fn a_device_and_a_link_stay_what_they_are() {
        use std::os::unix::fs::{FileTypeExt as _, symlink};
        let folder = tempfile::tempdir().expect("a folder");
        let link = folder.path().join("link");
        let whole = |file: &mut dyn Write| Ok(file.write_all(b"all")?);
        symlink("target", &link).expect("a link");
        fs::write(folder.path().join("target"), "old").expect("a file");
        assert_eq!(replace(&link, whole).expect("room"), 3);
        assert!(link.symlink_metadata().expect("it is there").is_symlink());
        let target = fs::read_to_string(folder.path().join("target"));
        assert_eq!(target.expect("a file"), "all");
        let socket = folder.path().join("socket");
        let _listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
        replace(&socket, whole).expect_err("no file");
        let kind = socket.metadata().expect("it is there").file_type();
        assert!(kind.is_socket());
    }

    #[test]
    fn stdout_takes_no_folder() {
        for form in ["tensorboard", "tb"] {
            let line = ["export", "no-such-run", "--to", form, "--output", "-"];
            let line = Line::try_parse_from(line).expect("good flags");
            let refused = run(&line.arguments).expect_err("no folder");
            assert_eq!(refused.code, 2);
            assert!(refused.message.contains("stdout"), "{}", refused.message);
        }
    }
}
