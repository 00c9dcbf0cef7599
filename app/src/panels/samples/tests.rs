//! The screen of samples: the table, and another run beside it.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ratatui::buffer::Buffer;
use ratatui::layout::{Position, Rect};

use crate::errand::{Errand, News};
use crate::lang::Lang;
use crate::mouse::{Mouse, What};
use crate::seat::Seat;
use crate::state::Sample;
use crate::workbench::Workbench;
use crate::workbench::fixture::samples::{
    PROMPTS, answer, beside_parent, prompted, situations, table, written,
};
use crate::workbench::fixture::{bench, hear_all, press, text};

fn cells(bench: &Workbench, width: u16, height: u16) -> Buffer {
    let area = Rect::new(0, 0, width, height);
    let mut buffer = Buffer::empty(area);
    bench.render(area, &mut buffer);
    buffer
}

#[test]
fn the_table_looks_as_it_should() {
    let mut bench = table();
    for (width, height) in [(80, 24), (160, 50)] {
        insta::assert_snapshot!(
            format!("table-{width}x{height}"),
            text(&bench, width, height)
        );
    }
    insta::assert_snapshot!("table-beside-120x14", text(&bench, 120, 14));
    bench.view.lang = Lang::Zh;
    insta::assert_snapshot!("table-zh-80x24", text(&bench, 80, 24));
    bench.view.lang = Lang::En;
    bench.view.cursor = Some(700);
    insta::assert_snapshot!("table-past-80x24", text(&bench, 80, 24));
    // Who looks on sees the same.
    bench.seat = Seat::Watching;
    assert!(text(&bench, 80, 24).contains("at step 700"));
}

#[test]
fn another_run_looks_as_it_should() {
    let mut bench = table();
    press(&mut bench, &["o"]);
    insta::assert_snapshot!("runs-reading-80x24", text(&bench, 80, 24));
    answer(&mut bench);
    press(&mut bench, &["j"]);
    insta::assert_snapshot!("runs-80x24", text(&bench, 80, 24));
    bench.view.lang = Lang::Zh;
    insta::assert_snapshot!("runs-zh-80x24", text(&bench, 80, 24));
    let mut bench = beside_parent();
    press(&mut bench, &["g", "d"]);
    for (width, height) in [(80, 24), (160, 50)] {
        insta::assert_snapshot!(
            format!("other-{width}x{height}"),
            text(&bench, width, height)
        );
    }
    press(&mut bench, &["v", "d"]);
    insta::assert_snapshot!("other-list-80x24", text(&bench, 80, 24));
    bench.view.lang = Lang::Zh;
    insta::assert_snapshot!("other-zh-100x30", text(&bench, 100, 30));
}

#[test]
fn the_arrows_go_from_step_to_step_of_one_prompt() {
    let mut bench = table();
    let title = |bench: &Workbench| {
        let shown = text(bench, 160, 50);
        let line = shown
            .lines()
            .find(|line| line.contains("\u{250c} sample @"));
        line.unwrap().trim().to_owned()
    };
    assert!(title(&bench).contains("@1,200"));
    press(&mut bench, &["g", "j", "left", "left"]);
    assert!(
        title(&bench).contains("@1,000  readable 0%"),
        "{}",
        title(&bench)
    );
    // The list goes on with what was chosen in the table, and back.
    press(&mut bench, &["v", "left"]);
    assert!(
        title(&bench).contains("@900  readable 90%"),
        "{}",
        title(&bench)
    );
    press(&mut bench, &["v"]);
    for _ in 0..20 {
        bench.press("left");
    }
    assert!(title(&bench).contains("@100  "));
    let shown = text(&bench, 160, 50);
    assert!(shown.contains("@500 C"), "{shown}");
    assert!(!shown.contains("@400 C") && !shown.contains("@600 C"));
    for _ in 0..20 {
        bench.press("right");
    }
    // At the end the newest is followed, and the prompt stays.
    bench.hear(&written(&Sample {
        step: 1240,
        prompt: PROMPTS[1].to_owned(),
        text: "new".to_owned(),
        readable: Some(0.5),
    }));
    assert!(title(&bench).contains("@1,240  readable 50%"));
    assert_eq!(bench.view.cursor, None, "the data cursor stays");
    press(&mut bench, &["h"]);
    assert!(bench.view.cursor.is_some());
}

