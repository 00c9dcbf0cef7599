//! Looking at the model while it trains: evaluation on held-out data, and samples of what it writes.

use super::run::{Ending, Engine};
use super::saving::device_failed;
use crate::infer::sample::{Sampler, SamplerConfig};
use crate::link::{Body, Doing, Eval, Urgency};

impl Engine {
    /// Evaluates the validation data; false where there are none, or a signal came.
    pub(super) fn evaluate(&mut self) -> Result<bool, Ending> {
        let Some(validation) = self.setup.datasets.validation.clone() else {
            return Ok(false);
        };
        let train = &self.config().train;
        let limit = train.eval_batches.map_or(usize::MAX, |n| n as usize);
        let height = train.micro_batch;
        self.interrupt.tell(Doing::Evaluating, self.step);
        #[cfg(debug_assertions)]
        crate::drill::stand("evaluation", self.step);
        let (mut loss, mut targets, mut bytes) = (0.0, 0u64, Some(0u64));
        for batch in validation.batches(height).take(limit) {
            if self.interrupt.urgency() != Urgency::None {
                return Ok(false);
            }
            let summed = self.trainer.evaluate(&batch);
            loss += summed.map_err(|error| device_failed(&error))?;
            targets += batch.valid_targets;
            bytes = bytes
                .zip(batch.target_bytes)
                .map(|(sum, bytes)| sum + bytes);
        }
        if targets == 0 {
            return Ok(false);
        }
        let mean = loss / targets as f64;
        let bits = bytes
            .filter(|bytes| *bytes > 0)
            .map(|bytes| loss / std::f64::consts::LN_2 / bytes as f64);
        let best = self.best.is_none_or(|(best, _)| mean < best);
        self.emit(Body::Eval(Eval {
            step: self.step,
            split: "validation".to_owned(),
            loss: mean,
            perplexity: mean.exp(),
            bits_per_byte: bits,
            tokens: targets,
            best,
        }));
        if best && mean.is_finite() {
            self.best = Some((mean, self.step));
            // The best checkpoint is one that is kept; without checkpoints there is none.
            if self.config().train.checkpoint_interval > 0 {
                // A resume from it need not evaluate again.
                let owing = std::mem::take(&mut self.owing);
                let written = self.checkpoint("best", None)?;
                self.owing = owing;
                if written.is_ok() {
                    self.note_best();
                }
            }
        }
        Ok(true)
    }

    /// Lets the model write after each prompt. Its generator is its own, so that training is the same bits with or without.
    pub(super) fn sample(&mut self) {
        let Some(tokenizer) = self.setup.tokenizer.clone() else {
            return;
        };
        self.interrupt.tell(Doing::Sampling, self.step);
        #[cfg(debug_assertions)]
        crate::drill::stand("samples", self.step);
        let config = self.setup.config.sample.clone();
        let capacity = self.config().model.max_positions;
        if self
            .session
            .as_ref()
            .is_none_or(|session| session.capacity() != capacity)
        {
            match self.trainer.session(capacity) {
                Ok(session) => self.session = Some(session),
                Err(error) => {
                    self.warn(format!("no samples: {error}"));
                    return;
                }
            }
        }
        let Some(mut session) = self.session.take() else {
            return;
        };
        let stop = tokenizer.end_of_text();
        for (number, prompt) in config.prompts.iter().enumerate() {
            if self.interrupt.urgency() != Urgency::None {
                break;
            }
            let seed = self.setup.config.run.seed ^ (self.step << 8) ^ number as u64;
            let mut sampler = Sampler::new(SamplerConfig {
                temperature: config.temperature,
                top_k: config.top_k,
                top_p: config.top_p,
                seed,
            });
            let mut ids: Vec<i32> = tokenizer
                .encode(prompt, tokenizer::SpecialMode::AsText)
                .into_iter()
                .map(|id| id as i32)
                .collect();
            if ids.is_empty() {
                // A text begins behind the end of the one before.
                ids.push(stop.unwrap_or(b'\n'.into()) as i32);
            }
            session.truncate(0);
            let mut decoder = tokenizer.stream_decoder();
            let mut text = String::new();
            let mut next = ids;
            for _ in 0..config.max_tokens {
                let Ok(logits) = self.trainer.read(&mut session, &next) else {
                    break;
                };
                let id = sampler.next(logits, tokenizer.vocab_size());
                if Some(id) == stop || self.interrupt.urgency() != Urgency::None {
                    break;
                }
                text.push_str(&decoder.push(id));
                next = vec![id as i32];
            }
            text.push_str(&decoder.finish());
            let readable = (self.setup.config.data.source == crate::config::DataSource::Storybook)
                .then(|| crate::data::storybook::readable(format!("{prompt}{text}")).share());
            let body = Body::Sample {
                step: self.step,
                prompt: prompt.clone(),
                text,
                readable,
            };
            self.emit(body);
        }
        self.session = Some(session);
    }
}
