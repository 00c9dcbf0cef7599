//! What a `config.json` says of a model's shape: the layer of `model.init_from`.
//!
//! [`crate::hf`] reads the files of families that it knows, and refuses what the program does not support. A checkpoint of
//! our own holds its keys under `zerollm`, which no other program reads, so that every model comes back exactly.

use std::fmt::Display;
use std::path::Path;

use serde_json::{Map, Value as Json};

use super::Config;
use super::value::{Value, quote};
use crate::hf::{self, Architecture, Description, HfModel};

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

/// What [`record`] stored in the config.json of a checkpoint of our own; none where there is no such thing.
pub fn recorded(folder: &Path) -> Option<Json> {
    let text = std::fs::read(folder.join("config.json")).ok()?;
    let mut json: Json = serde_json::from_slice(&text).ok()?;
    let own = json.get_mut(FIELD)?;
    let inner = own.get_mut("model").map(Json::take);
    let shape = inner.filter(Json::is_object).unwrap_or_else(|| own.take());
    shape.is_object().then_some(shape)
}

/// The keys that a [`record`] fixes, with their TOML values.
pub(super) fn shape_of(record: &Json) -> Result<Vec<Fact>, String> {
    let keys = record.as_object().into_iter().flatten();
    keys.map(stored).collect()
}

/// The keys that `folder`'s config.json fixes, with their TOML values.
pub(super) fn shape(folder: &Path) -> Result<Vec<Fact>, String> {
    let path = folder.join("config.json");
    let text = std::fs::read_to_string(&path)
        .map_err(|e| format!("cannot read {}: {e}", path.display()))?;
    // What is not JSON is refused by the other reader, which says where.
    let json: Json = serde_json::from_str(&text).unwrap_or(Json::Null);
    if let Some(Json::Object(own)) = json.get(FIELD) {
        let own = match own.get("model") {
            Some(Json::Object(model)) => model,
            _ => own,
        };
        let facts = own.iter().map(stored).collect::<Result<_, _>>();
        return facts.map_err(|message| format!("{}: {message}", path.display()));
    }
    match hf::read(folder).map_err(|e| e.to_string())? {
        Description::Hf(model) => Ok(described(&model)),
        Description::Native { .. } => Err(format!("{}: {FIELD} is no object", path.display())),
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

fn fact(path: &str, toml: impl Display) -> Fact {
    (format!("model.{path}"), toml.to_string())
}

/// The keys of a model of a family that the program knows.
fn described(model: &HfModel) -> Vec<Fact> {
    let mut facts = vec![
        fact("layers", model.layers),
        fact("dim", model.hidden_size),
        fact("heads", model.heads),
        fact("kv_heads", model.kv_heads),
        fact("head_dim", model.head_dim),
        fact("vocab_size", model.vocab_size),
        fact("max_positions", model.max_position_embeddings),
        fact("tie_embeddings", model.tie_word_embeddings),
        fact("mixer.qk_norm", model.qk_norm),
        fact("mixer.qkv_bias", model.qkv_bias),
        fact("mixer.out_bias", model.out_bias),
        fact("ffn.hidden", model.intermediate_size),
        fact("ffn.bias", model.ffn_bias),
        fact("norm.placement", quote("pre")),
        fact("norm.eps", format!("{:?}", model.norm_eps)),
    ];
    if let Some(theta) = model.rope_theta {
        facts.extend([
            fact("position.kind", quote("rope")),
            fact("position.theta", format!("{theta:?}")),
            fact("position.layout", quote("half")),
        ]);
    } else {
        facts.push(fact("position.kind", quote("learned")));
    }
    if model.architecture == Architecture::Gpt2 {
        facts.extend([
            fact("ffn.kind", quote("mlp")),
            fact("ffn.activation", quote("gelu_tanh")),
            fact("norm.kind", quote("layernorm")),
            fact("norm.bias", model.norm_bias),
        ]);
    } else {
        facts.extend([
            fact("ffn.kind", quote("swiglu")),
            fact("norm.kind", quote("rmsnorm")),
            fact("norm.zero_centered", false),
        ]);
    }
    facts
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
        let error = parse("").unwrap_err();
        assert!(
            error.message.starts_with("cannot read ") && error.line == 4,
            "{error}"
        );
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
            ("\"default\"", "\"yarn\"", "rope_type = "),
            ("\"silu\"", "\"gelu\"", "hidden_act = "),
            ("\"qwen3\"", "\"gemma\"", "model_type = "),
            (
                "\"hidden_size\": 64",
                "\"hidden_size\": \"64\"",
                "hidden_size = ",
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
