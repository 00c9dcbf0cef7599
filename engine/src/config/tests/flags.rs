//! Tests of what `key=value` flags hold: TOML, texts without quotation marks, and what is neither.

use super::{BASE, base, strings};
use crate::config::Config;

#[test]
fn flags_are_toml_values_and_what_is_none_is_a_text() {
    let c = base(&[
        "run.name=7",
        "data.train=[\"a.txt\", \"b/*.txt\"]",
        "data.validation = c.txt",
        "optimizer = { betas = [0.8, 0.9], lr = 1 }",
        "sample.prompts=[\"x\\ny\"]",
        "model.norm={kind=\"layernorm\",bias=false}",
        "optimizer.lr=3e-4",
    ]);
    let here = std::env::current_dir().unwrap();
    assert_eq!(c.run.name, "7");
    assert_eq!(c.data.train, [here.join("a.txt"), here.join("b/*.txt")]);
    assert_eq!(c.data.validation, [here.join("c.txt")]);
    assert_eq!(c.optimizer.choice.floats("betas"), [0.8, 0.9]);
    assert_eq!(c.optimizer.lr, 3e-4);
    assert_eq!(c.sample.prompts, ["x\ny"]);
    assert!(c.model.norm.kind() == "layernorm" && !c.model.norm.flag("bias"));
}

#[test]
fn a_list_or_a_quotation_that_is_mistyped_is_no_text() {
    for (flag, part) in [
        (
            "sample.prompts=[\"a\"",
            "begins as a list, which is written",
        ),
        (
            "sample.prompts=[\"a\", \"b",
            "which is written [\"a\", \"b\"]: ",
        ),
        (
            "sample.prompts=[a, b]",
            "begins as a list, which is written",
        ),
        ("tokenizer.special=[\"<x>\" \"<y>\"]", "begins as a list"),
        ("data.train=[\"a.txt\"", "begins as a list"),
        ("data.train=[ 'a.txt', ", "begins as a list"),
        ("sample.prompts=\"a", "written \"\\\"a\""),
        ("sample.prompts=\"a\", \"b\"", "brackets, [\"a\", \"b\"]"),
        ("sample.prompts=\"a\\qb\"", "not valid TOML"),
        ("run.name='a", "this quotation is not closed"),
        ("watch.command=\"echo \\\"", "this quotation is not closed"),
        ("model.init_from=\"a", "this quotation is not closed"),
    ] {
        let error = Config::parse(None, BASE, &strings(&[flag])).unwrap_err();
        assert!(error.message.contains(part), "{flag}: {error}");
        assert!(!error.to_string().contains('\n'), "{flag}: {error}");
        let (key, _) = flag.split_once('=').unwrap();
        assert_eq!(error.key, key, "{error}");
    }
    // What only looks like one: patterns, shell, dialogue.
    let c = base(&[
        "data.train=[0-9]*/[ab].txt",
        "sample.prompts=\"Hello,\" she said, \"you",
        "watch.command=[ -f x ] && { \"a b\" --c; }",
    ]);
    let here = std::env::current_dir().unwrap();
    assert_eq!(c.data.train, [here.join("[0-9]*/[ab].txt")]);
    assert_eq!(c.sample.prompts, ["\"Hello,\" she said, \"you"]);
    assert_eq!(
        c.watch.command.as_deref(),
        Some("[ -f x ] && { \"a b\" --c; }")
    );
    let quoted = base(&["sample.prompts=\"\\\"a\""]);
    assert_eq!(quoted.sample.prompts, ["\"a"]);
}
