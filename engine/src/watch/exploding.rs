//! `exploding`: the gradient of a layer, before clipping, is far above its own past, or far above the other layers'.

use super::Rule;
use super::gradients::{Gradients, Side, keys};
use crate::registry::Key;

static KEYS: [Key; 4] = keys("20.0");

pub(super) static RULE: Rule = Rule {
    path: "watch.exploding",
    doc: "the gradient of a layer is far above its own past, or above the other layers'",
    keys: &KEYS,
    new: || Box::new(Gradients::new(Side::Above)),
};
