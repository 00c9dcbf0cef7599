//! Each rule on a series that has its fault and on one that has not; what is remembered over a resume; healthy records.

mod hooks;

use super::*;
use crate::config::Config;

const BASE: &str = "data.sequence_length = 8\nmodel.layers = 2\nmodel.dim = 16\nmodel.heads = 4\n\
                    train = { batch_size = 4, max_steps = 10 }\noptimizer.lr = 1e-3\n";

fn config(sets: &[&str]) -> WatchConfig {
    let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
    Config::parse(None, BASE, &sets).unwrap().watch
}

/// What a run shows, as a test keeps it.
#[derive(Clone, Debug)]
enum Shown {
    Step(Step),
    Layers(Layers),
    Eval(Eval),
    Disk { free: u64, checkpoint: u64 },
}

impl Shown {
    fn step(step: u64, loss: f64) -> Self {
        Self::pace(step, loss, 1000.0)
    }

    fn pace(step: u64, loss: f64, tokens_per_second: f64) -> Self {
        Self::Step(Step {
            step,
            loss,
            tokens_per_second,
            step_seconds: 1000.0 / tokens_per_second,
            ..Step::default()
        })
    }

    fn eval(step: u64, loss: f64) -> Self {
        Self::Eval(Eval {
            step,
            loss,
            ..Eval::default()
        })
    }

    fn layers(step: u64, gradient_rms: Vec<f64>, dead_share: Vec<f64>) -> Self {
        let names = (0..gradient_rms.len()).map(|layer| format!("blocks.{layer}.ffn"));
        Self::Layers(Layers {
            step,
            names: names.collect(),
            gradient_rms,
            dead_share,
            ..Layers::default()
        })
    }

    fn look(&self, watch: &mut Watch, config: &WatchConfig) -> Vec<Alarm> {
        match self {
            Self::Step(step) => {
                let loss = Seen::Loss {
                    step: step.step,
                    loss: step.loss,
                };
                let mut alarms = watch.look(config, &loss);
                alarms.extend(watch.look(config, &Seen::Step(step)));
                alarms
            }
            Self::Layers(layers) => watch.look(config, &Seen::Layers(layers)),
            Self::Eval(eval) => watch.look(config, &Seen::Eval(eval)),
            Self::Disk { free, checkpoint } => {
                let seen = Seen::Disk {
                    step: 1,
                    free: *free,
                    checkpoint: *checkpoint,
                };
                watch.look(config, &seen)
            }
        }
    }
}

/// The alarms with the number of what raised them.
fn alarms(shown: &[Shown], config: &WatchConfig) -> Vec<(usize, Alarm)> {
    let mut watch = Watch::default();
    let mut found = Vec::new();
    for (number, shown) in shown.iter().enumerate() {
        let alarms = shown.look(&mut watch, config);
        found.extend(alarms.into_iter().map(|alarm| (number, alarm)));
    }
    found
}

/// Which rules raised alarms, and at what.
fn raised(shown: &[Shown], sets: &[&str]) -> Vec<(usize, &'static str)> {
    let found = alarms(shown, &config(sets)).into_iter();
    found.map(|(number, alarm)| (number, alarm.rule)).collect()
}

