//! What stays chosen while lines come and the oldest are forgotten.

use engine::link::Body;

use crate::workbench::Workbench;
use crate::workbench::fixture::{event, normal, press, text};

fn warn(bench: &mut Workbench, number: u64) {
    let body = Body::Warning {
        step: 640,
        message: format!("line number {number};"),
        note: false,
    };
    bench.hear(&event(body, 99));
}

fn chosen(bench: &mut Workbench) -> String {
    press(bench, &["Y"]);
    bench.clipboard.take().unwrap()
}

#[test]
fn the_chosen_line_stays_while_the_oldest_are_forgotten() {
    let mut bench = normal();
    press(&mut bench, &["7"]);
    (1..=2010).for_each(|number| warn(&mut bench, number));
    assert_eq!(bench.state.log.len(), 2000);
    assert!(chosen(&mut bench).contains("number 2010;"), "the last one");
    press(&mut bench, &["k", "k", "k"]);
    assert!(chosen(&mut bench).contains("number 2007;"));
    (2011..=2300).for_each(|number| warn(&mut bench, number));
    assert!(chosen(&mut bench).contains("number 2007;"));
    // Also where few lines pass the filter.
    press(&mut bench, &["/", "0", "0", "7", ";", "enter"]);
    assert!(chosen(&mut bench).contains("number 2007;"));
    press(&mut bench, &["k"]);
    assert!(chosen(&mut bench).contains("number 1007;"));
    (2301..=3006).for_each(|number| warn(&mut bench, number));
    assert!(chosen(&mut bench).contains("number 1007;"));
    warn(&mut bench, 3008);
    assert!(
        chosen(&mut bench).contains("number 2007;"),
        "the one after it"
    );
    assert!(text(&bench, 80, 24).contains("/007;"));
}
