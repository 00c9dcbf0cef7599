//! What to talk with, and how answers are drawn.

use engine::infer::generate::Writing;
use engine::infer::sample::SamplerConfig;

use crate::lang::Text;

/// Whose weights are talked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Weights {
    /// The newest checkpoint's.
    Newest,
    /// Those of the checkpoint of this step.
    Step(u64),
    /// Those that the engine has now.
    Now,
}

/// The settings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settings {
    pub(super) weights: Weights,
    pub(super) temperature: f64,
    pub(super) top_k: usize,
    pub(super) top_p: f64,
    pub(super) max_tokens: usize,
    pub(super) seed: u64,
}

impl Default for Settings {
    fn default() -> Self {
        let SamplerConfig {
            temperature,
            top_k,
            top_p,
            seed,
        } = SamplerConfig::default();
        Self {
            weights: Weights::Newest,
            temperature,
            top_k,
            top_p,
            max_tokens: 200,
            seed,
        }
    }
}

impl Settings {
    /// Their names, and what each takes.
    pub(super) const NAMES: [(&'static str, Text); 6] = [
        (
            "weights",
            Text::new(
                "newest (checkpoint), a step, or now (a copy)",
                "newest (最新检查点), 步数, 或 now (复制当前权重)",
            ),
        ),
        (
            "temperature",
            Text::new("0 takes the most likely token", "0 取概率最大的词元"),
        ),
        (
            "top-k",
            Text::new(
                "only the K most likely; 0: all",
                "只取最可能的 K 个; 0: 全部",
            ),
        ),
        (
            "top-p",
            Text::new(
                "only the likeliest that sum to P; 1: all",
                "只取概率和达到 P 的; 1: 全部",
            ),
        ),
        ("max-tokens", Text::new("longest answer", "最长回答")),
        ("seed", Text::new("of the next answer", "下一个回答的种子")),
    ];

    /// The value of a row, as it is typed.
    pub(super) fn value(&self, row: usize) -> String {
        match row {
            0 => match self.weights {
                Weights::Newest => "newest".to_owned(),
                Weights::Now => "now".to_owned(),
                Weights::Step(step) => step.to_string(),
            },
            1 => self.temperature.to_string(),
            2 => self.top_k.to_string(),
            3 => self.top_p.to_string(),
            4 => self.max_tokens.to_string(),
            _ => self.seed.to_string(),
        }
    }

    /// Sets a row to what was typed, or says what it takes.
    pub(super) fn set(&mut self, row: usize, typed: &str) -> Result<(), String> {
        let typed = typed.trim();
        let whole = || {
            let number = typed.parse::<u64>().ok();
            number.ok_or_else(|| format!("{}: expected a whole number", Self::NAMES[row].0))
        };
        let size = || whole().and_then(|n| usize::try_from(n).map_err(|e| e.to_string()));
        let real = |fits: fn(f64) -> bool, expected: &str| {
            let number = typed.parse::<f64>().ok().filter(|x| fits(*x));
            number.ok_or_else(|| format!("{}: expected {expected}", Self::NAMES[row].0))
        };
        match row {
            0 => {
                self.weights = match typed.trim_start_matches('@') {
                    "newest" => Weights::Newest,
                    "now" => Weights::Now,
                    step => Weights::Step(
                        step.replace(',', "")
                            .parse()
                            .ok()
                            .ok_or("weights: expected newest, now, or a step")?,
                    ),
                }
            }
            1 => {
                let fits = |x: f64| x >= 0.0 && x.is_finite();
                self.temperature = real(fits, "a number of 0 or more")?;
            }
            2 => self.top_k = size()?,
            3 => {
                let fits = |x: f64| x > 0.0 && x <= 1.0;
                self.top_p = real(fits, "a number above 0 and at most 1")?;
            }
            4 => {
                let most = size()?;
                if most == 0 {
                    return Err("max-tokens: expected 1 or more".to_owned());
                }
                self.max_tokens = most;
            }
            _ => self.seed = whole()?,
        }
        Ok(())
    }

    /// How the next answer is written.
    pub(super) fn writing(&self) -> Writing {
        Writing {
            sampler: SamplerConfig {
                temperature: self.temperature,
                top_k: self.top_k,
                top_p: self.top_p,
                seed: self.seed,
            },
            max_tokens: self.max_tokens,
            ignore_end: false,
        }
    }
}
