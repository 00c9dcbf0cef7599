//! What runs say together: groups that differ in the seed alone, their mean and spread, and two groups paired by seed.

use super::Entry;
use crate::lang::{Phrase, Text, Words};

/// Runs of one configuration and different seeds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Group {
    /// Places of its runs in the list, by seed.
    pub members: Vec<usize>,
    /// Their seeds, in the same order.
    pub seeds: Vec<String>,
}

/// Keys that say nothing of what is trained.
const NAMES: [&str; 2] = ["run.name", "run.seed"];

/// The groups among `runs`: those that agree in every key but name and seed, and in what they were forked from. A run
/// whose seed is in its group already begins another one; only groups of two runs or more are told.
pub fn groups(runs: &[&Entry]) -> Vec<Group> {
    let mut found: Vec<(Vec<(&str, &str)>, Group)> = Vec::new();
    for (index, run) in runs.iter().enumerate() {
        let Some(seed) = run.figures.value("run.seed") else {
            continue;
        };
        let keys = run.figures.config.iter();
        let mut same: Vec<(&str, &str)> = keys
            .filter(|value| !NAMES.contains(&value.key.as_str()))
            .map(|value| (value.key.as_str(), value.value.as_str()))
            .collect();
        same.push(("parent", run.summary.parent.as_deref().unwrap_or_default()));
        let group = found
            .iter_mut()
            .find(|(key, group)| *key == same && !group.seeds.contains(&seed));
        match group {
            Some((_, group)) => {
                group.members.push(index);
                group.seeds.push(seed);
            }
            None => found.push((
                same,
                Group {
                    members: vec![index],
                    seeds: vec![seed],
                },
            )),
        }
    }
    let groups = found.into_iter().map(|(_, group)| group);
    groups.filter(|group| group.members.len() > 1).collect()
}

/// Mean and standard deviation of a few values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// Their mean.
    pub mean: f64,
    /// Standard deviation of the sample (n - 1 in the denominator).
    pub deviation: f64,
    /// How many there are.
    pub count: usize,
}

/// Mean and standard deviation; none of fewer than two values, or if one is not finite.
pub fn spread(values: &[f64]) -> Option<Spread> {
    let count = values.len();
    if count < 2 || values.iter().any(|value| !value.is_finite()) {
        return None;
    }
    let mean = values.iter().sum::<f64>() / count as f64;
    let squares: f64 = values.iter().map(|value| (value - mean).powi(2)).sum();
    Some(Spread {
        mean,
        deviation: (squares / (count - 1) as f64).sqrt(),
        count,
    })
}

/// The mean difference of pairs, with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Paired {
    /// Mean of second minus first.
    pub mean: f64,
    /// Ends of the interval (Student's t for paired samples).
    pub interval: (f64, f64),
    /// Number of pairs.
    pub count: usize,
}

/// Compares pairs `(first, second)`; none of fewer than two, or if a value is not finite.
pub fn paired(pairs: &[(f64, f64)]) -> Option<Paired> {
    let differences: Vec<f64> = pairs.iter().map(|(a, b)| b - a).collect();
    let of = spread(&differences)?;
    let half = t_975(of.count - 1) * of.deviation / (of.count as f64).sqrt();
    Some(Paired {
        mean: of.mean,
        interval: (of.mean - half, of.mean + half),
        count: of.count,
    })
}

/// The 97.5 % quantile of Student's t: tabled where degrees of freedom are few, else by its expansion in their inverse
/// (Abramowitz and Stegun, 26.7.5), right to four digits there.
fn t_975(freedom: usize) -> f64 {
    const FEW: [f64; 9] = [
        12.706_205, 4.302_653, 3.182_446, 2.776_445, 2.570_582, 2.446_912, 2.364_624, 2.306_004,
        2.262_157,
    ];
    if let Some(quantile) = FEW.get(freedom.saturating_sub(1)) {
        return *quantile;
    }
    let z = 1.959_963_984_540_054_f64;
    let n = freedom as f64;
    let first = (z.powi(3) + z) / 4.0;
    let second = (5.0 * z.powi(5) + 16.0 * z.powi(3) + 3.0 * z) / 96.0;
    let third = (3.0 * z.powi(7) + 19.0 * z.powi(5) + 17.0 * z.powi(3) - 15.0 * z) / 384.0;
    z + first / n + second / n.powi(2) + third / n.powi(3)
}

