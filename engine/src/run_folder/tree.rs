//! Runs as a tree: forks below the runs that they come from.
//!
//! `run.json` names a fork's parent; a parent that was deleted, or is in another folder, leaves its forks as roots. Next:
//! [`super::shelf`], which moves and deletes runs.

use super::name::name_of;
use super::{RunRecord, shelf};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

/// The order in which a tree is shown: for each run its place in `runs` and its depth, every fork somewhere below its
/// parent. `runs` gives each run's name and its parent's; runs of one parent keep their order. Each run comes once, even
/// where records name each other in a circle.
pub fn tree(runs: &[(&str, Option<&str>)]) -> Vec<(usize, usize)> {
    let places: HashMap<&str, usize> = runs.iter().enumerate().map(|(i, run)| (run.0, i)).collect();
    let parent = |run: usize| {
        let parent = places.get(runs[run].1?).copied()?;
        (parent != run).then_some(parent)
    };
    let mut children: Vec<Vec<usize>> = vec![Vec::new(); runs.len()];
    let mut roots = Vec::new();
    for run in 0..runs.len() {
        match parent(run) {
            Some(parent) => children[parent].push(run),
            None => roots.push(run),
        }
    }
    let mut shown = vec![false; runs.len()];
    let mut order = Vec::with_capacity(runs.len());
    // What no root leads to goes round in a circle: it is cut open at its first run.
    for start in roots.into_iter().chain(0..runs.len()) {
        let mut open = vec![(start, 0)];
        while let Some((run, depth)) = open.pop() {
            if std::mem::replace(&mut shown[run], true) {
                continue;
            }
            order.push((run, depth));
            open.extend(children[run].iter().rev().map(|child| (*child, depth + 1)));
        }
    }
    order
}

/// The runs that a run was forked from, the oldest first: each one's folder, and the last step of it that the run has in
/// its past. Ends where a parent is not found, among the runs beside it or those set aside.
pub fn lineage(run: &Path) -> Vec<(PathBuf, u64)> {
    let mut found: Vec<(PathBuf, u64)> = Vec::new();
    let mut seen = vec![name_of(run)];
    let mut here = run.to_owned();
    let mut step = u64::MAX;
    while let Some(parent) = RunRecord::read(&here).and_then(|record| record.parent) {
        let Some(path) = shelf::beside(run, &parent.run) else {
            break;
        };
        if seen.contains(&parent.run) {
            break;
        }
        seen.push(parent.run);
        // A fork of a fork may begin before its parent did only in records that somebody edited.
        step = step.min(parent.step);
        found.push((path.clone(), step));
        here = path;
    }
    found.reverse();
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(runs: &[(&str, Option<&str>)]) -> Vec<String> {
        let order = tree(runs);
        let rows = order.iter();
        rows.map(|(run, depth)| format!("{}{}", " ".repeat(*depth), runs[*run].0))
            .collect()
    }

    #[test]
    fn forks_of_forks_stand_below_their_parents() {
        let runs = [
            ("newest", Some("b")),
            ("b", Some("a")),
            ("other", None),
            ("c", Some("a")),
            ("lost", Some("deleted")),
            ("a", None),
        ];
        let want = ["other", "lost", "a", " b", "  newest", " c"];
        assert_eq!(shown(&runs), want);
    }

    #[test]
    fn circles_are_cut_open() {
        let runs = [
            ("a", Some("c")),
            ("b", Some("a")),
            ("c", Some("b")),
            ("self", Some("self")),
        ];
        assert_eq!(shown(&runs), ["self", "a", " b", "  c"]);
        assert!(tree(&[]).is_empty());
    }
}
