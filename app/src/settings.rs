//! How a person likes the screen: `settings.toml` in the configuration folder (`XDG_CONFIG_HOME`, else `~/.config`, then
//! `zerollm`), environment variables, flags; the later beat the earlier.
//!
//! Nobody has to say anything: then the terminal and the locale decide ([`crate::ui::Options::from_environment`]).

use std::path::PathBuf;

use toml_edit::{Document, Item};

use crate::bell::{Form, Least, Wishes};
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
    /// When the terminal's bell rings.
    pub bell: Option<Least>,
    /// How the terminal is told of an alert.
    pub notify: Option<Form>,
    /// When it is.
    pub notify_level: Option<Least>,
    /// Whether tmux shall hand that on.
    pub tmux_passthrough: Option<bool>,
}

/// The keys with what they take.
const KEYS: [(&str, &str); 8] = [
    ("theme", "auto, dark, light, colour-blind, 16 or none"),
    ("lang", "en or zh"),
    ("glyphs", "braille, octant, block or ascii"),
    ("mouse", "true or false"),
    ("bell", "off, warning or error"),
    ("notify", "off, osc9 or osc777"),
    ("notify_level", "warning or error"),
    ("tmux_passthrough", "true or false"),
];

/// A word for yes or no.
fn flag(word: &str) -> Option<bool> {
    match word {
        "true" | "on" => Some(true),
        "false" | "off" => Some(false),
        _ => None,
    }
}

impl Settings {
    /// Sets one key from a word. False if the key does not take it.
    fn set(&mut self, key: &str, word: &str) -> bool {
        fn taken<T>(place: &mut Option<T>, value: Option<T>) -> bool {
            *place = value;
            place.is_some()
        }
        match key {
            "theme" => taken(&mut self.theme, Wanted::parse(word)),
            "lang" => taken(&mut self.lang, Lang::parse(word)),
            "glyphs" => taken(&mut self.glyphs, GlyphSet::parse(word)),
            "bell" => taken(&mut self.bell, Least::parse(word)),
            "notify" => taken(&mut self.notify, Form::parse(word)),
            "notify_level" => {
                let level = Least::parse(word).filter(|level| *level != Least::Off);
                taken(&mut self.notify_level, level)
            }
            "tmux_passthrough" => taken(&mut self.tmux_passthrough, flag(word)),
            _ => taken(&mut self.mouse, flag(word)),
        }
    }

    /// How the person is told of alerts. `in_tmux`: whether tmux has the terminal.
    pub fn bell(self, in_tmux: bool) -> Wishes {
        let usual = Wishes::default();
        Wishes {
            bell: self.bell.unwrap_or(usual.bell),
            notify: self.notify.unwrap_or(usual.notify),
            notify_level: self.notify_level.unwrap_or(usual.notify_level),
            tmux: in_tmux && self.tmux_passthrough.unwrap_or(usual.tmux),
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

    /// The settings of the environment: `ZEROLLM_THEME`, `ZEROLLM_LANG` and so on, a variable a key; `NO_COLOR` is the
    /// theme none.
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
            bell: self.bell.or(weaker.bell),
            notify: self.notify.or(weaker.notify),
            notify_level: self.notify_level.or(weaker.notify_level),
            tmux_passthrough: self.tmux_passthrough.or(weaker.tmux_passthrough),
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
        let text = "theme = \"light\"\nlang = \"zh\"\nglyphs = \"octant\"\nmouse = false\n\
            bell = \"error\"\nnotify = \"osc9\"\nnotify_level = \"error\"\ntmux_passthrough = true\n";
        let all = Settings::read(text).unwrap();
        assert_eq!(
            all,
            Settings {
                theme: Some(Wanted::Palette(Palette::Light)),
                lang: Some(Lang::Zh),
                glyphs: Some(GlyphSet::Octant),
                mouse: Some(false),
                bell: Some(Least::Error),
                notify: Some(Form::Osc9),
                notify_level: Some(Least::Error),
                tmux_passthrough: Some(true),
            }
        );
        assert!(all.bell(true).tmux && !all.bell(false).tmux);
        assert_eq!(Settings::default().bell(true), Wishes::default());
        for (text, line, part) in [
            ("theme = \"pink\"", 1, "expected auto, dark, light"),
            ("\ncolor = 1", 2, "there is no setting color"),
            ("mouse = 3", 1, "true or false"),
            ("[theme]\na = 1", 1, "expected"),
            ("bell = \"loud\"", 1, "off, warning or error"),
            ("\n\nnotify_level = \"off\"", 3, "expected warning or error"),
            ("notify = true", 1, "osc777"),
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