/// A figure of a run, where it has it.
pub type Figure = fn(&Entry) -> Option<f64>;

/// The figures that groups are compared by.
pub const METRICS: [(&str, Figure); 2] = [
    ("last loss", |run| run.summary.loss),
    ("best validation loss", |run| {
        run.figures.best.map(|best| best.0)
    }),
];

/// The name of one of [`METRICS`] for people.
fn shown(metric: &'static str) -> Text {
    match metric {
        "last loss" => Text::new(metric, "最后的 loss"),
        "best validation loss" => Text::new(metric, "最好的验证 loss"),
        other => Text::new(other, other),
    }
}

/// The values of a figure in a group, in the order of its members; none if a member lacks it.
pub fn values(runs: &[&Entry], group: &Group, figure: Figure) -> Option<Vec<f64>> {
    let members = group.members.iter();
    members.map(|member| figure(runs[*member])).collect()
}

/// The pairs of two groups by the seeds that they share.
pub fn pairs(runs: &[&Entry], (a, b): (&Group, &Group), figure: Figure) -> Vec<(f64, f64)> {
    let value = |group: &Group, seed: &String| {
        let place = group.seeds.iter().position(|known| known == seed)?;
        figure(runs[group.members[place]])
    };
    let seeds = a.seeds.iter();
    seeds
        .filter_map(|seed| Some((value(a, seed)?, value(b, seed)?)))
        .collect()
}

