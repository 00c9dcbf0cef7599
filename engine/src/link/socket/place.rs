//! Where a run's socket lies: in a folder that is this user's alone, under a name made from the run's folder.

use super::SocketError;
use rustix::process::getuid;
use std::fs::{self, DirBuilder, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Names that are tried where another machine's or container's run of the same path has the first.
const TRIES: u32 = 16;
/// A socket that nobody answers for so long is left over from a process that was killed.
const STALE: Duration = Duration::from_mins(1);

/// The folders that may hold sockets, the best first.
pub(super) fn folders() -> Vec<PathBuf> {
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    let runtime = runtime.filter(|path| path.is_absolute());
    let own = format!("/tmp/zerollm-{}", getuid().as_raw());
    let mut found: Vec<PathBuf> = runtime
        .map(|path| path.join("zerollm"))
        .into_iter()
        .collect();
    found.push(own.into());
    found
}

/// Binds the socket of a run, whose lock the caller holds, in the first of `folders` that can have it. What dead processes
/// have left there is removed.
pub(super) fn bind(
    run: &Path,
    folders: &[PathBuf],
) -> Result<(UnixListener, PathBuf), SocketError> {
    let mut refused = None;
    // Of a name that is no text, control.json could not say where the socket is.
    let tellable = folders.iter().filter(|folder| folder.to_str().is_some());
    for folder in tellable {
        match claim(folder).and_then(|()| bind_in(run, folder)) {
            Ok(bound) => return Ok(bound),
            Err(error) => refused = refused.or(Some(error)),
        }
    }
    Err(refused.unwrap_or_else(|| SocketError::Folder {
        path: PathBuf::from("/tmp"),
        message: "no folder can hold a socket".to_owned(),
    }))
}

/// Makes the folder, or checks that nobody else can put anything into it.
fn claim(folder: &Path) -> Result<(), SocketError> {
    let fault = |action| move |error| SocketError::io(folder, action, error);
    match DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            return Err(fault("make the folder")(error));
        }
        _ => {}
    }
    let found = fs::symlink_metadata(folder).map_err(fault("look at the folder"))?;
    if !found.is_dir() || found.uid() != getuid().as_raw() {
        return Err(SocketError::Folder {
            path: folder.to_owned(),
            message: "it is no folder of this user's; set XDG_RUNTIME_DIR to one that is"
                .to_owned(),
        });
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(folder, Permissions::from_mode(0o700))
            .map_err(fault("close the folder to others"))?;
    }
    Ok(())
}

fn bind_in(run: &Path, folder: &Path) -> Result<(UnixListener, PathBuf), SocketError> {
    sweep(folder);
    let whole = run.canonicalize();
    let whole = whole.map_err(|error| SocketError::io(run, "look at the folder", error))?;
    let hash = blake3::hash(whole.as_os_str().as_encoded_bytes()).to_hex();
    let mut path = PathBuf::new();
    for number in 0..TRIES {
        path = folder.join(format!("{}-{number}.sock", &hash[..16]));
        // The run's lock is ours: an engine that answers here has a run of this path elsewhere.
        if UnixStream::connect(&path).is_ok() {
            continue;
        }
        drop(fs::remove_file(&path));
        match UnixListener::bind(&path) {
            Ok(listener) => {
                fs::set_permissions(&path, Permissions::from_mode(0o600))
                    .map_err(|error| SocketError::io(&path, "close the socket to others", error))?;
                return Ok((listener, path));
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) => return Err(SocketError::io(&path, "make the socket", error)),
        }
    }
    let taken = std::io::Error::from(ErrorKind::AddrInUse);
    Err(SocketError::io(&path, "make the socket", taken))
}

/// Removes sockets of processes that were killed. Young ones stay: one that is bound may not be listened to yet.
fn sweep(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let old = fs::symlink_metadata(&path)
            .and_then(|found| found.modified())
            .is_ok_and(|time| time.elapsed().unwrap_or_default() > STALE);
        let refused = || {
            UnixStream::connect(&path)
                .is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
        };
        if old && refused() {
            // Somebody else may have removed it.
            drop(fs::remove_file(&path));
        }
    }
}
