//! Reading config.json: every key is understood, known to be harmless, or an error.

use super::keys::Keys;
use super::{Architecture, Description, HfError, HfModel};
use serde_json::{Map, Value, json};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// Keys without influence on what the model computes: provenance, training-time dropout and initialisation, heads for
/// other tasks, defaults of generation.
const HARMLESS: &[&str] = &[
    "_attn_implementation",
    "_attn_implementation_autoset",
    "_commit_hash",
    "_name_or_path",
    "attention_dropout",
    "attn_pdrop",
    "chunk_size_feed_forward",
    "decoder_start_token_id",
    "do_sample",
    "dtype",
    "embd_pdrop",
    "gradient_checkpointing",
    "id2label",
    "initializer_range",
    "label2id",
    "max_length",
    "max_window_layers",
    "n_ctx",
    "num_labels",
    "output_attentions",
    "output_hidden_states",
    "pad_token_id",
    "pretraining_tp",
    "problem_type",
    "reorder_and_upcast_attn",
    "resid_pdrop",
    "return_dict",
    "sep_token_id",
    "summary_activation",
    "summary_first_dropout",
    "summary_proj_to_labels",
    "summary_type",
    "summary_use_proj",
    "task_specific_params",
    "temperature",
    "tokenizer_class",
    "top_k",
    "top_p",
    "torch_dtype",
    "transformers.js_config",
    "transformers_version",
    "unsloth_fixed",
    "unsloth_version",
    "use_cache",
];

/// More blocks than any model has: a larger number is a mistake that would make a very long list of names.
const MAX_LAYERS: usize = 10_000;

/// Reads a folder's config.json, and from its generation_config.json, where there is one, the ids that end a text.
///
/// # Errors
/// If a file cannot be read, is not JSON, or says something that we do not support.
pub fn read(folder: &Path) -> Result<Description, HfError> {
    let path = folder.join("config.json");
    let mut description = parse(&path, object(&path)?)?;
    let path = folder.join("generation_config.json");
    let generation = match object(&path) {
        Ok(map) => map,
        Err(HfError::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
            return Ok(description);
        }
        Err(error) => return Err(error),
    };
    let mut keys = Keys::new(&path, generation);
    if keys.has("eos_token_id") {
        let ids = keys.ids("eos_token_id", None)?;
        match &mut description {
            Description::Hf(model) => model.eos = within(ids, model.vocab_size),
            Description::Native { eos, .. } => *eos = ids,
        }
    }
    Ok(description)
}

