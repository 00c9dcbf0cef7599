//! Where a fork comes from, for its screen: the course of its forebears up to the fork, and its parent's beyond.

use std::path::Path;

use engine::run_folder::lineage;

use crate::book::course::Course;
use crate::chart::means::Means;
use crate::state::{Parent, Past};
use crate::ui::Options;

/// Lets a screen know the run's folder, and of a fork where it comes from. What it shows of the run itself is there
/// already.
pub fn tell(options: &mut Options, run: &Path) {
    options.reach.folder = Some(run.to_owned());
    options.parent = parent(run);
    let past = past(run);
    if !past.is_empty() {
        options.history = std::mem::take(&mut options.history).behind(past);
    }
}

/// What the runs before a fork measured and tried, up to where it begins.
fn past(run: &Path) -> Past {
    let mut past = Past::default();
    for (folder, last) in lineage(run) {
        // A forebear that cannot be read is shown as none.
        drop(past.then(&folder, last));
    }
    past
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
        means: Means::default(),
    })
}
