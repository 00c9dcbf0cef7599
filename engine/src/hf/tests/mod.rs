mod configs;
mod library;

use super::*;
use crate::checkpoint::{TensorSink, TensorSource as _};
use crate::safetensors::{Dtype, TensorInfo, Weights, encode, write};
use serde_json::json;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

fn fixture(architecture: Architecture) -> PathBuf {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/hf"))
        .join(architecture.model_type())
}

fn model_of(folder: &Path) -> HfModel {
    match read(folder).unwrap() {
        Description::Hf(model) => *model,
        native @ Description::Native { .. } => panic!("{native:?}"),
    }
}

/// Our tensors in memory.
#[derive(Clone, Debug, Default)]
struct Ours(Vec<(String, Vec<f32>)>);

impl Ours {
    fn of(names: &Names) -> Self {
        let tensors = names.maps.iter().map(|map| {
            let len = map.shape.iter().product();
            (map.ours.clone(), vec![f32::NAN; len])
        });
        Self(tensors.collect())
    }

    fn get(&self, name: &str) -> Option<&[f32]> {
        let found = self.0.iter().find(|(known, _)| known == name);
        found.map(|(_, values)| values.as_slice())
    }
}

impl TensorSink for Ours {
    fn tensors(&self) -> Vec<TensorInfo> {
        let infos = self.0.iter();
        infos
            .map(|(name, values)| TensorInfo::f32(name.clone(), [values.len()]))
            .collect()
    }
    fn part(&mut self, index: usize, range: std::ops::Range<usize>) -> &mut [f32] {
        &mut self.0[index].1[range]
    }
}

fn load_fixture(architecture: Architecture) -> (HfModel, Names, Ours) {
    let folder = fixture(architecture);
    let model = model_of(&folder);
    let names = Names::of(&model);
    let mut ours = Ours::of(&names);
    load(&mut Weights::open(&folder).unwrap(), &names, &mut ours).unwrap();
    (model, names, ours)
}

fn export(path: &Path, names: &Names, ours: &Ours, dtype: Dtype) {
    let values = |name: &str| ours.get(name);
    let source = HfSource::new(names, dtype, &values).unwrap();
    let mut out = File::create(path).unwrap();
    write(
        &mut out,
        &source.tensors(),
        &[("format", "pt")],
        &mut |index, out| source.write(index, out),
    )
    .unwrap();
}

/// Names, shapes and values of a folder or file.
fn everything(path: &Path) -> BTreeMap<String, (Vec<usize>, Vec<f32>)> {
    let mut weights = Weights::open(path).unwrap();
    let names: Vec<String> = weights.names().map(str::to_owned).collect();
    let all = names.into_iter().map(|name| {
        let shape = weights.entry(&name).unwrap().info.shape.clone();
        let mut values = vec![0.0; shape.iter().product()];
        weights.read_into(&name, &mut values).unwrap();
        (name, (shape, values))
    });
    all.collect()
}

#[test]
fn fixtures_are_described_as_they_were_made() {
    let llama = model_of(&fixture(Architecture::Llama));
    let expected = HfModel {
        architecture: Architecture::Llama,
        vocab_size: 64,
        hidden_size: 32,
        intermediate_size: 48,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 8,
        max_position_embeddings: 32,
        norm_eps: 1e-5,
        rope_theta: Some(10_000.0),
        tie_word_embeddings: false,
        qk_norm: false,
        qkv_bias: false,
        out_bias: false,
        ffn_bias: false,
        norm_bias: false,
        bos: Some(1),
        eos: vec![2],
    };
    assert_eq!(llama, expected);
    let with = |change: &dyn Fn(&mut HfModel)| {
        let mut model = expected.clone();
        change(&mut model);
        model
    };
    assert_eq!(
        model_of(&fixture(Architecture::Mistral)),
        with(&|m| (m.architecture, m.norm_eps) = (Architecture::Mistral, 1e-6))
    );
    let qwen = |m: &mut HfModel| {
        (m.norm_eps, m.rope_theta, m.tie_word_embeddings) = (1e-6, Some(1e6), true);
    };
    assert_eq!(
        model_of(&fixture(Architecture::Qwen2)),
        with(&|m| {
            qwen(m);
            (m.architecture, m.qkv_bias) = (Architecture::Qwen2, true);
        })
    );
    assert_eq!(
        model_of(&fixture(Architecture::Qwen3)),
        with(&|m| {
            qwen(m);
            (m.architecture, m.head_dim, m.qk_norm) = (Architecture::Qwen3, 12, true);
        })
    );
    assert_eq!(
        model_of(&fixture(Architecture::Gpt2)),
        with(&|m| {
            (m.architecture, m.rope_theta, m.tie_word_embeddings) =
                (Architecture::Gpt2, None, true);
            (m.kv_heads, m.qkv_bias, m.out_bias, m.ffn_bias, m.norm_bias) =
                (4, true, true, true, true);
        })
    );
}

