//! Samplers: from logits to the next token.
//!
//! A chain of transforms in the order of Hugging Face's library (temperature, top-k, top-p), then a draw. The generator
//! has a seed of its own, so that writing never touches the random numbers of training.

use kernels::philox::Stream;

/// How tokens are chosen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SamplerConfig {
    /// What logits are divided by; 0 takes the most likely token (the lowest id among equals).
    pub temperature: f64,
    /// Only this many of the most likely tokens (ties with the last are kept); 0: all.
    pub top_k: usize,
    /// Only the smallest set of most likely tokens whose probabilities sum to at least this (Holtzman et al. 2019,
    /// arXiv:1904.09751); 1: all.
    pub top_p: f64,
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for SamplerConfig {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 0,
            top_p: 1.0,
            seed: 0,
        }
    }
}

/// Chooses tokens one after the other.
#[derive(Clone, Debug)]
pub struct Sampler {
    config: SamplerConfig,
    stream: Stream,
    /// Token and probability of the candidates; kept to be filled again.
    candidates: Vec<(u32, f64)>,
}

impl Sampler {
    /// A sampler with a fresh generator.
    pub fn new(config: SamplerConfig) -> Self {
        // A stream of its own, far from those of training.
        Self {
            config,
            stream: Stream::new(config.seed, 0x5a3b_1e00),
            candidates: Vec::new(),
        }
    }

    /// The next token for `logits (V)`. Ids from `allowed` on (padding of the vocabulary) are never chosen. Logits that are
    /// not finite are never chosen either; if none is finite, token 0 is.
    pub fn next(&mut self, logits: &[f32], allowed: usize) -> u32 {
        let logits = &logits[..allowed.min(logits.len())];
        let finite = || logits.iter().enumerate().filter(|(_, z)| z.is_finite());
        let Some((best, highest)) =
            finite().fold(None, |best: Option<(usize, f32)>, (i, z)| match best {
                Some((_, high)) if *z <= high => best,
                _ => Some((i, *z)),
            })
        else {
            return 0;
        };
        if self.config.temperature <= 0.0 || self.config.top_k == 1 {
            return best as u32;
        }
        let inverse = 1.0 / self.config.temperature;
        self.candidates.clear();
        self.candidates.extend(finite().map(|(i, z)| {
            (
                i as u32,
                ((f64::from(*z) - f64::from(highest)) * inverse).exp(),
            )
        }));
        self.keep_top_k();
        self.keep_top_p();
        let total: f64 = self.candidates.iter().map(|(_, p)| p).sum();
        let mut left = self.stream.uniform() * total;
        for (token, p) in &self.candidates {
            left -= p;
            if left < 0.0 {
                return *token;
            }
        }
        self.candidates
            .last()
            .map_or(best as u32, |(token, _)| *token)
    }

    fn keep_top_k(&mut self) {
        let k = self.config.top_k;
        if k == 0 || k >= self.candidates.len() {
            return;
        }
        let mut weights: Vec<f64> = self.candidates.iter().map(|(_, p)| *p).collect();
        let (_, threshold, _) = weights.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
        let threshold = *threshold;
        self.candidates.retain(|(_, p)| *p >= threshold);
    }

    fn keep_top_p(&mut self) {
        if self.config.top_p >= 1.0 {
            return;
        }
        // Most likely first; equal ones by id, so that the set does not depend on the sort.
        self.candidates
            .sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let total: f64 = self.candidates.iter().map(|(_, p)| p).sum();
        let mut mass = 0.0;
        let needed = self.config.top_p * total;
        let keep = self.candidates.iter().position(|(_, p)| {
            mass += p;
            mass >= needed
        });
        self.candidates
            .truncate(keep.map_or(usize::MAX, |last| last + 1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [0.0, 2.0, 1.0, -1.0, 2.0];

    fn counts(config: SamplerConfig, n: usize) -> [f64; 5] {
        let mut sampler = Sampler::new(config);
        let mut counts = [0.0; 5];
        for _ in 0..n {
            counts[sampler.next(&LOGITS, 5) as usize] += 1.0;
        }
        counts
    }

    #[test]
    fn greedy_takes_the_lowest_id_among_equals() {
        let mut greedy = Sampler::new(SamplerConfig {
            temperature: 0.0,
            ..SamplerConfig::default()
        });
        assert_eq!(greedy.next(&LOGITS, 5), 1);
        assert_eq!(greedy.next(&[f32::NAN, 1.0, f32::INFINITY], 3), 1);
        assert_eq!(greedy.next(&[f32::NAN; 3], 3), 0);
        assert_eq!(
            greedy.next(&[0.0, 1.0, 9.0], 2),
            1,
            "padding of the vocabulary was chosen"
        );
    }

    #[test]
    fn draws_follow_the_softmax() {
        let n = 100_000;
        for temperature in [0.7, 1.0, 2.0] {
            let got = counts(
                SamplerConfig {
                    temperature,
                    top_p: 1.0,
                    top_k: 5,
                    seed: 3,
                },
                n,
            );
            let weights = LOGITS.map(|z| (f64::from(z) / temperature).exp());
            let total: f64 = weights.iter().sum();
            let chi: f64 = weights
                .iter()
                .zip(got)
                .map(|(w, c)| {
                    let want = w / total * n as f64;
                    (c - want) * (c - want) / want
                })
                .sum();
            // Four degrees of freedom: 18.5 is exceeded once in a thousand.
            assert!(chi < 18.5, "{temperature}: {chi} {got:?}");
        }
    }

    #[test]
    fn top_k_and_top_p_cut() {
        let config = SamplerConfig {
            temperature: 1.0,
            top_k: 2,
            top_p: 1.0,
            seed: 1,
        };
        let got = counts(config, 1000);
        assert!(
            got[0] + got[2] + got[3] == 0.0 && got[1] > 0.0 && got[4] > 0.0,
            "{got:?}"
        );
        // Probabilities: two of 0.388, then 0.143, 0.053, 0.019.
        let got = counts(
            SamplerConfig {
                temperature: 1.0,
                top_k: 0,
                top_p: 0.8,
                seed: 1,
            },
            2000,
        );
        assert!(got[2] > 0.0 && got[0] + got[3] == 0.0, "{got:?}");
        let got = counts(
            SamplerConfig {
                temperature: 1.0,
                top_k: 0,
                top_p: 1e-9,
                seed: 1,
            },
            100,
        );
        assert_eq!(got[1], 100.0);
    }
}
