//! Values of keys: read from TOML against the key's kind, written as TOML.

use std::fmt::Write as _;
use std::path::Path;

use toml_edit::Value as Toml;

use super::error::nearest;
use crate::registry::Kind;

/// A checked value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of [`Kind::Bool`].
    Bool(bool),
    /// Of [`Kind::Int`].
    Int(i64),
    /// Of [`Kind::Float`].
    Float(f64),
    /// Of [`Kind::Text`], [`Kind::Choice`] and [`Kind::Path`] (absolute).
    Text(String),
    /// Of [`Kind::List`].
    List(Vec<Self>),
}

impl Value {
    /// Reads `toml` as a value of `kind`; paths are taken relative to `base`. The error says what was expected.
    pub(super) fn read(toml: &Toml, kind: &Kind, base: &Path) -> Result<Self, String> {
        let wrong = || {
            Err(format!(
                "expected {}, found {}",
                describe(kind),
                found(toml)
            ))
        };
        match (kind, toml) {
            (Kind::Bool, Toml::Boolean(x)) => Ok(Self::Bool(*x.value())),
            (Kind::Int { min, max }, Toml::Integer(x)) if (min..=max).contains(&x.value()) => {
                Ok(Self::Int(*x.value()))
            }
            (Kind::Float { .. }, Toml::Integer(x)) => within(kind, *x.value() as f64),
            (Kind::Float { .. }, Toml::Float(x)) => within(kind, *x.value()),
            (Kind::Text, Toml::String(x)) => Ok(Self::Text(x.value().clone())),
            (Kind::Choice(words), Toml::String(x)) => {
                if words.contains(&x.value().as_str()) {
                    return Ok(Self::Text(x.value().clone()));
                }
                let mut message = format!("expected {}, found {}", describe(kind), found(toml));
                if let Some(word) = nearest(x.value(), words.iter().copied()) {
                    let _ = write!(message, "; did you mean \"{word}\"?");
                }
                Err(message)
            }
            (Kind::Path, Toml::String(x)) => {
                if x.value().is_empty() || x.value().contains('\0') {
                    return Err("expected a path, found an empty or unusable text".to_owned());
                }
                let path = std::path::absolute(base.join(x.value()))
                    .map_err(|e| format!("cannot resolve the path {:?}: {e}", x.value()))?;
                match path.into_os_string().into_string() {
                    Ok(path) => Ok(Self::Text(path)),
                    Err(path) => Err(format!(
                        "the folder of {} has a name that is not UTF-8; rename it",
                        path.display()
                    )),
                }
            }
            (Kind::List(kind), Toml::Array(items)) => items
                .iter()
                .map(|item| Self::read(item, kind, base))
                .collect::<Result<_, _>>()
                .map(Self::List),
            _ => wrong(),
        }
    }

    /// The value as TOML, on one line.
    pub fn to_toml(&self) -> String {
        match self {
            Self::Bool(x) => x.to_string(),
            Self::Int(x) => x.to_string(),
            Self::Float(x) => format!("{x:?}"),
            Self::Text(x) => quote(x),
            Self::List(items) => {
                let items: Vec<_> = items.iter().map(Self::to_toml).collect();
                format!("[{}]", items.join(", "))
            }
        }
    }
}

fn within(kind: &Kind, x: f64) -> Result<Value, String> {
    match kind {
        Kind::Float { min, max } if *min <= x && x <= *max => Ok(Value::Float(x)),
        _ => Err(format!("expected {}, found {x:?}", describe(kind))),
    }
}

/// `text` as a TOML basic string on one line.
pub(super) fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", c as u32);
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// What a kind accepts, for errors and the help.
pub(super) fn describe(kind: &Kind) -> String {
    match kind {
        Kind::Bool => "true or false".to_owned(),
        Kind::Int { min, max } if *max == i64::MAX => format!("a whole number from {min} on"),
        Kind::Int { min, max } => format!("a whole number from {min} to {max}"),
        Kind::Float { min, max } => match (*min, *max) {
            (f64::MIN_POSITIVE, f64::MAX) => "a number above 0".to_owned(),
            (min, f64::MAX) => format!("a number from {min} on"),
            (min, max) => format!("a number from {min} to {max}"),
        },
        Kind::Text => "a text in quotes".to_owned(),
        Kind::Choice(words) => {
            let words: Vec<_> = words.iter().map(|w| format!("\"{w}\"")).collect();
            format!("one of {}", words.join(", "))
        }
        Kind::Path => "a path in quotes".to_owned(),
        Kind::List(item) => match item {
            Kind::Path => "a list of paths such as [\"a.txt\"]".to_owned(),
            Kind::Text => "a list of texts such as [\"a\"]".to_owned(),
            _ => "a list of numbers such as [0.9, 0.95]".to_owned(),
        },
    }
}

/// What stands there instead: the value, cut where it is long.
pub(super) fn found(toml: &Toml) -> String {
    let name = match toml {
        Toml::String(x) => quote(&x.value().chars().take(40).collect::<String>()),
        Toml::Integer(x) => x.value().to_string(),
        Toml::Float(x) => format!("{:?}", x.value()),
        Toml::Boolean(x) => x.value().to_string(),
        Toml::Datetime(_) => "a date".to_owned(),
        Toml::Array(_) => "a list".to_owned(),
        Toml::InlineTable(_) => "a table".to_owned(),
    };
    match toml {
        Toml::Float(x) if x.value().fract() == 0.0 && x.value().abs() < 1e15 => {
            format!("{name} (write {})", *x.value() as i64)
        }
        _ => name,
    }
}
