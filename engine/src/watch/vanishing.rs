//! `vanishing`: the gradient of a layer is far below its own past, or far below the other layers'.

use super::Rule;
use super::gradients::{Gradients, Side, keys};
use crate::registry::Key;

static KEYS: [Key; 4] = keys("30.0");

pub(super) static RULE: Rule = Rule {
    path: "watch.vanishing",
    doc: "the gradient of a layer is far below its own past, or below the other layers'",
    keys: &KEYS,
    new: || Box::new(Gradients::new(Side::Below)),
};
