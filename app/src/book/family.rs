//! Which runs of the book are near to one: its parent, its forks, the rest of their tree, and those with its prompts.

use std::collections::HashMap;

use super::Entry;

/// How a run is near to another one; the nearest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kin {
    /// That one was forked from it.
    Parent,
    /// It was forked from that one.
    Fork,
    /// Both come from one run.
    Family,
    /// They share a prompt at least.
    Prompts,
}

/// The places in `entries` of the runs that are near to the one called `own`, the nearest first; those of one kind keep their
/// order. `prompts` are those of that run, which need not be in `entries` itself.
pub fn near(entries: &[Entry], own: &str, prompts: &[&str]) -> Vec<(usize, Kin)> {
    let parents: HashMap<&str, Option<&str>> = entries
        .iter()
        .map(|entry| (entry.summary.name.as_str(), entry.parent()))
        .collect();
    let parent = parents.get(own).copied().flatten();
    let root = root(&parents, own);
    let mut near: Vec<(usize, Kin)> = entries
        .iter()
        .enumerate()
        .filter_map(|(index, entry)| {
            let name = entry.summary.name.as_str();
            let kin = if name == own {
                return None;
            } else if parent == Some(name) {
                Kin::Parent
            } else if entry.parent() == Some(own) {
                Kin::Fork
            } else if self::root(&parents, name) == root {
                Kin::Family
            } else if self::prompts(entry).iter().any(|p| prompts.contains(&&**p)) {
                Kin::Prompts
            } else {
                return None;
            };
            Some((index, kin))
        })
        .collect();
    near.sort_by_key(|(_, kin)| *kin);
    near
}

/// The run that a run comes from in the end, be it there or not.
fn root<'a>(parents: &HashMap<&'a str, Option<&'a str>>, run: &'a str) -> &'a str {
    let mut here = run;
    // Records that name each other in a circle have no root; where the walk ends then says nothing.
    for _ in 0..=parents.len() {
        match parents.get(here).copied().flatten() {
            Some(parent) => here = parent,
            None => return here,
        }
    }
    run
}

/// The prompts of a run's configuration.
pub fn prompts(entry: &Entry) -> Vec<String> {
    let value = entry.figures.value("sample.prompts");
    let value = value.and_then(|value| value.parse::<toml_edit::Value>().ok());
    let Some(list) = value.as_ref().and_then(toml_edit::Value::as_array) else {
        return Vec::new();
    };
    let texts = list.iter().filter_map(toml_edit::Value::as_str);
    texts.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::book::fixture::prompted as run;

    #[test]
    fn the_nearest_come_first() {
        let entries = [
            run("like", None, "[\"One\\n\", \"\u{4ece}\u{524d}\"]"),
            run("sister", Some("base@5"), "[]"),
            run("child", Some("own@9"), "[]"),
            run("own", Some("base@7"), "[]"),
            run("stranger", None, "[\"Two\"]"),
            run("torn", None, "[\"One"),
            run("niece", Some("sister@6"), "[]"),
            run("base", None, "[]"),
            run("other-child", Some("own@8"), "[]"),
        ];
        let names = |own: &str, prompts: &[&str]| -> Vec<(String, Kin)> {
            let near = near(&entries, own, prompts).into_iter();
            near.map(|(index, kin)| (entries[index].summary.name.clone(), kin))
                .collect()
        };
        let of = |name: &str, kin| (name.to_owned(), kin);
        assert_eq!(
            names("own", &["\u{4ece}\u{524d}"]),
            [
                of("base", Kin::Parent),
                of("child", Kin::Fork),
                of("other-child", Kin::Fork),
                of("sister", Kin::Family),
                of("niece", Kin::Family),
                of("like", Kin::Prompts),
            ]
        );
        assert_eq!(names("elsewhere", &["Two"]), [of("stranger", Kin::Prompts)]);
    }

    #[test]
    fn circles_and_lost_parents_end() {
        let circle = [
            run("a", Some("c@1"), "[]"),
            run("b", Some("a@1"), "[]"),
            run("c", Some("b@1"), "[]"),
        ];
        assert_eq!(near(&circle, "a", &[]), [(2, Kin::Parent), (1, Kin::Fork)]);
        let orphans = [
            run("a", Some("lost@1"), "[]"),
            run("b", Some("lost@2"), "[]"),
        ];
        assert_eq!(near(&orphans, "a", &[]), [(1, Kin::Family)]);
        // Of a whole line whose first parent is gone.
        let line = [
            run("a", Some("lost@1"), "[]"),
            run("b", Some("a@1"), "[]"),
            run("c", Some("b@1"), "[]"),
        ];
        assert_eq!(near(&line, "c", &[]), [(1, Kin::Parent), (0, Kin::Family)]);
    }
}
