//! Transformers opens the folders that we write, where it is installed.

use super::{export, fixture, load_fixture};
use crate::hf::{Architecture, generation_config};
use crate::safetensors::{Dtype, SafeTensors};
use serde_json::{Value, json};
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// What make_hf.py exits with where a package is missing.
const NOT_INSTALLED: i32 = 77;

/// Class and logits of each folder's model as transformers computes them, or `None` (said aloud) where that library is
/// not installed. The interpreter is `ZEROLLM_TEST_PYTHON`, else `python3`.
fn library_logits(folders: &[PathBuf], inputs: &Value) -> Option<Vec<Value>> {
    let python = std::env::var("ZEROLLM_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let skip =
        || eprintln!("skipped: {python} has no torch and transformers (set ZEROLLM_TEST_PYTHON)");
    let child = Command::new(&python)
        .arg(concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/tests/fixtures/make_hf.py"
        ))
        .arg("--logits")
        .args(folders)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        skip();
        return None;
    };
    // A script that ends before it reads is judged by its exit code.
    drop(
        child
            .stdin
            .take()
            .map(|mut stdin| stdin.write_all(inputs.to_string().as_bytes())),
    );
    let output = child.wait_with_output().unwrap();
    if output.status.code() == Some(NOT_INSTALLED) {
        skip();
        return None;
    }
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

#[test]
fn the_library_computes_the_same_from_our_folders() {
    let root = tempfile::tempdir().unwrap();
    let folders = Architecture::ALL.map(|architecture| {
        let (model, names, ours) = load_fixture(architecture);
        let folder = root.path().join(architecture.model_type());
        fs::create_dir(&folder).unwrap();
        export(&folder.join("model.safetensors"), &names, &ours, Dtype::F32);
        let config = model.config_json("float32").to_string();
        fs::write(folder.join("config.json"), config).unwrap();
        let generation = generation_config(model.bos, &model.eos).to_string();
        fs::write(folder.join("generation_config.json"), generation).unwrap();
        folder
    });
    // All fixtures were made with one batch.
    let text = fs::read(fixture(Architecture::Llama).join("reference.json")).unwrap();
    let reference: Value = serde_json::from_slice(&text).unwrap();
    let Some(models) = library_logits(&folders, &reference["inputs"]) else {
        return;
    };
    assert_eq!(models.len(), folders.len());
    for (architecture, found) in Architecture::ALL.into_iter().zip(models) {
        assert_eq!(found["class"], json!(architecture.class()));
        let mut expected = vec![0.0; 2 * 16 * 64];
        let path = fixture(architecture).join("reference.safetensors");
        let mut file = SafeTensors::open(path).unwrap();
        file.read_into("logits", &mut expected).unwrap();
        let found = found["logits"].as_array().unwrap();
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(expected) {
            let found = found.as_f64().unwrap();
            assert!(
                (found - f64::from(expected)).abs() < 1e-4,
                "{architecture:?}: {found} instead of {expected}"
            );
        }
    }
}
