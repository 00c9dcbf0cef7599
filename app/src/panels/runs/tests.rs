//! The screen of runs: what it shows, what its keys ask for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use engine::run_folder::State as RunState;
use engine::run_folder::shelf::Contents;

use crate::book::course::Course;
use crate::book::fixture::{entry, with};
use crate::book::{Entry, query};
use crate::errand::{Errand, News};
use crate::lang::Lang;
use crate::workbench::Workbench;
use crate::workbench::chinese::english_but;
use crate::workbench::fixture::{bench, events, hear_all, text};

fn run(name: &str, parent: Option<&str>, seed: &str, loss: f64) -> Entry {
    let mut run = with(entry(name), "run.seed", seed);
    run.summary.parent = parent.map(str::to_owned);
    run.summary.loss = Some(loss);
    run.figures.best = Some((loss + 0.1, 1000));
    run.meta.tags.clear();
    run
}

fn runs() -> Vec<Entry> {
    let mut live = run("play-slow", Some("play@1000"), "0", 1.41);
    live.summary.state = RunState::Running;
    live.summary.step = 1240;
    live.age = Some(2.0);
    let mut paused = run("play-slow-2", Some("play-slow@1200"), "0", 1.39);
    paused.summary.state = RunState::Running;
    paused.figures.is_paused = true;
    let mut failed = run("wild", None, "0", f64::NAN);
    failed.summary.state = RunState::Failed;
    failed.figures.best = None;
    failed.meta.note = "a rate of 1 is too much\u{1b}[2J".to_owned();
    let mut tagged = run("play", None, "0", 1.45);
    tagged.meta.tags = ["baseline".to_owned(), "good".to_owned()].into();
    let orphan = run("kept", Some("deleted@500"), "0", 1.6);
    vec![
        paused,
        live,
        failed,
        orphan,
        run("play-seed-2", None, "2", 1.55),
        run("play-seed-1", None, "1", 1.5),
        tagged,
    ]
}

fn on_runs() -> Workbench {
    let mut bench = bench();
    hear_all(&mut bench, &events(640));
    let mut titles = bench.panels.iter().map(|panel| panel.title());
    let number = titles
        .position(|title| title.get(Lang::En) == "Runs")
        .unwrap();
    bench.show(number);
    bench.tick();
    bench
}

fn errands(bench: &mut Workbench) -> Vec<Errand> {
    std::mem::take(&mut bench.errands)
}

fn course(slope: f64) -> Course {
    let mut course = Course::default();
    for step in 1..=500_u64 {
        let seconds = step as f64;
        course.track.push(step, step * 100, seconds);
        course.work.push(step, step * 3, seconds);
        course
            .loss
            .push(1.0 + 5.0 * (-seconds * slope / 100.0).exp());
    }
    course
}

#[test]
fn the_screen_shows_a_tree_and_comparisons() {
    let mut bench = on_runs();
    assert_eq!(errands(&mut bench), [Errand::List]);
    insta::assert_snapshot!("reading-80x24", text(&bench, 80, 24));
    bench.deliver(&News::Runs(Arc::new(runs())));
    for (width, height) in [(80, 24), (160, 50)] {
        let name = format!("tree-{width}x{height}");
        insta::assert_snapshot!(name, text(&bench, width, height));
    }
    // Mark the first three rows but one.
    for key in ["g", "space", "j", "space", "space", "enter"] {
        bench.press(key);
    }
    let asked = errands(&mut bench);
    let [Errand::Courses(paths)] = &asked[..] else {
        panic!("{asked:?}");
    };
    let slopes = [1.0, 2.0, 0.5];
    let courses: Vec<(PathBuf, Course)> = paths.iter().cloned().zip(slopes.map(course)).collect();
    bench.deliver(&News::Courses(Arc::new(courses)));
    for (width, height) in [(80, 24), (160, 50)] {
        let name = format!("compare-{width}x{height}");
        insta::assert_snapshot!(name, text(&bench, width, height));
    }
    for axis in ["tokens (t)", "time (t)", "GFLOP (t)", "steps (t)"] {
        bench.press("t");
        assert!(text(&bench, 100, 30).contains(axis), "{axis}");
    }
    bench.press("esc");
    assert!(text(&bench, 100, 30).contains("3 marked"));
}

