//! What to talk with, and how answers are drawn.

use engine::infer::generate::Writing;
use engine::infer::sample::SamplerConfig;

use crate::lang::{Phrase, Text};

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
            Text::new("0 takes the most likely token", "0 取概率最大的 token"),
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
    pub(super) fn set(&mut self, row: usize, typed: &str) -> Result<(), Phrase> {
        const EXPECTED: Text = Text::new("{0}: expected {1}", "{0}: 应为 {1}");
        const WHOLE: Text = Text::new("a whole number", "整数");
        const STEP: Text = Text::new("newest, now, or a step", "newest, now, 或步数");
        const TEMPERATURE: Text = Text::new("a number of 0 or more", "不小于 0 的数");
        const SHARE: Text = Text::new("a number above 0 and at most 1", "大于 0 且不大于 1 的数");
        const ONE: Text = Text::new("1 or more", "不小于 1 的整数");
        let typed = typed.trim();
        let expected = |what: Text| EXPECTED.fill(&[&Self::NAMES[row].0, &what]);
        let whole = || typed.parse::<u64>().ok().ok_or_else(|| expected(WHOLE));
        let size = || {
            let number = whole()?;
            usize::try_from(number).map_err(|error| Phrase::from(error.to_string()))
        };
        let real = |fits: fn(f64) -> bool, what: Text| {
            let number = typed.parse::<f64>().ok().filter(|x| fits(*x));
            number.ok_or_else(|| expected(what))
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
                            .ok_or_else(|| expected(STEP))?,
                    ),
                }
            }
            1 => {
                let fits = |x: f64| x >= 0.0 && x.is_finite();
                self.temperature = real(fits, TEMPERATURE)?;
            }
            2 => self.top_k = size()?,
            3 => {
                let fits = |x: f64| x > 0.0 && x <= 1.0;
                self.top_p = real(fits, SHARE)?;
            }
            4 => {
                let most = size()?;
                if most == 0 {
                    return Err(expected(ONE));
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
