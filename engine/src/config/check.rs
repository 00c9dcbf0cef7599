//! What must hold between keys.

use super::entry::Entries;
use super::error::ConfigError;
use super::value::{Value, quote};
use crate::watch::webhook::Address;

type Check = fn(&Entries) -> Result<(), ConfigError>;

/// Every check, in the order in which they are made.
const CHECKS: &[Check] = &[
    run_name, device, data, tokenizer, heads, positions, optimizer, schedule, batch, telemetry,
    watch,
];

/// Refuses values that are well-typed each but wrong together.
pub(super) fn check(entries: &Entries) -> Result<(), ConfigError> {
    CHECKS.iter().try_for_each(|check| check(entries))
}

fn run_name(e: &Entries) -> Result<(), ConfigError> {
    let name = e.text("run.name").unwrap_or_default();
    let usable = !name.is_empty()
        && name.len() <= 100
        && !name.starts_with('.')
        && name.trim() == name
        && !name.contains(is_unfit);
    if usable {
        return Ok(());
    }
    let message = format!(
        "{} cannot name a folder; use letters, digits, - and _",
        quote(name)
    );
    Err(e.blame(&["run.name"], message))
}

/// Characters that folders cannot have somewhere, and the one that stands between a run and its step.
fn is_unfit(c: char) -> bool {
    c.is_control() || "/\\:*?\"<>|@".contains(c)
}

/// `text` made fit to name a run.
pub(super) fn folder_name(text: &str) -> String {
    let text: String = text.chars().take(60).collect();
    let text = text.replace(is_unfit, "-");
    match text.trim().trim_start_matches('.') {
        "" => "run".to_owned(),
        name => name.to_owned(),
    }
}

fn device(e: &Entries) -> Result<(), ConfigError> {
    let kind = e.text("device.kind").unwrap_or_default();
    let numbered = kind
        .strip_prefix("cuda:")
        .or_else(|| kind.strip_prefix("rocm:"))
        .is_some_and(|n| n.len() <= 3 && n.parse::<u16>().is_ok() && !n.starts_with('+'));
    if numbered || ["auto", "cpu", "cuda", "rocm", "emulated"].contains(&kind) {
        return Ok(());
    }
    let message = format!(
        "expected auto, cpu, cuda, cuda:N, rocm, rocm:N or emulated, found {}",
        quote(kind)
    );
    Err(e.blame(&["device.kind"], message))
}

fn telemetry(e: &Entries) -> Result<(), ConfigError> {
    let address = e.text("telemetry.prometheus").unwrap_or_default();
    if address.is_empty() || crate::records::live::loopback(address).is_some() {
        return Ok(());
    }
    let message = format!(
        "expected an address and port of this machine alone, such as 127.0.0.1:9464 or [::1]:9464, found {}",
        quote(address)
    );
    Err(e.blame(&["telemetry.prometheus"], message))
}

fn data(e: &Entries) -> Result<(), ConfigError> {
    let storybook = e.text("data.source") == Some("storybook");
    if storybook && !(e.texts("data.train").is_empty() && e.texts("data.validation").is_empty()) {
        let message = "the storybook needs no files: remove data.source or the files";
        return Err(e.blame(&["data.train", "data.validation"], message));
    }
    if e.float("data.validation_fraction") > Some(0.0) && !e.texts("data.validation").is_empty() {
        let message = "data.validation names files already: remove one of the two";
        return Err(e.blame(&["data.validation_fraction"], message));
    }
    if e.int("data.token_bytes") == Some(3) {
        return Err(e.blame(&["data.token_bytes"], "expected 2 or 4, found 3"));
    }
    for key in ["data.document_separator", "data.text_field"] {
        if e.text(key) == Some("") {
            return Err(e.blame(&[key], "expected a text that is not empty; remove the key"));
        }
    }
    Ok(())
}

fn tokenizer(e: &Entries) -> Result<(), ConfigError> {
    let keys = ["tokenizer.algorithm", "tokenizer.vocab_size"];
    if e.text("tokenizer.path").is_some()
        && let Some(key) = keys.iter().find(|key| e.get(key).is_some())
    {
        return Err(e.blame(
            &[key],
            "tokenizer.path names a finished tokenizer: remove one",
        ));
    }
    let mut special = e.texts("tokenizer.special");
    if special.iter().any(String::is_empty) {
        return Err(e.blame(&["tokenizer.special"], "a special token must not be empty"));
    }
    special.sort_unstable();
    if let Some([twin, _]) = special.windows(2).find(|pair| pair[0] == pair[1]) {
        let message = format!("{} is there twice", quote(twin));
        return Err(e.blame(&["tokenizer.special"], message));
    }
    let least = 256 + special.len();
    let size = e.int("tokenizer.vocab_size");
    match (e.text("tokenizer.algorithm"), size) {
        (Some("bpe"), None) => {
            let message = "required for bpe: add vocab_size = 6400, say, under [tokenizer]";
            Err(e.blame(&["tokenizer.vocab_size"], message))
        }
        (Some("bpe"), Some(size)) if size < least => {
            let message = format!("{size} is less than 256 bytes and the special tokens: {least}");
            Err(e.blame(&["tokenizer.vocab_size"], message))
        }
        (Some("bytes"), Some(size)) if size != least => {
            let message =
                format!("bytes has 256 and the special tokens, {least} in all; remove it");
            Err(e.blame(&["tokenizer.vocab_size"], message))
        }
        (None, Some(_)) if e.text("tokenizer.path").is_none() => {
            let message = "needs tokenizer.algorithm = \"bpe\" beside it";
            Err(e.blame(&["tokenizer.vocab_size"], message))
        }
        (Some("bytes"), _) if e.int("model.vocab_size").is_some_and(|v| v < least) => {
            let message = format!("smaller than the tokenizer's {least}");
            Err(e.blame(&["model.vocab_size"], message))
        }
        (Some("bpe"), size) if e.int("model.vocab_size").is_some_and(|v| Some(v) < size) => {
            let size = size.unwrap_or_default();
            let message = format!("smaller than the tokenizer's {size}");
            Err(e.blame(&["model.vocab_size"], message))
        }
        _ => Ok(()),
    }
}

