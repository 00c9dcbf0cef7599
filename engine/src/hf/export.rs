//! Writing config.json and generation_config.json: as the architecture that a model is, or as a model of our own.

use super::{Architecture, HfModel};
use serde_json::{Map, Value, json};

/// A model of ours in the words that decide which architecture it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Features {
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Width of the residual stream.
    pub dim: usize,
    /// Width inside the feed-forward layer.
    pub hidden: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads.
    pub kv_heads: usize,
    /// Width of a head.
    pub head_dim: usize,
    /// Longest sequence.
    pub context: usize,
    /// `rmsnorm`, `layernorm`, ...
    pub norm: String,
    /// Epsilon of the norms, q and k's included.
    pub norm_eps: f64,
    /// Whether the norms have biases.
    pub norm_bias: bool,
    /// `rope` (half-split rotation of whole heads), `learned`, ...
    pub position: String,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// `swiglu`, `gelu` (tanh form), ...
    pub ffn: String,
    /// RMSNorm with weights on each head's q and k.
    pub qk_norm: bool,
    /// Biases on q, k and v.
    pub qkv_bias: bool,
    /// Bias on the attention's output.
    pub out_bias: bool,
    /// Biases in the feed-forward layer.
    pub ffn_bias: bool,
    /// Whether the head is the embedding.
    pub tie_embeddings: bool,
    /// What none of the architectures has, in words: `norms after the layers`, `interleaved rotary positions`.
    pub unusual: Vec<String>,
    /// Id before a text.
    pub bos: Option<u32>,
    /// Ids that end a text.
    pub eos: Vec<u32>,
}

impl Features {
    /// The architecture that computes exactly this.
    ///
    /// # Errors
    /// If none does: why, in one sentence, for the note in config.json.
    pub fn export(&self) -> Result<HfModel, String> {
        if let Some(unusual) = self.unusual.first() {
            return Err(format!("no architecture of the library has {unusual}"));
        }
        let architecture = self.architecture()?;
        Ok(HfModel {
            architecture,
            vocab_size: self.vocab_size,
            hidden_size: self.dim,
            intermediate_size: self.hidden,
            layers: self.layers,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.head_dim,
            max_position_embeddings: self.context,
            norm_eps: self.norm_eps,
            rope_theta: (architecture != Architecture::Gpt2).then_some(self.rope_theta),
            tie_word_embeddings: self.tie_embeddings,
            qk_norm: self.qk_norm,
            qkv_bias: self.qkv_bias,
            out_bias: self.out_bias,
            ffn_bias: self.ffn_bias,
            norm_bias: self.norm_bias,
            bos: self.bos,
            eos: self.eos.clone(),
        })
    }

    fn architecture(&self) -> Result<Architecture, String> {
        let parts = (
            self.norm.as_str(),
            self.position.as_str(),
            self.ffn.as_str(),
        );
        match parts {
            ("layernorm", "learned", "gelu") => {
                if self.kv_heads != self.heads || self.head_dim * self.heads != self.dim {
                    return Err(
                        "GPT-2 has as many key heads as heads, and dim is their width".to_owned(),
                    );
                }
                if self.qk_norm {
                    return Err("GPT-2 has no norm on q and k".to_owned());
                }
                Ok(Architecture::Gpt2)
            }
            ("rmsnorm", "rope", "swiglu") => self.llama_like(),
            (norm, position, ffn) => Err(format!(
                "no architecture of the library combines norm {norm}, position {position} and ffn {ffn}"
            )),
        }
    }

    fn llama_like(&self) -> Result<Architecture, String> {
        if self.norm_bias {
            return Err("RMSNorm has no bias in Llama and its kin".to_owned());
        }
        let derived = self.head_dim * self.heads == self.dim;
        match (self.qk_norm, self.qkv_bias, self.out_bias) {
            (true, qkv, out) if qkv == out && !self.ffn_bias => Ok(Architecture::Qwen3),
            // The library's Qwen2 reads head_dim, but other programs derive it.
            (false, true, false) if !self.ffn_bias && derived => Ok(Architecture::Qwen2),
            (false, qkv, out) if qkv == out && self.dim.is_multiple_of(self.heads) => {
                Ok(Architecture::Llama)
            }
            (false, qkv, out) if qkv == out => {
                Err("Llama's dim is a multiple of its heads".to_owned())
            }
            _ => Err("no architecture of the library has biases in just these places".to_owned()),
        }
    }
}

