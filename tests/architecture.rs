//! Rules of the workspace that no compiler checks: which crate may use which, where `unsafe` may stand, how long a file may
//! be, that every registered thing is documented, that code is ASCII, and words that no finished code holds.
//!
//! Each test lists every offence with its file and line. `architecture/source.rs` tells code, comments and strings apart.

#[path = "architecture/source.rs"]
mod source;

use engine::registry::SLOTS;
use source::Source;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Our crates and those of ours that each may use.
const ARROWS: [(&str, &[&str]); 4] = [
    ("app", &["engine", "kernels", "tokenizer"]),
    ("engine", &["kernels", "tokenizer"]),
    ("kernels", &[]),
    ("tokenizer", &[]),
];
/// Longest source, in lines.
const LONGEST: usize = 600;

fn root() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    root.canonicalize().expect("the workspace")
}

/// A text of the workspace.
struct Text {
    /// Path from the root, with slashes.
    path: String,
    text: String,
}

impl Text {
    fn is(&self, ends: &[&str]) -> bool {
        ends.iter().any(|end| self.path.ends_with(end))
    }
}

/// Every text below `folder` but hidden ones, builds, runs, fixtures and pictures of screens.
fn texts(root: &Path, folder: &Path, found: &mut Vec<Text>) {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)
        .expect("a readable folder")
        .map(|entry| entry.expect("readable").path())
        .collect();
    entries.sort();
    for path in entries {
        let name = path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let hidden = name.starts_with('.') && name != ".ci";
        if hidden || ["target", "runs", "fixtures", "snapshots"].contains(&&*name) {
            continue;
        }
        if path.is_dir() {
            texts(root, &path, found);
        } else if let Ok(text) = fs::read_to_string(&path) {
            let path = path.strip_prefix(root).expect("below the root");
            let path = path.to_string_lossy().replace('\\', "/");
            found.push(Text { path, text });
        }
    }
}

fn workspace() -> Vec<Text> {
    let mut found = Vec::new();
    texts(&root(), &root(), &mut found);
    assert!(
        found.len() > 100,
        "only {} files: not the workspace",
        found.len()
    );
    found
}

fn rust() -> Vec<(String, Source)> {
    let sources = workspace().into_iter().filter(|text| text.is(&[".rs"]));
    sources
        .map(|text| (text.path, Source::of(&text.text)))
        .collect()
}

/// Fails with all offences, if there are any.
fn none(offences: &[String], rule: &str) {
    assert!(offences.is_empty(), "{rule}:\n  {}", offences.join("\n  "));
}

/// Lines (from 1) of `text` that `is_offence`, as `path:line`.
fn lines(path: &str, text: &str, is_offence: impl Fn(&str) -> bool) -> Vec<String> {
    let numbered = text.lines().zip(1..);
    numbered
        .filter(|(line, _)| is_offence(line))
        .map(|(line, number)| format!("{path}:{number}: {}", line.trim()))
        .collect()
}

/// Whether `word` stands in `line` as a word of its own.
fn has_word(line: &str, word: &str) -> bool {
    let inside = |c: Option<char>| c.is_some_and(|c| c == '_' || c.is_alphanumeric());
    line.match_indices(word).any(|(at, _)| {
        !inside(line[..at].chars().next_back()) && !inside(line[at + word.len()..].chars().next())
    })
}

/// Packages that a manifest's dependency tables name, whatever they are called there.
fn dependencies(manifest: &toml_edit::Table) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (key, item) in manifest {
        let Some(table) = item.as_table_like() else {
            continue;
        };
        if key.ends_with("dependencies") {
            for (name, value) in table.iter() {
                let package = value.get("package").and_then(toml_edit::Item::as_str);
                found.insert(package.unwrap_or(name).to_owned());
            }
        } else if let Some(table) = item.as_table() {
            // `[target.'cfg(..)'.dependencies]`.
            found.extend(dependencies(table));
        }
    }
    found
}

