//! From layers to entries: who said what, whose word counts, and what follows from it.

use std::path::{Path, PathBuf};

use super::entry::{Entries, Entry};
use super::error::{ConfigError, Place, nearest};
use super::layer::{Layer, Source};
use super::value::{Value, quote};
use super::{Sources, check, import, preset, schema};
use crate::model::ffn;
use crate::registry::{Class, Default, Key, SLOTS, Slot};

/// The folder of a configuration file. What comes through a pipe has none: its paths are relative to the current directory.
fn folder(file: &Path) -> Option<&Path> {
    let folder = file.parent()?;
    let is_pipe = file == Path::new("/dev/stdin")
        || [Path::new("/dev/fd"), Path::new("/proc/self/fd")].contains(&folder);
    (!is_pipe).then_some(folder)
}

/// Resolves all layers: values, derived values, checks between keys.
pub(super) fn resolve(sources: &Sources<'_>) -> Result<Entries, ConfigError> {
    let file = sources
        .file
        .map_or_else(String::new, |file| file.display().to_string());
    let base = sources.file.and_then(folder).unwrap_or(Path::new(""));
    let mut layers = vec![Layer::text(Source::File, &file, base, sources.text)?];
    for (source, flags) in [(Source::Flag, sources.flags), (Source::Edit, sources.edits)] {
        let mut merged = Layer {
            source,
            base: PathBuf::new(),
            assignments: Vec::new(),
        };
        for flag in flags {
            merged
                .assignments
                .extend(Layer::flag(source, flag)?.assignments);
        }
        layers.push(merged);
    }
    let mut below = Vec::new();
    let preset = last(&layers, "model.preset")?;
    if let Some(Value::Text(name)) = &preset {
        below.push(Layer::known(
            Source::Preset,
            "preset",
            preset::choices(name),
        )?);
    }
    if let Some(Value::Text(path)) = last(&layers, "model.init_from")? {
        let written = layers
            .iter()
            .rev()
            .find_map(|layer| layer.get("model.init_from"));
        let place = written.map(|a| a.place.clone()).unwrap_or_default();
        let facts = match sources.shape {
            Some(known) => import::shape_of(known),
            None => import::shape(Path::new(&path)),
        };
        let facts = facts.map_err(|m| place.error("model.init_from", m))?;
        let pairs = facts
            .iter()
            .map(|(key, toml)| (key.as_str(), toml.as_str()));
        let layer = Layer::known(Source::Import, "init_from", pairs)?;
        refuse_contrary(&layer, &layers)?;
        below.push(layer);
    }
    if let Some(text) = sources.checkpoint {
        let mut layer = Layer::text(Source::Checkpoint, "checkpoint", Path::new(""), text)?;
        layer
            .assignments
            .retain(|a| schema::find(&a.path).any(|key| key.class == Class::Live));
        below.push(layer);
    }
    below.append(&mut layers);
    let kinds = choose_kinds(&below)?;
    let mut entries = Entries {
        list: Vec::new(),
        file,
    };
    for section in schema::SECTIONS {
        for key in section.keys {
            let path = format!("{}.{}", section.name, key.name);
            entries.list.push(entry(path, key, &below)?);
        }
        for slot in section.slots() {
            let index = kinds[SLOTS.iter().position(|s| s.path == slot.path).unwrap_or(0)];
            let mut kind = entry(format!("{}.kind", slot.path), schema::kind_of(slot), &below)?;
            kind.value = Some(Value::Text(slot.variants[index].kind.to_owned()));
            entries.list.push(kind);
            for key in slot.keys_of(index) {
                let path = format!("{}.{}", slot.path, key.name);
                entries.list.push(entry(path, key, &below)?);
            }
        }
        for rule in section.rules() {
            for key in rule.keys {
                let path = format!("{}.{}", rule.path, key.name);
                entries.list.push(entry(path, key, &below)?);
            }
        }
    }
    derive(&mut entries, sources.file);
    require(&entries)?;
    check::check(&entries)?;
    Ok(entries)
}

