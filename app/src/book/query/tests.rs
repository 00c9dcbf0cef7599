//! The grammar, and what holds of which run.

use super::*;
use crate::book::fixture::entry;
use proptest::prelude::*;

fn holds(text: &str) -> bool {
    parse(text).unwrap().holds(&entry("sweep-3"))
}

fn fault(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

#[test]
fn expressions_hold_or_do_not() {
    for yes in [
        "",
        "name==sweep-3",
        "optimizer.lr>=1e-3 and val_loss<2 or tag==\"nothing\"",
        "optimizer.lr=0.001",
        "optimizer.kind == adamw",
        "optimizer.kind == 'adamw'",
        "not (step<10)",
        "!(status == running) && step == 2_000 || step == 2000",
        "tag == good and tag == short",
        "tag != good",
        "name ~ SWEEP and name ~ s*-? and name !~ x",
        "created >= 2026-01 and created < 2027",
        "data.train ~ *input.txt*",
        "parent == base@100",
        "seconds < 61 and tokens > 1e5",
        "step < 10_000 and not step > 10_000 and tokens == 131_072",
        "loss < inf and val_loss > -inf",
        "step ~ 20* and step !~ 9k",
        "status < stopped and name > a and optimizer.kind !~ x",
    ] {
        assert!(holds(yes), "{yes}");
    }
    for no in [
        "name==sweep",
        "tag == bad",
        "val_loss > 2",
        // There is no such value: no comparison holds, and none of its opposites.
        "tokenizer.path == x",
        "tokenizer.path != x",
        "loss < 1 and loss > 1",
        "not name ~ sweep",
        "name ~ s?",
    ] {
        assert!(!holds(no), "{no}");
    }
}

#[test]
fn and_binds_more_tightly_than_or_and_not_most() {
    let written = parse("step=1 or step=2 and not step=3 or step=4").unwrap();
    let meant = parse("((step=1) or ((step=2) and (not (step=3)))) or (step=4)").unwrap();
    assert_eq!(written, meant);
}

#[test]
fn what_is_wrong_is_said_with_its_place() {
    for (text, part) in [
        ("val_los<2", "did you mean val_loss?"),
        ("optimizer.lrr<2", "did you mean optimizer.lr?"),
        ("xyzzy==1", "there are name, status"),
        ("step", "behind step (at character 5"),
        ("step<", "expected a number"),
        ("step<1 step>2", "expected `and` or `or` (at character 8"),
        ("(step<1", "expected `)`"),
        ("step<1)", "no bracket is open"),
        ("name == \"x", "not closed (at character 9"),
        ("step<1 & step>2", "expected `&&`"),
        ("and", "expected a key"),
        (
            "step<9k and name==ui1",
            "step is a number, such as 9000 or 1.5e-3; `9k` is none (at character 6 of",
        ),
        ("step<9x", "`9x` is none (at character 6"),
        ("val_loss<3,0", "`3,0` is none"),
        ("seconds<1m", "`1m` is none"),
        ("tokens >= '1e5 '", "`1e5 ` is none (at character 11"),
        ("attempt = one", "`one` is none"),
        ("loss!=none", "`none` is none"),
        ("bits_per_byte>\"\"", "`` is none"),
        ("optimizer.lr>1e-3x", "optimizer.lr is a number"),
        ("train.max_steps<=_9", "`_9` is none"),
        ("step<9_", "`9_` is none"),
        ("step<9__0", "`9__0` is none"),
        ("step<1_e3", "`1_e3` is none"),
    ] {
        assert!(fault(text).contains(part), "{text}: {}", fault(text));
    }
    let deep = format!("{}step<1{}", "(".repeat(9000), ")".repeat(9000));
    assert!(fault(&deep).contains("nested"));
}

#[test]
fn keys_that_hold_numbers_are_known_as_such() {
    let entry = entry("sweep-3");
    for key in FIGURES.into_iter().filter(|key| holds_numbers(key)) {
        let values = entry.values(key);
        assert!(values.iter().all(|value| value.parse::<f64>().is_ok()));
    }
    for key in ["loss", "optimizer.lr", "train.max_steps", "run.seed"] {
        assert!(holds_numbers(key), "{key}");
    }
    for key in [
        "name",
        "created",
        "optimizer.betas",
        "optimizer.kind",
        "train.fuse",
        "x.y",
    ] {
        assert!(!holds_numbers(key), "{key}");
    }
}

fn query() -> impl Strategy<Value = Query> {
    let operators = [
        Operator::Equal,
        Operator::Different,
        Operator::Less,
        Operator::AtMost,
        Operator::Greater,
        Operator::AtLeast,
        Operator::Like,
        Operator::Unlike,
    ];
    let test = (
        prop::sample::select(FIGURES.to_vec()),
        prop::sample::select(operators.to_vec()),
        "[^\"]{0,6}",
    );
    let leaf = test.prop_map(|(key, operator, value)| {
        let as_text = matches!(operator, Operator::Like | Operator::Unlike);
        let fits = as_text || !holds_numbers(key) || number(&value).is_some();
        Query::Test {
            key: key.to_owned(),
            operator,
            value: if fits { value } else { "7_5e-1".to_owned() },
        }
    });
    leaf.prop_recursive(5, 24, 2, |inner| {
        let two = (inner.clone(), inner.clone());
        prop_oneof![
            two.clone()
                .prop_map(|(a, b)| Query::And(Box::new(a), Box::new(b))),
            two.prop_map(|(a, b)| Query::Or(Box::new(a), Box::new(b))),
            inner.prop_map(|a| Query::Not(Box::new(a))),
        ]
    })
}

/// An expression as text, with every bracket.
fn written(query: &Query) -> String {
    match query {
        Query::Every => String::new(),
        Query::And(a, b) => format!("({}) and ({})", written(a), written(b)),
        Query::Or(a, b) => format!("({}) or ({})", written(a), written(b)),
        Query::Not(a) => format!("not ({})", written(a)),
        Query::Test {
            key,
            operator,
            value,
        } => {
            let operator = match operator {
                Operator::Equal => "==",
                Operator::Different => "!=",
                Operator::Less => "<",
                Operator::AtMost => "<=",
                Operator::Greater => ">",
                Operator::AtLeast => ">=",
                Operator::Like => "~",
                Operator::Unlike => "!~",
            };
            format!("{key}{operator}\"{value}\"")
        }
    }
}

proptest! {
    #[test]
    fn what_is_written_is_what_is_read(query in query()) {
        prop_assert_eq!(parse(&written(&query)).unwrap(), query);
    }

    #[test]
    fn no_text_breaks_the_parser(text in "[ ()<>=!~\"'&|a-z.0-9*]{0,40}") {
        if let Ok(query) = parse(&text) {
            query.holds(&entry("x"));
        }
    }

    #[test]
    fn not_turns_every_answer_round(query in query(), name in "[a-z*]{0,5}") {
        let run = entry(&name);
        prop_assert_ne!(Query::Not(Box::new(query.clone())).holds(&run), query.holds(&run));
    }

    #[test]
    fn numbers_are_ordered_as_numbers(a in -1e6..1e6f64, b in -1e6..1e6f64) {
        let (x, y) = (a.to_string(), format!("{b:e}"));
        prop_assert_eq!(compare(&x, Operator::Less, &y), a < b);
        prop_assert_eq!(compare(&x, Operator::AtLeast, &y), a >= b);
    }

    #[test]
    fn a_pattern_without_signs_is_looked_for(text in "[a-c]{0,8}", part in "[a-c]{0,3}") {
        prop_assert_eq!(like(&text, &part), text.contains(&part));
        let whole = format!("{text}*");
        let longer = format!("{text}{part}");
        prop_assert!(like(&longer, &whole));
    }
}