#[test]
fn import_and_export_give_the_same_tensors() {
    for architecture in Architecture::ALL {
        let (model, names, ours) = load_fixture(architecture);
        assert!(
            ours.0
                .iter()
                .flat_map(|(_, values)| values)
                .all(|x| x.is_finite())
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let stored_as = match architecture {
            Architecture::Mistral | Architecture::Qwen2 => Dtype::Bf16,
            _ => Dtype::F32,
        };
        export(&path, &names, &ours, stored_as);
        assert_eq!(
            everything(&path),
            everything(&fixture(architecture)),
            "{architecture:?}"
        );
        let config = model.config_json("float32");
        let again = parse(
            Path::new("config.json"),
            config.as_object().unwrap().clone(),
        )
        .unwrap();
        assert_eq!(again, Description::Hf(Box::new(model)));
    }
}

#[test]
fn fused_rows_are_q_then_k_then_v() {
    let (_, _, ours) = load_fixture(Architecture::Qwen3);
    let theirs = everything(&fixture(Architecture::Qwen3));
    let rows = |names: [&str; 3]| -> Vec<f32> {
        let parts = names.map(|x| theirs[&format!("model.layers.1.{x}.weight")].1.clone());
        parts.concat()
    };
    assert_eq!(
        ours.get("blocks.1.mixer.qkv.weight").unwrap(),
        rows(["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"])
    );
    let gate_up = ours.get("blocks.1.ffn.gate_up.weight").unwrap();
    assert_eq!(
        gate_up[..48 * 32],
        theirs["model.layers.1.mlp.gate_proj.weight"].1
    );
    assert_eq!(
        gate_up[48 * 32..],
        theirs["model.layers.1.mlp.up_proj.weight"].1
    );
    // GPT-2 stores [in, out]: row r of ours is column r of theirs.
    let (_, _, ours) = load_fixture(Architecture::Gpt2);
    let theirs = everything(&fixture(Architecture::Gpt2));
    let (shape, values) = &theirs["transformer.h.0.attn.c_attn.weight"];
    assert_eq!(*shape, [32, 96]);
    let qkv = ours.get("blocks.0.mixer.qkv.weight").unwrap();
    for (row, column) in [(0, 0), (5, 31), (95, 2)] {
        assert_eq!(qkv[row * 32 + column], values[column * 96 + row]);
    }
}

/// Writes a file of these tensors.
fn store(path: &Path, tensors: &BTreeMap<String, (Vec<usize>, Vec<f32>)>) {
    let infos: Vec<TensorInfo> = tensors
        .iter()
        .map(|(name, (shape, _))| TensorInfo::f32(name.clone(), shape.clone()))
        .collect();
    let values: Vec<&Vec<f32>> = tensors.values().map(|(_, values)| values).collect();
    let mut out = File::create(path).unwrap();
    write(&mut out, &infos, &[], &mut |index, out| {
        encode(Dtype::F32, values[index], out)
    })
    .unwrap();
}

/// A fixture whose tensors were changed, loaded.
fn load_changed(
    model: &HfModel,
    change: impl FnOnce(&mut BTreeMap<String, (Vec<usize>, Vec<f32>)>),
) -> Result<Ours, HfError> {
    let folder = tempfile::tempdir().unwrap();
    let mut tensors = everything(&fixture(model.architecture));
    change(&mut tensors);
    store(&folder.path().join("model.safetensors"), &tensors);
    let names = Names::of(model);
    let mut ours = Ours::of(&names);
    load(&mut Weights::open(folder.path())?, &names, &mut ours)?;
    Ok(ours)
}

#[test]
fn files_that_do_not_fit_are_refused_by_name() {
    let llama = model_of(&fixture(Architecture::Llama));
    let down = "model.layers.1.mlp.down_proj.weight";
    let error = load_changed(&llama, |t| drop(t.remove(down)))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(&format!("1 tensor is missing: {down}")),
        "{error}"
    );
    let error = load_changed(&llama, |t| t.retain(|name, _| !name.contains("layers.1")))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("9 tensors are missing: ") && error.ends_with("and 5 more"),
        "{error}"
    );
    let extra = |t: &mut BTreeMap<_, _>| {
        drop(t.insert("model.layers.2.x".to_owned(), (vec![1], vec![0.0])));
    };
    let error = load_changed(&llama, extra).unwrap_err().to_string();
    assert!(
        error.contains("1 tensor is unexpected for this model: model.layers.2.x"),
        "{error}"
    );
    let turn =
        |t: &mut BTreeMap<String, (Vec<usize>, Vec<f32>)>| t.get_mut(down).unwrap().0.reverse();
    let error = load_changed(&llama, turn).unwrap_err().to_string();
    assert!(
        error.contains(down)
            && error.contains("has shape [48, 32], but config.json makes it [32, 48]"),
        "{error}"
    );
    let frequencies = "model.layers.0.self_attn.rotary_emb.inv_freq".to_owned();
    assert!(
        load_changed(&llama, |t| drop(
            t.insert(frequencies, (vec![4], vec![1.0; 4]))
        ))
        .is_ok()
    );
}

