//! Scoring: how likely each token of a text is, given those before it.
//!
//! A text that is longer than the context is read in windows that overlap by half: each window's first half is only read
//! again, and the tokens of its second half are scored. So every token but the first few of the text is scored with at
//! least half a context before it.

use super::load::{Loaded, NoRoom};
use super::session::{Recorded, run};

/// Tokens that are read at once.
const CHUNK: usize = 64;

impl Loaded {
    /// The natural logarithm of the probability of each token given those before it, for all but the first: `tokens.len()
    /// - 1` numbers. Each id is below the vocabulary's size.
    ///
    /// # Errors
    /// If the caches of a window do not fit into memory.
    pub fn score(&mut self, tokens: &[u32]) -> Result<Vec<f64>, NoRoom> {
        let tokens: Vec<i32> = tokens.iter().map(|id| *id as i32).collect();
        let inputs = tokens.len().saturating_sub(1);
        if inputs == 0 {
            return Ok(Vec::new());
        }
        let context = self.context().min(inputs);
        self.check_caches(context + CHUNK)?;
        let width = CHUNK.min(context);
        let mut recorded = Recorded::new(
            &self.model,
            self.precision,
            width,
            context + CHUNK,
            true,
            (&self.cpu).into(),
        );
        self.reserve(recorded.program.plan().bytes());
        let vocab = self.model.vocab_size();
        let stride = context.div_ceil(2);
        let mut scores = Vec::with_capacity(inputs);
        let mut begin = 0;
        while scores.len() < inputs {
            let end = (begin + context).min(inputs);
            for from in (begin..end).step_by(width) {
                let to = end.min(from + width);
                run(
                    &mut recorded,
                    &tokens[from..to],
                    from - begin,
                    &mut self.arena,
                    &mut self.params,
                    &self.cpu,
                );
                let logits = recorded.logits(&self.arena);
                for at in from.max(scores.len())..to {
                    let row = &logits[(at - from) * vocab..(at - from + 1) * vocab];
                    scores.push(log_probability(row, tokens[at + 1] as usize));
                }
            }
            begin += stride;
        }
        Ok(scores)
    }
}

/// `z[at] - ln(sum(exp(z)))`, summed in `f64`.
fn log_probability(logits: &[f32], at: usize) -> f64 {
    let highest = logits.iter().fold(f32::NEG_INFINITY, |a, b| a.max(*b));
    let sum: f64 = logits.iter().map(|z| f64::from(*z - highest).exp()).sum();
    f64::from(logits[at] - highest) - sum.ln()
}
