//! What a config.json may say, and which architecture a model of ours is.

use super::{fixture, gpt2_features};
use crate::hf::{
    Architecture, Description, Features, Names, generation_config, parse, tokenizer_config,
};
use serde_json::{Map, Value, json};
use std::fs;
use std::path::Path;

fn refused(architecture: Architecture, key: &str, value: Value) -> String {
    let text = fs::read(fixture(architecture).join("config.json")).unwrap();
    let mut config: Map<String, Value> = serde_json::from_slice(&text).unwrap();
    config.insert(key.to_owned(), value);
    match parse(Path::new("config.json"), config) {
        Ok(description) => panic!("{key} was accepted: {description:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn what_is_not_supported_is_named() {
    use Architecture::{Gpt2, Llama, Mistral, Qwen2, Qwen3};
    let llama3 = json!({"rope_type": "llama3", "factor": 8.0});
    let yarn = json!({"type": "yarn", "factor": 4.0});
    let cases = [
        (
            Llama,
            "rope_scaling",
            llama3.clone(),
            "rope_scaling.rope_type = \"llama3\"",
        ),
        (Llama, "rope_scaling", yarn, "rope_scaling.type = \"yarn\""),
        (
            Llama,
            "rope_parameters",
            llama3,
            "rope_parameters.rope_type = \"llama3\"",
        ),
        (
            Llama,
            "rope_parameters",
            json!({"rope_type": "default", "factor": 2}),
            "rope_parameters.factor = 2",
        ),
        (
            Llama,
            "rope_theta",
            json!(5),
            "rope_parameters.rope_theta = 10000.0: contradicts",
        ),
        (
            Llama,
            "partial_rotary_factor",
            json!(0.5),
            "partial_rotary_factor = 0.5",
        ),
        (Llama, "hidden_act", json!("gelu"), "hidden_act = \"gelu\""),
        (
            Llama,
            "quantization_config",
            json!({"bits": 4}),
            "quantization_config = {\"bits\":4}",
        ),
        (
            Llama,
            "model_type",
            json!("gemma"),
            "model_type = \"gemma\"",
        ),
        (Llama, "model_type", Value::Null, "model_type = null"),
        (
            Llama,
            "architectures",
            json!(["LlamaForSequenceClassification"]),
            "architectures = ",
        ),
        (
            Llama,
            "auto_map",
            json!({"AutoModel": "x.py"}),
            "auto_map = ",
        ),
        (
            Llama,
            "num_attention_heads",
            json!(0),
            "num_attention_heads = 0",
        ),
        (
            Llama,
            "num_attention_heads",
            json!(3),
            "num_key_value_heads = 2",
        ),
        (Llama, "hidden_size", json!(-32), "hidden_size = -32"),
        (Llama, "hidden_size", json!(1e30), "hidden_size = 1e"),
        (Llama, "hidden_size", Value::Null, "hidden_size = absent"),
        (Llama, "head_dim", json!(7), "head_dim = 7"),
        (
            Llama,
            "num_hidden_layers",
            json!(2_000_000_000),
            "num_hidden_layers = 2000000000",
        ),
        (
            Llama,
            "rms_norm_eps",
            json!("small"),
            "rms_norm_eps = \"small\"",
        ),
        (Llama, "eos_token_id", json!("x"), "eos_token_id = \"x\""),
        (
            Llama,
            "attn_logit_softcapping",
            json!(50.0),
            "attn_logit_softcapping = 50.0",
        ),
        (Mistral, "sliding_window", json!(16), "sliding_window = 16"),
        (
            Mistral,
            "attention_bias",
            json!(true),
            "attention_bias = true",
        ),
        (
            Qwen2,
            "attention_bias",
            json!(false),
            "attention_bias = false",
        ),
        (
            Qwen2,
            "layer_types",
            json!(["full_attention", "sliding_attention"]),
            "layer_types = ",
        ),
        (Qwen3, "mlp_bias", json!(true), "mlp_bias = true"),
        (
            Gpt2,
            "activation_function",
            json!("relu"),
            "activation_function = \"relu\"",
        ),
        (
            Gpt2,
            "scale_attn_by_inverse_layer_idx",
            json!(true),
            "scale_attn_by_inverse_layer_idx = true",
        ),
        (
            Gpt2,
            "scale_attn_weights",
            json!(false),
            "scale_attn_weights = false",
        ),
        (
            Gpt2,
            "add_cross_attention",
            json!(true),
            "add_cross_attention = true",
        ),
        (Gpt2, "n_head", json!(5), "n_head = 5"),
        (Gpt2, "rope_theta", json!(1e4), "rope_theta = 10000.0"),
    ];
    for (architecture, key, value, expected) in cases {
        let error = refused(architecture, key, value);
        assert!(
            error.starts_with("config.json: ") && error.contains(expected),
            "{error}\nexpected {expected}"
        );
        assert!(!error.contains('\n'), "{error}");
    }
    let window = json!({"model_type": "mistral", "vocab_size": 8, "hidden_size": 8, "num_attention_heads": 2,
        "num_key_value_heads": 1, "num_hidden_layers": 1, "intermediate_size": 8, "max_position_embeddings": 8192});
    let error = parse(Path::new("c"), window.as_object().unwrap().clone())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("sliding_window = 4096"),
        "the class's own default is in force: {error}"
    );
}

#[test]
fn both_spellings_and_absent_keys_are_read() {
    let small = json!({"model_type": "llama", "vocab_size": 8, "hidden_size": 8, "num_attention_heads": 2,
        "num_hidden_layers": 1, "intermediate_size": 8, "torch_dtype": "bfloat16"});
    let with = |changes: Value| {
        let mut config = small.as_object().unwrap().clone();
        config.extend(changes.as_object().unwrap().clone());
        match parse(Path::new("config.json"), config).unwrap() {
            Description::Hf(model) => *model,
            native @ Description::Native { .. } => panic!("{native:?}"),
        }
    };
    let plain = with(json!({}));
    assert_eq!((plain.kv_heads, plain.head_dim), (2, 4));
    assert_eq!((plain.norm_eps, plain.rope_theta), (1e-6, Some(10_000.0)));
    assert_eq!((plain.bos, plain.eos.as_slice()), (Some(1), [2].as_slice()));
    for (theta, changes) in [
        (5e5, json!({"rope_theta": 500_000, "rope_scaling": null})),
        (
            5e5,
            json!({"rope_parameters": {"rope_theta": 500_000.0, "rope_type": "default"}, "dtype": "float32"}),
        ),
        (
            5e5,
            json!({"rope_theta": 5e5, "rope_parameters": {"rope_theta": 500_000.0}, "rope_scaling": {"type": "default"}}),
        ),
    ] {
        assert_eq!(with(changes).rope_theta, Some(theta));
    }
    let qwen = with(
        json!({"model_type": "qwen3", "num_key_value_heads": 1, "sliding_window": 4, "eos_token_id": [3, 900]}),
    );
    assert_eq!(qwen.head_dim, 128, "the class's own default");
    assert_eq!((qwen.bos, qwen.eos.as_slice()), (None, [3].as_slice()));
    let biased = with(json!({"attention_bias": true, "mlp_bias": true}));
    let ours: Vec<String> = Names::of(&biased)
        .maps
        .into_iter()
        .map(|map| map.ours)
        .collect();
    for name in [
        "mixer.qkv.bias",
        "mixer.out.bias",
        "ffn.gate_up.bias",
        "ffn.down.bias",
    ] {
        assert!(ours.contains(&format!("blocks.0.{name}")), "{ours:?}");
    }
}

#[test]
fn features_find_their_architecture() {
    let llama = Features {
        kv_heads: 2,
        norm: "rmsnorm".to_owned(),
        position: "rope".to_owned(),
        rope_theta: 1e4,
        ffn: "swiglu".to_owned(),
        ..gpt2_features()
    };
    type Change = fn(&mut Features);
    let cases: [(Change, Result<Architecture, &str>); 12] = [
        (|_| {}, Ok(Architecture::Llama)),
        (|f| f.head_dim = 16, Ok(Architecture::Llama)),
        (
            |f| (f.qkv_bias, f.out_bias, f.ffn_bias) = (true, true, true),
            Ok(Architecture::Llama),
        ),
        (|f| f.qkv_bias = true, Ok(Architecture::Qwen2)),
        (|f| f.qk_norm = true, Ok(Architecture::Qwen3)),
        (
            |f| (f.qk_norm, f.head_dim) = (true, 12),
            Ok(Architecture::Qwen3),
        ),
        (|f| f.out_bias = true, Err("biases in just these places")),
        (
            |f| (f.heads, f.head_dim) = (3, 8),
            Err("multiple of its heads"),
        ),
        (|f| f.norm_bias = true, Err("RMSNorm has no bias")),
        (|f| f.ffn = "geglu".to_owned(), Err("ffn geglu")),
        (|f| f.position = "none".to_owned(), Err("position none")),
        (
            |f| f.unusual.push("norms after the layers".to_owned()),
            Err("has norms after the layers"),
        ),
    ];
    for (change, expected) in cases {
        let mut features = llama.clone();
        change(&mut features);
        match (features.export(), expected) {
            (Ok(model), Ok(architecture)) => {
                assert_eq!(model.architecture, architecture);
                let config = model.config_json("float32").as_object().unwrap().clone();
                let again = parse(Path::new("c"), config).unwrap();
                assert_eq!(again, Description::Hf(Box::new(model)));
            }
            (Err(reason), Err(expected)) => assert!(reason.contains(expected), "{reason}"),
            (found, expected) => panic!("{found:?} instead of {expected:?}"),
        }
    }
    let mut grouped = gpt2_features();
    grouped.kv_heads = 2;
    assert!(
        grouped
            .export()
            .unwrap_err()
            .contains("as many key heads as heads")
    );
}

#[test]
fn other_programs_are_told_to_take_the_tokenizer_as_it_is() {
    let tokenizer = json!({"added_tokens": [
        {"id": 3, "content": "<|user|>"}, {"id": 7, "content": "<|endoftext|>"}
    ]});
    let tokenizer = tokenizer.to_string();
    for (eos, token) in [
        (&[7, 3][..], json!("<|endoftext|>")),
        (&[3], json!("<|user|>")),
        (&[5], Value::Null),
        (&[], Value::Null),
    ] {
        let config = tokenizer_config(tokenizer.as_bytes(), &generation_config(None, eos));
        assert_eq!(config["eos_token"], token);
        assert_eq!(config["tokenizer_class"], "PreTrainedTokenizerFast");
        assert_eq!(config["clean_up_tokenization_spaces"], false);
    }
}