#[test]
fn tied_heads_may_be_stored_but_not_differ() {
    let model = model_of(&fixture(Architecture::Qwen3));
    let embedding =
        |t: &BTreeMap<String, (Vec<usize>, Vec<f32>)>| t["model.embed_tokens.weight"].clone();
    load_changed(&model, |t| {
        drop(t.insert("lm_head.weight".to_owned(), embedding(t)));
    })
    .unwrap();
    let error = load_changed(&model, |t| {
        let mut head = embedding(t);
        head.1[3] += 1.0;
        t.insert("lm_head.weight".to_owned(), head);
    });
    assert!(
        error
            .unwrap_err()
            .to_string()
            .contains("lm_head.weight: differs from model.embed_tokens.weight")
    );
}

#[test]
fn gpt2_is_read_without_prefix_and_with_masks() {
    let (model, _, expected) = load_fixture(Architecture::Gpt2);
    let ours = load_changed(&model, |t| {
        let names: Vec<String> = t.keys().cloned().collect();
        for name in names {
            let values = t.remove(&name).unwrap();
            t.insert(name.replace("transformer.", ""), values);
        }
        t.insert("h.0.attn.bias".to_owned(), (vec![1, 1, 2, 2], vec![1.0; 4]));
        t.insert("h.0.attn.masked_bias".to_owned(), (vec![], vec![-1e4]));
    });
    assert_eq!(ours.unwrap().0, expected.0);
}

fn gpt2_features() -> Features {
    Features {
        vocab_size: 64,
        dim: 32,
        hidden: 48,
        layers: 2,
        heads: 4,
        kv_heads: 4,
        head_dim: 8,
        context: 32,
        norm: "layernorm".to_owned(),
        norm_eps: 1e-5,
        position: "learned".to_owned(),
        ffn: "gelu".to_owned(),
        tie_embeddings: true,
        eos: vec![0],
        ..Features::default()
    }
}

#[test]
fn a_gpt2_without_biases_is_written_with_zeros_and_read_back_without() {
    let model = gpt2_features().export().unwrap();
    let names = Names::of(&model);
    assert!(names.maps.iter().all(|map| !map.ours.ends_with("bias")));
    assert_eq!(names.zeros.len(), 2 * 6 + 1);
    let mut ours = Ours::of(&names);
    for (at, x) in ours.0.iter_mut().flat_map(|(_, values)| values).enumerate() {
        *x = at as f32;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    export(&path, &names, &ours, Dtype::F32);
    let config = model.config_json("float32").to_string();
    assert!(config.contains("\"note\":\"GPT-2 has these biases everywhere"));
    fs::write(folder.path().join("config.json"), config).unwrap();
    let stored: Vec<String> = everything(&path).into_keys().collect();
    let theirs: Vec<String> = everything(&fixture(Architecture::Gpt2))
        .into_keys()
        .collect();
    assert_eq!(stored, theirs, "the library finds every tensor it has");
    assert_eq!(model_of(folder.path()), model);
    let mut again = Ours::of(&names);
    load(&mut Weights::open(&path).unwrap(), &names, &mut again).unwrap();
    assert_eq!(again.0, ours.0);
    let error = load_changed(&model, |_| {}).unwrap_err().to_string();
    assert!(
        error.contains("the model has no such bias, but it is not zero"),
        "{error}"
    );
}

#[test]
fn a_model_of_our_own_keeps_its_table() {
    let mut features = gpt2_features();
    features.unusual.push("norms after the layers".to_owned());
    let reason = features.export().unwrap_err();
    let table = json!({"layers": 2, "norm": {"kind": "sandwich"}});
    let config = native_config(&features, &table, &reason, "float32");
    assert!(
        config["zerollm"]["note"]
            .as_str()
            .unwrap()
            .contains("norms after the layers")
    );
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    let generation = generation_config(Some(1), &[5, 6]).to_string();
    fs::write(folder.path().join("generation_config.json"), generation).unwrap();
    let expected = Description::Native {
        model: table,
        bos: None,
        eos: vec![5, 6],
    };
    assert_eq!(read(folder.path()).unwrap(), expected);
    let names = Names::native(&[
        ("a.weight".to_owned(), vec![2, 3]),
        ("s".to_owned(), vec![]),
    ]);
    let ours = Ours(vec![
        ("a.weight".to_owned(), vec![1.5; 6]),
        ("s".to_owned(), vec![2.0]),
    ]);
    let path = folder.path().join("model.safetensors");
    export(&path, &names, &ours, Dtype::F32);
    assert_eq!(everything(&path)["s"], (vec![], vec![2.0]));
    let mut again = Ours::of(&names);
    load(
        &mut Weights::open(folder.path()).unwrap(),
        &names,
        &mut again,
    )
    .unwrap();
    assert_eq!(again.0, ours.0);
}
