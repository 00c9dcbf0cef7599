//! How a person likes the screen: `settings.toml` in the configuration folder (`XDG_CONFIG_HOME`, else `~/.config`, then
//! `zerollm`), environment variables, flags; the later beat the earlier.
//!
//! Nobody has to say anything: then the terminal and the locale decide ([`crate::ui::Options::from_environment`]).

use std::path::PathBuf;

use toml_edit::{Document, Item};

use crate::chart::glyph::GlyphSet;
use crate::lang::Lang;
use crate::theme::{Palette, Wanted};

/// What was said; nothing where nobody did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    /// Colours.
    pub theme: Option<Wanted>,
    /// Language.
    pub lang: Option<Lang>,
    /// Characters of charts.
    pub glyphs: Option<GlyphSet>,
    /// Whether the screen takes the mouse.
    pub mouse: Option<bool>,
}

/// The keys with what they take.
const KEYS: [(&str, &str); 4] = [
    ("theme", "auto, dark, light, colour-blind, 16 or none"),
    ("lang", "en or zh"),
    ("glyphs", "braille, octant, block or ascii"),
    ("mouse", "true or false"),
];

impl Settings {
    /// Sets one key from a word. False if the key does not take it.
    fn set(&mut self, key: &str, word: &str) -> bool {
        match key {
            "theme" => self.theme = Wanted::parse(word),
            "lang" => self.lang = Lang::parse(word),
            "glyphs" => self.glyphs = GlyphSet::parse(word),
            _ => {
                self.mouse = match word {
                    "true" | "on" => Some(true),
                    "false" | "off" => Some(false),
                    _ => None,
                };
                return self.mouse.is_some();
            }
        }
        match key {
            "theme" => self.theme.is_some(),
            "lang" => self.lang.is_some(),
            _ => self.glyphs.is_some(),
        }
    }

    /// The settings of a file's text; an error with its line.
    fn read(text: &str) -> Result<Self, (usize, String)> {
        let at = |span: Option<std::ops::Range<usize>>| span.map_or(1, |s| line_of(text, s.start));
        let document = Document::parse(text)
            .map_err(|error| (at(error.span()), error.message().replace('\n', "; ")))?;
        let mut settings = Self::default();
        for (key, item) in document.as_table() {
            let here = at(item.span());
            let Some((_, takes)) = KEYS.iter().find(|(name, _)| *name == key) else {
                let names = KEYS.map(|(name, _)| name).join(", ");
                return Err((
                    here,
                    format!("there is no setting {key}; there are {names}"),
                ));
            };
            let word = match item {
                Item::Value(value) => match (value.as_str(), value.as_bool()) {
                    (Some(word), _) => word.to_owned(),
                    (_, Some(flag)) => flag.to_string(),
                    _ => value.to_string().trim().to_owned(),
                },
                _ => String::new(),
            };
            if !settings.set(key, &word) {
                return Err((here, format!("{key}: expected {takes}, found {word:?}")));
            }
        }
        Ok(settings)
    }

    /// The settings of the environment: `ZEROLLM_THEME`, `ZEROLLM_LANG`, `ZEROLLM_GLYPHS`, `ZEROLLM_MOUSE`; `NO_COLOR`
    /// is the theme none.
    ///
    /// # Errors
    /// If a variable does not say what it may; one line.
    pub fn environment(var: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let mut settings = Self::default();
        if var("NO_COLOR").is_some_and(|v| !v.is_empty()) {
            settings.theme = Some(Wanted::Palette(Palette::Mono));
        }
        for (key, takes) in KEYS {
            let name = format!("ZEROLLM_{}", key.to_uppercase());
            let Some(word) = var(&name).filter(|word| !word.is_empty()) else {
                continue;
            };
            if !settings.set(key, &word) {
                return Err(format!("{name}: expected {takes}, found {word:?}"));
            }
        }
        Ok(settings)
    }

