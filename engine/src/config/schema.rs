//! Every key that belongs to no slot, by table, in the order of the help.
//!
//! A key is one line here and one field in `typed.rs`.

use crate::registry::Class::{Boundary, Live, Restart};
use crate::registry::Default::{Derived, Is, Required};
use crate::registry::{Class, Default, Key, Kind, SLOTS, Slot};
use crate::watch::{RULES, Rule};

/// A table of the configuration.
#[derive(Debug)]
pub(super) struct Section {
    pub(super) name: &'static str,
    pub(super) doc: &'static str,
    pub(super) keys: &'static [Key],
}

impl Section {
    /// The slots that belong to this table: its own, or those of its sub-tables.
    pub(super) fn slots(&self) -> impl Iterator<Item = &'static Slot> {
        let name = self.name;
        SLOTS.iter().copied().filter(move |slot| {
            slot.path == name || slot.path.split('.').next().is_some_and(|t| t == name)
        })
    }

    /// The rules whose tables stand below this one.
    pub(super) fn rules(&self) -> impl Iterator<Item = &'static Rule> {
        let name = self.name;
        let below = move |rule: &&Rule| rule.path.split('.').next() == Some(name);
        RULES.iter().copied().filter(below)
    }
}

/// The key that chooses a slot's variant; its words are the slot's variants.
pub(super) static KIND: [Key; 3] = [kind_key(Live), kind_key(Boundary), kind_key(Restart)];

/// The `kind` key of a slot.
pub(super) fn kind_of(slot: &Slot) -> &'static Key {
    match slot.class {
        Live => &KIND[0],
        Boundary => &KIND[1],
        Restart => &KIND[2],
    }
}

const fn kind_key(class: Class) -> Key {
    key(
        "kind",
        Kind::Text,
        Derived("the slot's own"),
        class,
        "which variant",
    )
}

const fn key(
    name: &'static str,
    kind: Kind,
    default: Default,
    class: Class,
    doc: &'static str,
) -> Key {
    Key {
        name,
        kind,
        default,
        class,
        doc,
    }
}

const NONE: Default = Derived("none");
const SHAPE: Default = Derived("required unless model.init_from gives it");

