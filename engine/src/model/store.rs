//! A model's parameters as the tensors of a file, and its configuration as a config.json.

use super::Model;
use crate::checkpoint::{TensorSink, TensorSource};
use crate::config::{MODEL_RECORD_FIELD, ModelConfig};
use crate::hf::{Features, HfError, HfSource, Names, generation_config, load, native_config};
use crate::optim::Optimizer;
use crate::param::{ParamId, Params};
use crate::safetensors::{self, Dtype, TensorInfo, Weights};
use serde_json::Value;
use std::io::{self, Write};
use std::ops::Range;
use std::path::Path;

/// How a model is written for others: names of tensors, config.json, generation_config.json.
#[derive(Clone, Debug)]
pub struct Export {
    /// Their names and ours.
    pub names: Names,
    /// config.json.
    pub config: Value,
    /// generation_config.json.
    pub generation_config: Value,
}

impl Export {
    /// For `model`, whose texts end with one of `eos`. `record` is the model's configuration ([`config::model_record`]),
    /// which our own reader prefers to everything else in the file, and other programs ignore.
    ///
    /// [`config::model_record`]: crate::config::model_record
    pub fn new(model: &Model, eos: &[u32], record: &Value) -> Self {
        let features = features(model, eos);
        let (names, mut config) = match features.export() {
            Ok(hf) => (Names::of(&hf), hf.config_json("float32")),
            Err(reason) => {
                let tensors: Vec<_> = model
                    .specs()
                    .all()
                    .iter()
                    .map(|spec| (spec.name.clone(), spec.shape.clone()))
                    .collect();
                (
                    Names::native(&tensors),
                    native_config(&features, record, &reason, "float32"),
                )
            }
        };
        if let Some(note) = config[MODEL_RECORD_FIELD].get("note").cloned() {
            config["note"] = note;
        }
        config[MODEL_RECORD_FIELD] = record.clone();
        Self {
            names,
            config,
            generation_config: generation_config(None, eos),
        }
    }
}

/// The model in the words that decide whether it is one of the library's architectures.
fn features(model: &Model, eos: &[u32]) -> Features {
    let config = &model.config;
    let (norm, ffn, position) = (
        config.norm.kind(),
        config.ffn.kind(),
        config.position.kind(),
    );
    let mut unusual = Vec::new();
    match config.norm.text("placement") {
        "pre" => {}
        other => unusual.push(format!("{other}-norm blocks")),
    }
    if norm == "rmsnorm" && config.norm.flag("zero_centered") {
        unusual.push("zero-centred norms".to_owned());
    }
    if position == "rope" && config.position.text("layout") == "interleaved" {
        unusual.push("interleaved rotary positions".to_owned());
    }
    let ffn = match ffn {
        "mlp" => match config.ffn.text("activation") {
            "gelu_tanh" => "gelu".to_owned(),
            other => other.to_owned(),
        },
        other => other.to_owned(),
    };
    Features {
        vocab_size: model.vocab_size(),
        dim: config.dim,
        hidden: config.ffn.int("hidden"),
        layers: config.layers,
        heads: config.heads,
        kv_heads: kv_heads(config),
        head_dim: config.head_dim,
        context: config.max_positions,
        norm: norm.to_owned(),
        norm_eps: config.norm.float("eps"),
        norm_bias: norm == "layernorm" && config.norm.flag("bias"),
        position: position.to_owned(),
        rope_theta: if position == "rope" {
            config.position.float("theta")
        } else {
            10_000.0
        },
        ffn,
        qk_norm: config.mixer.flag("qk_norm"),
        qkv_bias: config.mixer.flag("qkv_bias"),
        out_bias: config.mixer.flag("out_bias"),
        ffn_bias: config.ffn.flag("bias"),
        tie_embeddings: config.tie_embeddings,
        unusual,
        bos: None,
        eos: eos.to_vec(),
    }
}

fn kv_heads(config: &ModelConfig) -> usize {
    match config.mixer.kind() {
        "mha" => config.heads,
        "mqa" => 1,
        _ => config.kv_heads,
    }
}

/// The weights under the names of an [`Export`], to be written.
///
/// # Panics
/// If the names are not those of the parameters' model: a bug of the caller.
pub fn source<'a>(export: &Export, values: &'a dyn Fn(&str) -> Option<&'a [f32]>) -> HfSource<'a> {
    HfSource::new(&export.names, Dtype::F32, values)
        .expect("an export names the tensors of its own model")
}

/// Fills the parameters from a model's folder or file.
///
/// # Errors
/// If a tensor is missing, unexpected or of another shape, or a file cannot be read; it is named.
pub fn load_weights(path: &Path, model: &Model, params: &mut Params) -> Result<(), HfError> {
    let export = Export::new(model, &[], &Value::Null);
    let mut weights = Weights::open(path)?;
    let mut sink = ParamSink {
        params,
        piece: Vec::new(),
        start: 0,
    };
    load(&mut weights, &export.names, &mut sink)?;
    sink.deliver();
    Ok(())
}

/// Values reach parameters by pieces, since they may be rounded on the way.
struct ParamSink<'a> {
    params: &'a mut Params,
    /// Given out, to be filled; empty: nothing is.
    piece: Vec<f32>,
    /// The flat element that it begins with.
    start: usize,
}

impl ParamSink<'_> {
    fn deliver(&mut self) {
        if !self.piece.is_empty() {
            self.params.set(self.start, &self.piece);
            self.piece.clear();
        }
    }
}

impl TensorSink for ParamSink<'_> {
    fn tensors(&self) -> Vec<TensorInfo> {
        self.params
            .specs()
            .all()
            .iter()
            .map(|spec| TensorInfo::f32(&spec.name, spec.shape.clone()))
            .collect()
    }

    fn part(&mut self, index: usize, range: Range<usize>) -> &mut [f32] {
        self.deliver();
        self.start = self.params.range(ParamId(index as u32)).start + range.start;
        self.piece.resize(range.len(), 0.0);
        &mut self.piece
    }
}

/// An optimizer's arrays as tensors, one a flat buffer.
#[derive(Debug)]
pub struct OptimizerSource<'a>(pub &'a dyn Optimizer);

impl TensorSource for OptimizerSource<'_> {
    fn tensors(&self) -> Vec<TensorInfo> {
        self.0
            .state()
            .iter()
            .map(|(name, values)| TensorInfo::f32(*name, vec![values.len()]))
            .collect()
    }

    fn write(&self, index: usize, out: &mut dyn Write) -> io::Result<()> {
        safetensors::encode(Dtype::F32, self.0.state()[index].1, out)
    }
}

/// The same, to be filled.
#[derive(Debug)]
pub struct OptimizerSink<'a>(pub &'a mut dyn Optimizer);

impl TensorSink for OptimizerSink<'_> {
    fn tensors(&self) -> Vec<TensorInfo> {
        self.0
            .state()
            .iter()
            .map(|(name, values)| TensorInfo::f32(*name, vec![values.len()]))
            .collect()
    }

    fn part(&mut self, index: usize, range: Range<usize>) -> &mut [f32] {
        &mut self.0.state_mut().swap_remove(index).1[range]
    }
}
