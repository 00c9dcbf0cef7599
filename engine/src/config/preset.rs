//! Families of models: the choices that `model.preset` fills in, below what the file says.

/// The presets' names.
pub(super) const NAMES: &[&str] = &["llama", "mistral", "qwen2", "qwen3", "gpt2"];

type Choices = &'static [(&'static str, &'static str)];

/// Dotted keys and TOML values of a preset; empty for an unknown name.
pub(super) fn choices(name: &str) -> Vec<(&'static str, &'static str)> {
    let (base, own): (Choices, Choices) = match name {
        // Touvron et al., arXiv:2302.13971, arXiv:2307.09288.
        "llama" => (LLAMA, &[]),
        // Jiang et al., arXiv:2310.06825; without its sliding window, which later versions dropped.
        "mistral" => (LLAMA, &[("model.position.theta", "1000000.0")]),
        // Yang et al., arXiv:2407.10671.
        "qwen2" => (
            LLAMA,
            &[
                ("model.mixer.qkv_bias", "true"),
                ("model.norm.eps", "1e-6"),
                ("model.position.theta", "1000000.0"),
                ("model.tie_embeddings", "true"),
            ],
        ),
        // Yang et al., arXiv:2505.09388.
        "qwen3" => (
            LLAMA,
            &[
                ("model.mixer.qk_norm", "true"),
                ("model.norm.eps", "1e-6"),
                ("model.position.theta", "1000000.0"),
                ("model.tie_embeddings", "true"),
            ],
        ),
        "gpt2" => (GPT2, &[]),
        _ => (&[], &[]),
    };
    base.iter().chain(own).copied().collect()
}

const LLAMA: Choices = &[
    ("model.mixer.kind", "\"gqa\""),
    ("model.mixer.qk_norm", "false"),
    ("model.mixer.qkv_bias", "false"),
    ("model.mixer.out_bias", "false"),
    ("model.ffn.kind", "\"swiglu\""),
    ("model.ffn.bias", "false"),
    ("model.norm.kind", "\"rmsnorm\""),
    ("model.norm.placement", "\"pre\""),
    ("model.norm.eps", "1e-5"),
    ("model.position.kind", "\"rope\""),
    ("model.position.theta", "10000.0"),
    ("model.position.layout", "\"half\""),
    ("model.tie_embeddings", "false"),
];

// Radford et al., 2019.
const GPT2: Choices = &[
    ("model.mixer.kind", "\"mha\""),
    ("model.mixer.qkv_bias", "true"),
    ("model.mixer.out_bias", "true"),
    ("model.ffn.kind", "\"mlp\""),
    ("model.ffn.activation", "\"gelu_tanh\""),
    ("model.ffn.bias", "true"),
    ("model.norm.kind", "\"layernorm\""),
    ("model.norm.placement", "\"pre\""),
    ("model.norm.eps", "1e-5"),
    ("model.norm.bias", "true"),
    ("model.position.kind", "\"learned\""),
    ("model.tie_embeddings", "true"),
];
