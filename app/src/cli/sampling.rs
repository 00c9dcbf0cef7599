//! How tokens are chosen: flags of every command that writes.

use clap::Args;
use engine::infer::generate::Writing;
use engine::infer::sample::SamplerConfig;

/// How tokens are chosen.
#[derive(Clone, Debug, Args)]
pub struct Sampling {
    /// Most tokens to write
    #[arg(long, value_name = "N", default_value_t = 200)]
    pub max_tokens: usize,
    /// What logits are divided by; 0 takes the most likely token
    #[arg(long, value_name = "T", default_value_t = 0.8, allow_negative_numbers = true, value_parser = temperature)]
    pub temperature: f64,
    /// Only the K most likely tokens; 0: all
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub top_k: usize,
    /// Only the most likely tokens whose probabilities sum to P; 1: all
    #[arg(long, value_name = "P", default_value_t = 1.0, allow_negative_numbers = true, value_parser = share)]
    pub top_p: f64,
    /// Seed of the draws
    #[arg(long, value_name = "S", default_value_t = 0)]
    pub seed: u64,
}

impl Sampling {
    /// As the engine takes it; with `ignore_end` it goes on behind the end of a text.
    pub fn writing(&self, ignore_end: bool) -> Writing {
        Writing {
            sampler: SamplerConfig {
                temperature: self.temperature,
                top_k: self.top_k,
                top_p: self.top_p,
                seed: self.seed,
            },
            max_tokens: self.max_tokens,
            ignore_end,
        }
    }
}

fn temperature(text: &str) -> Result<f64, String> {
    let value = text.parse().ok();
    value
        .filter(|value: &f64| *value >= 0.0 && value.is_finite())
        .ok_or_else(|| "expected a number of 0 or more".to_owned())
}

fn share(text: &str) -> Result<f64, String> {
    let value = text.parse().ok();
    value
        .filter(|value: &f64| *value > 0.0 && *value <= 1.0)
        .ok_or_else(|| "expected a number above 0 and at most 1".to_owned())
}
