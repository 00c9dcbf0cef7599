//! `zerollm cache`: what is kept to be quick the next time.

use super::Failure;
use crate::out::{self, Table};
use crate::text;
use clap::Args;
use engine::data::Cache;
use serde_json::json;
use std::path::Path;

/// Flags of `zerollm cache`.
#[derive(Clone, Debug, Args)]
#[command(
    about = "Show or clear the cache",
    long_about = "Show what is in the cache: token shards and trained tokenizers. Everything in it can be made anew. It lies in \
        ZEROLLM_CACHE, else in the folder zerollm of XDG's cache folder; what was used longest ago goes when it grows too \
        large.",
    after_help = "Example:\n  zerollm cache\n  zerollm cache --clear\n\nJSON: folder, bytes, files (name, bytes); with --clear also freed."
)]
pub struct Arguments {
    /// Delete all of it
    #[arg(long)]
    clear: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs it.
///
/// # Errors
/// If a file cannot be deleted.
pub fn run(arguments: &Arguments) -> Result<u8, Failure> {
    let Some(cache) = Cache::of_user() else {
        return Err(Failure::new(
            1,
            "there is no place for a cache: set ZEROLLM_CACHE to a folder",
        ));
    };
    let folder = cache.folder().display().to_string();
    let freed = if arguments.clear {
        let freed = cache.clear();
        Some(freed.map_err(|error| Failure::new(1, format!("{folder}: {error}")))?)
    } else {
        None
    };
    let files = files(cache.folder());
    let bytes: u64 = files.iter().map(|(_, bytes)| bytes).sum();
    if arguments.json {
        let files: Vec<_> = files
            .iter()
            .map(|(name, bytes)| json!({ "name": name, "bytes": bytes }))
            .collect();
        let mut object = json!({ "folder": folder, "bytes": bytes, "files": files });
        if let Some(freed) = freed {
            object["freed"] = json!(freed);
        }
        out::json(&object)?;
        return Ok(0);
    }
    if let Some(freed) = freed {
        out::line(&format!("freed  {}", text::bytes(freed)))?;
    }
    let mut table = Table::new(&["file", "size"]);
    for (name, bytes) in &files {
        table.row(&[name.clone(), text::bytes(*bytes)]);
    }
    table.row(&[folder, text::bytes(bytes)]);
    out::text(&table.lines())?;
    Ok(0)
}

/// Names and sizes, the largest first; none where there is no folder.
fn files(folder: &Path) -> Vec<(String, u64)> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let mut files: Vec<(String, u64)> = entries
        .filter_map(|entry| {
            let metadata = entry.metadata().ok().filter(std::fs::Metadata::is_file)?;
            Some((
                entry.file_name().to_string_lossy().into_owned(),
                metadata.len(),
            ))
        })
        .collect();
    files.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    files
}
