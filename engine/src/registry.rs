//! What can be chosen: every variant of every part of a run, with its configuration keys.
//!
//! A *slot* is a place where one of several variants goes: the mixer of a block, the optimizer, the schedule. A variant is
//! one file that declares a [`Variant`], and one word in the list of its slot's `mod.rs` (see [`variants!`](crate::variants)).
//! The configuration parser, its help, the forms of the screen and the generic tests all read [`SLOTS`]; nothing else in
//! the program lists variants. Keys that belong to no slot are in `config/schema.rs`.

use crate::{model, optim, schedule};

/// Every slot.
pub static SLOTS: &[&Slot] = &[
    &model::mixer::SLOT,
    &model::ffn::SLOT,
    &model::norm::SLOT,
    &model::position::SLOT,
    &optim::SLOT,
    &schedule::SLOT,
];

/// What a key holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number, both bounds included.
    Int {
        /// Least.
        min: i64,
        /// Greatest.
        max: i64,
    },
    /// A number, both bounds included; whole numbers are taken too.
    Float {
        /// Least.
        min: f64,
        /// Greatest.
        max: f64,
    },
    /// Any text.
    Text,
    /// One of these words.
    Choice(&'static [&'static str]),
    /// A path: relative to the configuration's folder, in flags to the current directory.
    Path,
    /// A list of such values.
    List(&'static Self),
}

impl Kind {
    /// A whole number from 0 on.
    pub const COUNT: Self = Self::Int {
        min: 0,
        max: i64::MAX,
    };
    /// A whole number from 1 on.
    pub const POSITIVE: Self = Self::Int {
        min: 1,
        max: i64::MAX,
    };
    /// A size of an array: from 1 to 2^24.
    pub const SIZE: Self = Self::Int {
        min: 1,
        max: 1 << 24,
    };
    /// A number from 0 on.
    pub const NON_NEGATIVE: Self = Self::Float {
        min: 0.0,
        max: f64::MAX,
    };
    /// A share from 0 to 1.
    pub const SHARE: Self = Self::Float { min: 0.0, max: 1.0 };
    /// A number above 0.
    pub const ABOVE_ZERO: Self = Self::Float {
        min: f64::MIN_POSITIVE,
        max: f64::MAX,
    };
}

/// When a change of a key takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// At the next step.
    Live,
    /// At the next pause or checkpoint: what was planned is planned anew.
    Boundary,
    /// Never in this run: it needs a new one.
    Restart,
}

impl Class {
    /// The class as a word, as help, screens and events show it.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Live => "live",
            Self::Boundary => "boundary",
            Self::Restart => "restart",
        }
    }
}

/// The value of a key that nobody set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// This TOML literal.
    Is(&'static str),
    /// It follows from other keys, or there is none; these words say how, for the help.
    Derived(&'static str),
    /// There is no sensible one: the key must be set.
    Required,
}

/// One configuration key.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Key {
    /// Its last word: `theta` of `model.position.theta`.
    pub name: &'static str,
    /// What it holds.
    pub kind: Kind,
    /// What it holds where nobody set it.
    pub default: Default,
    /// When a change takes effect.
    pub class: Class,
    /// One line for the help.
    pub doc: &'static str,
}

/// One thing that can be put into a slot.
#[derive(Debug)]
pub struct Variant {
    /// The value of the slot's `kind` key.
    pub kind: &'static str,
    /// One line for the help.
    pub summary: &'static str,
    /// The paper or program that it comes from.
    pub reference: &'static str,
    /// Its own keys, besides the slot's.
    pub keys: &'static [Key],
}

/// A place where one of several variants goes.
#[derive(Debug)]
pub struct Slot {
    /// Dotted path of its table: `model.mixer`.
    pub path: &'static str,
    /// One line for the help.
    pub doc: &'static str,
    /// The variant that is taken where nobody chose.
    pub default: &'static str,
    /// When a change of the choice itself takes effect.
    pub class: Class,
    /// Keys that every variant has.
    pub keys: &'static [Key],
    /// The variants.
    pub variants: &'static [&'static Variant],
}

impl Slot {
    /// Index in `variants` of the variant called `kind`.
    pub fn position(&self, kind: &str) -> Option<usize> {
        self.variants.iter().position(|v| v.kind == kind)
    }

    /// The keys of its variant number `index`: those of every variant, then its own.
    pub fn keys_of(&self, index: usize) -> impl Iterator<Item = &'static Key> {
        self.keys.iter().chain(self.variants[index].keys)
    }
}

/// Declares the modules of a slot's variants and `VARIANTS`, the list of their `VARIANT`s; a table before the arrow
/// collects one more item of each module, in the same order, so that `TABLE[choice.index]` is the chosen variant's.
///
/// The modules stand inside a macro, where `cargo fmt` does not follow them: format a new file with
/// `rustfmt --edition 2024 FILE`.
#[macro_export]
macro_rules! variants {
    ($($table:ident: $ty:ty = $item:ident;)* => $($name:ident),+ $(,)?) => {
        $($crate::variants!(@module $name);)+
        /// The variants of this slot.
        pub static VARIANTS: &[&$crate::registry::Variant] = &[$(&$name::VARIANT),+];
        $crate::variants!(@tables [$($name),+] $($table: $ty = $item;)*);
    };
    (@module $name:ident) => { pub mod $name; };
    (@tables [$($name:ident),+]) => {};
    (@tables [$($name:ident),+] $table:ident: $ty:ty = $item:ident; $($rest:tt)*) => {
        static $table: &[$ty] = &[$($name::$item),+];
        $crate::variants!(@tables [$($name),+] $($rest)*);
    };
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_registry_is_complete() {
        for slot in SLOTS {
            assert!(slot.position(slot.default).is_some(), "{}", slot.path);
            assert!(!slot.doc.is_empty());
            let kinds: HashSet<_> = slot.variants.iter().map(|v| v.kind).collect();
            assert_eq!(kinds.len(), slot.variants.len(), "{}", slot.path);
            for (index, variant) in slot.variants.iter().enumerate() {
                assert!(!variant.summary.is_empty() && !variant.reference.is_empty());
                let names: Vec<_> = slot.keys_of(index).map(|k| k.name).collect();
                let distinct: HashSet<_> = names.iter().collect();
                assert_eq!(distinct.len(), names.len(), "{}", variant.kind);
                assert!(!names.contains(&"kind"), "{}", variant.kind);
                assert!(
                    slot.keys_of(index)
                        .all(|k| !k.doc.is_empty() && !k.doc.contains('\n'))
                );
            }
        }
    }
}