fn object(path: &Path) -> Result<Map<String, Value>, HfError> {
    let text = fs::read(path).map_err(|source| HfError::Io {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&text).map_err(|error| HfError::Json {
        path: path.to_owned(),
        message: error.to_string(),
    })
}

/// Reads the object of a config.json; `path` names it in errors.
///
/// # Errors
/// If it says something that we do not support.
pub fn parse(path: &Path, config: Map<String, Value>) -> Result<Description, HfError> {
    let mut keys = Keys::new(path, config);
    let model_type = keys.take("model_type").unwrap_or(Value::Null);
    let found = Architecture::ALL
        .into_iter()
        .find(|known| model_type == known.model_type());
    if let Some(architecture) = found {
        let model = known(keys, architecture)?;
        return Ok(Description::Hf(Box::new(model)));
    }
    if model_type != "zerollm" {
        let known: Vec<&str> = Architecture::ALL.map(Architecture::model_type).into();
        let message = format!("not supported (only {} are)", known.join(", "));
        return Err(keys.fault("model_type", &model_type, message));
    }
    let bos = keys.ids("bos_token_id", None)?.first().copied();
    let eos = keys.ids("eos_token_id", None)?;
    let table = keys
        .object("zerollm")?
        .and_then(|mut keys| keys.take("model"));
    match table {
        Some(model) => Ok(Description::Native { model, bos, eos }),
        None => Err(keys.fault("zerollm.model", &Value::Null, "the model's table is needed")),
    }
}

fn known(mut keys: Keys, architecture: Architecture) -> Result<HfModel, HfError> {
    if let Some(classes) = keys.take("architectures")
        && classes != json!([architecture.class()])
        && classes
            != json!([architecture
                .class()
                .replace("ForCausalLM", "Model")
                .replace("LMHeadModel", "Model")])
    {
        let message = format!("not supported (only {} is)", architecture.class());
        return Err(keys.fault("architectures", &classes, message));
    }
    keys.only("is_encoder_decoder", &json!(false))?;
    keys.only("is_decoder", &json!(false))?;
    keys.only("add_cross_attention", &json!(false))?;
    keys.only("pruned_heads", &json!({}))?;
    let mut model = if architecture == Architecture::Gpt2 {
        gpt2(&mut keys)?
    } else {
        llama(&mut keys, architecture)?
    };
    let (bos, eos) = match architecture {
        Architecture::Llama | Architecture::Mistral => (Some(1), Some(2)),
        Architecture::Qwen2 | Architecture::Qwen3 => (None, None),
        Architecture::Gpt2 => (Some(50256), Some(50256)),
    };
    model.bos = within(keys.ids("bos_token_id", bos)?, model.vocab_size)
        .first()
        .copied();
    model.eos = within(keys.ids("eos_token_id", eos)?, model.vocab_size);
    if model.layers > MAX_LAYERS {
        let message = format!("not supported (at most {MAX_LAYERS} are)");
        return Err(keys.fault("num_hidden_layers", &json!(model.layers), message));
    }
    if model.heads % model.kv_heads != 0 {
        let message = format!("{} heads cannot share them evenly", model.heads);
        return Err(keys.fault("num_key_value_heads", &json!(model.kv_heads), message));
    }
    if model.rope_theta.is_some() && model.head_dim % 2 != 0 {
        return Err(keys.fault(
            "head_dim",
            &json!(model.head_dim),
            "rotary positions need an even width",
        ));
    }
    keys.finish(HARMLESS)?;
    Ok(model)
}

/// Ids that the model can produce: the library's default ids lie beyond a small vocabulary, where they mean nothing.
fn within(mut ids: Vec<u32>, vocab_size: usize) -> Vec<u32> {
    ids.retain(|&id| (id as usize) < vocab_size);
    ids
}

fn llama(keys: &mut Keys, architecture: Architecture) -> Result<HfModel, HfError> {
    use Architecture::{Llama, Mistral, Qwen2, Qwen3};
    let hidden_size = keys.size("hidden_size", None)?;
    let heads = keys.size("num_attention_heads", None)?;
    // Llama's absent (or null) key means as many as heads; the others' classes have numbers of their own.
    let kv_heads = if keys.has("num_key_value_heads") || architecture == Llama {
        heads
    } else if architecture == Mistral {
        8
    } else {
        32
    };
    let kv_heads = keys.size("num_key_value_heads", Some(kv_heads))?;
    let head_dim = match architecture {
        Qwen3 if !keys.has("head_dim") => Some(128),
        _ if hidden_size % heads == 0 => Some(hidden_size / heads),
        _ => None,
    };
    let head_dim = keys.size("head_dim", head_dim)?;
    keys.word("hidden_act", "silu", &["silu", "swish"])?;
    let max_position_embeddings = keys.size(
        "max_position_embeddings",
        Some(match architecture {
            Llama => 2048,
            Mistral => 131_072,
            _ => 32_768,
        }),
    )?;
    let layers = keys.size("num_hidden_layers", None)?;
    sliding_window(keys, architecture, max_position_embeddings)?;
    let attention_bias = match architecture {
        Llama | Qwen3 => keys.flag("attention_bias", false)?,
        // The library ignores the key for these two; a contrary value shows that other mathematics is meant.
        Mistral | Qwen2 | Architecture::Gpt2 => {
            keys.only("attention_bias", &json!(architecture == Qwen2))?;
            false
        }
    };
    let mlp_bias = if architecture == Llama {
        keys.flag("mlp_bias", false)?
    } else {
        keys.only("mlp_bias", &json!(false))?;
        false
    };
    Ok(HfModel {
        architecture,
        vocab_size: keys.size("vocab_size", None)?,
        hidden_size,
        intermediate_size: keys.size("intermediate_size", None)?,
        layers,
        heads,
        kv_heads,
        head_dim,
        max_position_embeddings,
        norm_eps: keys.positive("rms_norm_eps")?.unwrap_or(1e-6),
        rope_theta: Some(rope_theta(keys)?),
        tie_word_embeddings: keys.flag("tie_word_embeddings", false)?,
        qk_norm: architecture == Qwen3,
        qkv_bias: attention_bias || architecture == Qwen2,
        out_bias: attention_bias,
        ffn_bias: mlp_bias,
        norm_bias: false,
        bos: None,
        eos: Vec::new(),
    })
}

/// A window is no obstacle where it is switched off or never shorter than a sequence.
fn sliding_window(
    keys: &mut Keys,
    architecture: Architecture,
    longest: usize,
) -> Result<(), HfError> {
    if let Some(types) = keys.take("layer_types") {
        let full = types
            .as_array()
            .is_some_and(|list| list.iter().all(|kind| kind == "full_attention"));
        if !full {
            return Err(keys.fault(
                "layer_types",
                &types,
                "not supported (only full_attention is)",
            ));
        }
    }
    let used = match architecture {
        Architecture::Qwen2 | Architecture::Qwen3 => keys.flag("use_sliding_window", false)?,
        _ => true,
    };
    // Mistral's class has a window of 4096 unless the key is there and null.
    let absent = architecture == Architecture::Mistral && !keys.has("sliding_window");
    let window = keys.take("sliding_window").or(absent.then(|| json!(4096)));
    match window {
        Some(window) if used && window.as_u64().is_none_or(|window| window < longest as u64) => {
            let message = format!(
                "attention over a window shorter than max_position_embeddings ({longest}) is not supported; null switches it off"
            );
            Err(keys.fault("sliding_window", &window, message))
        }
        _ => Ok(()),
    }
}

/// The base of the rotary frequencies, in either spelling; any scaling of them is refused.
fn rope_theta(keys: &mut Keys) -> Result<f64, HfError> {
    let mut theta = keys.positive("rope_theta")?;
    for key in ["rope_scaling", "rope_parameters"] {
        let Some(mut rope) = keys.object(key)? else {
            continue;
        };
        rope.word("rope_type", "default", &["default"])?;
        rope.word("type", "default", &["default"])?;
        rope.only("partial_rotary_factor", &json!(1.0))?;
        if let Some(inner) = rope.positive("rope_theta")? {
            if theta.is_some_and(|outer| outer != inner) {
                return Err(rope.fault(
                    "rope_theta",
                    &json!(inner),
                    "contradicts rope_theta outside",
                ));
            }
            theta = Some(inner);
        }
        rope.finish(&[])?;
    }
    keys.only("partial_rotary_factor", &json!(1.0))?;
    Ok(theta.unwrap_or(10_000.0))
}

fn gpt2(keys: &mut Keys) -> Result<HfModel, HfError> {
    // The library reads both spellings of these.
    let mut either = |ours: &str, general: &str| {
        if keys.has(ours) || !keys.has(general) {
            keys.size(ours, None)
        } else {
            keys.size(general, None)
        }
    };
    let hidden_size = either("n_embd", "hidden_size")?;
    let layers = either("n_layer", "num_hidden_layers")?;
    let heads = either("n_head", "num_attention_heads")?;
    let positions = either("n_positions", "max_position_embeddings")?;
    if hidden_size % heads != 0 {
        return Err(keys.fault(
            "n_head",
            &json!(heads),
            format!("n_embd ({hidden_size}) is no multiple of it"),
        ));
    }
    keys.word(
        "activation_function",
        "gelu_new",
        &["gelu_new", "gelu_pytorch_tanh"],
    )?;
    keys.only("scale_attn_weights", &json!(true))?;
    keys.only("scale_attn_by_inverse_layer_idx", &json!(false))?;
    // Written by us for a model without some biases: zeros in the file, nothing in ours.
    let mut bias = [true; 4];
    if let Some(mut ours) = keys.object("zerollm")? {
        for (bias, key) in bias
            .iter_mut()
            .zip(["qkv_bias", "out_bias", "ffn_bias", "norm_bias"])
        {
            *bias = ours.flag(key, true)?;
        }
        ours.finish(&["note"])?;
    }
    let [qkv_bias, out_bias, ffn_bias, norm_bias] = bias;
    Ok(HfModel {
        architecture: Architecture::Gpt2,
        vocab_size: keys.size("vocab_size", Some(50257))?,
        hidden_size,
        intermediate_size: keys.size("n_inner", Some(4 * hidden_size))?,
        layers,
        heads,
        kv_heads: heads,
        head_dim: hidden_size / heads,
        max_position_embeddings: positions,
        norm_eps: keys.positive("layer_norm_epsilon")?.unwrap_or(1e-5),
        rope_theta: None,
        tie_word_embeddings: keys.flag("tie_word_embeddings", true)?,
        qk_norm: false,
        qkv_bias,
        out_bias,
        ffn_bias,
        norm_bias,
        bos: None,
        eos: Vec::new(),
    })
}