#[test]
fn in_chinese_no_english_is_left() {
    const FREE: &str = "play slow wild kept deleted seed baseline short a rate of is too much differ z zz zzz what";
    let mut bench = on_runs();
    bench.view.lang = Lang::Zh;
    let check = |bench: &Workbench, what: &str| {
        for (width, height) in [(80, 24), (160, 50)] {
            let left = english_but(FREE, &text(bench, width, height));
            assert!(left.is_empty(), "{what}: {left:#?}");
        }
    };
    check(&bench, "reading");
    bench.deliver(&News::Runs(Arc::new(runs())));
    for key in [
        "o", "o", "o", "o", "o", "o", "g", "j", "j", "j", "j", "j", "j", "D",
    ] {
        bench.press(key);
        check(&bench, key);
    }
    let path = runs().remove(2).summary.path;
    let holds = Contents {
        bytes: 1 << 30,
        checkpoints: 3,
    };
    bench.deliver(&News::Measured(path, holds));
    check(&bench, "delete");
    for key in [
        "esc", "T", "esc", "N", "esc", "/", "z", "z", "z", "<", "esc", "g", "space", "space",
    ] {
        bench.press(key);
        check(&bench, key);
    }
    for said in [
        Ok("wild is deleted".to_owned()),
        Err(
            "run wild is in use by process 9: stop it first (SIGINT ends it with a checkpoint)"
                .to_owned(),
        ),
    ] {
        bench.deliver(&News::Done(said));
        check(&bench, "said");
    }
    bench.press("esc");
    for key in [
        "g", "space", "space", "space", "space", "space", "space", "space", "enter", "t", "t", "t",
        "t", "y",
    ] {
        bench.press(key);
        check(&bench, key);
    }
    let courses = runs()
        .into_iter()
        .map(|run| (run.summary.path, course(1.0)));
    bench.deliver(&News::Courses(Arc::new(courses.collect())));
    for _ in 0..5 {
        bench.press("pgdn");
        check(&bench, "compare");
    }
}

#[test]
fn no_size_breaks_the_tree_or_a_comparison() {
    let mut bench = on_runs();
    bench.deliver(&News::Runs(Arc::new(runs())));
    for keys in [&["D"][..], &["n", "/"], &["esc", "g", "space", "enter"]] {
        for key in keys {
            bench.press(key);
        }
        let path = runs()[0].summary.path.clone();
        bench.deliver(&News::Courses(Arc::new(vec![(path, course(1.0))])));
        for width in (0..=200).step_by(9).chain([1, 2, 3]) {
            for height in (0..=60).step_by(5).chain([1, 2, 3, 4]) {
                text(&bench, width, height);
            }
        }
    }
}

#[test]
fn the_folder_is_read_from_time_to_time_while_it_is_on_show() {
    let mut bench = on_runs();
    errands(&mut bench);
    bench.tick();
    assert!(errands(&mut bench).is_empty());
    bench.now = Duration::from_secs(10);
    bench.tick();
    assert_eq!(errands(&mut bench), [Errand::List]);
    bench.press("1");
    bench.now = Duration::from_secs(20);
    bench.tick();
    assert!(errands(&mut bench).is_empty());
}

#[test]
fn a_filter_is_the_language_of_queries_and_half_of_one_keeps_the_last() {
    let mut bench = on_runs();
    bench.deliver(&News::Runs(Arc::new(runs())));
    let type_in = |bench: &mut Workbench, words: &str| {
        for c in words.chars() {
            let key = if c == ' ' {
                "space".to_owned()
            } else {
                c.to_string()
            };
            bench.press(&key);
        }
    };
    bench.press("/");
    type_in(&mut bench, "tag==good");
    let seen = text(&bench, 100, 30);
    assert!(seen.contains("play ") && !seen.contains("wild"), "{seen}");
    type_in(&mut bench, " and val_los<2");
    let seen = text(&bench, 100, 30);
    assert!(seen.contains("did you mean val_loss?") && !seen.contains("wild"));
    bench.press("esc");
    assert!(text(&bench, 100, 30).contains("wild"));
    assert!(
        query::parse("val_loss<2 and tag==good").is_ok(),
        "the help's own example"
    );
}

