//! Layers: texts of TOML and flags as flat lists of keys, each with the place where it was written.

use std::path::{Path, PathBuf};

use toml_edit::{Document, Item, Key as TomlKey, TableLike, Value as Toml};

use super::error::{ConfigError, Place, distance, nearest};
use super::schema;
use super::value::{Value, describe, found, quote};
use crate::registry::{Key, Kind};

/// Where a value comes from, from the weakest to the strongest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    /// Nobody set it.
    Default,
    /// `model.preset`.
    Preset,
    /// The config.json of `model.init_from`.
    Import,
    /// The checkpoint that a run goes on from.
    Checkpoint,
    /// The configuration file.
    File,
    /// `--set` or another flag.
    Flag,
    /// A change made while the run was on.
    Edit,
}

impl Source {
    /// The source as a word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Preset => "preset",
            Self::Import => "init_from",
            Self::Checkpoint => "checkpoint",
            Self::File => "file",
            Self::Flag => "flag",
            Self::Edit => "edit",
        }
    }
}

/// One key that somebody wrote.
#[derive(Clone, Debug)]
pub(super) struct Assignment {
    pub(super) path: String,
    pub(super) toml: Toml,
    pub(super) place: Place,
}

/// What one author wrote.
#[derive(Clone, Debug)]
pub(super) struct Layer {
    pub(super) source: Source,
    pub(super) base: PathBuf,
    pub(super) assignments: Vec<Assignment>,
}

impl Layer {
    /// Reads a TOML text, the content of `file` (a name for errors). Paths in it are relative to `base`.
    pub(super) fn text(
        source: Source,
        file: &str,
        base: &Path,
        text: &str,
    ) -> Result<Self, ConfigError> {
        let document = Document::parse(text).map_err(|e| {
            let offset = e.span().map_or(0, |span| span.start);
            let message = e.message().replace('\n', "; ");
            Place::at(file, text, offset).error("", format!("not valid TOML: {message}"))
        })?;
        let mut assignments = Vec::new();
        let places = |offset| Place::at(file, text, offset);
        walk("", document.as_table(), &places, &mut assignments)?;
        Ok(Self {
            source,
            base: base.to_owned(),
            assignments,
        })
    }

    /// Reads one `key=value`. What does not parse as a TOML value is a text, unless it begins as a list or a quotation does;
    /// paths are relative to the current directory.
    pub(super) fn flag(source: Source, flag: &str) -> Result<Self, ConfigError> {
        let place = Place::named(if source == Source::Edit {
            "edit"
        } else {
            "--set"
        });
        let Some((key, value)) = flag.split_once('=') else {
            let message = "expected key=value, such as optimizer.lr=3e-4";
            return Err(place.error(flag, message));
        };
        let (key, value) = (key.trim(), value.trim());
        let keys = TomlKey::parse(key).map_err(|e| {
            place.error(
                key,
                format!("not a key: {}", e.message().replace('\n', "; ")),
            )
        })?;
        let path = keys.iter().map(TomlKey::get).collect::<Vec<_>>().join(".");
        let kind = schema::find(&path).next().map(|key| key.kind);
        let parsed = match (value.parse::<Toml>(), &kind) {
            (Ok(toml), _) => Some(toml),
            (Err(fault), Some(kind)) => {
                if let Some(message) = mistyped(value, kind, fault.message()) {
                    return Err(place.error(&path, message));
                }
                None
            }
            (Err(_), None) => None,
        };
        let toml = match (kind, parsed) {
            // A shell eats quotes and brackets: `--set run.name=7`, `--set data.train=a.txt`.
            (Some(Kind::Text | Kind::Choice(_) | Kind::Path), parsed) => match parsed {
                Some(toml @ Toml::String(_)) => toml,
                _ => Toml::from(value),
            },
            (Some(Kind::List(Kind::Text | Kind::Path)), parsed) => match parsed {
                Some(toml @ Toml::Array(_)) => toml,
                Some(toml @ Toml::String(_)) => Toml::Array([toml].into_iter().collect()),
                _ => Toml::Array([Toml::from(value)].into_iter().collect()),
            },
            (_, parsed) => parsed.unwrap_or_else(|| Toml::from(value)),
        };
        let mut assignments = Vec::new();
        put(
            &path,
            &Item::Value(toml),
            &place,
            &|_| place.clone(),
            &mut assignments,
        )?;
        Ok(Self {
            source,
            base: PathBuf::new(),
            assignments,
        })
    }

    /// A layer of known keys and TOML values that the program made itself; `name` is for errors.
    pub(super) fn known<'a>(
        source: Source,
        name: &str,
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, ConfigError> {
        let place = Place::named(name);
        let mut assignments = Vec::new();
        for (path, toml) in pairs {
            let toml = toml
                .parse::<Toml>()
                .map_err(|e| place.error(path, e.message().replace('\n', "; ")))?;
            assignments.push(Assignment {
                path: path.to_owned(),
                toml,
                place: place.clone(),
            });
        }
        Ok(Self {
            source,
            base: PathBuf::new(),
            assignments,
        })
    }

    /// What this layer says of `path`: the last word counts.
    pub(super) fn get(&self, path: &str) -> Option<&Assignment> {
        self.assignments.iter().rev().find(|a| a.path == path)
    }

    /// The same, read as the value of `key`.
    pub(super) fn value(&self, path: &str, key: &Key) -> Result<Option<Value>, ConfigError> {
        let Some(assignment) = self.get(path) else {
            return Ok(None);
        };
        Value::read(&assignment.toml, &key.kind, &self.base)
            .map(Some)
            .map_err(|message| assignment.place.error(path, message))
    }
}

