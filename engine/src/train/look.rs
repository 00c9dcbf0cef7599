//! Looking into a model that trains: attention maps, and copies of its weights for a chat.
//!
//! Both happen at a step's boundary, read the weights, and change nothing: training is the same bits with them. A map is an
//! event; a copy is left on the [`Desk`] of whoever ordered it in this process.

use super::run::Engine;
use crate::infer::attention_map::{AttentionMaps, LONGEST};
use crate::infer::chat::{Copied, Desk, Need, Order};
use crate::infer::load::{Loaded, NoRoom};
use crate::link::{Attention, Body};
use crate::model::Model;
use crate::param::Params;
use kernels::Cpu;
use kernels::arena::Arena;
use std::sync::Arc;
use std::time::Instant;
use tokenizer::{SpecialMode, Tokenizer};

/// Tokens of a prompt whose map is told.
const SHOWN: usize = 64;
/// In place of text, where the data came as ids.
pub(super) const NO_TOKENIZER: &str =
    "the data came without a tokenizer, so there is no text to read or write";

impl Engine {
    /// Obeys the wish for a map. Returns whether it was refused, and a line.
    pub(super) fn attention(&mut self, prompt: &str, layer: usize, head: usize) -> (bool, String) {
        match self.map(prompt, layer, head) {
            Ok(map) => {
                let line = format!("layer {layer}, head {head}: {} tokens", map.tokens.len());
                self.emit(Body::Attention(Box::new(map)));
                (false, line)
            }
            Err(reason) => (true, reason),
        }
    }

    fn map(&mut self, prompt: &str, layer: usize, head: usize) -> Result<Attention, String> {
        let tokenizer = self.setup.tokenizer.clone().ok_or(NO_TOKENIZER)?;
        let ids = tokenizer.encode(prompt, SpecialMode::AsText);
        let most = LONGEST.min(self.config().model.max_positions);
        if ids.is_empty() || ids.len() > most {
            return Err(format!(
                "the prompt has {} tokens; a map needs 1 to {most}",
                ids.len()
            ));
        }
        let read: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        self.trainer.fetch().map_err(|error| error.to_string())?;
        let precision = self.trainer.precision();
        let trainer = &mut self.trainer;
        let maps = AttentionMaps::new(
            &trainer.model,
            precision,
            &read,
            &mut trainer.params,
            &trainer.cpu,
        )
        .map_err(|error| error.to_string())?;
        let heads = maps.heads();
        if heads.get(layer).is_none_or(|heads| head >= *heads) {
            return Err(format!(
                "there is no layer {layer} with a head {head}: the model has {} layers of {} heads, counted from 0",
                heads.len(),
                heads.first().copied().unwrap_or(0)
            ));
        }
        let skipped = ids.len().saturating_sub(SHOWN);
        let rows = maps.rows(layer, head).into_iter().skip(skipped);
        let map = Attention {
            step: self.step,
            prompt: prompt.to_owned(),
            tokens: ids[skipped..]
                .iter()
                .map(|id| token_text(&tokenizer, *id))
                .collect(),
            skipped,
            layer,
            head,
            rows: rows.map(|row| thousandths(&row[skipped..])).collect(),
            entropies: maps
                .entropies()
                .iter()
                .map(|row| thousandths(row))
                .collect(),
        };
        let numbers = map.rows.iter().chain(&map.entropies).flatten();
        if numbers.into_iter().all(|x| x.is_finite()) {
            Ok(map)
        } else {
            Err("the model's attention is not finite".to_owned())
        }
    }

    /// Obeys the wish for a copy of the weights. Returns whether it was refused, and a line.
    pub(super) fn lend(&mut self) -> (bool, String) {
        let Some(order) = self.desk.ordered() else {
            let reason = "weights are copied for a chat in the process that trains only; write a checkpoint and chat with that";
            return (true, reason.to_owned());
        };
        let fetched = self.trainer.fetch().map_err(|error| error.to_string());
        let outcome = fetched.and_then(|()| self.copy(order));
        if outcome.is_err() {
            self.desk.cancel();
        }
        outcome.map_or_else(|reason| (true, reason), |line| (false, line))
    }

    fn copy(&self, order: Order) -> Result<String, String> {
        let tokenizer = self.setup.tokenizer.clone().ok_or(NO_TOKENIZER)?;
        let start = Instant::now();
        let trainer = &self.trainer;
        let precision = trainer.precision();
        let model = Model::new(&trainer.model.config, trainer.model.vocab_size());
        let cpu = Cpu::new(1);
        let need = Need::of(&model, precision, order.context, &cpu);
        need.check().map_err(|error: NoRoom| error.to_string())?;
        let mut params = Params::for_reading(model.specs().clone(), precision);
        params.copy_from(&trainer.params);
        let loaded = Loaded {
            model,
            params,
            tokenizer: None,
            tokenizer_error: None,
            stops: tokenizer.end_of_text().into_iter().collect(),
            cpu,
            precision,
            arena: Arena::new(0),
        };
        self.desk.fill(Copied {
            step: self.step,
            loaded,
            tokenizer: Arc::clone(&tokenizer),
        });
        Ok(format!(
            "the weights of step {} are copied, {} MiB in {:.2} s",
            self.step,
            need.weights >> 20,
            start.elapsed().as_secs_f64()
        ))
    }

    /// Where copies of the weights are ordered and left.
    pub(crate) fn desk(&self) -> Desk {
        self.desk.clone()
    }
}

fn thousandths(values: &[f64]) -> Vec<f64> {
    values.iter().map(|x| (x * 1e3).round() / 1e3).collect()
}

/// A token as text; bytes that are no character as `\xe4`.
fn token_text(tokenizer: &Tokenizer, id: u32) -> String {
    let bytes = tokenizer.token_bytes(id).unwrap_or_default();
    let mut text = String::new();
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            let escaped = format!("\\x{byte:02x}");
            text.push_str(&escaped);
        }
    }
    text
}