/// What the groups among `runs` say, a line each, for people.
pub fn lines(runs: &[&Entry]) -> Vec<Phrase> {
    const SEED: Text = Text::new(
        "{0} differ only in the seed ({1})",
        "{0} 只有种子不同 ({1})",
    );
    const NOT_AS_FAR: Text = Text::new(
        "  not as far as each other: step {0} to {1}",
        "  进度不同: 第 {0} 到 {1} 步",
    );
    const NOT_FINITE: Text = Text::new(
        "  {0}: not finite in {1} of {2}",
        "  {0}: {2} 个中有 {1} 个非有限",
    );
    const SPREAD: Text = Text::new(
        "  {0}: mean {1}, standard deviation {2}, n {3}",
        "  {0}: 均值 {1}, 标准差 {2}, n {3}",
    );
    const PAIRED: Text = Text::new(
        "{0}, {1} minus {2} by seed: {3}, 95 % interval {4} to {5}, n {6}",
        "{0}, 按种子 {1} 减 {2}: {3}, 95 % 区间 {4} 到 {5}, n {6}",
    );
    let groups = groups(runs);
    let mut lines = Vec::new();
    let name = |group: &Group| runs[group.members[0]].summary.name.clone();
    for group in &groups {
        let names: Vec<&str> = group
            .members
            .iter()
            .map(|member| runs[*member].summary.name.as_str())
            .collect();
        lines.push(SEED.fill(&[&names.join(", "), &group.seeds.join(", ")]));
        let steps = group
            .members
            .iter()
            .map(|member| runs[*member].summary.step);
        if let (Some(least), Some(most)) = (steps.clone().min(), steps.max())
            && least != most
        {
            lines.push(NOT_AS_FAR.fill(&[&least.to_string(), &most.to_string()]));
        }
        for (metric, figure) in METRICS {
            let values = values(runs, group, figure).unwrap_or_default();
            let lost = values.iter().filter(|value| !value.is_finite()).count();
            if lost > 0 {
                let counts = [lost, values.len()].map(|n| n.to_string());
                lines.push(NOT_FINITE.fill(&[&shown(metric), &counts[0], &counts[1]]));
            }
            if let Some(of) = spread(&values) {
                let figures = [of.mean, of.deviation].map(|x| format!("{x:.4}"));
                let count = of.count.to_string();
                lines.push(SPREAD.fill(&[&shown(metric), &figures[0], &figures[1], &count]));
            }
        }
    }
    for (place, a) in groups.iter().enumerate() {
        for b in &groups[place + 1..] {
            for (metric, figure) in METRICS {
                if let Some(of) = paired(&pairs(runs, (a, b), figure)) {
                    let figures = [of.mean, of.interval.0, of.interval.1];
                    let [mean, low, high] = figures.map(|x| format!("{x:+.4}"));
                    let count = of.count.to_string();
                    let parts: [&dyn Words; 7] = [
                        &shown(metric),
                        &name(b),
                        &name(a),
                        &mean,
                        &low,
                        &high,
                        &count,
                    ];
                    lines.push(PAIRED.fill(&parts));
                }
            }
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::fixture::{entry, with};
    use super::*;

    #[test]
    fn quantiles_are_those_of_the_tables() {
        for (freedom, want) in [
            (1, 12.706_205),
            (9, 2.262_157),
            (10, 2.228_139),
            (15, 2.131_450),
            (30, 2.042_272),
            (120, 1.979_930),
        ] {
            assert!((t_975(freedom) - want).abs() < 5e-4, "{freedom}");
        }
    }

    #[test]
    fn a_paired_difference_is_that_of_a_worked_example() {
        // Differences 1, 2, 3: mean 2, deviation 1, half width 4.302653 / sqrt(3).
        let of = paired(&[(1.0, 2.0), (1.0, 3.0), (1.0, 4.0)]).unwrap();
        assert!((of.mean - 2.0).abs() < 1e-12 && of.count == 3);
        assert!((of.interval.0 - (2.0 - 2.484_138)).abs() < 1e-5);
        assert_eq!(paired(&[(1.0, 2.0)]), None);
        assert_eq!(spread(&[1.0, f64::NAN]), None);
    }

    #[test]
    fn runs_that_differ_in_the_seed_alone_are_a_group() {
        let run = |name: &str, lr: &str, seed: &str, loss: f64| {
            let mut run = with(entry(name), "optimizer.lr", lr);
            run = with(run, "run.seed", seed);
            run.summary.loss = Some(loss);
            run
        };
        let all = [
            run("a0", "1e-3", "0", 1.0),
            run("a1", "1e-3", "1", 2.0),
            run("a1 again", "1e-3", "1", 9.0),
            run("b1", "1e-2", "1", 2.5),
            run("b0", "1e-2", "0", 1.25),
            run("alone", "1e-1", "0", 0.0),
        ];
        let all: Vec<&Entry> = all.iter().collect();
        let found = groups(&all);
        let members: Vec<&[usize]> = found.iter().map(|group| &*group.members).collect();
        assert_eq!(members, [&[0, 1], &[3, 4]]);
        let pairs = pairs(&all, (&found[0], &found[1]), METRICS[0].1);
        assert_eq!(pairs, [(1.0, 1.25), (2.0, 2.5)]);
        let mut wild = run("a2", "1e-3", "2", f64::NAN);
        wild.figures.best = None;
        let with_wild: Vec<&Entry> = all.iter().copied().chain([&wild]).collect();
        let said = |runs: &[&Entry]| {
            let lines = lines(runs).into_iter();
            lines
                .map(|line| line.to_string() + "\n")
                .collect::<String>()
        };
        let told = said(&with_wild);
        assert!(told.contains("last loss: not finite in 1 of 3"), "{told}");
        let told = said(&all);
        assert!(
            told.contains("a0, a1 differ only in the seed (0, 1)"),
            "{told}"
        );
        assert!(
            told.contains("last loss, b1 minus a0 by seed: +0.3750"),
            "{told}"
        );
    }
}
