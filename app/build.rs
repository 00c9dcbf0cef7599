//! Notes the commit that the program is built from, where there is one, and the compiler.

use std::process::Command;

fn main() {
    let output = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output();
    let commit = output
        .ok()
        .filter(|output| output.status.success())
        .map_or_else(
            || "unknown".to_owned(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        );
    println!("cargo::rustc-env=ZEROLLM_COMMIT={commit}");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let version = Command::new(compiler).arg("--version").output();
    let version = version
        .ok()
        .filter(|output| output.status.success())
        .map_or_else(
            || "unknown".to_owned(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        );
    println!("cargo::rustc-env=ZEROLLM_RUSTC={version}");
    // A commit changes the file that HEAD names, a checkout HEAD itself.
    let head = "../.git/HEAD";
    println!("cargo::rerun-if-changed={head}");
    let branch = std::fs::read_to_string(head).unwrap_or_default();
    if let Some(name) = branch.trim().strip_prefix("ref: ") {
        println!("cargo::rerun-if-changed=../.git/{name}");
    }
}