#[rustfmt::skip]
pub(super) static SECTIONS: &[Section] = &[
    Section { name: "run", doc: "the run itself", keys: &[
        key("name", Kind::Text, Derived("the file's name without .toml"), Restart, "name of the run and of its folder; a number is put behind it where it exists"),
        key("seed", Kind::COUNT, Is("0"), Restart, "seed of initialisation, data order and dropout"),
    ]},
    Section { name: "device", doc: "where it is computed", keys: &[
        key("kind", Kind::Text, Is("\"auto\""), Boundary, "auto, cpu, cuda, cuda:N, rocm, rocm:N, or emulated: the GPU kernels run by the CPU, to check them"),
        key("threads", Kind::Int { min: 1, max: 4096 }, Derived("what affinity and quota allow"), Boundary, "threads of the CPU kernels; the results do not depend on it"),
        key("precision", Kind::Choice(&["f32", "bf16"]), Is("\"f32\""), Restart, "bf16 computes in bfloat16 with f32 master weights, statistics and optimizer state"),
        key("products", Kind::Choice(&["library", "own"]), Is("\"library\""), Restart, "matrix products of a GPU: the vendor's library where it is installed, or the program's own kernels"),
    ]},
    Section { name: "data", doc: "what is trained on", keys: &[
        key("source", Kind::Choice(&["files", "storybook"]), Is("\"files\""), Restart, "files: data.train; storybook: the embedded stories, whose entropy is known"),
        key("train", Kind::List(&Kind::Path), Is("[]"), Restart, "files or globs, taken in this order, the matches of a glob sorted"),
        key("validation", Kind::List(&Kind::Path), Is("[]"), Restart, "files or globs that are only evaluated on"),
        key("validation_fraction", Kind::Float { min: 0.0, max: 0.9 }, Is("0.0"), Restart, "share held out of data.train: its last documents, of a single document its last part"),
        key("format", Kind::Choice(&["auto", "text", "jsonl", "bin"]), Is("\"auto\""), Restart, "auto goes by the name: .jsonl or .ndjson, .bin, else text"),
        key("text_field", Kind::Text, Is("\"text\""), Restart, "field of a JSONL line that holds the text"),
        key("sequence_length", Kind::SIZE, Required, Restart, "tokens of a row (T)"),
        key("order", Kind::Choice(&["shuffled", "sequential"]), Is("\"shuffled\""), Restart, "shuffled: a new permutation of the rows each epoch; sequential: as they stand"),
        key("document_separator", Kind::Text, NONE, Restart, "string between documents in text files; removed, and replaced by the end-of-text id"),
        key("document_mask", Kind::Bool, Is("false"), Restart, "attention and loss stop at the borders of documents"),
        key("token_bytes", Kind::Int { min: 2, max: 4 }, Is("2"), Restart, "bytes of an id in a .bin file without header: 2 or 4"),
        key("on_bad_line", Kind::Choice(&["refuse", "skip"]), Is("\"refuse\""), Restart, "what to do with a JSONL line that is not JSON or lacks the field"),
    ]},
    Section { name: "tokenizer", doc: "how text becomes ids", keys: &[
        key("path", Kind::Path, NONE, Restart, "a tokenizer.json, a folder with one (or vocab.json and merges.txt), or a .tiktoken file"),
        key("algorithm", Kind::Choice(&["bytes", "bpe"]), Derived("bytes, unless path or .bin data make it needless"), Restart, "bytes: ids 0 to 255; bpe: trained on data.train before the run"),
        key("vocab_size", Kind::SIZE, Derived("bytes: 256 and the special tokens; bpe: required"), Restart, "entries of the trained vocabulary, the 256 bytes and the special tokens included"),
        key("special", Kind::List(&Kind::Text), Is("[]"), Restart, "special tokens; <|endoftext|> or one of its kin ends a document"),
        key("pre_tokenizer", Kind::Text, Is("\"gpt4\""), Restart, "how text is split before merging: gpt2, gpt4, ..."),
    ]},
    Section { name: "model", doc: "the model's shape", keys: &[
        key("preset", Kind::Choice(super::preset::NAMES), NONE, Restart, "the choices of a family of models; keys beside it override"),
        key("init_from", Kind::Path, NONE, Restart, "a Hugging Face folder or a checkpoint to start from; its config.json gives the shape"),
        key("layers", Kind::Int { min: 1, max: 4096 }, SHAPE, Restart, "blocks (L)"),
        key("dim", Kind::SIZE, SHAPE, Restart, "width of the residual stream (C)"),
        key("heads", Kind::Int { min: 1, max: 65536 }, SHAPE, Restart, "query heads (H)"),
        key("kv_heads", Kind::Int { min: 1, max: 65536 }, Derived("heads; 1 for mqa"), Restart, "key-value heads, a divisor of heads"),
        key("head_dim", Kind::Int { min: 1, max: 65536 }, Derived("dim / heads"), Restart, "channels of a head (D)"),
        key("vocab_size", Kind::SIZE, Derived("the tokenizer's"), Restart, "rows of the embedding (V); more than the tokenizer has is padding"),
        key("max_positions", Kind::SIZE, Derived("data.sequence_length"), Restart, "longest sequence that the model is made for; rows of a learned position table"),
        key("tie_embeddings", Kind::Bool, Is("true"), Restart, "the output projection is the token embedding"),
        key("dropout", Kind::Float { min: 0.0, max: 0.99 }, Is("0.0"), Restart, "share dropped after the embedding and after each mixer and feed-forward network"),
        key("init_std", Kind::NON_NEGATIVE, Is("0.02"), Restart, "standard deviation of initial weights; projections into the residual stream get it / sqrt(2 L)"),
    ]},
    Section { name: "optimizer", doc: "how gradients become updates", keys: &[] },
    Section { name: "schedule", doc: "the learning rate over the steps", keys: &[] },
    Section { name: "train", doc: "the training loop", keys: &[
        key("batch_size", Kind::SIZE, Required, Restart, "sequences of an optimizer step"),
        key("micro_batch", Kind::SIZE, Derived("batch_size"), Boundary, "sequences computed at once; the last micro-batch of a step may be smaller"),
        key("max_steps", Kind::POSITIVE, Required, Live, "optimizer steps; the first is step 1"),
        key("clip_norm", Kind::NON_NEGATIVE, Is("1.0"), Live, "greatest global norm of the gradient; 0 is off"),
        key("fuse", Kind::Bool, Is("true"), Boundary, "joins operations into one pass where a rule allows it; same values"),
        key("recompute", Kind::Bool, Is("false"), Boundary, "computes each block again in the backward pass: less memory, about a third more work"),
        key("log_interval", Kind::COUNT, Is("1"), Live, "steps between lines of plain output; 0 is never"),
        key("eval_interval", Kind::COUNT, Is("250"), Live, "steps between evaluations, the last step included; 0 is never"),
        key("eval_batches", Kind::POSITIVE, Derived("the whole validation data"), Live, "micro-batches of an evaluation"),
        key("checkpoint_interval", Kind::COUNT, Is("1000"), Live, "steps between checkpoints, the last step included; 0 is never"),
        key("keep_last", Kind::COUNT, Is("3"), Live, "checkpoints kept besides the best and the tagged ones; 0 keeps all"),
        key("on_nonfinite", Kind::Choice(&["stop", "pause", "skip", "rollback"]), Is("\"stop\""), Live, "what to do when a loss or gradient is not finite"),
    ]},
    Section { name: "telemetry", doc: "what is measured besides the loss", keys: &[
        key("layer_interval", Kind::COUNT, Is("10"), Live, "steps between statistics of the layers; 0 is never"),
        key("system_interval", Kind::COUNT, Is("10"), Live, "seconds between looks at processor, memory, disk and GPUs; 0 is never"),
        key("tensorboard", Kind::Bool, Is("false"), Live, "writes event files for TensorBoard into the run's folder while it trains"),
        key("prometheus", Kind::Text, Is("\"\""), Live, "address that the latest figures are served at, such as 127.0.0.1:9464; of this machine only"),
    ]},
    Section { name: "sample", doc: "texts written while training", keys: &[
        key("prompts", Kind::List(&Kind::Text), Is("[]"), Live, "beginnings to continue; \"\" is the beginning of a document"),
        key("interval", Kind::COUNT, Is("250"), Live, "steps between samples; 0 is never"),
        key("max_tokens", Kind::Int { min: 1, max: 1 << 20 }, Is("128"), Live, "tokens of a sample"),
        key("temperature", Kind::NON_NEGATIVE, Is("0.8"), Live, "divides the logits; 0 takes the likeliest token"),
        key("top_k", Kind::COUNT, Is("0"), Live, "keeps the k likeliest tokens; 0 is off"),
        key("top_p", Kind::SHARE, Is("1.0"), Live, "keeps the likeliest tokens whose shares reach p; 1 is off"),
    ]},
    Section { name: "shutdown", doc: "how a run is left", keys: &[
        key("grace_s", Kind::COUNT, Is("60"), Live, "seconds after SIGINT, SIGTERM or SIGUSR1 in which the run ends in good order; then the process exits, and the last good checkpoint stands; 0 waits for ever"),
    ]},
    Section { name: "watch", doc: "rules that watch the run; each has a table, such as spike = { action = \"pause\" }", keys: &[
        key("command", Kind::Text, NONE, Live, "a line for sh -c that is run at an alert, with the alert as JSON on its stdin"),
        key("webhook", Kind::Text, NONE, Live, "an http:// address that the alert is posted to as JSON"),
    ]},
];

