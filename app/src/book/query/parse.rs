//! From text to [`Query`]: words, then a descent by precedence.

use super::{FIGURES, Operator, Query, QueryError, holds_numbers, number};
use engine::config::{keys, nearest};

/// Nesting beyond this is refused: nobody writes it, and the descent needs stack.
const DEEPEST: usize = 64;

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Quoted(String),
    Operator(Operator),
    Open,
    Close,
    And,
    Or,
    Not,
}

/// Reads an expression; an empty one holds for every run.
///
/// # Errors
/// If it is none, or a key is not known; the nearest known one is named.
pub fn parse(text: &str) -> Result<Query, QueryError> {
    let mut parser = Parser {
        text,
        tokens: tokens(text)?,
        next: 0,
        depth: 0,
    };
    if parser.tokens.is_empty() {
        return Ok(Query::Every);
    }
    let query = parser.any()?;
    match parser.peek() {
        None => Ok(query),
        Some(Token::Close) => Err(parser.fault("no bracket is open here")),
        Some(_) => Err(parser.fault("expected `and` or `or`")),
    }
}

/// Whether there is such a key.
///
/// # Errors
/// If there is none: the nearest known one is named.
pub fn known(key: &str) -> Result<(), String> {
    let configuration = keys();
    let all = FIGURES
        .into_iter()
        .chain(configuration.iter().map(String::as_str));
    if all.clone().any(|known| known == key) {
        return Ok(());
    }
    Err(match nearest(key, all) {
        Some(near) => format!("no key `{key}`; did you mean {near}?"),
        None => format!(
            "no key `{key}`; there are {} and those of the configuration",
            FIGURES.join(", ")
        ),
    })
}

fn error(text: &str, at: usize, message: impl Into<String>) -> QueryError {
    QueryError {
        message: message.into(),
        at: at + 1,
        text: text.to_owned(),
    }
}

fn is_word(c: char) -> bool {
    !c.is_whitespace() && !"()<>=!~\"'&|".contains(c)
}

/// Each token with the character that it begins at.
fn tokens(text: &str) -> Result<Vec<(Token, usize)>, QueryError> {
    let chars: Vec<char> = text.chars().collect();
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(&c) = chars.get(at) {
        let start = at;
        let second = chars.get(at + 1).copied();
        let mut two = |token, twice: bool| {
            at += 1 + usize::from(twice);
            token
        };
        let token = match (c, second) {
            (c, _) if c.is_whitespace() => {
                at += 1;
                continue;
            }
            ('(', _) => two(Token::Open, false),
            (')', _) => two(Token::Close, false),
            ('=', next) => two(Token::Operator(Operator::Equal), next == Some('=')),
            ('!', Some('=')) => two(Token::Operator(Operator::Different), true),
            ('!', Some('~')) => two(Token::Operator(Operator::Unlike), true),
            ('!', _) => two(Token::Not, false),
            ('<', Some('=')) => two(Token::Operator(Operator::AtMost), true),
            ('<', _) => two(Token::Operator(Operator::Less), false),
            ('>', Some('=')) => two(Token::Operator(Operator::AtLeast), true),
            ('>', _) => two(Token::Operator(Operator::Greater), false),
            ('~', _) => two(Token::Operator(Operator::Like), false),
            ('&', Some('&')) => two(Token::And, true),
            ('|', Some('|')) => two(Token::Or, true),
            ('&' | '|', _) => {
                return Err(error(text, start, format!("expected `{c}{c}`")));
            }
            ('"' | '\'', _) => {
                let rest = &chars[at + 1..];
                let Some(end) = rest.iter().position(|other| *other == c) else {
                    return Err(error(text, start, "this quotation is not closed"));
                };
                at += end + 2;
                Token::Quoted(rest[..end].iter().collect())
            }
            _ => {
                let rest = &chars[at..];
                let end = rest.iter().position(|c| !is_word(*c)).unwrap_or(rest.len());
                at += end;
                let word: String = rest[..end].iter().collect();
                match word.as_str() {
                    "and" => Token::And,
                    "or" => Token::Or,
                    "not" => Token::Not,
                    _ => Token::Word(word),
                }
            }
        };
        found.push((token, start));
    }
    Ok(found)
}

struct Parser<'a> {
    text: &'a str,
    tokens: Vec<(Token, usize)>,
    next: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.next).map(|token| &token.0)
    }

    fn take(&mut self, wanted: &Token) -> bool {
        let found = self.peek() == Some(wanted);
        self.next += usize::from(found);
        found
    }

    /// An error at the next token, or at the end.
    fn fault(&self, message: impl Into<String>) -> QueryError {
        let end = self.text.chars().count();
        let at = self.tokens.get(self.next).map_or(end, |token| token.1);
        error(self.text, at, message)
    }

    fn any(&mut self) -> Result<Query, QueryError> {
        let mut query = self.all()?;
        while self.take(&Token::Or) {
            query = Query::Or(Box::new(query), Box::new(self.all()?));
        }
        Ok(query)
    }

    fn all(&mut self) -> Result<Query, QueryError> {
        let mut query = self.one()?;
        while self.take(&Token::And) {
            query = Query::And(Box::new(query), Box::new(self.one()?));
        }
        Ok(query)
    }

    fn one(&mut self) -> Result<Query, QueryError> {
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(self.fault(format!("more than {DEEPEST} levels are nested")));
        }
        let query = if self.take(&Token::Not) {
            Query::Not(Box::new(self.one()?))
        } else if self.take(&Token::Open) {
            let query = self.any()?;
            if !self.take(&Token::Close) {
                return Err(self.fault("expected `)`"));
            }
            query
        } else {
            self.test()?
        };
        self.depth -= 1;
        Ok(query)
    }

    fn test(&mut self) -> Result<Query, QueryError> {
        let Some(Token::Word(key)) = self.peek().cloned() else {
            return Err(self.fault("expected a key, such as val_loss or optimizer.lr"));
        };
        known(&key).map_err(|message| self.fault(message))?;
        self.next += 1;
        let Some(Token::Operator(operator)) = self.peek().cloned() else {
            return Err(self.fault(format!(
                "expected ==, !=, <, <=, >, >=, ~ or !~ behind {key}"
            )));
        };
        self.next += 1;
        let Some(Token::Word(value) | Token::Quoted(value)) = self.peek().cloned() else {
            return Err(self.fault("expected a number or a text"));
        };
        let as_text = matches!(operator, Operator::Like | Operator::Unlike);
        if !as_text && holds_numbers(&key) && number(&value).is_none() {
            let message = format!("{key} is a number, such as 9000 or 1.5e-3; `{value}` is none");
            return Err(self.fault(message));
        }
        self.next += 1;
        Ok(Query::Test {
            key,
            operator,
            value,
        })
    }
}