fn heads(e: &Entries) -> Result<(), ConfigError> {
    let int = |key| e.int(key).unwrap_or(1);
    let (dim, heads, kv) = (int("model.dim"), int("model.heads"), int("model.kv_heads"));
    let Some(head_dim) = e.int("model.head_dim") else {
        let message = format!(
            "{heads} heads do not divide dim {dim}; change one of them or set model.head_dim"
        );
        return Err(e.blame(&["model.heads", "model.dim"], message));
    };
    match e.text("model.mixer.kind") {
        Some("mha") if kv != heads => {
            let message = format!("mha has as many as heads, {heads}; remove the key or take gqa");
            return Err(e.blame(&["model.kv_heads"], message));
        }
        Some("mqa") if kv != 1 => {
            let message = "mqa has one; remove the key or take gqa";
            return Err(e.blame(&["model.kv_heads"], message));
        }
        _ if heads % kv != 0 => {
            let message = format!("{kv} key-value heads do not divide {heads} heads");
            return Err(e.blame(&["model.kv_heads", "model.heads"], message));
        }
        _ => {}
    }
    if e.text("model.position.kind") == Some("rope") && head_dim % 2 != 0 {
        let message =
            format!("rope turns pairs of channels: head_dim must be even, not {head_dim}");
        let keys = ["model.head_dim", "model.heads", "model.dim"];
        return Err(e.blame(&keys, message));
    }
    Ok(())
}

fn positions(e: &Entries) -> Result<(), ConfigError> {
    let (length, most) = (e.int("data.sequence_length"), e.int("model.max_positions"));
    if length > most {
        let message = format!(
            "data.sequence_length {} is longer than model.max_positions {}",
            length.unwrap_or(0),
            most.unwrap_or(0)
        );
        return Err(e.blame(&["data.sequence_length", "model.max_positions"], message));
    }
    Ok(())
}

fn optimizer(e: &Entries) -> Result<(), ConfigError> {
    if let Some(Value::List(betas)) = e.get("optimizer.betas") {
        let good = |b: &Value| matches!(b, Value::Float(b) if (0.0..1.0).contains(b));
        if betas.len() != 2 || !betas.iter().all(good) {
            let message = "expected two numbers from 0 to below 1, such as [0.9, 0.95]";
            return Err(e.blame(&["optimizer.betas"], message));
        }
    }
    if e.float("optimizer.momentum") >= Some(1.0) {
        return Err(e.blame(&["optimizer.momentum"], "must be below 1"));
    }
    let nesterov = e.get("optimizer.nesterov") == Some(&Value::Bool(true));
    if nesterov && e.float("optimizer.momentum") == Some(0.0) {
        let message = "needs optimizer.momentum above 0";
        return Err(e.blame(&["optimizer.nesterov"], message));
    }
    Ok(())
}

fn schedule(e: &Entries) -> Result<(), ConfigError> {
    let (lr, min_lr) = (e.float("optimizer.lr"), e.float("schedule.min_lr"));
    if e.text("schedule.kind") != Some("constant") && min_lr > lr {
        let message = format!(
            "min_lr {:?} is above optimizer.lr {:?}",
            min_lr.unwrap_or(0.0),
            lr.unwrap_or(0.0)
        );
        return Err(e.blame(&["schedule.min_lr", "optimizer.lr"], message));
    }
    Ok(())
}

fn batch(e: &Entries) -> Result<(), ConfigError> {
    let (batch, micro) = (e.int("train.batch_size"), e.int("train.micro_batch"));
    if micro > batch {
        let message = format!(
            "micro_batch {} is more than train.batch_size {}",
            micro.unwrap_or(0),
            batch.unwrap_or(0)
        );
        return Err(e.blame(&["train.micro_batch", "train.batch_size"], message));
    }
    if e.float("sample.top_p") == Some(0.0) {
        return Err(e.blame(&["sample.top_p"], "must be above 0; 1 is off"));
    }
    Ok(())
}

fn watch(e: &Entries) -> Result<(), ConfigError> {
    for key in ["watch.command", "watch.webhook"] {
        if e.text(key)
            .is_some_and(|text| text.trim().is_empty() || text.contains('\0'))
        {
            return Err(e.blame(&[key], "expected a text that is not empty; remove the key"));
        }
    }
    match e.text("watch.webhook").map(Address::parse) {
        Some(Err(message)) => Err(e.blame(&["watch.webhook"], message)),
        _ => Ok(()),
    }
}
