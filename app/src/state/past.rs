//! The run as it was: what was written, measured and in force at the step that the data cursor stands on.
//!
//! Screens that show the present ask here with the cursor's step; without a cursor they get the present.

use engine::link::ConfigValue;

use super::{LogLine, Sample, State};

/// The configurations of a run in the order in which they came into force.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Configs {
    /// The step after which each came into force, its version and all its keys.
    versions: Vec<(u64, u32, Vec<ConfigValue>)>,
}

impl Configs {
    pub(super) fn note(&mut self, step: u64, version: u32, config: &[ConfigValue]) {
        self.versions.push((step, version, config.to_vec()));
    }

    /// Says anew what a version is, which changes no value.
    pub(super) fn put(&mut self, version: u32, config: &[ConfigValue]) {
        let known = self
            .versions
            .iter_mut()
            .rev()
            .find(|known| known.1 == version);
        if let Some(known) = known {
            known.2 = config.to_vec();
        }
    }

    /// The value of a key when no edit had changed it, or the file had taken the edit over.
    fn unedited(&self, key: &str) -> Option<&str> {
        let values = self.versions.iter().rev();
        let mut values = values.filter_map(|(_, _, config)| config.iter().find(|v| v.key == key));
        let found = values.find(|value| value.source != "edit");
        found.map(|value| value.value.as_str())
    }

    /// Forgets what came after `step`; what is in force now, `version`, is in force from there on.
    pub(super) fn rewind(&mut self, step: u64, version: u32, config: &[ConfigValue]) {
        self.versions.retain(|known| known.0 <= step);
        let last = self.versions.last().map(|known| known.1);
        if last.is_some_and(|last| last != version) {
            self.note(step, version, config);
        }
    }
}

impl State {
    /// Whether the configuration in force is not what the run's file says: an edit is not in the file, or the last change of
    /// it was refused.
    pub fn differs_from_file(&self) -> bool {
        let mut edits = self.config.iter().filter(|value| value.source == "edit");
        self.rejected.is_some()
            || edits.any(|edit| self.configs.unedited(&edit.key) != Some(&edit.value))
    }

    /// Version and keys of the configuration under which `step` was trained; of the present without one.
    pub fn config_at(&self, step: Option<u64>) -> (u32, &[ConfigValue]) {
        let versions = self.configs.versions.iter();
        // What came into force after a step counts from the next one on.
        let then = step.and_then(|step| versions.rev().find(|version| version.0 < step.max(1)));
        match then {
            Some((_, version, config)) => (*version, config),
            None => (self.config_version, &self.config),
        }
    }

    /// How many of the samples were written up to `step`; all without one.
    pub fn samples_until(&self, step: Option<u64>) -> usize {
        match step {
            Some(step) => self.samples.partition_point(|sample| sample.step <= step),
            None => self.samples.len(),
        }
    }

    /// The newest sample at `step`; of all without one.
    pub fn sample_at(&self, step: Option<u64>) -> Option<&Sample> {
        self.samples.get(self.samples_until(step).checked_sub(1)?)
    }
}

/// The row of `lines` that stands for `step`: the last of those of that step or before it, in the order in which they
/// were written. Lines of steps that were trained again may come between.
pub fn log_row(lines: &[&LogLine], step: u64) -> usize {
    let last = lines.iter().rposition(|line| line.step <= step);
    last.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workbench::fixture::{bench, events, hear_all};
    use engine::link::{Body, Change, Event};

    fn edit(step: u64, version: u32, from: &str, to: &str) -> Event {
        let change = Change {
            key: "schedule.lr_scale".to_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
        };
        Event {
            body: Body::ConfigApplied {
                step,
                version,
                changes: vec![change],
            },
            time: "2026-01-01T00:00:00Z".to_owned(),
        }
    }

    fn scale_at(state: &State, step: Option<u64>) -> (u32, String) {
        let (version, config) = state.config_at(step);
        let value = config.iter().find(|value| value.key == "schedule.lr_scale");
        (version, value.unwrap().value.clone())
    }

    #[test]
    fn a_step_shows_the_configuration_that_it_was_trained_under() {
        let mut state = State::new(0.9);
        state.apply(&events(1)[0]);
        state.apply(&edit(10, 2, "1.0", "0.5"));
        state.apply(&edit(20, 3, "0.5", "0.25"));
        for (step, want) in [
            (Some(1), (1, "1.0")),
            (Some(10), (1, "1.0")),
            (Some(11), (2, "0.5")),
            (Some(20), (2, "0.5")),
            (Some(21), (3, "0.25")),
            (None, (3, "0.25")),
        ] {
            assert_eq!(scale_at(&state, step), (want.0, want.1.to_owned()));
        }
        // Back to step 10, where the first edit had come into force.
        state.apply(&Event {
            body: Body::Resumed {
                step: 10,
                path: "x".to_owned(),
                attempt: 2,
            },
            time: String::new(),
        });
        // Going back does not take an edit back.
        assert_eq!(scale_at(&state, Some(15)).0, 3);
        assert_eq!(scale_at(&state, Some(10)).0, 1);
    }

    #[test]
    fn the_file_differs_as_long_as_it_does_not_say_what_is_in_force() {
        let mut state = State::new(0.9);
        state.apply(&events(1)[0]);
        assert!(!state.differs_from_file());
        state.apply(&edit(10, 2, "1.0", "0.5"));
        assert!(state.differs_from_file());
        // Taken back, it is as the file says.
        state.apply(&edit(20, 3, "0.5", "1.0"));
        assert!(!state.differs_from_file());
        state.apply(&edit(30, 4, "1.0", "0.5"));
        let sources = [("schedule.lr_scale".to_owned(), "file".to_owned())];
        let body = Body::ConfigSources {
            step: 30,
            sources: sources.into(),
        };
        let time = String::new();
        state.apply(&Event { body, time });
        assert!(!state.differs_from_file(), "it was written back");
        let reply = |refused| Event {
            body: Body::Reply {
                step: 30,
                id: 1,
                command: "reload".to_owned(),
                refused,
                message: "nothing has changed".to_owned(),
            },
            time: String::new(),
        };
        let rejected = Body::ConfigRejected {
            step: 30,
            line: 3,
            column: 1,
            message: "no".to_owned(),
        };
        let time = String::new();
        state.apply(&Event {
            body: rejected,
            time,
        });
        state.apply(&reply(true));
        assert!(state.differs_from_file());
        // The person has put the old text back.
        state.apply(&reply(false));
        assert!(!state.differs_from_file());
    }

    #[test]
    fn samples_are_those_written_until_then() {
        let mut bench = bench();
        hear_all(&mut bench, &events(640));
        let state = &bench.state;
        let steps: Vec<u64> = state.samples.iter().map(|sample| sample.step).collect();
        let (first, last) = (steps[0], steps[steps.len() - 1]);
        assert_eq!(state.sample_at(Some(first - 1)), None);
        assert_eq!(
            state.sample_at(Some(last - 1)).unwrap().step,
            first.max(steps[steps.len() - 2])
        );
        assert_eq!(state.sample_at(None).unwrap().step, last);
    }
}