#[test]
fn crates_use_only_those_below_them() {
    let read = |path: PathBuf| -> toml_edit::DocumentMut {
        let text = fs::read_to_string(&path).expect("a manifest");
        text.parse().expect("valid TOML")
    };
    let workspace = read(root().join("Cargo.toml"));
    let members = workspace["workspace"]["members"]
        .as_array()
        .expect("a list");
    let members: Vec<_> = members
        .iter()
        .filter_map(toml_edit::Value::as_str)
        .collect();
    assert_eq!(
        members,
        ARROWS.map(|(name, _)| name),
        "the workspace's members"
    );
    let ours: Vec<&str> = ARROWS
        .iter()
        .map(|(name, _)| *name)
        .chain(["zerollm"])
        .collect();
    let mut offences = Vec::new();
    for (name, allowed) in ARROWS {
        let manifest = read(root().join(name).join("Cargo.toml"));
        for used in dependencies(&manifest) {
            if ours.contains(&&*used) && !allowed.contains(&&*used) {
                offences.push(format!("{name}/Cargo.toml: {name} -> {used}"));
            }
        }
    }
    none(&offences, "a crate uses one that it must not know");
}

/// Where unsafe code may stand.
fn may_be_unsafe(path: &str) -> bool {
    let below = |folders: &[&str]| folders.iter().any(|folder| path.starts_with(folder));
    let in_kernel = |group: &str| {
        let rest = path
            .strip_prefix("kernels/src/")
            .and_then(|rest| rest.strip_prefix(group));
        rest.and_then(|rest| rest.split_once('/'))
            .is_some_and(|(_, file)| file == "cpu.rs" || file.starts_with("cpu/"))
    };
    below(&[
        "kernels/src/cpu/",
        "kernels/src/gpu/",
        "kernels/src/arena/",
        "kernels/tests/",
    ]) || ["kernels/src/file_map.rs", "engine/src/tape/run.rs"].contains(&path)
        || in_kernel("ops/")
        || in_kernel("update/")
}

#[test]
fn the_rules_tell_right_from_wrong() {
    let places = [
        ("kernels/src/ops/attention/cpu/tile.rs", true),
        ("kernels/src/ops/add/cpu.rs", true),
        ("kernels/src/ops/add/mod.rs", false),
        ("kernels/src/ops/add/gpu.rs", false),
        ("kernels/src/update/adamw/cpu.rs", true),
        ("kernels/src/op.rs", false),
        ("engine/src/tape/run.rs", true),
        ("engine/src/tape/plan.rs", false),
        ("app/src/main.rs", false),
    ];
    for (path, allowed) in places {
        assert_eq!(may_be_unsafe(path), allowed, "{path}");
    }
    assert!(has_word("let x = unsafe { y };", "unsafe"));
    assert!(!has_word("#![expect(unsafe_code)]", "unsafe"));
    let manifest = "[dependencies]\nserde.workspace = true\n[dev-dependencies]\nx = { package = \"engine\" }\n\
        [target.'cfg(unix)'.build-dependencies]\nkernels = \"1\"\n";
    let manifest: toml_edit::DocumentMut = manifest.parse().unwrap();
    let found: Vec<String> = dependencies(&manifest).into_iter().collect();
    assert_eq!(found, ["engine", "kernels", "serde"]);
}

#[test]
fn unsafe_code_stands_in_its_places() {
    let mut offences = Vec::new();
    for (path, source) in rust() {
        if !may_be_unsafe(&path) {
            offences.extend(lines(&path, &source.code, |line| {
                has_word(line, "unsafe") || has_word(line, "unsafe_code")
            }));
        }
    }
    none(&offences, "unsafe outside kernels and the tape's replay");
}

#[test]
fn sources_are_short() {
    let offences: Vec<_> = workspace()
        .iter()
        .filter(|text| text.is(&[".rs", ".cu", ".cuh", ".py", ".sh"]))
        .map(|text| (text.text.lines().count(), &text.path))
        .filter(|(count, _)| *count > LONGEST)
        .map(|(count, path)| format!("{path}: {count} lines"))
        .collect();
    none(&offences, "longer than 600 lines");
}

#[test]
fn sources_say_what_they_are_for() {
    let mut offences = Vec::new();
    for (path, source) in rust() {
        // A module of tests is about its parent.
        let of_parent = ["/tests.rs", "/tests/mod.rs"];
        let of_parent = of_parent.iter().any(|end| path.ends_with(end));
        if !of_parent && !source.comments.trim_start().starts_with("//!") {
            offences.push(path);
        }
    }
    none(&offences, "a source without a module comment (//!)");
}

