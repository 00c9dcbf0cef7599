//! What a `config.json` says of a model's shape: the layer of `model.init_from`.
//!
//! The families that are read are those whose Hugging Face names the presets carry. A value that the program does not
//! support is refused and never ignored. A checkpoint of our own holds its keys under `zerollm`, which no other program
//! reads, so that models that no family describes come back exactly.

use std::fmt::Display;
use std::path::Path;

use serde_json::{Map, Value as Json};

use super::Config;
use super::value::{Value, quote};

/// A key and its TOML.
type Fact = (String, String);

/// The keys under `[model]` that fix a model's shape: what `config.json` stores and gives back.
const SHAPE: &[&str] = &[
    "model.layers",
    "model.dim",
    "model.heads",
    "model.kv_heads",
    "model.head_dim",
    "model.vocab_size",
    "model.max_positions",
    "model.tie_embeddings",
];

/// Field of `config.json` under which [`record`] is stored.
pub const FIELD: &str = "zerollm";

/// The model's own keys as JSON, to be stored in `config.json` under [`FIELD`]. `vocab_size` is the model's, which the
/// configuration may leave to the tokenizer.
pub fn record(config: &Config, vocab_size: usize) -> Json {
    let mut map = Map::new();
    for entry in &config.entries.list {
        let slot = entry
            .path
            .strip_prefix("model.")
            .is_some_and(|rest| rest.contains('.'));
        if !slot && !SHAPE.contains(&&*entry.path) {
            continue;
        }
        let json = match &entry.value {
            Some(Value::Bool(x)) => Json::from(*x),
            Some(Value::Int(x)) => Json::from(*x),
            Some(Value::Float(x)) => Json::from(*x),
            Some(Value::Text(x)) => Json::from(x.as_str()),
            _ => continue,
        };
        map.insert(entry.path.clone(), json);
    }
    map.insert("model.vocab_size".to_owned(), Json::from(vocab_size));
    Json::Object(map)
}

/// The keys that `folder`'s config.json fixes, with their TOML values.
pub(super) fn shape(folder: &Path) -> Result<Vec<Fact>, String> {
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path)
        .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    facts(&text).map_err(|message| format!("{}: {message}", path.display()))
}

fn facts(text: &str) -> Result<Vec<Fact>, String> {
    let json: Json = serde_json::from_str(text).map_err(|e| format!("not valid JSON: {e}"))?;
    let Json::Object(map) = json else {
        return Err("expected an object".to_owned());
    };
    if let Some(Json::Object(own)) = map.get(FIELD) {
        return own.iter().map(stored).collect();
    }
    let fields = Fields(map);
    match fields.word("model_type", "")? {
        "gpt2" => gpt2(&fields),
        family @ ("llama" | "mistral" | "qwen2" | "qwen3") => llama(&fields, family),
        other => Err(format!(
            "model_type {} is not supported; llama, mistral, qwen2, qwen3 and gpt2 are",
            quote(other)
        )),
    }
}

fn stored((path, json): (&String, &Json)) -> Result<Fact, String> {
    let toml = match json {
        _ if !path.starts_with("model.") || super::schema::find(path).next().is_none() => {
            return Err(format!("{FIELD}.{path} is unknown to this version"));
        }
        Json::String(x) => quote(x),
        Json::Number(x) => x.to_string(),
        Json::Bool(x) => x.to_string(),
        _ => {
            return Err(format!(
                "{FIELD}.{path} is neither a text, a number nor a truth value"
            ));
        }
    };
    Ok((path.clone(), toml))
}

/// The fields of a foreign `config.json`; null is as good as absent.
struct Fields(Map<String, Json>);

impl Fields {
    fn get(&self, name: &str) -> Option<&Json> {
        self.0.get(name).filter(|json| !json.is_null())
    }

    fn wrong<T>(&self, name: &str, expected: &str) -> Result<T, String> {
        match self.get(name) {
            Some(json) => Err(format!(
                "{name} = {json} is not supported; expected {expected}"
            )),
            None => Err(format!("{name} is missing")),
        }
    }

    fn count(&self, name: &str, default: Option<u64>) -> Result<u64, String> {
        match (self.get(name).map(Json::as_u64), default) {
            (Some(Some(x)), _) => Ok(x),
            (None, Some(default)) => Ok(default),
            _ => self.wrong(name, "a whole number"),
        }
    }

    fn float(&self, name: &str, default: f64) -> Result<f64, String> {
        match self.get(name).map(Json::as_f64) {
            Some(Some(x)) => Ok(x),
            None => Ok(default),
            Some(None) => self.wrong(name, "a number"),
        }
    }