/// Scatter between -1 and 1, always the same.
fn noise(at: u64) -> f64 {
    let mixed = (at + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    ((mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9) >> 11) as f64 / (1u64 << 52) as f64
        - 1.0
}

/// A loss that falls as losses do.
fn healthy(step: u64) -> f64 {
    2.0 + 5.0 * (-(step as f64) / 300.0).exp()
        + 1.0 / (1.0 + step as f64 / 1000.0)
        + 0.15 * noise(step)
}

fn steps(count: u64, loss: impl Fn(u64) -> f64) -> Vec<Shown> {
    (1..=count)
        .map(|step| Shown::step(step, loss(step)))
        .collect()
}

#[test]
fn a_healthy_course_raises_nothing() {
    let mut course = Vec::new();
    for step in 1..=6000u64 {
        let pace = 1000.0 * (1.0 + 0.3 * noise(step));
        course.push(Shown::pace(step, healthy(step), pace));
        if step.is_multiple_of(10) {
            let fall = (-(step as f64) / 2000.0).exp();
            let rms = (0..8).map(|layer| {
                fall * 10f64.powi(-layer / 3) * (1.0 + 0.5 * noise(step + layer as u64))
            });
            course.push(Shown::layers(step, rms.collect(), vec![0.1; 8]));
        }
        if step.is_multiple_of(250) {
            course.push(Shown::eval(step, healthy(step) - 0.14 * noise(step)));
        }
        if step.is_multiple_of(1000) {
            course.push(Shown::Disk {
                free: 1 << 40,
                checkpoint: 1 << 30,
            });
        }
    }
    assert_eq!(raised(&course, &[]), []);
}

#[test]
fn spike() {
    let course = |at: &[u64]| {
        steps(400, |step| {
            healthy(step) * if at.contains(&step) { 4.0 } else { 1.0 }
        })
    };
    assert_eq!(raised(&course(&[250]), &[]), [(249, "spike")]);
    // Once as long as it was not quiet for a window, then again.
    assert_eq!(
        raised(&course(&[250, 251, 300, 399]), &[]),
        [(249, "spike")]
    );
    assert_eq!(
        raised(&course(&[250, 399]), &[]),
        [(249, "spike"), (398, "spike")]
    );
    // An update that is left out is always told; nobody outside is told twice.
    let found = alarms(&course(&[250, 251]), &config(&["watch.spike.action=skip"]));
    let fresh: Vec<_> = found.iter().map(|(at, alarm)| (*at, alarm.fresh)).collect();
    assert_eq!(fresh, [(249, true), (250, false)]);
    assert_eq!(found[0].1.action, Action::Skip);
    assert!(found[0].1.finding.value > found[0].1.finding.threshold);
    // Off, or before there is a median, or a small loss that scatters.
    assert_eq!(raised(&course(&[250]), &["watch.spike.action=off"]), []);
    assert_eq!(raised(&course(&[20]), &[]), []);
    let tiny = steps(400, |step| {
        0.01 * (1.2 + noise(step)) * if step == 300 { 9.0 } else { 1.0 }
    });
    assert_eq!(raised(&tiny, &[]), []);
    assert_eq!(raised(&tiny, &["watch.spike.rise=0"]).len(), 1);
}

#[test]
fn a_loss_is_looked_up_at_where_it_is_above_the_bound_told_before() {
    for (action, looks) in [("skip", true), ("warn", true), ("off", false)] {
        let config = config(&[&format!("watch.spike.action=\"{action}\"")]);
        let mut watch = Watch::default();
        let mut above = 0;
        for step in 1..=300 {
            let spikes = step % 41 == 0;
            let loss = if spikes { 30.0 } else { healthy(step) };
            let most = watch.most_loss(&config);
            let alarms = watch.look(&config, &Seen::Loss { step, loss });
            // `skip` tells every one, the others only what is news.
            let told = !alarms.is_empty();
            assert!(
                told == (loss > most) || (!told && action == "warn"),
                "{action} {step}"
            );
            above += u32::from(loss > most);
        }
        assert_eq!(above > 3, looks, "{action}: {above}");
    }
}

#[test]
fn stall() {
    let course = steps(900, |step| {
        if step <= 300 {
            5.0 - step as f64 / 100.0
        } else {
            2.0
        }
    });
    let sets = ["watch.stall.window=100"];
    assert_eq!(
        raised(&course, &sets),
        [(499, "stall")],
        "once, as it goes on"
    );
    let noisy = steps(6000, |step| 3.0 - step as f64 * 1e-5 + 0.2 * noise(step));
    assert_eq!(raised(&noisy, &[]), [], "a slow fall under noise is a fall");
    let asked = ["watch.stall.improvement=0.1"];
    assert_eq!(raised(&noisy, &asked), [(3999, "stall")]);
}

#[test]
fn divergence_of_the_training_loss() {
    let climbing = |step: u64| healthy(step.min(600)) + (step.saturating_sub(600) as f64) * 0.01;
    let found = alarms(&steps(900, climbing), &config(&[]));
    let rules: Vec<_> = found.iter().map(|(_, alarm)| alarm.rule).collect();
    assert_eq!(rules, ["divergence"]);
    assert!((600..800).contains(&found[0].0), "{found:?}");
}

#[test]
fn divergence_of_the_validation_loss() {
    let evals = |losses: &[f64]| -> Vec<Shown> {
        let numbered = losses.iter().zip(1..);
        numbered
            .map(|(loss, step)| Shown::eval(step * 100, *loss))
            .collect()
    };
    let rising = evals(&[3.0, 2.0, 2.01, 2.03, 2.08, 2.2, 2.3, 2.1, 2.2, 2.3, 2.4]);
    // Told once a rise, and again after a fall.
    assert_eq!(
        raised(&rising, &[]),
        [(4, "divergence"), (10, "divergence")]
    );
    let noisy = evals(&[3.0, 2.0, 2.001, 2.002, 2.003, 2.004, 1.99, 2.0, 1.98]);
    assert_eq!(raised(&noisy, &[]), []);
    // Asking again at the same step neither counts nor hides.
    let mut again = rising.clone();
    again.insert(4, again[3].clone());
    assert_eq!(raised(&again, &[])[0], (5, "divergence"));
}

#[test]
fn dead_units() {
    let course = |dead: &[f64]| -> Vec<Shown> {
        let numbered = dead.iter().zip(1..);
        numbered
            .map(|(dead, step)| Shown::layers(step * 10, vec![1.0; 3], vec![0.0, *dead, 0.1]))
            .collect()
    };
    let found = alarms(&course(&[0.2, 0.9, 0.9, 0.9, 0.9]), &config(&[]));
    assert_eq!(found.len(), 1);
    let (at, alarm) = &found[0];
    assert_eq!((*at, alarm.rule), (3, "dead_units"));
    assert_eq!(alarm.finding.layer.as_deref(), Some("blocks.1.ffn"));
    assert_eq!((alarm.finding.value, alarm.finding.threshold), (0.9, 0.5));
    assert_eq!(raised(&course(&[0.9, 0.9, 0.2, 0.9, 0.9]), &[]), []);
    // Records of older programs say nothing of them.
    let old: Vec<Shown> = (1..9)
        .map(|step| Shown::layers(step, vec![1.0; 3], Vec::new()))
        .collect();
    assert_eq!(raised(&old, &[]), []);
}

#[test]
fn vanishing_and_exploding() {
    let course = |factor: f64| -> Vec<Shown> {
        (1..=40)
            .map(|number| {
                let own = if number == 30 { factor } else { 1.0 };
                let rms = vec![1e-3, 2e-3 * own, 5e-4, 1e-3];
                Shown::layers(number * 10, rms, Vec::new())
            })
            .collect()
    };
    for (factor, rule) in [(1e-2, "vanishing"), (1e2, "exploding")] {
        let found = alarms(&course(factor), &config(&[]));
        assert_eq!(found.len(), 1, "{found:?}");
        let (at, alarm) = &found[0];
        assert_eq!((*at, alarm.rule), (29, rule));
        assert_eq!(alarm.finding.layer.as_deref(), Some("blocks.1.ffn"));
        assert!(alarm.finding.message.contains("its own median"));
    }
    for factor in [0.2, 5.0] {
        assert_eq!(raised(&course(factor), &[]), []);
    }
    // A layer that never gets a gradient beside others that do; none at all beside none.
    let frozen = |others: f64| -> Vec<Shown> {
        (1..=20)
            .map(|number| Shown::layers(number, vec![others, others, 0.0], Vec::new()))
            .collect()
    };
    assert_eq!(raised(&frozen(1e-3), &[]), [(5, "vanishing")]);
    assert_eq!(raised(&frozen(0.0), &[]), []);
}

#[test]
fn throughput() {
    let course = |slow: std::ops::Range<u64>, pace: f64| -> Vec<Shown> {
        (1..=600)
            .map(|step| {
                let pace = if slow.contains(&step) { pace } else { 1000.0 };
                Shown::pace(step, 2.0, pace)
            })
            .collect()
    };
    // Twenty slow steps, and a minute of them.
    assert_eq!(raised(&course(300..600, 400.0), &[]), [(322, "throughput")]);
    assert_eq!(raised(&course(300..600, 600.0), &[]), []);
    assert_eq!(raised(&course(300..315, 100.0), &[]), [], "too few steps");
    let short = ["watch.throughput.seconds=1e6"];
    assert_eq!(
        raised(&course(300..600, 400.0), &short),
        [],
        "too short a time"
    );
}

#[test]
fn disk() {
    let course = |rooms: &[u64]| -> Vec<Shown> {
        let shown = |room: &u64| Shown::Disk {
            free: room * 100 + 50,
            checkpoint: 100,
        };
        rooms.iter().map(shown).collect()
    };
    assert_eq!(raised(&course(&[9, 5, 3]), &[]), []);
    // Told once while it lasts, and again after there was room.
    let found = raised(&course(&[9, 2, 1, 7, 0]), &[]);
    assert_eq!(found, [(1, "disk"), (4, "disk")]);
    assert_eq!(
        raised(&course(&[9, 5]), &["watch.disk.checkpoints=6"]),
        [(1, "disk")]
    );
}

#[test]
fn what_is_not_finite_is_told_once_in_a_while() {
    let mut watch = Watch::default();
    let config = config(&[]);
    assert!(watch.nonfinite() && !watch.nonfinite());
    for step in 1..=9 {
        watch.look(&config, &Seen::Loss { step, loss: 2.0 });
    }
    let mut other = Watch::load(&watch.save());
    assert!(!watch.nonfinite());
    other.look(
        &config,
        &Seen::Loss {
            step: 10,
            loss: 2.0,
        },
    );
    assert!(other.nonfinite());
}

#[test]
fn a_watch_that_was_saved_at_any_point_goes_on_as_if_it_was_not() {
    let config = config(&["watch.stall.window=40", "watch.throughput.seconds=1"]);
    let mut course = Vec::new();
    for step in 1..=300u64 {
        let loss = if step % 90 == 80 {
            9.0
        } else {
            2.0 + 0.1 * noise(step)
        };
        let pace = if (150..200).contains(&step) {
            300.0
        } else {
            1000.0
        };
        course.push(Shown::pace(step, loss, pace));
        if step % 5 == 0 {
            let rms = vec![1.0, if step == 100 { 1e-4 } else { 1.0 }, 1.0];
            let dead = vec![0.0, 0.0, if step > 200 { 0.9 } else { 0.0 }];
            course.push(Shown::layers(step, rms, dead));
        }
        if step % 20 == 0 {
            course.push(Shown::eval(step, 2.0 + step as f64 / 100.0));
            course.push(Shown::Disk {
                free: 700 - 2 * step,
                checkpoint: 100,
            });
        }
    }
    let straight = alarms(&course, &config);
    let rules: std::collections::BTreeSet<_> = straight.iter().map(|(_, a)| a.rule).collect();
    assert_eq!(rules.len(), 7, "{rules:?}");
    for cut in (0..course.len()).step_by(7) {
        let mut watch = Watch::default();
        let mut found = Vec::new();
        for (number, shown) in course.iter().enumerate() {
            if number == cut {
                let mut saved = watch.save();
                saved.push(("loss".to_owned(), 3.0));
                watch = Watch::load(&saved);
            }
            let alarms = shown.look(&mut watch, &config);
            found.extend(alarms.into_iter().map(|alarm| (number, alarm)));
        }
        assert_eq!(found, straight, "saved before {cut}");
    }
    // A checkpoint of an older program knows nothing of it.
    // As text, for one NaN is not another.
    let saved = |watch: Watch| format!("{:?}", watch.save());
    assert_eq!(saved(Watch::load(&[])), saved(Watch::default()));
}

#[test]
fn every_rule_has_its_keys() {
    let names: std::collections::BTreeSet<_> = RULES.iter().map(|rule| rule.name()).collect();
    assert_eq!(names.len(), RULES.len());
    for (rule, config) in RULES.iter().zip(&config(&[]).rules) {
        assert!(rule.path.starts_with("watch.") && !rule.doc.is_empty());
        assert_eq!(config.action, Action::Warn, "{}", rule.path);
        assert!(
            rule.keys
                .iter()
                .all(|key| key.class == Class::Live && !key.doc.contains('\n'))
        );
    }
}

/// The first steps of real runs on two configurations of `configs/`: what they showed, a line each.
#[test]
fn the_demo_and_shakespeare_raise_nothing() {
    for record in [
        include_str!("../fixtures/demo.txt"),
        include_str!("../fixtures/shakespeare.txt"),
    ] {
        let course: Vec<Shown> = record.lines().map(read).collect();
        assert!(course.len() > 400);
        assert_eq!(raised(&course, &[]), []);
    }
}

fn read(line: &str) -> Shown {
    let mut words = line.split(' ');
    let kind = words.next().unwrap();
    let numbers: Vec<f64> = words.map(|word| word.parse().unwrap()).collect();
    let step = numbers[0] as u64;
    match kind {
        "step" => Shown::pace(step, numbers[1], numbers[2]),
        "eval" => Shown::eval(step, numbers[1]),
        "layers" => {
            let (gradients, dead) = numbers[1..].split_at((numbers.len() - 1) / 2);
            Shown::layers(step, gradients.to_vec(), dead.to_vec())
        }
        other => panic!("{other}"),
    }
}
