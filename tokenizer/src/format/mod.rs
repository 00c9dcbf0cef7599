//! Files of tokenizers: reading what others write, writing what others read.
//!
//! `hf` (with `components`) is tokenizer.json, the only format written; `gpt2_files` is vocab.json with merges.txt; `tiktoken` is a list
//! of tokens in base64. A reader refuses what it cannot honour, and names it.

mod components;
mod gpt2_files;
pub(crate) mod hf;
mod tiktoken;
mod vocab;

use std::fs;
use std::path::Path;

use crate::Tokenizer;
use crate::error::TokenizerError;

/// What a caller may add to a file that does not say everything.
#[derive(Clone, Debug, Default)]
pub struct LoadOptions {
    /// Name of the split, for a .tiktoken file of unknown name. Elsewhere it must be what the file says.
    pub split: Option<String>,
}

impl Tokenizer {
    /// Reads a tokenizer: a tokenizer.json; a folder with one, or with vocab.json and merges.txt (GPT-2's split and
    /// `<|endoftext|>`); or a .tiktoken file, where a name with r50k, cl100k or o200k gives split and special tokens.
    ///
    /// # Errors
    /// What cannot be read, is malformed, or asks for what this crate does not do; the message names file and place.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, TokenizerError> {
        Self::load_with(path, &LoadOptions::default())
    }

    /// [`load`](Self::load), with what the file does not say.
    ///
    /// # Errors
    /// As `load`, and a split that contradicts the file.
    pub fn load_with(
        path: impl AsRef<Path>,
        options: &LoadOptions,
    ) -> Result<Self, TokenizerError> {
        let path = path.as_ref();
        let asked = options.split.as_deref();
        if path
            .extension()
            .is_some_and(|extension| extension == "tiktoken")
        {
            let name = path
                .file_name()
                .map(|name| name.to_string_lossy())
                .unwrap_or_default();
            return tiktoken::parse(&read(path)?, &name, asked)
                .map_err(|error| error.in_file(path));
        }
        let tokenizer = if path.is_dir() {
            load_folder(path)?
        } else {
            load_json(path)?
        };
        match (asked, tokenizer.pipeline.splits()) {
            (Some(asked), [own]) if own.name() == asked => Ok(tokenizer),
            (Some(asked), own) => {
                let own = own
                    .iter()
                    .map(|split| split.name())
                    .collect::<Vec<_>>()
                    .join(" + ");
                Err(TokenizerError::SplitConflict {
                    asked: asked.to_owned(),
                    own,
                }
                .in_file(path))
            }
            (None, _) => Ok(tokenizer),
        }
    }

    /// Writes a tokenizer.json, by way of a file beside it, so that no reader ever sees half of one.
    ///
    /// # Errors
    /// What the system says.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), TokenizerError> {
        let path = path.as_ref();
        let failed = |source| TokenizerError::Io {
            path: path.to_owned(),
            source,
        };
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}.tmp", std::process::id()));
        fs::write(&beside, self.to_hf_json()).map_err(failed)?;
        fs::rename(&beside, path).map_err(|source| {
            // The rename's failure is what matters; a file left beside is all that could go wrong here.
            drop(fs::remove_file(&beside));
            failed(source)
        })
    }
}

fn load_json(path: &Path) -> Result<Tokenizer, TokenizerError> {
    Tokenizer::from_hf_json(&read(path)?).map_err(|error| error.in_file(path))
}

fn load_folder(path: &Path) -> Result<Tokenizer, TokenizerError> {
    let json = path.join("tokenizer.json");
    let (vocab, merges) = (path.join("vocab.json"), path.join("merges.txt"));
    if json.is_file() || !vocab.is_file() {
        return load_json(&json);
    }
    gpt2_files::parse(&read(&vocab)?, &read(&merges)?).map_err(|error| error.in_file(path))
}

/// The text of a file.
fn read(path: &Path) -> Result<String, TokenizerError> {
    fs::read_to_string(path).map_err(|source| TokenizerError::Io {
        path: path.to_owned(),
        source,
    })
}
