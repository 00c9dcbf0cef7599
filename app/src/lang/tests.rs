//! The choice of the language, and that every text says in Chinese what it says in English.

use std::path::Path;

use super::*;
use crate::workbench::chinese::english;

#[test]
fn the_environment_chooses() {
    let with = |pairs: &'static [(&str, &str)]| {
        Lang::detect(|key| {
            let found = pairs.iter().find(|p| p.0 == key);
            found.map(|p| p.1.to_owned())
        })
    };
    assert_eq!(with(&[("LANG", "zh_CN.UTF-8")]), Lang::Zh);
    assert_eq!(with(&[("LANG", "zh_CN.UTF-8"), ("LC_ALL", "C")]), Lang::En);
    assert_eq!(with(&[("LANG", "zh_TW"), ("LC_ALL", "")]), Lang::Zh);
    assert_eq!(with(&[]), Lang::En);
    assert_eq!(Lang::parse("zh"), Some(Lang::Zh));
}

/// Every text of the sources, also of those that no test draws: its Chinese holds no English, and both have the same gaps.
#[test]
fn every_text_is_in_both_languages() {
    let mut texts = Vec::new();
    read(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut texts,
    );
    assert!(texts.len() > 300, "{} texts are too few", texts.len());
    for (en, zh) in texts {
        let left = english(&zh);
        assert!(left.is_empty(), "{en:?}: {left:?}");
        let gaps = |text: &str| {
            let behind = text.split('{').skip(1);
            let mut gaps: Vec<String> = behind
                .filter_map(|behind| Some(behind.split_once('}')?.0.to_owned()))
                .collect();
            gaps.sort();
            gaps
        };
        assert_eq!(gaps(&en), gaps(&zh), "{en:?} and {zh:?}");
    }
}

/// The pairs of every `Text::new` with two literals below a folder, its tests left out.
fn read(folder: &Path, texts: &mut Vec<(String, String)>) {
    for entry in std::fs::read_dir(folder).expect("the sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            read(&path, texts);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let source = std::fs::read_to_string(&path).expect("a source");
            let source = source.split("mod tests {").next().unwrap_or_default();
            for call in source.split("Text::new(").skip(1) {
                let first = literal(call);
                let second = first.as_ref().and_then(|(_, rest)| {
                    let rest = rest.trim_start().strip_prefix(',')?;
                    literal(rest)
                });
                if let (Some((en, _)), Some((zh, _))) = (first, second) {
                    texts.push((en, zh));
                }
            }
        }
    }
}

/// The literal at the beginning of a source, and what is behind it.
fn literal(source: &str) -> Option<(String, &str)> {
    let inside = source.trim_start().strip_prefix('"')?;
    let mut escaped = false;
    let end = inside.find(|c| {
        let is_end = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        is_end
    })?;
    Some((inside[..end].to_owned(), &inside[end + 1..]))
}
