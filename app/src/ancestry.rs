//! Where a fork comes from, for its screen: the course of its forebears up to the fork, and its parent's beyond.

use std::path::Path;

use engine::link::{Body, Event};
use engine::run_folder::{EventReader, lineage};

use crate::book::course::Course;
use crate::state::Parent;
use crate::ui::Options;

/// Lets a screen know the run's folder, and of a fork where it comes from. What it shows of the run itself is there
/// already.
pub fn tell(options: &mut Options, run: &Path) {
    options.reach.folder = Some(run.to_owned());
    options.parent = parent(run);
    let past = past(run);
    if !past.is_empty() {
        options.history = std::mem::take(&mut options.history).behind(past, run);
    }
}

/// What the runs before a fork measured and tried, up to where it begins; the oldest first. Their checkpoints are not
/// its own, and what they said of themselves is past.
fn past(run: &Path) -> Vec<Event> {
    let mut events: Vec<Event> = Vec::new();
    for (folder, last) in lineage(run) {
        for event in EventReader::open(&folder).into_iter().flatten() {
            let step = match &event.body {
                Body::Step(step) => step.step,
                Body::Layers(layers) => layers.step,
                Body::Eval(eval) => eval.step,
                Body::Sample { step, .. } | Body::ConfigApplied { step, .. } => *step,
                // The head has the names of the layers and the configuration.
                Body::Started(started) => started.step,
                _ => continue,
            };
            if step <= last {
                events.push(event);
            }
        }
    }
    events
}

/// The whole course of a fork's parent, which its own is drawn over.
fn parent(run: &Path) -> Option<Parent> {
    let (folder, step) = lineage(run).pop()?;
    let course = Course::read(&folder).ok()?;
    let name = folder.file_name()?.to_string_lossy().into_owned();
    Some(Parent {
        name,
        step,
        track: course.track,
        loss: course.loss,
    })
}
