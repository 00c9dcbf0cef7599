//! Everything that a user can get wrong: a file, a name, an option.

use std::path::PathBuf;

/// What went wrong with a tokenizer, in one line that says where and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// A file could not be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file was read, and its content refused.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<Self>,
    },
    /// The text is no JSON.
    #[error("not valid JSON: {0}")]
    Json(serde_json::Error),
    /// A component of a tokenizer.json that this crate cannot honour.
    #[error("{component} is not supported: {detail}")]
    Unsupported {
        /// Where in the file, as `normalizer.Replace`.
        component: String,
        /// What it holds, and what is supported.
        detail: String,
    },
    /// A file of the right kind whose content contradicts itself.
    #[error("{what}: {detail}")]
    Invalid {
        /// Where in the file.
        what: String,
        /// What is wrong there.
        detail: String,
    },
    /// No split has this name.
    #[error("unknown pre-tokenizer `{name}`; known are {known}")]
    UnknownSplit {
        /// The name asked for.
        name: String,
        /// The names that exist.
        known: String,
    },
    /// The file does not say how text is split, and neither did the caller.
    #[error(
        "a .tiktoken file not named r50k, cl100k or o200k does not say how text is split: name a pre-tokenizer ({known})"
    )]
    SplitNeeded {
        /// The names to choose from.
        known: String,
    },
    /// The caller names another split than the file.
    #[error("pre-tokenizer `{asked}` contradicts the tokenizer, which uses `{own}`: leave it out")]
    SplitConflict {
        /// What the caller asked for.
        asked: String,
        /// What the file says.
        own: String,
    },
    /// A special token that cannot be one.
    #[error("special token {token:?}: {reason}")]
    SpecialToken {
        /// Its text.
        token: String,
        /// Why not.
        reason: String,
    },
    /// Fewer tokens asked for than bytes and special tokens need.
    #[error("vocabulary size {asked} is too small: the 256 bytes and {specials} special tokens need at least {}", specials + 256)]
    VocabularyTooSmall {
        /// Tokens asked for.
        asked: usize,
        /// Special tokens asked for.
        specials: usize,
    },
    /// More tokens asked for, or more text given, than 32-bit ids and positions can count.
    #[error("{what} is too large: {detail}")]
    TooLarge {
        /// What.
        what: &'static str,
        /// The bound, and what to do.
        detail: String,
    },
    /// Training was told to stop.
    #[error("training was interrupted; nothing was written")]
    Interrupted,
    /// Worker threads could not be started.
    #[error("cannot start {threads} threads: {reason}")]
    Threads {
        /// Threads asked for.
        threads: usize,
        /// The system's reason.
        reason: String,
    },
}

impl TokenizerError {
    pub(crate) fn invalid(what: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Invalid {
            what: what.into(),
            detail: detail.into(),
        }
    }

    pub(crate) fn unsupported(component: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::Unsupported {
            component: component.into(),
            detail: detail.into(),
        }
    }

    /// The same error, with the file in front.
    pub(crate) fn in_file(self, path: &std::path::Path) -> Self {
        match self {
            Self::Io { .. } | Self::File { .. } => self,
            source => Self::File {
                path: path.to_owned(),
                source: Box::new(source),
            },
        }
    }
}
