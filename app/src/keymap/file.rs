//! A person's own keys: `keys.toml` in the folder of the settings, or the file of `--keys`.
//!
//! Each line binds an action, `"pause hard" = ["H"]`, or a key of a screen, `"config w" = ["W"]`. The usual keys are taken
//! away; an empty list leaves it without.

use std::path::Path;

use toml_edit::Document;

use super::{Keymap, panels};
use crate::settings::line_of;

/// The usual keys with those of a file in their place.
///
/// # Errors
/// If the file cannot be read or is not as it should be: one line that names the file, its line, and what to do.
pub fn load(path: &Path) -> Result<Keymap, String> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).map_err(|error| format!("{shown}: {error}"))?;
    read(&text).map_err(|(line, message)| format!("{shown}:{line}: {message}"))
}

/// The keys of a text; an error with its line.
fn read(text: &str) -> Result<Keymap, (usize, String)> {
    let at =
        |span: Option<std::ops::Range<usize>>| span.map_or(1, |span| line_of(text, span.start));
    let document = Document::parse(text).map_err(|error| {
        let message = error.message().replace('\n', "; ");
        (at(error.span()), message)
    })?;
    let table = document.as_table();
    let mut keymap = Keymap::default();
    for (line, item) in table {
        let here = at(table.key(line).and_then(toml_edit::Key::span));
        let keys = item.as_array().and_then(|keys| {
            let words = keys.iter().map(|key| key.as_str().map(str::to_owned));
            words.collect::<Option<Vec<_>>>()
        });
        let Some(keys) = keys else {
            let message = format!("{line}: expected a list of keys such as [\"p\", \"space\"]");
            return Err((here, message));
        };
        let bound = match panels::parse(line) {
            Some((screen, usual)) => keymap.panels.bind(screen, usual, keys),
            None => keymap.bind(line, keys),
        };
        bound.map_err(|message| (here, message))?;
    }
    let owned =
        |(key, one, other): (&str, &str, &str)| (key.to_owned(), one.to_owned(), other.to_owned());
    let twice = keymap.twice().map(owned).or_else(|| keymap.panels.twice());
    match twice {
        None => Ok(keymap),
        Some((key, one, other)) => {
            let written = |line: &str| table.key(line).and_then(toml_edit::Key::span);
            let message = format!(
                "the key {key} is bound to both {one:?} and {other:?}: give one of them other keys, or []"
            );
            Err((at(written(&other).or_else(|| written(&one))), message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_changes_keys_and_its_faults_are_told_with_their_line() {
        let keymap =
            read("# mine\neval = [\"f5\"]\n\"cursor left\" = [\"left\"]\nsample = []\n").unwrap();
        assert_eq!(keymap.find("f5").unwrap().line, "eval");
        assert!(keymap.find("h").is_none() && keymap.find("s").is_none());
        assert_eq!(keymap.key_of("sample"), "");
        // A key that changes places.
        let keymap = read("eval = [\"s\"]\nsample = [\"e\"]\n").unwrap();
        assert_eq!(keymap.find("s").unwrap().line, "eval");
        let keymap = read("\"config w\" = [\"W\"]\n\"* pgdn\" = [\"ctrl-f\"]\n").unwrap();
        assert_eq!(keymap.panels.usual("config", "W"), Some("w"));
        assert_eq!(keymap.panels.usual("log", "ctrl-f"), Some("pgdn"));
        for (text, line, part) in [
            ("eval = [\"f5\"]\n\nevaluate = [\"x\"]", 3, "no command"),
            ("eval = \"f5\"", 1, "a list of keys"),
            ("eval = [5]", 1, "a list of keys"),
            ("eval = [\"ctrl-P\"]", 1, "no key"),
            ("\n\neval = [\"s\"]", 3, "both \"sample\" and \"eval\""),
            ("eval = [\"f5\"\nsample", 2, ""),
            ("\n\"config Q\" = [\"x\"]", 2, "config has no key"),
            ("\"config w\" = [\"v\"]", 1, "\"config w\" and \"config v\""),
        ] {
            let (at, message) = read(text).unwrap_err();
            assert_eq!(at, line, "{text}: {message}");
            assert!(
                message.contains(part) && !message.contains('\n'),
                "{message}"
            );
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_told() {
        let message = load(Path::new("/nonexistent/keys.toml")).unwrap_err();
        assert!(message.starts_with("/nonexistent/keys.toml: "), "{message}");
    }
}
