//! What a run has written after its prompts, read from its record: its own samples, and those of the runs that it was
//! forked from, up to where it begins.

use std::path::Path;

use engine::link::Body;
use engine::run_folder::index::LineKind;
use engine::run_folder::{Index, RunError, lineage};

use crate::state::{SAMPLES, Sample};

/// A sample, and the forebear that wrote it where the run itself did not.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// Name of the forebear.
    pub by: Option<String>,
    /// What was written.
    pub sample: Sample,
}

/// The samples of a run, by step.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    written: Vec<Written>,
}

/// Why a run has no sample to be put beside another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Missing {
    /// It has written nothing at all.
    All,
    /// It has never continued that prompt.
    Prompt,
    /// Its first one of that prompt came after the step, at this one.
    Until(u64),
}

impl Samples {
    /// Reads a run's record and those of its forebears. A line that is torn or no event is none; a forebear that cannot be
    /// read has written nothing.
    ///
    /// # Errors
    /// If the run's own record cannot be opened.
    pub fn read(run: &Path) -> Result<Self, RunError> {
        let mut written = Vec::new();
        for (folder, last) in lineage(run) {
            let by = folder
                .file_name()
                .map(|name| name.to_string_lossy().into_owned());
            let samples = of_record(&folder, last).unwrap_or_default();
            written.extend(samples.into_iter().map(|sample| Written {
                by: by.clone(),
                sample,
            }));
        }
        let own = of_record(run, u64::MAX)?.into_iter();
        written.extend(own.map(|sample| Written { by: None, sample }));
        written.sort_by_key(|written| written.sample.step);
        Ok(Self { written })
    }

    /// What the run wrote last after a prompt, up to a step.
    ///
    /// # Errors
    /// If there is nothing, with the reason.
    pub fn nearest(&self, prompt: &str, step: u64) -> Result<&Written, Missing> {
        if self.written.is_empty() {
            return Err(Missing::All);
        }
        let of_prompt = |written: &&Written| written.sample.prompt == prompt;
        let first = self.written.iter().find(of_prompt);
        let first = first.ok_or(Missing::Prompt)?.sample.step;
        let mut before = self.written.iter().rev();
        before
            .find(|written| written.sample.step <= step && of_prompt(written))
            .ok_or(Missing::Until(first))
    }
}

impl FromIterator<Written> for Samples {
    fn from_iter<I: IntoIterator<Item = Written>>(written: I) -> Self {
        let mut written: Vec<Written> = written.into_iter().collect();
        written.sort_by_key(|written| written.sample.step);
        Self { written }
    }
}

/// The newest samples of one record up to step `last`, as many as a screen keeps.
fn of_record(run: &Path, last: u64) -> Result<Vec<Sample>, RunError> {
    let index = Index::open(run)?;
    let mut lines = index.lines();
    lines.retain(|line| line.kind == LineKind::Sample && line.step <= last);
    lines.drain(..lines.len().saturating_sub(SAMPLES));
    let events = index.events(&lines)?.into_iter();
    Ok(events
        .filter_map(|event| match event.body {
            Body::Sample {
                step,
                prompt,
                text,
                readable,
            } => Some(Sample {
                step,
                prompt,
                text,
                readable,
            }),
            _ => None,
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::link::Event;
    use engine::run_folder::{EventWriter, NameFrom, Origin, Parent, RunFolder};
    use std::fs;
    use std::io::Write as _;

    fn sample(step: u64, prompt: &str, text: &str) -> Event {
        Event {
            body: Body::Sample {
                step,
                prompt: prompt.to_owned(),
                text: text.to_owned(),
                readable: None,
            },
            time: "2026-01-01T00:00:00Z".to_owned(),
        }
    }

    fn run(home: &Path, name: &str, parent: Option<(&str, u64)>, events: &[Event]) -> RunFolder {
        let origin = Origin {
            parent: parent.map(|(run, step)| Parent {
                run: run.to_owned(),
                step,
            }),
            ..Origin::default()
        };
        let folder = RunFolder::create(home, name, NameFrom::Flag, &origin).unwrap();
        let mut writer = EventWriter::open(&folder.path().join("events.jsonl")).unwrap();
        for event in events {
            writer.append(event).unwrap();
        }
        folder
    }

    fn text(samples: &Samples, prompt: &str, step: u64) -> Result<String, Missing> {
        let found = samples.nearest(prompt, step)?;
        let by = found.by.as_deref().unwrap_or("itself");
        Ok(format!("{by}@{}:{}", found.sample.step, found.sample.text))
    }

    #[test]
    fn a_fork_has_its_forebears_samples_up_to_where_it_begins() {
        let home = tempfile::tempdir().unwrap();
        let parent = [
            sample(100, "a", "old"),
            sample(200, "a", "parent"),
            sample(300, "a", "too late"),
        ];
        let _base = run(home.path(), "base", None, &parent);
        let own = [sample(400, "a", "own"), sample(400, "b", "bee")];
        let fork = run(home.path(), "fork", Some(("base", 200)), &own);
        let samples = Samples::read(fork.path()).unwrap();
        for (prompt, step, want) in [
            ("a", 399, Ok("base@200:parent")),
            ("a", 150, Ok("base@100:old")),
            ("a", 9999, Ok("itself@400:own")),
            ("b", 400, Ok("itself@400:bee")),
            ("b", 399, Err(Missing::Until(400))),
            ("a", 99, Err(Missing::Until(100))),
            ("c", 9999, Err(Missing::Prompt)),
        ] {
            let found = text(&samples, prompt, step);
            assert_eq!(found, want.map(str::to_owned), "{prompt} {step}");
        }
        // A parent that is gone takes nothing of its fork's own with it.
        fs::remove_dir_all(home.path().join("base")).unwrap();
        let samples = Samples::read(fork.path()).unwrap();
        assert_eq!(text(&samples, "a", 9999).unwrap(), "itself@400:own");
        assert_eq!(text(&samples, "a", 399), Err(Missing::Until(400)));
    }

    #[test]
    fn torn_lines_and_absent_folders_break_nothing() {
        let home = tempfile::tempdir().unwrap();
        let folder = run(home.path(), "own", None, &[sample(1, "a", "one")]);
        let record = folder.path().join("events.jsonl");
        let mut file = fs::OpenOptions::new().append(true).open(&record).unwrap();
        writeln!(
            file,
            "{{\"event\":\"sample\",\"step\":\"x\"}}\n\u{0}garbage"
        )
        .unwrap();
        let line = serde_json::to_string(&sample(2, "a", "two")).unwrap();
        writeln!(file, "{line}").unwrap();
        write!(file, "{}", &line[..line.len() / 2]).unwrap();
        let samples = Samples::read(folder.path()).unwrap();
        assert_eq!(text(&samples, "a", 9).unwrap(), "itself@2:two");
        assert!(Samples::read(&home.path().join("none")).is_err());
        fs::write(&record, "").unwrap();
        let samples = Samples::read(folder.path()).unwrap();
        assert_eq!(text(&samples, "a", 9), Err(Missing::All));
    }
}
