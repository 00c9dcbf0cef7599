//! Rust source taken apart into code, comments and strings: enough of the lexer for the rules, and no more.

/// A source in three layers. Each has the lines of the source; what belongs to another layer is blank.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// What the compiler sees, without the contents of strings and characters.
    pub code: String,
    /// Comments with their slashes.
    pub comments: String,
    /// Contents of strings and characters.
    pub strings: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Layer {
    Code,
    Comment,
    String,
}

impl Source {
    /// Takes `text` apart.
    pub fn of(text: &str) -> Self {
        let chars: Vec<char> = text.chars().collect();
        let mut source = Self::default();
        let mut at = 0;
        while at < chars.len() {
            let (layer, end) = next(&chars, at);
            for c in &chars[at..end] {
                source.push(*c, layer);
            }
            at = end;
        }
        source
    }

    fn push(&mut self, c: char, layer: Layer) {
        for (own, text) in [
            (Layer::Code, &mut self.code),
            (Layer::Comment, &mut self.comments),
            (Layer::String, &mut self.strings),
        ] {
            text.push(if own == layer || c == '\n' { c } else { ' ' });
        }
    }
}

/// The layer of what begins at `at`, and where it ends.
fn next(chars: &[char], at: usize) -> (Layer, usize) {
    let rest = &chars[at..];
    match rest {
        ['/', '/', ..] => {
            let end = rest.iter().position(|c| *c == '\n');
            (Layer::Comment, at + end.unwrap_or(rest.len()))
        }
        ['/', '*', ..] => (Layer::Comment, at + block_comment(rest)),
        ['"', ..] => (Layer::String, at + quoted(rest, '"')),
        // A character, not the start of a lifetime.
        ['\'', '\\', ..] | ['\'', _, '\'', ..] => (Layer::String, at + quoted(rest, '\'')),
        [c, ..] if *c == '_' || c.is_alphanumeric() => {
            let len = rest.iter().position(|c| *c != '_' && !c.is_alphanumeric());
            let len = len.unwrap_or(rest.len());
            let word: String = rest[..len].iter().collect();
            match raw_string(&word, &rest[len..]) {
                Some(more) => (Layer::String, at + len + more),
                None => (Layer::Code, at + len),
            }
        }
        _ => (Layer::Code, at + 1),
    }
}

/// Length of a comment that may hold others.
fn block_comment(rest: &[char]) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        match rest[at..] {
            ['/', '*', ..] => {
                depth += 1;
                at += 2;
            }
            ['*', '/', ..] => {
                depth -= 1;
                at += 2;
                if depth == 0 {
                    break;
                }
            }
            _ => at += 1,
        }
    }
    at
}

/// Length of what a quote mark opens.
fn quoted(rest: &[char], mark: char) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != mark {
        at += if rest[at] == '\\' { 2 } else { 1 };
    }
    (at + 1).min(rest.len())
}

/// Length of the rest of a raw string whose prefix is `word`; none if it is something else.
fn raw_string(word: &str, rest: &[char]) -> Option<usize> {
    if !["r", "br", "cr"].contains(&word) {
        return None;
    }
    let hashes = rest.iter().take_while(|c| **c == '#').count();
    if rest.get(hashes) != Some(&'"') {
        return None;
    }
    let mut end = vec!['"'];
    end.extend(vec!['#'; hashes]);
    let body = &rest[hashes + 1..];
    let found = body.windows(end.len()).position(|window| window == end);
    Some(hashes + 1 + found.map_or(body.len(), |at| at + end.len()))
}

#[test]
fn layers_are_told_apart() {
    let source = Source::of(concat!(
        "fn a<'x>(c: &'x u8) { // it's \"one\"\n",
        "let s = \"// no \\\" comment\"; /* /* two */ unsafe */ let q = '\"';\n",
        "let r = r#\"a \" b\"#; let n = '\\''; let b = b\"x\"; r#type\n",
    ));
    let squeeze = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert_eq!(
        squeeze(&source.code),
        "fn a<'x>(c: &'x u8) { let s = ; let q = ; let r = ; let n = ; let b = b ; r#type"
    );
    assert_eq!(
        squeeze(&source.comments),
        "// it's \"one\" /* /* two */ unsafe */"
    );
    assert_eq!(
        squeeze(&source.strings),
        r##""// no \" comment" '"' r#"a " b"# '\'' "x""##
    );
    assert_eq!(source.code.lines().count(), 3);
}