    /// The settings of the person's file; none if there is no file.
    ///
    /// # Errors
    /// If it cannot be read or is not as it should be; one line.
    pub fn file(var: impl Fn(&str) -> Option<String>) -> Result<Self, String> {
        let Some(path) = folder(var).map(|folder| folder.join("settings.toml")) else {
            return Ok(Self::default());
        };
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            Err(error) => return Err(format!("{}: {error}", path.display())),
        };
        Self::read(&text).map_err(|(line, message)| format!("{}:{line}: {message}", path.display()))
    }

    /// These settings, and `weaker` where they say nothing.
    #[must_use]
    pub fn or(self, weaker: Self) -> Self {
        Self {
            theme: self.theme.or(weaker.theme),
            lang: self.lang.or(weaker.lang),
            glyphs: self.glyphs.or(weaker.glyphs),
            mouse: self.mouse.or(weaker.mouse),
        }
    }
}

/// The folder of a person's settings and keys.
pub fn folder(var: impl Fn(&str) -> Option<String>) -> Option<PathBuf> {
    let set = |name: &str| var(name).filter(|v| !v.is_empty()).map(PathBuf::from);
    // The specification tells to ignore a path that is not absolute.
    let xdg = set("XDG_CONFIG_HOME").filter(|path| path.is_absolute());
    let base = xdg.or_else(|| set("HOME").map(|home| home.join(".config")))?;
    Some(base.join("zerollm"))
}

/// The line of a byte, from 1.
pub fn line_of(text: &str, byte: usize) -> usize {
    1 + text.bytes().take(byte).filter(|b| *b == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_and_its_faults_are_told() {
        let text = "theme = \"light\"\nlang = \"zh\"\nglyphs = \"octant\"\nmouse = false\n";
        let all = Settings::read(text).unwrap();
        assert_eq!(
            all,
            Settings {
                theme: Some(Wanted::Palette(Palette::Light)),
                lang: Some(Lang::Zh),
                glyphs: Some(GlyphSet::Octant),
                mouse: Some(false),
            }
        );
        for (text, line, part) in [
            ("theme = \"pink\"", 1, "expected auto, dark, light"),
            ("\ncolor = 1", 2, "there is no setting color"),
            ("mouse = 3", 1, "true or false"),
            ("[theme]\na = 1", 1, "expected"),
            ("theme", 1, ""),
        ] {
            let (at, message) = Settings::read(text).unwrap_err();
            assert_eq!(at, line, "{text}");
            assert!(
                message.contains(part) && !message.contains('\n'),
                "{message}"
            );
        }
    }

    #[test]
    fn who_beats_whom() {
        let var = |name: &str| match name {
            "ZEROLLM_LANG" => Some("zh".to_owned()),
            "NO_COLOR" => Some("1".to_owned()),
            _ => None,
        };
        let environment = Settings::environment(var).unwrap();
        assert_eq!(environment.lang, Some(Lang::Zh));
        let file = Settings::read("theme = \"light\"\nmouse = false").unwrap();
        let both = environment.or(file);
        let mono = Some(Wanted::Palette(Palette::Mono));
        assert_eq!((both.theme, both.mouse), (mono, Some(false)));
        let auto = Settings::read("theme = \"auto\"").unwrap();
        assert_eq!(
            auto.or(file).theme,
            Some(Wanted::Auto),
            "it beats a weaker word"
        );
        let wrong = Settings::environment(|n| (n == "ZEROLLM_MOUSE").then(|| "maybe".into()));
        assert!(wrong.unwrap_err().contains("ZEROLLM_MOUSE"));
    }

    #[test]
    fn the_folder_follows_xdg() {
        let with = |pairs: &'static [(&str, &str)]| {
            folder(|key| {
                let found = pairs.iter().find(|p| p.0 == key);
                found.map(|p| p.1.to_owned())
            })
        };
        assert_eq!(with(&[("HOME", "/h")]), Some("/h/.config/zerollm".into()));
        assert_eq!(
            with(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "/x")]),
            Some("/x/zerollm".into())
        );
        assert_eq!(
            with(&[("HOME", "/h"), ("XDG_CONFIG_HOME", "x")]),
            Some("/h/.config/zerollm".into())
        );
        assert_eq!(with(&[]), None);
    }
}
