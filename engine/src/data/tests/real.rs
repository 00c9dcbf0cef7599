//! Real text, where it is at hand: what is read is what an independent count finds.

use super::{EOT, Folder};

/// A file of the sample data, or a note that it is not there.
fn sample(name: &str) -> Option<String> {
    let path = format!("{}/../../shared/data/{name}", env!("CARGO_MANIFEST_DIR"));
    let there = !glob::glob(&path)
        .unwrap()
        .filter_map(Result::ok)
        .collect::<Vec<_>>()
        .is_empty();
    if !there {
        eprintln!("skipped: {path} is not there");
    }
    there.then_some(path)
}

#[test]
fn shakespeare_is_split_as_nanogpt_splits_it() {
    let Some(path) = sample("en-pretrain/tinyshakespeare/input.txt") else {
        return;
    };
    let folder = Folder::new(&[]);
    let data = format!("train = [{path:?}]\nvalidation_fraction = 0.1\nsequence_length = 64");
    let data = folder.open(&data);
    assert_eq!(data.train.tokens(), Some(1_003_854));
    assert_eq!(data.validation.unwrap().tokens(), Some(111_540));
}

#[test]
fn real_corpora_are_read_whole() {
    let count = |name: &str, more: &str| {
        let path = sample(name)?;
        let folder = Folder::new(&[]);
        let data = format!("train = [{path:?}]\nsequence_length = 256\n{more}");
        let report = folder
            .open_with(&data, EOT)
            .unwrap_or_else(|e| panic!("{e}"))
            .report;
        let text = glob::glob(&path)
            .unwrap()
            .map(|path| std::fs::read_to_string(path.unwrap()).unwrap());
        Some((report, text.collect::<Vec<_>>()))
    };
    for name in [
        "en-pretrain/web/c4_demo.jsonl",
        "zh-pretrain/poetry_pretrain.jsonl",
    ] {
        let Some((report, texts)) = count(name, "") else {
            continue;
        };
        let documents = texts[0].lines().count() as u64;
        assert_eq!(report.documents, Some(documents), "{name}");
        assert_eq!(
            Some(report.tokens),
            report.bytes.map(|bytes| bytes + documents)
        );
        assert!(report.bytes > Some(texts[0].len() as u64 / 2));
    }
    let stories = "en-pretrain/tinystories/tinystories_v2_gpt4_valid_10k_lines.txt";
    if let Some((report, texts)) = count(stories, "document_separator = \"<|endoftext|>\"") {
        let separators = texts[0].matches("<|endoftext|>").count();
        assert_eq!(report.tokens as usize, texts[0].len() - 12 * separators);
        assert_eq!(
            report.documents,
            Some(texts[0].split_terminator("<|endoftext|>").count() as u64)
        );
    }
    if let Some((report, texts)) = count("en-pretrain/gutenberg/*.txt", "") {
        assert_eq!((report.files, report.documents), (5, Some(5)));
        let bytes: usize = texts
            .iter()
            .map(|text| text.trim_start_matches('\u{FEFF}').len())
            .sum();
        assert_eq!(report.bytes, Some(bytes as u64));
    }
}
