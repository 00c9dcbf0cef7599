//! Notes the commit that the program is built from, where there is one.

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
    println!("cargo::rerun-if-changed=../.git/HEAD");
}
