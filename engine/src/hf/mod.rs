//! Hugging Face folders: config.json and tensor names of the architectures whose mathematics we have.
//!
//! [`read()`] turns a config.json into a [`Description`]; whatever in it we would compute differently is an [`HfError`]
//! that names key and value. [`Names`] lists which of their tensors make up which of ours (ours are fused: `qkv` holds the
//! rows of q, k and v, `gate_up` those of gate and up); [`load`] and [`HfSource`] move the values. [`Features::export`]
//! finds the architecture that a model of ours is, if it is one. Nothing here knows how a model computes.
//!
//! The architectures are `transformers.models.{llama,mistral,qwen2,qwen3,gpt2}`; absent keys have that library's defaults.

mod config;
mod export;
mod keys;
mod names;
mod transfer;

#[cfg(test)]
mod tests;

pub use config::{parse, read};
pub use export::{Features, generation_config, native_config, tokenizer_config};
pub use names::{NameMap, Names, Part};
pub use transfer::{HfSource, Values, load};

use crate::safetensors::{self, Shown};
use serde_json::Value;
use std::fmt::{self, Display};
use std::io;
use std::path::PathBuf;

/// A family of models with one set of tensor names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// RMSNorm, rotary positions, grouped-query attention, SwiGLU.
    Llama,
    /// Llama's mathematics; a sliding window in force is refused.
    Mistral,
    /// Llama with biases on q, k and v.
    Qwen2,
    /// Llama with RMSNorm on each head's q and k.
    Qwen3,
    /// LayerNorm, learned positions, GELU (tanh form), biases everywhere.
    Gpt2,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 5] = [
        Self::Llama,
        Self::Mistral,
        Self::Qwen2,
        Self::Qwen3,
        Self::Gpt2,
    ];

    /// The value of `model_type`.
    pub fn model_type(self) -> &'static str {
        match self {
            Self::Llama => "llama",
            Self::Mistral => "mistral",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
            Self::Gpt2 => "gpt2",
        }
    }

    /// The class with a language-model head, as in `architectures`.
    pub fn class(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::Mistral => "MistralForCausalLM",
            Self::Qwen2 => "Qwen2ForCausalLM",
            Self::Qwen3 => "Qwen3ForCausalLM",
            Self::Gpt2 => "GPT2LMHeadModel",
        }
    }
}

/// A model as its config.json describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct HfModel {
    /// Its family: norm, positions, feed-forward and tensor names.
    pub architecture: Architecture,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width inside the feed-forward layer.
    pub intermediate_size: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Longest sequence; for GPT-2 the rows of the position table.
    pub max_position_embeddings: usize,
    /// Epsilon of every norm.
    pub norm_eps: f64,
    /// Base of the rotary frequencies (half-split rotation); `None` for learned positions.
    pub rope_theta: Option<f64>,
    /// Whether the head is the embedding.
    pub tie_word_embeddings: bool,
    /// RMSNorm on each head's q and k (Qwen3).
    pub qk_norm: bool,
    /// Biases on q, k and v.
    pub qkv_bias: bool,
    /// Bias on the attention's output.
    pub out_bias: bool,
    /// Biases in the feed-forward layer.
    pub ffn_bias: bool,
    /// Biases of the norms. A GPT-2 of ours without some biases is written with zeros and a note, and read back without.
    pub norm_bias: bool,
    /// Id before a text.
    pub bos: Option<u32>,
    /// Ids that end a text; none where the model has none.
    pub eos: Vec<u32>,
}

/// What a folder holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Description {
    /// A model that Hugging Face's library knows too.
    Hf(Box<HfModel>),
    /// A model of ours that is none of its architectures.
    Native {
        /// The `[model]` table, as [`native_config`] was given it.
        model: Value,
        /// Id before a text.
        bos: Option<u32>,
        /// Ids that end a text.
        eos: Vec<u32>,
    },
}

/// Why a folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum HfError {
    /// A file of the folder cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the folder is not JSON.
    #[error("{}: not valid: {message}", path.display())]
    Json {
        /// The file.
        path: PathBuf,
        /// Why.
        message: String,
    },
    /// A key has a value that we do not support or that makes no sense.
    #[error("{}: {} = {}: {message}", path.display(), Shown(key), Shown(value))]
    Key {
        /// The file.
        path: PathBuf,
        /// The key; dotted where it is nested.
        key: String,
        /// Its value, as JSON; `absent` where there is none.
        value: String,
        /// What would be right.
        message: String,
    },
    /// The weights cannot be read.
    #[error(transparent)]
    Weights(#[from] safetensors::Error),
    /// Tensors are missing.
    #[error("{}: {} missing: {}", path.display(), Count(names.len()), List(names))]
    Missing {
        /// The weights.
        path: PathBuf,
        /// Names of all of them.
        names: Vec<String>,
    },
    /// Tensors have no place in the model.
    #[error("{}: {} unexpected for this model: {}", path.display(), Count(names.len()), List(names))]
    Unexpected {
        /// The weights.
        path: PathBuf,
        /// Names of all of them.
        names: Vec<String>,
    },
    /// A tensor does not fit the model.
    #[error("{}: tensor {}: {message}", path.display(), Shown(tensor))]
    Tensor {
        /// The weights.
        path: PathBuf,
        /// The tensor, by the name in the file.
        tensor: String,
        /// What is wrong.
        message: String,
    },
}

struct Count(usize);

impl Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("1 tensor is"),
            n => write!(f, "{n} tensors are"),
        }
    }
}

struct List<'a>(&'a [String]);

impl Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const SHOWN: usize = 4;
        for (at, name) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{}{}", if at == 0 { "" } else { ", " }, Shown(name))?;
        }
        if self.0.len() > SHOWN {
            write!(f, " and {} more", self.0.len() - SHOWN)?;
        }
        Ok(())
    }
}