#[test]
fn everything_registered_is_documented() {
    let mut offences = Vec::new();
    let mut need = |what: String, doc: &str| {
        if doc.trim().is_empty() || doc.contains('\n') {
            offences.push(format!("{what}: {doc:?} is not one line"));
        }
    };
    for slot in SLOTS {
        need(slot.path.to_owned(), slot.doc);
        for (index, variant) in slot.variants.iter().enumerate() {
            let name = format!("{} {}", slot.path, variant.kind);
            need(name.clone(), variant.summary);
            need(name.clone(), variant.reference);
            for key in slot.keys_of(index) {
                need(format!("{name}, {}", key.name), key.doc);
            }
        }
    }
    for op in kernels::ops::OPS {
        need(format!("operation {}", op.name), op.formula);
        let folder = root().join("kernels/src/ops").join(op.name);
        need(
            format!("operation {}, its folder", op.name),
            if folder.join("mod.rs").is_file() {
                "there"
            } else {
                ""
            },
        );
    }
    for split in tokenizer::split::SPLITS {
        need(format!("split {}", split.name()), split.help());
    }
    none(&offences, "registered without a description");
}

/// Whether strings may hold other than ASCII: words of the screen, and tests of text.
fn may_hold_text(path: &str) -> bool {
    path.starts_with("app/src/")
        || ["/tests/", "/tests.rs"]
            .iter()
            .any(|part| path.contains(part))
        || path.starts_with("tests/")
}

#[test]
fn code_is_ascii() {
    let mut offences = Vec::new();
    for file in workspace() {
        let Text { path, text } = &file;
        if file.is(&[".rs"]) {
            let source = Source::of(text);
            let strings = if may_hold_text(path) {
                ""
            } else {
                &source.strings
            };
            for part in [&source.code, &source.comments, strings] {
                offences.extend(lines(path, part, |line| !line.is_ascii()));
            }
        } else if file.is(&[".toml", ".py", ".sh", ".cu", ".cuh"]) {
            offences.extend(lines(path, text, |line| !line.is_ascii()));
        }
    }
    none(
        &offences,
        "other than ASCII outside the text of screen and tests",
    );
}

#[test]
fn kernels_use_only_names_of_the_prelude() {
    // One compiler's own words; the two texts of the prelude alone say which compiler reads them.
    let words = [
        "threadIdx",
        "blockIdx",
        "blockDim",
        "gridDim",
        "__syncthreads",
    ];
    let starts = ["asm", "__shfl", "#include"];
    let is_offence = |line: &str| {
        let code = line.split("//").next().unwrap_or(line);
        words.iter().any(|word| has_word(code, word))
            || starts.iter().any(|start| {
                let parts = code.split(|c: char| c.is_whitespace() || "(;{}=,".contains(c));
                parts.into_iter().any(|part| match *start {
                    "asm" => part == "asm",
                    start => part.starts_with(start),
                })
            })
    };
    for wrong in [
        "x = threadIdx.x;",
        "  asm volatile(\"\");",
        "y = __shfl_sync(~0u, y, 0);",
        "#include <a.h>",
    ] {
        assert!(is_offence(wrong), "{wrong}");
    }
    for right in [
        "int plasma;  // no asm(\"\")",
        "BARRIER();",
        "float as = m(a);",
    ] {
        assert!(!is_offence(right), "{right}");
    }
    let kernels = workspace();
    let kernels = kernels
        .iter()
        .filter(|text| text.is(&[".cu", ".cuh"]) && !text.is(&["/prelude.cuh", "/hopper.cuh"]));
    let offences: Vec<String> = kernels
        .flat_map(|text| lines(&text.path, &text.text, is_offence))
        .collect();
    none(&offences, "a kernel names what only one compiler knows");
}

#[test]
fn nothing_is_unfinished() {
    let mut offences = Vec::new();
    for (path, source) in rust() {
        offences.extend(lines(&path, &source.code, |line| {
            let calls = ["todo!", "unimplemented!", "dbg!"];
            calls.iter().any(|call| line.contains(call)) || line.contains("#[ignore")
        }));
        offences.extend(lines(&path, &source.comments, |line| {
            ["TODO", "FIXME", "XXX"]
                .iter()
                .any(|word| has_word(line, word))
        }));
    }
    none(&offences, "unfinished, or left from a search for a fault");
}

#[test]
fn no_path_of_one_machine_is_written_down() {
    // In two parts, so that this list is not found itself.
    let paths = [
        ("/wo", "rk/"),
        ("/tmp/", "target"),
        ("/ro", "ot/"),
        ("/home", "/runner"),
    ];
    let paths = paths.map(|(a, b)| format!("{a}{b}"));
    let mut offences = Vec::new();
    for text in workspace() {
        offences.extend(lines(&text.path, &text.text, |line| {
            paths.iter().any(|path| line.contains(path))
        }));
    }
    none(&offences, "a path that only one machine has");
}