impl HfModel {
    /// The config.json. `dtype` is the type of the weights: `float32` or `bfloat16`.
    pub fn config_json(&self, dtype: &str) -> Value {
        let mut config = Map::new();
        let mut set = |key: &str, value: Value| {
            config.insert(key.to_owned(), value);
        };
        set("architectures", json!([self.architecture.class()]));
        set("model_type", json!(self.architecture.model_type()));
        set("vocab_size", json!(self.vocab_size));
        if self.architecture == Architecture::Gpt2 {
            set("n_embd", json!(self.hidden_size));
            set("n_layer", json!(self.layers));
            set("n_head", json!(self.heads));
            set("n_inner", json!(self.intermediate_size));
            set("n_positions", json!(self.max_position_embeddings));
            set("activation_function", json!("gelu_new"));
            set("layer_norm_epsilon", json!(self.norm_eps));
            for dropout in ["attn_pdrop", "embd_pdrop", "resid_pdrop"] {
                set(dropout, json!(0.0));
            }
            let biases = [
                ("qkv_bias", self.qkv_bias),
                ("out_bias", self.out_bias),
                ("ffn_bias", self.ffn_bias),
                ("norm_bias", self.norm_bias),
            ];
            if biases.iter().any(|(_, here)| !here) {
                let mut ours = Map::new();
                let note = "GPT-2 has these biases everywhere; the model was trained without those that are false here, and their tensors are zeros";
                ours.insert("note".to_owned(), json!(note));
                ours.extend(biases.map(|(key, here)| (key.to_owned(), json!(here))));
                set("zerollm", Value::Object(ours));
            }
        } else {
            set("hidden_size", json!(self.hidden_size));
            set("intermediate_size", json!(self.intermediate_size));
            set("num_hidden_layers", json!(self.layers));
            set("num_attention_heads", json!(self.heads));
            set("num_key_value_heads", json!(self.kv_heads));
            set("head_dim", json!(self.head_dim));
            set("hidden_act", json!("silu"));
            set(
                "max_position_embeddings",
                json!(self.max_position_embeddings),
            );
            set("rms_norm_eps", json!(self.norm_eps));
            // Both spellings: version 5 of the library reads the second, everything older the first.
            set("rope_theta", json!(self.rope_theta));
            set(
                "rope_parameters",
                json!({"rope_type": "default", "rope_theta": self.rope_theta}),
            );
            match self.architecture {
                Architecture::Llama => {
                    set("attention_bias", json!(self.qkv_bias));
                    set("mlp_bias", json!(self.ffn_bias));
                }
                Architecture::Qwen3 => {
                    set("attention_bias", json!(self.qkv_bias));
                    set("use_sliding_window", json!(false));
                }
                Architecture::Qwen2 => set("use_sliding_window", json!(false)),
                Architecture::Mistral => set("sliding_window", Value::Null),
                Architecture::Gpt2 => {}
            }
        }
        set("tie_word_embeddings", json!(self.tie_word_embeddings));
        set("bos_token_id", json!(self.bos));
        set("eos_token_id", ids(&self.eos));
        set("torch_dtype", json!(dtype));
        set("dtype", json!(dtype));
        set("use_cache", json!(true));
        Value::Object(config)
    }
}

/// The config.json of a model that is none of the library's architectures: `reason` says why, `model` is its `[model]`
/// table, which [`super::read()`] gives back.
pub fn native_config(features: &Features, model: &Value, reason: &str, dtype: &str) -> Value {
    let note = format!(
        "a ZeroLLM model that other programs cannot compute: {reason}; tensor names are ZeroLLM's own"
    );
    json!({
        "architectures": ["ZeroLLMForCausalLM"],
        "model_type": "zerollm",
        "zerollm": {"note": note, "model": model},
        "vocab_size": features.vocab_size,
        "hidden_size": features.dim,
        "num_hidden_layers": features.layers,
        "num_attention_heads": features.heads,
        "num_key_value_heads": features.kv_heads,
        "max_position_embeddings": features.context,
        "tie_word_embeddings": features.tie_embeddings,
        "bos_token_id": features.bos,
        "eos_token_id": ids(&features.eos),
        "torch_dtype": dtype,
        "dtype": dtype,
    })
}

/// The generation_config.json: greedy sampling needs no more than the ids.
pub fn generation_config(bos: Option<u32>, eos: &[u32]) -> Value {
    json!({
        "bos_token_id": bos,
        "eos_token_id": ids(eos),
        "pad_token_id": eos.first(),
    })
}

/// The tokenizer_config.json beside a tokenizer.json (`tokenizer`, its text): the library is to take that file as it stands.
/// Without this, it puts the architecture's own pre-tokenizer in place of ours for Qwen3, and ids differ. (For Qwen2 it does
/// so whatever a folder says; `PreTrainedTokenizerFast.from_pretrained` then gives the right ids.)
pub fn tokenizer_config(tokenizer: &[u8], generation_config: &Value) -> Value {
    let eos = match &generation_config["eos_token_id"] {
        Value::Array(ids) => ids.first(),
        Value::Null => None,
        id => Some(id),
    };
    let tokenizer: Value = serde_json::from_slice(tokenizer).unwrap_or_default();
    let added = tokenizer["added_tokens"].as_array();
    let token = added.and_then(|added| added.iter().find(|token| Some(&token["id"]) == eos));
    json!({
        "tokenizer_class": "PreTrainedTokenizerFast",
        "clean_up_tokenization_spaces": false,
        "eos_token": token.map(|token| &token["content"]),
    })
}

fn ids(ids: &[u32]) -> Value {
    match ids {
        [] => Value::Null,
        [one] => json!(one),
        many => json!(many),
    }
}
