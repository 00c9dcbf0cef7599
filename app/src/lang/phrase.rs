//! Sentences that are made while the program runs, in every language at once: the language may change while they stand on
//! the screen.

use super::{Lang, Text, catalogue};

/// A sentence in every language.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Phrase {
    en: String,
    zh: String,
}

impl Phrase {
    /// What is the same in every language: a name, a figure, a text of the person's own.
    pub fn verbatim(text: impl Into<String>) -> Self {
        let en = text.into();
        Self { zh: en.clone(), en }
    }

    /// A sentence in English and Chinese.
    pub fn pair(en: impl Into<String>, zh: impl Into<String>) -> Self {
        Self {
            en: en.into(),
            zh: zh.into(),
        }
    }

    /// The sentence in one language.
    pub fn get(&self, lang: Lang) -> &str {
        match lang {
            Lang::En => &self.en,
            Lang::Zh => &self.zh,
        }
    }

    /// The same with another behind it.
    #[must_use]
    pub fn and(mut self, other: &dyn Words) -> Self {
        self.en.push_str(other.words(Lang::En));
        self.zh.push_str(other.words(Lang::Zh));
        self
    }

    /// Every language changed in the same way.
    #[must_use]
    pub fn map(&self, change: impl Fn(&str) -> String) -> Self {
        Self {
            en: change(&self.en),
            zh: change(&self.zh),
        }
    }
}

/// In English, as lines that are printed are.
impl std::fmt::Display for Phrase {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.en)
    }
}

/// An English sentence of the engine, of the system or of a parser, with its Chinese where [`catalogue`] has it.
impl From<String> for Phrase {
    fn from(en: String) -> Self {
        Self {
            zh: catalogue::chinese(&en),
            en,
        }
    }
}

/// As that of a `String`.
impl From<&str> for Phrase {
    fn from(en: &str) -> Self {
        en.to_owned().into()
    }
}

/// As that of a `String`.
impl From<&String> for Phrase {
    fn from(en: &String) -> Self {
        en.clone().into()
    }
}

impl From<Text> for Phrase {
    fn from(text: Text) -> Self {
        Self {
            en: text.en.to_owned(),
            zh: text.zh.to_owned(),
        }
    }
}

/// What may stand in a gap of a [`Text`].
pub trait Words {
    /// It in one language.
    fn words(&self, lang: Lang) -> &str;
}

impl Words for &str {
    fn words(&self, _: Lang) -> &str {
        self
    }
}

impl Words for String {
    fn words(&self, _: Lang) -> &str {
        self
    }
}

impl Words for Text {
    fn words(&self, lang: Lang) -> &str {
        self.get(lang)
    }
}

impl Words for Phrase {
    fn words(&self, lang: Lang) -> &str {
        self.get(lang)
    }
}

impl Text {
    /// The phrase with `parts` in its gaps `{0}`, `{1}`, ..., in every language.
    pub fn fill(self, parts: &[&dyn Words]) -> Phrase {
        Phrase {
            en: self.filled(Lang::En, parts),
            zh: self.filled(Lang::Zh, parts),
        }
    }

    /// The same in one language.
    pub fn filled(self, lang: Lang, parts: &[&dyn Words]) -> String {
        fill(self.get(lang), |gap| {
            parts.get(gap).map(|part| part.words(lang).to_owned())
        })
    }
}

/// `pattern` with what `part` gives in the place of `{0}`, `{1}`, ... A gap that it gives nothing for stays as it is.
pub(super) fn fill(pattern: &str, part: impl Fn(usize) -> Option<String>) -> String {
    let mut out = String::with_capacity(pattern.len() + 32);
    let mut rest = pattern;
    while let Some((before, behind)) = rest.split_once('{') {
        out.push_str(before);
        let gap = behind.split_once('}');
        let filled = gap.and_then(|(number, _)| part(number.parse().ok()?));
        rest = behind;
        if let (Some((_, behind)), Some(filled)) = (gap, filled) {
            out.push_str(&filled);
            rest = behind;
        } else {
            out.push('{');
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_are_filled_in_the_order_of_each_language() {
        const OF: Text = Text::new("{0} of {1} runs", "{1} 个运行中的 {0} 个 {2}");
        let count = Text::new("two", "两");
        let phrase = OF.fill(&[&count, &"9".to_owned()]);
        assert_eq!(phrase.get(Lang::En), "two of 9 runs");
        assert_eq!(phrase.get(Lang::Zh), "9 个运行中的 两 个 {2}");
        // What is filled in is not filled again.
        assert_eq!(OF.filled(Lang::En, &[&"{1}", &"{"]), "{1} of { runs");
        let both = Phrase::verbatim("a").and(&count);
        assert_eq!((both.get(Lang::En), both.get(Lang::Zh)), ("atwo", "a两"));
    }
}