/// What to say of a value that is no TOML, where it cannot be a text without quotation marks either: somebody began a list
/// or a quotation, and what came of it would be taken literally.
fn mistyped(value: &str, kind: &Kind, fault: &str) -> Option<String> {
    let is_list = matches!(kind, Kind::List(Kind::Text | Kind::Path));
    if !is_list && !matches!(kind, Kind::Text | Kind::Path) {
        return None;
    }
    let fault = fault.trim().replace('\n', "; ");
    let mut chars = value.chars();
    let first = chars.next()?;
    // A path may begin with a pattern such as [0-9].
    let opens = match kind {
        Kind::List(Kind::Path) => chars.as_str().trim_start().starts_with(['"', '\'']),
        _ => true,
    };
    if is_list && first == '[' && opens {
        return Some(format!(
            "begins as a list, which is written [\"a\", \"b\"]: {fault}"
        ));
    }
    if !matches!(first, '"' | '\'') {
        return None;
    }
    let rest = chars.as_str();
    match quotation_end(first, rest) {
        None => Some(format!(
            "this quotation is not closed; a text that begins with such a mark is written {}",
            quote(value)
        )),
        Some(end) if end == rest.len() => Some(format!("not valid TOML: {fault}")),
        Some(_) if is_list && format!("[{value}]").parse::<Toml>().is_ok() => Some(format!(
            "several texts are a list: write it in brackets, [{value}]"
        )),
        Some(_) => None,
    }
}

/// The byte behind the mark that closes the quotation whose opening `mark` stands before `rest`.
fn quotation_end(mark: char, rest: &str) -> Option<usize> {
    let mut chars = rest.char_indices();
    while let Some((at, c)) = chars.next() {
        if c == mark {
            return Some(at + mark.len_utf8());
        }
        if c == '\\' && mark == '"' {
            chars.next();
        }
    }
    None
}

fn walk(
    prefix: &str,
    table: &dyn TableLike,
    places: &dyn Fn(usize) -> Place,
    out: &mut Vec<Assignment>,
) -> Result<(), ConfigError> {
    for (name, item) in table.iter() {
        let path = if prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{prefix}.{name}")
        };
        let span = table.key(name).and_then(TomlKey::span).or(item.span());
        put(
            &path,
            item,
            &places(span.map_or(0, |s| s.start)),
            places,
            out,
        )?;
    }
    Ok(())
}

fn put(
    path: &str,
    item: &Item,
    place: &Place,
    places: &dyn Fn(usize) -> Place,
    out: &mut Vec<Assignment>,
) -> Result<(), ConfigError> {
    let key = schema::find(path).next();
    if schema::is_table(path) {
        if let Some(table) = item.as_table_like() {
            return walk(path, table, places, out);
        }
        let key = if path.starts_with("watch.") {
            "action"
        } else {
            "kind"
        };
        let message = format!("expected a table, such as {{ {key} = \"...\" }}");
        return Err(place.error(path, message));
    }
    match (key, item) {
        (Some(_), Item::Value(toml)) if !toml.is_inline_table() => {
            let place = toml
                .span()
                .map_or_else(|| place.clone(), |span| places(span.start));
            out.push(Assignment {
                path: path.to_owned(),
                toml: toml.clone(),
                place,
            });
            Ok(())
        }
        (Some(key), item) => {
            let found = item.as_value().map_or("a table".to_owned(), found);
            let message = format!("expected {}, found {found}", describe(&key.kind));
            let span = item.as_value().and_then(Toml::span);
            let place = span.map_or_else(|| place.clone(), |span| places(span.start));
            Err(place.error(path, message))
        }
        (None, _) => Err(place.error(path, unknown(path))),
    }
}

/// What to say of a key that does not exist: the nearest one, or the keys of its table.
fn unknown(path: &str) -> String {
    let tables = || schema::SECTIONS.iter().map(|section| section.name);
    let Some((table, name)) = path.rsplit_once('.') else {
        // A key at the top of the file, or a table that does not exist.
        let owner = schema::every().find(|(_, key)| key.name == path);
        return match (nearest(path, tables()), owner) {
            (Some(near), _) => format!("unknown table; did you mean [{near}]?"),
            (_, Some((table, _))) => format!("unknown key; did you mean {table}.{path}?"),
            _ => format!(
                "unknown table; the tables are {}",
                tables().collect::<Vec<_>>().join(", ")
            ),
        };
    };
    let here = || {
        let keys = schema::every()
            .filter(|(t, _)| *t == table)
            .map(|(_, key)| key.name);
        keys.chain(schema::tables_below(table))
    };
    if let Some(near) = nearest(name, here()) {
        return format!("unknown key; did you mean {table}.{near}?");
    }
    if let Some(near) = nearest(table, schema::tables())
        && schema::find(&format!("{near}.{name}")).next().is_some()
    {
        return format!("unknown key; did you mean {near}.{name}?");
    }
    if let Some((owner, key)) = schema::every()
        .filter(|(_, key)| key.name != "kind")
        .map(|(owner, key)| (distance(name, key.name), owner, key.name))
        .filter(|(d, _, key)| *d <= usize::from(key.len() > 5))
        .min()
        .map(|(_, owner, key)| (owner, key))
    {
        return format!("unknown key; did you mean {owner}.{key}?");
    }
    let mut names: Vec<_> = here().collect();
    names.sort_unstable();
    names.dedup();
    if names.is_empty() {
        return "unknown key; --help-config lists every key".to_owned();
    }
    format!("unknown key; [{table}] has {}", names.join(", "))
}
