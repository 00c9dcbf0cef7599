//! Reading, sorting and arranging runs.

use super::fixture::{entry, with};
use super::*;

fn names(entries: &[Entry], order: &[(usize, usize)]) -> Vec<String> {
    let rows = order.iter();
    rows.map(|(index, depth)| format!("{}{}", "-".repeat(*depth), entries[*index].summary.name))
        .collect()
}

#[test]
fn runs_are_filtered_sorted_and_put_below_their_parents() {
    let child = |name: &str, parent: Option<&str>, lr: &str| {
        let mut entry = with(entry(name), "optimizer.lr", lr);
        entry.summary.parent = parent.map(|parent| format!("{parent}@100"));
        entry
    };
    let mut entries = vec![
        child("c", Some("b"), "1e-3"),
        child("b", Some("base"), "0.1"),
        child("d", Some("base"), "0.01"),
        child("base", None, "1"),
    ];
    entries[2].figures.config.clear();
    let every = Query::Every;
    let plain = arrange(&entries, &every, None, false);
    assert_eq!(names(&entries, &plain), ["c", "b", "d", "base"]);
    let tree = arrange(&entries, &every, None, true);
    assert_eq!(names(&entries, &tree), ["base", "-b", "--c", "-d"]);
    let sort = Sort::parse("optimizer.lr").unwrap();
    let sorted = arrange(&entries, &every, Some(&sort), false);
    // What has no such key comes last, whichever way.
    assert_eq!(names(&entries, &sorted), ["c", "b", "base", "d"]);
    let sort = Sort::parse("-optimizer.lr").unwrap();
    let sorted = arrange(&entries, &every, Some(&sort), false);
    assert_eq!(names(&entries, &sorted), ["base", "b", "c", "d"]);
    let query = query::parse("name != base").unwrap();
    let orphans = arrange(&entries, &query, None, true);
    assert_eq!(names(&entries, &orphans), ["b", "-c", "d"]);
    assert!(
        Sort::parse("stpe")
            .unwrap_err()
            .to_string()
            .contains("step?")
    );
}
