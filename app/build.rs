//! Notes the commit that the program is built from, where there is one, and the compiler.

use std::ffi::OsStr;
use std::process::Command;

/// The first line that a program prints, if it ends well.
fn line(program: impl AsRef<OsStr>, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    output.status.success().then_some(text)
}

fn main() {
    let unknown = || "unknown".to_owned();
    let commit = line("git", &["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(unknown);
    println!("cargo::rustc-env=ZEROLLM_COMMIT={commit}");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = line(compiler, &["--version"]).unwrap_or_else(unknown);
    println!("cargo::rustc-env=ZEROLLM_RUSTC={version}");
    // Git notes every commit, checkout and merge there, in a linked worktree too. Without it this runs with every build.
    let log = line("git", &["rev-parse", "--git-path", "logs/HEAD"]);
    let log = log.unwrap_or_else(|| "../.git/logs/HEAD".to_owned());
    println!("cargo::rerun-if-changed={log}");
}