#[test]
fn a_prompt_that_was_not_continued_then_has_an_empty_cell() {
    let mut bench = table();
    press(&mut bench, &["G"]);
    for _ in 0..6 {
        bench.press("left");
    }
    let shown = text(&bench, 80, 24);
    assert!(
        shown.contains("@600") && shown.contains("this prompt was not continued"),
        "{shown}"
    );
    // In the list the same choice is the sample before; there is none, so it is the newest of all.
    press(&mut bench, &["v"]);
    assert!(text(&bench, 80, 24).contains("sample @1,200"));
}

#[test]
fn the_chosen_sample_stays_while_the_oldest_are_forgotten() {
    let mut bench = bench();
    press(&mut bench, &["3"]);
    let write = |bench: &mut Workbench, number: u64| {
        bench.hear(&written(&Sample {
            step: number,
            prompt: "once".to_owned(),
            text: format!(" upon number {number};"),
            readable: None,
        }));
    };
    (1..=600).for_each(|number| write(&mut bench, number));
    press(&mut bench, &["k", "k"]);
    assert!(text(&bench, 100, 24).contains("number 598;"));
    (601..=1000).for_each(|number| write(&mut bench, number));
    assert!(text(&bench, 100, 24).contains("number 598;"));
    (1001..=1200).for_each(|number| write(&mut bench, number));
    let seen = text(&bench, 100, 24);
    assert!(
        seen.contains("number 701;"),
        "the oldest that is left: {seen}"
    );
}

#[test]
fn where_the_table_has_no_room_the_list_stands_in() {
    let bench = table();
    let shown = text(&bench, 80, 14);
    assert!(
        shown.contains("no room for the table") && shown.contains("samples 41"),
        "{shown}"
    );
    let shown = text(&bench, 40, 10);
    assert!(
        shown.contains("no room for the table") && !shown.contains("samples 41"),
        "{shown}"
    );
    // What keys do is what is seen.
    let mut bench = table();
    text(&bench, 40, 10);
    press(&mut bench, &["k"]);
    assert!(text(&bench, 40, 10).contains("@1,200"));
    press(&mut bench, &["k", "k", "k"]);
    assert!(text(&bench, 40, 10).contains("@1,100"));
}

#[test]
fn the_mouse_chooses_a_cell() {
    let mut bench = table();
    let shown = text(&bench, 80, 24);
    let at = |word: &str| {
        let (y, line) = shown
            .lines()
            .enumerate()
            .find(|(_, line)| line.contains(word))
            .unwrap();
        let x = line[..line.find(word).unwrap()].chars().count();
        (x as u16, y as u16)
    };
    let (x, y) = at("@1,000");
    for (row, step) in [(y + 1, "@1,000"), (y + 2, "@1,000  readable 0%")] {
        bench.point(Mouse {
            at: Position::new(x, row),
            what: What::Press,
        });
        let shown = text(&bench, 80, 24);
        assert!(shown.contains(&format!("sample {step}")), "{shown}");
    }
    // Beside the cells nothing is chosen.
    bench.point(Mouse {
        at: Position::new(2, y + 1),
        what: What::Press,
    });
    assert!(text(&bench, 80, 24).contains("sample @1,000  readable"));
}

#[test]
fn what_the_other_run_has_not_written_is_said_in_a_line() {
    let mut bench = beside_parent();
    press(&mut bench, &["g"]);
    let see = |bench: &Workbench, what: &str| {
        let shown = text(bench, 160, 50);
        assert!(shown.contains(what), "{what}\n{shown}");
    };
    // The newest up to the step of this one's sample.
    see(&bench, "base @900");
    press(&mut bench, &["left", "left", "left", "left"]);
    see(&bench, "sample @800");
    see(&bench, "base @800");
    press(&mut bench, &["d"]);
    see(&bench, "not in base @800");
    see(&bench, "not in this run");
    press(
        &mut bench,
        &["j", "left", "left", "left", "left", "left", "left"],
    );
    see(&bench, "up to step 200; its first one is of step 300");
    press(&mut bench, &["k", "left"]);
    see(&bench, "base @100  written by ancestor");
    press(&mut bench, &["j", "j"]);
    see(&bench, "it has no sample of this prompt");
    let none = News::Samples("runs/base".into(), Ok(Arc::default()));
    bench.deliver(&none);
    see(&bench, "it has no sample at all");
    // News of a run that is not looked at changes nothing.
    bench.deliver(&News::Samples("runs/x".into(), Err("other".to_owned())));
    see(&bench, "it has no sample at all");
    // Another one: its record cannot be read.
    press(&mut bench, &["o", "j", "j", "enter"]);
    see(&bench, "reading the record");
    answer(&mut bench);
    see(&bench, "its record cannot be read: it is gone");
    // None again.
    press(&mut bench, &["o", "g", "enter"]);
    assert!(!text(&bench, 160, 50).contains("it is gone"));
}

