//! The event of an attention map.

use serde::{Deserialize, Serialize};

/// Where the tokens of a prompt look: one head's map, and how sharply every head looks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Attention {
    /// After this step.
    pub step: u64,
    /// What the model read.
    pub prompt: String,
    /// Its tokens as text, those behind `skipped`; bytes that are no character are written `\xe4`.
    pub tokens: Vec<String>,
    /// Tokens before those: read, and not shown.
    #[serde(default)]
    pub skipped: usize,
    /// Layer of the map, from 0.
    pub layer: usize,
    /// Query head of the map, from 0.
    pub head: usize,
    /// Row i: the probabilities that token i gives to tokens 0 to i of those shown, to three decimals. They sum to 1 with what
    /// went to the skipped ones.
    pub rows: Vec<Vec<f64>>,
    /// Mean entropy of the rows of each layer and head, over the whole prompt, in nats to three decimals.
    pub entropies: Vec<Vec<f64>>,
}