#[test]
fn deleting_asks_first_and_says_what_goes() {
    let mut bench = on_runs();
    bench.deliver(&News::Runs(Arc::new(runs())));
    errands(&mut bench);
    bench.press("g");
    let first = PathBuf::from("runs/play-slow-2");
    // Newest first: the fixture's runs are of one age, and the tree begins with the first root.
    bench.press("D");
    let asked = errands(&mut bench);
    let [Errand::Measure(path)] = &asked[..] else {
        panic!("{asked:?}");
    };
    assert_ne!(*path, first, "a fork does not stand before its parent");
    let holds = Contents {
        bytes: 3 << 20,
        checkpoints: 2,
    };
    bench.deliver(&News::Measured(path.clone(), holds));
    let seen = text(&bench, 100, 30);
    assert!(seen.contains("3.00 MiB, 2 checkpoints"), "{seen}");
    for key in ["x", "enter"] {
        bench.press(key);
    }
    assert!(errands(&mut bench).is_empty(), "Enter keeps it");
    for key in ["D", "y"] {
        bench.press(key);
    }
    let asked = errands(&mut bench);
    assert_eq!(
        asked,
        [
            Errand::Measure(path.clone()),
            Errand::Delete(path.clone()),
            Errand::List
        ]
    );
    let refused = "run wild is in use by process 7".to_owned();
    bench.deliver(&News::Done(Err(refused.clone())));
    assert!(text(&bench, 100, 30).contains(&refused));
}

#[test]
fn a_long_note_is_wrapped_and_leaves_the_list() {
    let mut bench = on_runs();
    let mut runs = runs();
    let words: Vec<String> = (0..40).map(|word| format!("word{word}")).collect();
    let wild = runs.iter_mut().find(|run| run.summary.name == "wild");
    wild.unwrap().meta.note = words.join(" ");
    bench.deliver(&News::Runs(Arc::new(runs.clone())));
    let seen = text(&bench, 80, 24);
    assert!(words.iter().all(|word| seen.contains(word)), "{seen}");
    let wild = runs.iter_mut().find(|run| run.summary.name == "wild");
    wild.unwrap().meta.note = words.join(" ").repeat(20);
    bench.deliver(&News::Runs(Arc::new(runs)));
    let seen = text(&bench, 80, 24);
    let notes = seen.lines().filter(|line| line.contains("word")).count();
    assert_eq!(notes, 9, "{seen}");
    assert!(
        seen.contains('~'),
        "it does not say that there is more\n{seen}"
    );
    assert!(
        seen.contains("> wild") && seen.contains("play-seed-1"),
        "{seen}"
    );
}

#[test]
fn tags_and_notes_are_typed_with_what_is_there_already() {
    let mut bench = on_runs();
    bench.deliver(&News::Runs(Arc::new(runs())));
    errands(&mut bench);
    // To the last root, which has tags.
    for _ in 0..20 {
        let seen = text(&bench, 100, 30);
        if seen.contains("> play ") || seen.contains(">  play ") {
            break;
        }
        bench.press("j");
    }
    bench.press("T");
    for key in ["space", "x", "enter"] {
        bench.press(key);
    }
    let tags = ["baseline", "good", "x"].map(str::to_owned).into();
    let asked = errands(&mut bench);
    assert_eq!(asked, [Errand::Tag("runs/play".into(), tags), Errand::List]);
    for key in ["N", "h", "i", "enter"] {
        bench.press(key);
    }
    let asked = errands(&mut bench);
    let note = Errand::Note("runs/play".into(), "hi".to_owned());
    assert_eq!(asked, [note, Errand::List]);
    bench.press("A");
    let asked = errands(&mut bench);
    assert_eq!(asked[0], Errand::Archive("runs/play".into()));
}