#[test]
fn the_list_of_runs_is_left_without_a_choice() {
    let mut bench = table();
    for key in ["esc", "o"] {
        press(&mut bench, &["o"]);
        assert!(text(&bench, 80, 24).contains("compare with a run"));
        press(&mut bench, &[key]);
        assert!(
            !text(&bench, 80, 24).contains("compare with a run"),
            "{key}"
        );
    }
    press(&mut bench, &["o"]);
    bench.errands.clear();
    bench.deliver(&News::Done(Err("runs: permission denied".to_owned())));
    assert!(text(&bench, 80, 24).contains("permission denied"));
    bench.deliver(&News::Runs(Arc::default()));
    assert!(text(&bench, 80, 24).contains("none with its prompts"));
    press(&mut bench, &["enter"]);
    assert!(bench.errands.is_empty(), "there is nothing to choose");
    // Before the first sample too.
    let mut bench = crate::workbench::fixture::bench();
    press(&mut bench, &["3", "v", "o"]);
    assert!(text(&bench, 80, 24).contains("no sample yet"));
}

#[test]
fn the_other_record_is_looked_at_again_while_it_is_on_show() {
    let mut bench = beside_parent();
    bench.tick();
    assert!(bench.errands.is_empty());
    bench.now = Duration::from_secs(6);
    bench.tick();
    let again = Errand::Samples(PathBuf::from("runs/base"));
    assert_eq!(std::mem::take(&mut bench.errands), [again]);
    press(&mut bench, &["1"]);
    bench.now = Duration::from_mins(1);
    bench.tick();
    assert!(bench.errands.is_empty());
}

/// Whatever a text holds, frames stay whole and no control character gets out.
#[test]
fn no_text_breaks_the_grid_at_any_size() {
    for (number, mut bench) in situations().into_iter().enumerate() {
        let widths = (0..=200).filter(|width| width % 5 == number as u16);
        for width in widths.chain([80, 160]) {
            for height in (0..=60).step_by(7).chain([1, 2, 3, 4, 5, 24, 50]) {
                let buffer = cells(&bench, width, height);
                let clean = |symbol: &str| symbol.chars().all(|c| !c.is_control());
                assert!(buffer.content.iter().all(|cell| clean(cell.symbol())));
                if width < 44 || height < 24 {
                    continue;
                }
                // Every row of the body ends in a frame.
                for y in 2..height - 2 {
                    let end = buffer[(width - 1, y)].symbol();
                    let whole = "\u{2502}\u{2510}\u{2518}".contains(end);
                    assert!(
                        whole,
                        "{number} {width}x{height} {y}: {}",
                        text(&bench, width, height)
                    );
                }
            }
            bench.view.lang = match bench.view.lang {
                Lang::En => Lang::Zh,
                Lang::Zh => Lang::En,
            };
        }
    }
}

#[test]
fn a_run_that_writes_at_every_step_has_its_newest_steps_in_the_table() {
    let mut bench = bench();
    hear_all(&mut bench, &prompted(100));
    for step in 101..900 {
        bench.hear(&written(&Sample {
            step,
            prompt: "x".to_owned(),
            text: "y".repeat(5000),
            readable: None,
        }));
    }
    press(&mut bench, &["3", "v"]);
    let shown = text(&bench, 80, 24);
    assert!(
        shown.contains("@899") && shown.contains("steps 498-500 of 500"),
        "{shown}"
    );
}