/// The value of a key without variants that the strongest layer gives.
fn last(layers: &[Layer], path: &str) -> Result<Option<Value>, ConfigError> {
    let key = schema::find(path).next().expect("a key of the schema");
    for layer in layers.iter().rev() {
        if let Some(value) = layer.value(path, key)? {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

fn entry(path: String, key: &'static Key, layers: &[Layer]) -> Result<Entry, ConfigError> {
    let mut entry = Entry {
        path,
        key,
        value: None,
        source: Source::Default,
        place: Place::default(),
    };
    if let Default::Is(toml) = key.default {
        let toml = toml.parse().expect("tests parse every default");
        let value = Value::read(&toml, &key.kind, Path::new(""));
        entry.value = Some(value.expect("tests read every default"));
    }
    for layer in layers {
        // Every layer is read, so that a fault in the file is found even where a flag overrides it. What a weaker author
        // than the file said of another variant's key of the same name may not fit.
        match layer.value(&entry.path, key) {
            Ok(Some(value)) => {
                entry.value = Some(value);
                entry.source = layer.source;
                entry.place = layer
                    .get(&entry.path)
                    .map(|a| a.place.clone())
                    .unwrap_or_default();
            }
            Err(error) if layer.source >= Source::File => return Err(error),
            Ok(None) | Err(_) => {}
        }
    }
    Ok(entry)
}

/// The variant of each slot. A key that the variant in force when it was written does not have is refused; one that a
/// stronger layer's choice made useless is dropped.
fn choose_kinds(layers: &[Layer]) -> Result<Vec<usize>, ConfigError> {
    let mut kinds: Vec<usize> = SLOTS
        .iter()
        .map(|slot| slot.position(slot.default).unwrap_or(0))
        .collect();
    for layer in layers {
        for (slot, index) in SLOTS.iter().zip(&mut kinds) {
            let path = format!("{}.kind", slot.path);
            if let Some(Value::Text(word)) = layer.value(&path, schema::kind_of(slot))? {
                *index = slot.position(&word).ok_or_else(|| {
                    let place = layer
                        .get(&path)
                        .map(|a| a.place.clone())
                        .unwrap_or_default();
                    place.error(&path, unknown_kind(slot, &word))
                })?;
            }
        }
        if layer.source < Source::File {
            continue;
        }
        for assignment in &layer.assignments {
            let Some((slot, name)) = schema::slot_key(&assignment.path) else {
                continue;
            };
            let index = kinds[SLOTS.iter().position(|s| s.path == slot.path).unwrap_or(0)];
            if name != "kind" && !slot.keys_of(index).any(|key| key.name == name) {
                let names: Vec<_> = slot.keys_of(index).map(|key| key.name).collect();
                let message = format!(
                    "no key of kind {}, which has {}",
                    quote(slot.variants[index].kind),
                    if names.is_empty() {
                        "none".to_owned()
                    } else {
                        names.join(", ")
                    }
                );
                return Err(assignment.place.error(&assignment.path, message));
            }
        }
    }
    Ok(kinds)
}

fn unknown_kind(slot: &Slot, word: &str) -> String {
    let kinds: Vec<_> = slot.variants.iter().map(|v| v.kind).collect();
    let near = nearest(word, kinds.iter().copied())
        .map_or_else(String::new, |near| format!("; did you mean \"{near}\"?"));
    format!(
        "expected one of {}, found {}{near}",
        kinds.join(", "),
        quote(word)
    )
}

/// What `model.init_from` says must not be said otherwise.
fn refuse_contrary(import: &Layer, layers: &[Layer]) -> Result<(), ConfigError> {
    for layer in layers {
        if let Some(preset) = layer.get("model.preset") {
            let message = "model.init_from says what the model is: remove one of the two";
            return Err(preset.place.error("model.preset", message));
        }
        for fact in &import.assignments {
            let Some(written) = layer.get(&fact.path) else {
                continue;
            };
            let agrees = schema::find(&fact.path).any(|key| {
                let said = Value::read(&written.toml, &key.kind, &layer.base);
                said.is_ok() && said == Value::read(&fact.toml, &key.kind, &import.base)
            });
            if !agrees {
                let fact = fact.toml.to_string();
                let message = format!("model.init_from says {}: remove this key", fact.trim());
                return Err(written.place.error(&written.path, message));
            }
        }
    }
    Ok(())
}

fn derive(entries: &mut Entries, file: Option<&Path>) {
    let stem = file.and_then(Path::file_stem).and_then(|s| s.to_str());
    entries.derive(
        "run.name",
        Value::Text(check::folder_name(stem.unwrap_or("run"))),
    );
    if let Some(heads) = entries.int("model.heads") {
        let mqa = entries.text("model.mixer.kind") == Some("mqa");
        let kv_heads = if mqa { 1 } else { heads };
        entries.derive("model.kv_heads", Value::Int(kv_heads as i64));
        if let Some(dim) = entries.int("model.dim")
            && dim % heads == 0
        {
            entries.derive("model.head_dim", Value::Int((dim / heads) as i64));
        }
    }
    if let Some(dim) = entries.int("model.dim") {
        let hidden = match entries.text("model.ffn.kind") {
            Some(kind) if ffn::is_gated(kind) => (dim * 8).div_ceil(3 * 64) * 64,
            _ => dim * 4,
        };
        entries.derive("model.ffn.hidden", Value::Int(hidden as i64));
    }
    for (path, from) in [
        ("model.max_positions", "data.sequence_length"),
        ("train.micro_batch", "train.batch_size"),
    ] {
        if let Some(value) = entries.get(from).cloned() {
            entries.derive(path, value);
        }
    }
}

fn require(entries: &Entries) -> Result<(), ConfigError> {
    let shape = ["model.layers", "model.dim", "model.heads"];
    for entry in &entries.list {
        let required = entry.key.default == Default::Required || shape.contains(&&*entry.path);
        if entry.value.is_none() && required {
            let (table, name) = entry.path.rsplit_once('.').unwrap_or(("", &entry.path));
            let message = format!("required: add {name} = ... under [{table}]");
            return Err(Place::named(&entries.file).error(&entry.path, message));
        }
    }
    Ok(())
}