    fn flag(&self, name: &str, default: bool) -> Result<bool, String> {
        match self.get(name).map(Json::as_bool) {
            Some(Some(x)) => Ok(x),
            None => Ok(default),
            Some(None) => self.wrong(name, "true or false"),
        }
    }

    fn word<'a>(&'a self, name: &str, default: &'a str) -> Result<&'a str, String> {
        match self.get(name).map(Json::as_str) {
            Some(Some(x)) => Ok(x),
            None => Ok(default),
            Some(None) => self.wrong(name, "a text"),
        }
    }

    /// Refuses any other value of a feature that is not supported.
    fn only(&self, name: &str, values: &[Json]) -> Result<(), String> {
        match self.get(name) {
            Some(json) if !values.contains(json) => {
                let values: Vec<_> = values.iter().map(Json::to_string).collect();
                self.wrong(name, &values.join(" or "))
            }
            _ => Ok(()),
        }
    }
}

fn fact(path: &str, toml: impl Display) -> Fact {
    (format!("model.{path}"), toml.to_string())
}

/// A float as TOML: whole numbers keep their point.
fn number(x: f64) -> String {
    format!("{x:?}")
}

fn llama(f: &Fields, family: &str) -> Result<Vec<Fact>, String> {
    f.only("hidden_act", &["silu".into(), "swish".into()])?;
    f.only("quantization_config", &[])?;
    f.only("use_sliding_window", &[false.into()])?;
    f.only("pretraining_tp", &[1.into()])?;
    f.only("partial_rotary_factor", &[1.0.into(), 1.into()])?;
    let heads = f.count("num_attention_heads", None)?;
    let dim = f.count("hidden_size", None)?;
    let positions = f.count("max_position_embeddings", Some(2048))?;
    if family == "mistral" && f.count("sliding_window", Some(positions))? < positions {
        return f.wrong(
            "sliding_window",
            "null: attention within a window is not supported",
        );
    }
    if f.get("layer_types")
        .and_then(Json::as_array)
        .is_some_and(|types| types.iter().any(|t| t.as_str() != Some("full_attention")))
    {
        return f.wrong("layer_types", "\"full_attention\" throughout");
    }
    let head_dim = match family {
        "qwen3" => f.count("head_dim", Some(128))?,
        _ => f.count("head_dim", Some(dim / heads.max(1)))?,
    };
    let bias = f.flag("attention_bias", false)?;
    let bias = if family == "qwen2" {
        (true, false)
    } else {
        (bias, bias)
    };
    Ok(vec![
        fact("layers", f.count("num_hidden_layers", None)?),
        fact("dim", dim),
        fact("heads", heads),
        fact("kv_heads", f.count("num_key_value_heads", Some(heads))?),
        fact("head_dim", head_dim),
        fact("vocab_size", f.count("vocab_size", None)?),
        fact("max_positions", positions),
        fact("tie_embeddings", f.flag("tie_word_embeddings", false)?),
        fact("mixer.qk_norm", family == "qwen3"),
        fact("mixer.qkv_bias", bias.0),
        fact("mixer.out_bias", bias.1),
        fact("ffn.kind", quote("swiglu")),
        fact("ffn.hidden", f.count("intermediate_size", None)?),
        fact("ffn.bias", f.flag("mlp_bias", false)?),
        fact("norm.kind", quote("rmsnorm")),
        fact("norm.placement", quote("pre")),
        fact("norm.eps", number(f.float("rms_norm_eps", 1e-6)?)),
        fact("norm.zero_centered", false),
        fact("position.kind", quote("rope")),
        fact("position.theta", number(theta(f)?)),
        fact("position.layout", quote("half")),
    ])
}

/// The base of the rotary embedding: `rope_theta`, or `rope_parameters.rope_theta` in newer files.
fn theta(f: &Fields) -> Result<f64, String> {
    let mut theta = f.float("rope_theta", 10000.0)?;
    for name in ["rope_scaling", "rope_parameters"] {
        let Some(json) = f.get(name) else { continue };
        let Json::Object(map) = json else {
            return f.wrong(name, "an object");
        };
        let nested = Fields(map.clone());
        for word in ["rope_type", "type"] {
            let message = |e| format!("{name}: {e}");
            nested.only(word, &["default".into()]).map_err(message)?;
        }
        theta = nested.float("rope_theta", theta)?;
    }
    Ok(theta)
}

