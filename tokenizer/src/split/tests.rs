use proptest::prelude::*;

use super::*;

fn pieces<'a>(name: &str, text: &'a str) -> Vec<&'a str> {
    let mut pieces = Vec::new();
    let split = by_name(name).unwrap();
    for_each_piece(&[split], text, &mut |piece| {
        pieces.push(std::str::from_utf8(piece).unwrap());
    });
    pieces
}

#[test]
fn gpt2_cuts_as_its_pattern() {
    assert_eq!(
        pieces("gpt2", "I'll pay 12345  now"),
        ["I", "'ll", " pay", " 12345", " ", " now"]
    );
    assert_eq!(
        pieces("gpt2", "don't DON'T 'sword"),
        ["don", "'t", " DON", "'", "T", " '", "sword"]
    );
    assert_eq!(
        pieces("gpt2", "a\n\n  b\t c  "),
        ["a", "\n\n ", " b", "\t", " c", "  "]
    );
    assert_eq!(
        pieces("gpt2", "!'s \u{4E2D}\u{6587}\u{3002}\u{BD}x"),
        ["!'", "s", " \u{4E2D}\u{6587}", "\u{3002}", "\u{BD}", "x"]
    );
    assert_eq!(
        pieces("gpt2", "cafe\u{301}\u{A0}\u{3000}z"),
        ["cafe", "\u{301}", "\u{A0}", "\u{3000}", "z"]
    );
}

#[test]
fn gpt4_cuts_as_its_pattern() {
    assert_eq!(
        pieces("gpt4", "I'll pay 12345  now"),
        ["I", "'ll", " pay", " ", "123", "45", " ", " now"]
    );
    assert_eq!(
        pieces("gpt4", "DON'T 'sword it'\u{17F}"),
        ["DON", "'T", " '", "sword", " it", "'\u{17F}"]
    );
    assert_eq!(
        pieces("gpt4", "f(x);\r\n\r\n  \n  y"),
        ["f", "(x", ");\r\n\r\n", "  \n", " ", " y"]
    );
    assert_eq!(pieces("gpt4", "\tx\n\ty"), ["\tx", "\n", "\ty"]);
}

#[test]
fn the_family_differs_where_it_says() {
    assert_eq!(pieces("gpt4", "a \n  "), ["a", " \n  "]);
    assert_eq!(pieces("llama3", "a \n  "), ["a", " \n", "  "]);
    assert_eq!(pieces("qwen2", "a 123"), ["a", " ", "1", "2", "3"]);
}

#[test]
fn o200k_cuts_where_the_case_rises() {
    assert_eq!(
        pieces("o200k", "CamelCase HTTPServer it's"),
        ["Camel", "Case", " HTTPServer", " it's"]
    );
    assert_eq!(
        pieces("o200k", "ABC\u{4E2D}D x//\n/y"),
        ["ABC\u{4E2D}", "D", " x", "//\n/", "y"]
    );
    assert_eq!(
        pieces("o200k", "e\u{301}A\u{301}b !a"),
        ["e\u{301}", "A\u{301}b", " !", "a"]
    );
}

#[test]
fn digits_and_none() {
    assert_eq!(
        pieces("digits", "a1 23b\u{BD}"),
        ["a", "1", " ", "2", "3", "b", "\u{BD}"]
    );
    assert_eq!(pieces("none", "a b\nc"), ["a b\nc"]);
    let both = [by_name("digits").unwrap(), by_name("gpt2").unwrap()];
    let mut found = Vec::new();
    for_each_piece(&both, "in 2026 or", &mut |piece| {
        found.push(String::from_utf8(piece.to_vec()).unwrap());
    });
    assert_eq!(found, ["in", " ", "2", "0", "2", "6", " or"]);
}

#[test]
fn the_registry_is_sound() {
    for split in SPLITS {
        assert!(
            std::ptr::eq(*split, by_name(split.name()).unwrap()),
            "{} is there twice",
            split.name()
        );
        assert!(!split.help().is_empty());
        for pattern in split.patterns() {
            assert_eq!(by_pattern(pattern).unwrap().name(), split.name());
        }
    }
    assert!(by_name("gpt3").is_err_and(|error| error.to_string().contains("gpt2")));
}

/// Characters of every class, at the density where patterns meet.
fn text() -> impl Strategy<Value = String> {
    proptest::string::string_regex(
        "([a-cA-C]|[0-9\u{BD}]|[ \t\r\n\u{A0}]|['.!/_]|'[sS\u{17F}tTrRvVmMlLdD]|[eElL]|[\u{4E2D}\u{E9}\u{1C5}\u{2B0}\u{301}\u{200D}\u{1F600}\u{661}]|.){0,40}",
    )
    .unwrap()
}

proptest! {
    #[test]
    fn the_pieces_are_the_text(text in text()) {
        for split in SPLITS {
            let mut joined = String::new();
            for piece in pieces(split.name(), &text) {
                prop_assert!(!piece.is_empty());
                joined.push_str(piece);
            }
            prop_assert_eq!(&joined, &text);
        }
    }

    #[test]
    fn parts_are_independent(text in text(), size in 1_usize..20) {
        for split in SPLITS {
            let mut cut = Vec::new();
            for part in independent_parts(*split, &text, size) {
                for_each_piece(&[*split], part, &mut |piece| cut.push(std::str::from_utf8(piece).unwrap()));
            }
            prop_assert_eq!(cut, pieces(split.name(), &text));
        }
    }
}
