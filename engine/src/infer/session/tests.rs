use super::*;
use crate::infer::load::Loaded;
use crate::model::Model;
use crate::param::Group;
use kernels::{Bf16, Elem as _, Isa};
use std::path::{Path, PathBuf};

/// A tiny model of each architecture, as the library writes it: with rows that are joined, rows that are transposed, biases,
/// tied and untied heads.
fn fixtures() -> impl Iterator<Item = PathBuf> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/hf"));
    ["gpt2", "llama", "qwen3"]
        .into_iter()
        .map(|name| folder.join(name))
}

fn open(folder: &Path, precision: &str) -> Loaded {
    let flags = [
        format!("device.precision={precision}"),
        "device.threads=1".to_owned(),
    ];
    Loaded::open(folder, &flags).unwrap()
}

/// The same values as `params`, in f32 memory; matrices, embeddings and heads rounded to bf16 if asked.
fn wide(model: &Model, params: &Params, round: bool) -> Params {
    let mut wide = Params::new(model.specs().clone(), Precision::Bf16, false);
    wide.copy_from(params);
    if round {
        let groups = wide.groups().to_vec();
        for (group, range) in groups {
            if group != Group::Vector {
                for x in &mut wide.values_mut()[range] {
                    *x = Bf16::put(*x).get();
                }
            }
        }
    }
    wide
}

/// Logits of a text that is read in two parts, and then of each further token.
fn logits(model: &Model, params: &mut Params, cpu: &Cpu) -> Vec<f32> {
    let mut session = Session::new(model, Precision::Bf16, 20, cpu);
    let mut arena = Arena::new(session.arena_bytes());
    let mut all = Vec::new();
    for tokens in [&[3, 1, 4, 1, 5][..], &[9, 2, 6], &[5], &[3], &[5]] {
        let logits = session.read(tokens, &mut arena, params, cpu).unwrap();
        all.extend_from_slice(logits);
    }
    all
}

#[test]
fn weights_are_read_as_rounded_as_they_are_multiplied() {
    for folder in fixtures() {
        let (single, mut half) = (open(&folder, "f32"), open(&folder, "bf16"));
        let mut rounded = wide(&single.model, &single.params, true);
        for (id, name) in rounded.ids() {
            let (want, got) = (rounded.slot(id).to_f64(), half.params.slot(id).to_f64());
            assert_eq!(got, want, "{name} of {}", folder.display());
        }
        let mut exact = wide(&single.model, &single.params, false);
        for isa in Isa::available() {
            let cpu = Cpu::with_isa(1, isa);
            let got = logits(&half.model, &mut half.params, &cpu);
            // The same products, whether factors are rounded in memory or on the way.
            let want = logits(&single.model, &mut rounded, &cpu);
            assert_eq!(got, want, "{isa:?} {}", folder.display());
            let cpu = Cpu::with_isa(3, isa);
            assert_eq!(got, logits(&half.model, &mut half.params, &cpu), "{isa:?}");
            // Only embeddings and the head lose bits by it that a product would not have dropped.
            let exact = logits(&single.model, &mut exact, &cpu);
            let sum = |f: &dyn Fn(f32, f32) -> f32| -> f32 {
                got.iter().zip(&exact).map(|(a, b)| f(*a, *b)).sum()
            };
            let error = (sum(&|a, b| (a - b) * (a - b)) / sum(&|_, b| b * b)).sqrt();
            assert!(error < 0.01, "{isa:?} {}: {error}", folder.display());
        }
    }
}

#[test]
fn bf16_takes_half_the_memory() {
    for folder in fixtures() {
        let (single, half) = (open(&folder, "f32"), open(&folder, "bf16"));
        let (specs, cpu) = (single.model.specs(), &single.cpu);
        for loaded in [&single, &half] {
            let said = Params::reading_bytes(specs, loaded.precision);
            assert_eq!(loaded.params.bytes(), said);
            let session = Session::new(&loaded.model, loaded.precision, 20, cpu);
            let [caches, arena] = Session::need(&loaded.model, loaded.precision, 20, cpu);
            assert_eq!(session.decode.program.state_bytes() as u64, caches);
            assert_eq!(session.arena_bytes() as u64, arena);
        }
        let vectors = specs
            .all()
            .iter()
            .filter(|spec| spec.group == Group::Vector);
        let vectors: usize = vectors
            .map(|spec| spec.shape.iter().product::<usize>())
            .sum();
        let bytes = [&single, &half].map(|loaded| loaded.params.bytes());
        assert!(2 * bytes[1] <= bytes[0] + 8 * vectors, "{bytes:?}");
        let caches = [Precision::F32, Precision::Bf16]
            .map(|precision| Session::need(&single.model, precision, 20, cpu)[0]);
        assert_eq!(caches[0], 2 * caches[1]);
    }
}