/// Every table that keys stand in.
pub(super) fn tables() -> impl Iterator<Item = &'static str> {
    let slots = SLOTS.iter().map(|slot| slot.path);
    let rules = RULES.iter().map(|rule| rule.path);
    SECTIONS.iter().map(|s| s.name).chain(slots).chain(rules)
}

/// Whether `path` is a table that keys stand in.
pub(super) fn is_table(path: &str) -> bool {
    tables().any(|table| table == path)
}

/// The names of the rules' tables that stand in `table`.
pub(super) fn tables_below(table: &str) -> impl Iterator<Item = &'static str> {
    let below =
        move |rule: &&&Rule| rule.path.strip_suffix(rule.name()) == Some(&format!("{table}."));
    RULES.iter().filter(below).map(|rule| rule.name())
}

/// The slot whose table `path`'s key stands in, and the key's name.
pub(super) fn slot_key(path: &str) -> Option<(&'static Slot, &str)> {
    let (table, name) = path.rsplit_once('.')?;
    let slot = SLOTS.iter().find(|slot| slot.path == table)?;
    Some((slot, name))
}

/// The keys called `path` in any variant; none if there is no such key.
pub(super) fn find(path: &str) -> impl Iterator<Item = &'static Key> {
    every()
        .filter(move |(table, key)| {
            path.strip_prefix(*table)
                .and_then(|rest| rest.strip_prefix('.'))
                == Some(key.name)
        })
        .map(|(_, key)| key)
}

/// Every key with the table that it stands in; keys of several variants come several times.
pub(super) fn every() -> impl Iterator<Item = (&'static str, &'static Key)> {
    let plain = SECTIONS
        .iter()
        .flat_map(|section| section.keys.iter().map(|key| (section.name, key)));
    let slots = SLOTS.iter().flat_map(|slot| {
        let own = slot.variants.iter().flat_map(|variant| variant.keys);
        std::iter::once(kind_of(slot))
            .chain(slot.keys)
            .chain(own)
            .map(|key| (slot.path, key))
    });
    let rules = RULES
        .iter()
        .flat_map(|rule| rule.keys.iter().map(|key| (rule.path, key)));
    plain.chain(slots).chain(rules)
}
