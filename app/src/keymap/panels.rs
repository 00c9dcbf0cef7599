//! Keys of single screens in other places: `"config w" = ["W"]` in a person's own file.
//!
//! A screen knows the keys of its own table ([`crate::panels::Panel::keys`]); what is pressed is translated into them, and
//! what footer and help show is translated back. `* j` is the key `j` of every screen that has one. Fields that take text,
//! questions and Esc are left alone.

use crate::panels;

/// The name that stands for every screen.
pub const EVERY: &str = "*";

/// One key of a screen's table with the keys in its place.
#[derive(Clone, Debug)]
struct Moved {
    screen: String,
    usual: String,
    keys: Vec<String>,
}

/// The keys that were given other places.
#[derive(Clone, Debug, Default)]
pub struct PanelKeys {
    moved: Vec<Moved>,
}

/// A screen and one of its keys, if that is what a line names.
pub fn parse(line: &str) -> Option<(&str, &str)> {
    let (screen, key) = line.trim().split_once(char::is_whitespace)?;
    let known = screen == EVERY || panels::all().iter().any(|p| panels::name(&**p) == screen);
    known.then_some((screen, key.trim()))
}

/// The keys of a screen's table.
fn table(screen: &str) -> Vec<&'static str> {
    let mut keys = Vec::new();
    for panel in panels::all() {
        if screen == EVERY || panels::name(&*panel) == screen {
            keys.extend(panel.keys().iter().flat_map(|key| key.keys));
        }
    }
    keys
}

impl PanelKeys {
    /// Gives a key of a screen these keys in its place.
    ///
    /// # Errors
    /// If the screen has no such key, or one of the keys is none; one line.
    pub fn bind(&mut self, screen: &str, usual: &str, keys: Vec<String>) -> Result<(), String> {
        let table = table(screen);
        if !table.contains(&usual) {
            let mut known: Vec<&str> = Vec::new();
            for key in table {
                if !known.contains(&key) {
                    known.push(key);
                }
            }
            return Err(format!(
                "{screen} has no key {usual:?} of its own; it has {}",
                known.join(" ")
            ));
        }
        if let Some(key) = keys.iter().find(|key| !super::is_key(key)) {
            return Err(super::no_key(key));
        }
        self.moved
            .retain(|moved| moved.screen != screen || moved.usual != usual);
        self.moved.push(Moved {
            screen: screen.to_owned(),
            usual: usual.to_owned(),
            keys,
        });
        Ok(())
    }

    /// What holds on a screen: its own lines, and those of every screen where it has none for that key.
    fn of<'a>(&'a self, screen: &'a str) -> impl Iterator<Item = &'a Moved> + Clone {
        let own = move |moved: &&Moved| moved.screen == screen;
        let every = move |moved: &&Moved| {
            let mut others = self.moved.iter().filter(own);
            moved.screen == EVERY && !others.any(|other| other.usual == moved.usual)
        };
        self.moved
            .iter()
            .filter(own)
            .chain(self.moved.iter().filter(every))
    }

    /// A key that was pressed as the screen's table spells it; none where the screen has given that key away.
    pub fn usual<'a>(&'a self, screen: &'a str, key: &'a str) -> Option<&'a str> {
        let mut moved = self.of(screen);
        let mut has = moved.clone().filter(|m| m.keys.iter().any(|k| k == key));
        match has.next() {
            Some(found) => Some(&found.usual),
            None if moved.any(|m| m.usual == key) => None,
            None => Some(key),
        }
    }

    /// The keys that are pressed on a screen for those of its table.
    pub fn pressed(&self, screen: &str, usual: &[&str]) -> Vec<String> {
        let of = |key: &&str| match self.of(screen).find(|m| m.usual == *key) {
            Some(moved) => moved.keys.clone(),
            None => vec![(*key).to_owned()],
        };
        usual.iter().flat_map(of).collect()
    }

    /// A key that one screen has for two of its own, with both as lines of a file.
    pub fn twice(&self) -> Option<(String, String, String)> {
        for panel in panels::all() {
            let screen = panels::name(&*panel);
            let mut seen: Vec<(String, &str)> = Vec::new();
            for usual in panel.keys().iter().flat_map(|key| key.keys) {
                for key in self.pressed(&screen, &[usual]) {
                    let before = seen.iter().find(|(have, _)| *have == key);
                    if let Some((_, other)) = before.filter(|(_, other)| other != usual) {
                        return Some((
                            key,
                            format!("{screen} {other}"),
                            format!("{screen} {usual}"),
                        ));
                    }
                    seen.push((key, usual));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moved(lines: &[(&str, &[&str])]) -> PanelKeys {
        let mut keys = PanelKeys::default();
        for (line, to) in lines {
            let (screen, usual) = parse(line).unwrap();
            let to = to.iter().map(|key| (*key).to_owned()).collect();
            keys.bind(screen, usual, to).unwrap();
        }
        keys
    }

    #[test]
    fn no_screen_has_a_key_twice() {
        assert_eq!(PanelKeys::default().twice(), None);
    }

    #[test]
    fn a_key_is_translated_there_and_back() {
        let keys = moved(&[
            ("config w", &["W", "f2"]),
            ("* j", &["ctrl-n"]),
            ("log j", &["J"]),
            ("samples j", &[]),
        ]);
        for (screen, pressed, usual) in [
            ("config", "W", Some("w")),
            ("config", "f2", Some("w")),
            ("config", "w", None),
            ("layers", "w", Some("w")),
            ("config", "ctrl-n", Some("j")),
            ("config", "j", None),
            ("log", "J", Some("j")),
            ("log", "ctrl-n", Some("ctrl-n")),
            ("samples", "j", None),
            ("config", "k", Some("k")),
        ] {
            assert_eq!(keys.usual(screen, pressed), usual, "{screen} {pressed}");
        }
        assert_eq!(keys.pressed("config", &["w", "v"]), ["W", "f2", "v"]);
        assert_eq!(keys.pressed("samples", &["j", "k"]), ["k"]);
        assert_eq!(keys.twice(), None);
    }

    #[test]
    fn what_cannot_be_is_told() {
        for line in ["cellar w", "eval", "config", "cursor left"] {
            assert_eq!(parse(line), None, "{line}");
        }
        let mut keys = PanelKeys::default();
        let why = keys.bind("config", "Q", vec!["W".into()]).unwrap_err();
        assert!(why.contains("no key \"Q\"") && why.contains(" w "), "{why}");
        let why = keys.bind("config", "w", vec!["ww".into()]).unwrap_err();
        assert!(why.contains("is no key"), "{why}");
        let keys = moved(&[("config w", &["v"])]);
        let (key, one, other) = keys.twice().unwrap();
        assert_eq!((&*key, &*one, &*other), ("v", "config w", "config v"));
    }
}
