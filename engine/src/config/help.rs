//! The help of every key, from the same tables that parse it.

use std::fmt::Write as _;

use super::schema::{SECTIONS, kind_of};
use super::value::describe;
use crate::registry::{Default, Key, Slot};

/// Every table, key and variant, with default and class.
pub(super) fn help() -> String {
    let mut out = String::from(
        "Every key of a configuration: what it is, what it takes, its default, and when a change of it takes effect\n\
         (live: at the next step; boundary: at the next pause or checkpoint; restart: in a new run).\n",
    );
    for section in SECTIONS {
        let _ = write!(out, "\n[{}]  {}\n", section.name, section.doc);
        for key in section.keys {
            line(&mut out, "", section.name, key);
        }
        for one in section.slots() {
            slot(&mut out, one);
        }
        for rule in section.rules() {
            let _ = writeln!(out, "  [{}]  {}", rule.path, rule.doc);
            for key in rule.keys {
                line(&mut out, "", rule.path, key);
            }
        }
    }
    out
}

/// A key; `indent` sets those of one variant apart.
fn line(out: &mut String, indent: &str, table: &str, key: &Key) {
    let default = match key.default {
        Default::Derived(words) if words.starts_with("required") => words.to_owned(),
        Default::Is(toml) => format!("default {toml}"),
        Default::Derived(words) => format!("default: {words}"),
        Default::Required => "required".to_owned(),
    };
    let path = format!("{table}.{}", key.name);
    let class = key.class.word();
    let takes = describe(&key.kind);
    let _ = writeln!(
        out,
        "{indent}  {path}\n{indent}      {}\n{indent}      {takes}; {default}; {class}",
        key.doc
    );
}

fn slot(out: &mut String, slot: &Slot) {
    let kinds: Vec<_> = slot
        .variants
        .iter()
        .map(|v| format!("\"{}\"", v.kind))
        .collect();
    let class = kind_of(slot).class.word();
    let _ = writeln!(
        out,
        "  {}.kind\n      {}\n      one of {}; default \"{}\"; {class}",
        slot.path,
        slot.doc,
        kinds.join(", "),
        slot.default
    );
    for key in slot.keys {
        line(out, "", slot.path, key);
    }
    for variant in slot.variants {
        let _ = writeln!(
            out,
            "    \"{}\": {} ({})",
            variant.kind, variant.summary, variant.reference
        );
        for key in variant.keys {
            line(out, "    ", slot.path, key);
        }
    }
}
