//! Where an alert leads from the log, and the layers that it may be about.

use engine::link::{Alert, Body};
use engine::watch::batch::{KeptBatch, KeptRow};

use super::Workbench;
use super::fixture::{bench, event, events, hear_all, normal, states, text};
use crate::errand::{Errand, News};
use crate::lang::Lang;

#[test]
fn an_alert_leads_to_its_step_its_layer_and_its_rows() {
    let (_, mut bench) = states().into_iter().find(|s| s.0 == "alert").unwrap();
    bench.press("7");
    let shown = text(&bench, 120, 30);
    assert!(
        shown.contains("blocks.3.ffn (i)") && !shown.contains("(b)"),
        "the rows of that step are not kept: {shown}"
    );
    bench.press("i");
    let shown = text(&bench, 120, 30);
    assert_eq!((bench.current, bench.view.cursor), (1, Some(625)));
    assert!(shown.contains(">blocks.3.ffn"), "{shown}");
    for key in ["esc", "7", "k"] {
        bench.press(key);
    }
    assert!(text(&bench, 120, 30).contains("rows 19808-19839 (b)"));
    bench.press("b");
    assert_eq!(std::mem::take(&mut bench.errands), [Errand::Rows(620)]);
    let row = |row: u64, loss: f64, text: &str| KeptRow {
        row,
        data_row: row % 100,
        loss,
        ids: vec![1, 2, 3],
        text: Some(text.to_owned()),
    };
    let kept = KeptBatch {
        schema: 1,
        step: 620,
        rule: "spike".into(),
        message: "the loss of step 620 is 7.24".into(),
        rows: vec![
            row(19808, 2.1, "The small fox sees a red house.\nShe asks."),
            row(19809, 11.7, &"\u{1b}[31m####".repeat(40)),
        ],
    };
    bench.deliver(&News::Rows(7, Ok(kept.clone())));
    assert!(text(&bench, 80, 24).contains("..."), "another step's");
    bench.deliver(&News::Rows(620, Ok(kept)));
    insta::assert_snapshot!("alert-rows", text(&bench, 80, 24));
    bench.view.lang = Lang::Zh;
    let rows = text(&bench, 80, 24);
    assert!(rows.contains("第 19809 行 (数据的第 9 行)"), "{rows}");
    bench.view.lang = Lang::En;
    assert_eq!(bench.current, 6);
    bench.press("Y");
    let copied = bench.clipboard.take().unwrap();
    assert_eq!(copied, "The small fox sees a red house.\nShe asks.\n");
    for key in ["j", "pgdn", "G", "esc"] {
        bench.press(key);
    }
    assert!(text(&bench, 120, 30).contains("spike: the loss"));
    bench.press("b");
    bench.deliver(&News::Rows(620, Err("the rows are gone".into())));
    assert!(text(&bench, 80, 24).contains("the rows are gone"));
}

#[test]
fn layers_are_put_in_the_order_of_their_strangeness() {
    let mut bench = bench();
    hear_all(&mut bench, &events(1600));
    bench.press("2");
    let first = |bench: &Workbench| text(bench, 100, 40).lines().nth(3).unwrap().to_owned();
    assert!(first(&bench).contains(">embed"));
    bench.press("o");
    // Its activations are nine times what they were.
    assert!(first(&bench).contains(">blocks.4.ffn"), "{}", first(&bench));
    assert!(text(&bench, 100, 40).contains("most unlike first"));
    bench.press("o");
    assert!(first(&bench).contains(">embed"));
    bench.press("v");
    assert!(text(&bench, 100, 40).contains("layers  max |x|"));
    for _ in 0..4 {
        bench.press("v");
    }
    let shown = text(&bench, 100, 40);
    assert!(shown.contains("layers  dead share"), "{shown}");
    insta::assert_snapshot!("layers-dead", shown);
}

#[test]
fn the_chosen_layer_has_its_histograms_beside_the_map() {
    let mut bench = bench();
    hear_all(&mut bench, &events(1600));
    bench.press("2");
    insta::assert_snapshot!("layers-wide", text(&bench, 160, 50));
    // In the past with the newest for comparison, on one axis.
    bench.view.cursor = Some(700);
    for _ in 0..10 {
        bench.press("j");
    }
    insta::assert_snapshot!("layers-wide-past", text(&bench, 160, 50));
    bench.view.lang = Lang::Zh;
    bench.view.glyphs = crate::chart::glyph::GlyphSet::Ascii;
    // Below the map where it is narrow: of the quantity on show.
    assert!(text(&bench, 80, 24).contains("激活  @700"));
    bench.press("v");
    bench.press("v");
    insta::assert_snapshot!("layers-narrow-past-zh-ascii", text(&bench, 80, 24));
    assert!(text(&bench, 72, 24).contains("梯度 rms"), "no room for it");
    for (width, height) in [(120, 15), (120, 16), (121, 30), (74, 16), (73, 40)] {
        text(&bench, width, height);
    }
}

#[test]
fn what_is_not_finite_is_counted_and_old_records_have_no_histograms() {
    let mut bench = bench();
    let mut all = events(200);
    for event in &mut all {
        if let Body::Layers(layers) = &mut event.body {
            if layers.step == 200 {
                layers.activation_max[0] = f64::INFINITY;
                layers.activation_nonfinite[0] = 1234.0;
                layers.activation_sketch[0].nonfinite = 12;
                layers.activation_sketch[0].stride = 49;
                continue;
            }
            layers.activation_max.clear();
            layers.activation_nonfinite.clear();
            layers.activation_sketch.clear();
            layers.gradient_sketch.clear();
        }
    }
    hear_all(&mut bench, &all);
    bench.press("2");
    bench.press("v");
    let shown = text(&bench, 160, 50);
    for words in ["1,234 values not finite", "12 not finite", "one of 49"] {
        assert!(shown.contains(words), "{words}: {shown}");
    }
    insta::assert_snapshot!("layers-nonfinite", shown);
    bench.view.cursor = Some(100);
    let shown = text(&bench, 160, 50);
    assert!(shown.contains("no histogram up to this step"), "{shown}");
    assert!(shown.contains("max |x|               -"), "{shown}");
}

#[test]
fn enter_on_a_line_of_the_log_shows_its_step_on_the_charts() {
    let mut bench = normal();
    let alert = Alert {
        step: 333,
        rule: "spike".into(),
        level: "warning".into(),
        message: "the loss is high".into(),
        action: "warn".into(),
        ..Alert::default()
    };
    hear_all(&mut bench, &[event(Body::Alert(Box::new(alert)), 100)]);
    bench.press("7");
    let log = text(&bench, 120, 30);
    assert!(
        log.contains("alert") && log.contains("spike: the loss is high"),
        "{log}"
    );
    assert!(log.contains("!1"), "{log}");
    bench.press("enter");
    assert_eq!((bench.current, bench.view.cursor), (0, Some(333)));
    // On another screen the key does what it did.
    bench.press("enter");
    assert_eq!(bench.current, 0);
    let signs = text(&bench, 160, 50);
    assert!(signs.contains("! alert"), "{signs}");
}