fn gpt2(f: &Fields) -> Result<Vec<Fact>, String> {
    f.only("scale_attn_weights", &[true.into()])?;
    f.only("scale_attn_by_inverse_layer_idx", &[false.into()])?;
    f.only("add_cross_attention", &[false.into()])?;
    f.only("quantization_config", &[])?;
    let activation = match f.word("activation_function", "gelu_new")? {
        "gelu_new" | "gelu_pytorch_tanh" => "gelu_tanh",
        name @ ("gelu" | "relu" | "silu") => name,
        _ => return f.wrong("activation_function", "gelu_new, gelu, relu or silu"),
    };
    let (dim, heads) = (f.count("n_embd", Some(768))?, f.count("n_head", Some(12))?);
    Ok(vec![
        fact("layers", f.count("n_layer", Some(12))?),
        fact("dim", dim),
        fact("heads", heads),
        fact("kv_heads", heads),
        fact("head_dim", dim / heads.max(1)),
        fact("vocab_size", f.count("vocab_size", Some(50257))?),
        fact("max_positions", f.count("n_positions", Some(1024))?),
        fact("tie_embeddings", f.flag("tie_word_embeddings", true)?),
        fact("mixer.qk_norm", false),
        fact("mixer.qkv_bias", true),
        fact("mixer.out_bias", true),
        fact("ffn.kind", quote("mlp")),
        fact("ffn.activation", quote(activation)),
        fact("ffn.hidden", f.count("n_inner", Some(4 * dim))?),
        fact("ffn.bias", true),
        fact("norm.kind", quote("layernorm")),
        fact("norm.placement", quote("pre")),
        fact("norm.eps", number(f.float("layer_norm_epsilon", 1e-5)?)),
        fact("norm.bias", true),
        fact("position.kind", quote("learned")),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_from_gives_the_shape_and_bears_no_contradiction() {
        let folder = tempfile::tempdir().unwrap();
        let write = |json: &str| std::fs::write(folder.path().join("config.json"), json).unwrap();
        let text = format!(
            "data.sequence_length = 8\ntrain = {{ batch_size = 4, max_steps = 10 }}\noptimizer.lr = 1e-3\n\
             model.init_from = {:?}\n",
            folder.path()
        );
        let parse = |more: &str| Config::parse(None, &format!("{text}{more}"), &[]);
        assert!(parse("").unwrap_err().message.starts_with("cannot read "));
        let qwen = r#"{"model_type": "qwen3", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
            "num_key_value_heads": 2, "head_dim": 32, "intermediate_size": 96, "vocab_size": 300, "rms_norm_eps": 1e-06,
            "tie_word_embeddings": true, "max_position_embeddings": 40, "hidden_act": "silu", "rope_scaling": null,
            "rope_parameters": {"rope_type": "default", "rope_theta": 1000000}}"#;
        write(qwen);
        let c = parse("model.dropout = 0.1").unwrap();
        assert_eq!((c.model.layers, c.model.dim, c.model.head_dim), (2, 64, 32));
        assert_eq!((c.model.vocab_size, c.model.kv_heads), (Some(300), 2));
        assert_eq!(
            (c.model.position.float("theta"), c.model.dropout),
            (1e6, 0.1)
        );
        assert!(c.model.mixer.flag("qk_norm") && c.model.tie_embeddings);
        assert!(parse("model.layers = 2").is_ok());
        let error = parse("model.layers = 3").unwrap_err();
        assert_eq!((error.line, error.key.as_str()), (5, "model.layers"));
        assert_eq!(error.message, "model.init_from says 2: remove this key");
        assert!(parse("model.preset = \"qwen3\"").is_err());
        let record = record(&c, 300);
        write(&format!(
            "{{\"model_type\": \"gpt2\", \"{FIELD}\": {record}}}"
        ));
        assert_eq!(parse("model.dropout = 0.1").unwrap(), c);
        for (from, to, message) in [
            (
                "\"default\"",
                "\"yarn\"",
                "rope_type = \"yarn\" is not supported",
            ),
            (
                "\"silu\"",
                "\"gelu\"",
                "hidden_act = \"gelu\" is not supported",
            ),
            (
                "\"qwen3\"",
                "\"gemma\"",
                "model_type \"gemma\" is not supported",
            ),
            (
                "\"hidden_size\": 64",
                "\"hidden_size\": \"64\"",
                "hidden_size = \"64\" is not supported",
            ),
        ] {
            write(&qwen.replace(from, to));
            let error = parse("").unwrap_err();
            assert!(error.message.contains(message), "{error}");
        }
        write(
            r#"{"model_type": "gpt2", "n_embd": 64, "n_head": 4, "n_layer": 2, "vocab_size": 300, "n_positions": 32}"#,
        );
        let c = parse("").unwrap();
        assert_eq!(
            (c.model.max_positions, c.model.ffn.int("hidden")),
            (32, 256)
        );
        assert!(c.model.ffn.flag("bias") && c.model.position.kind() == "learned");
    }
}
