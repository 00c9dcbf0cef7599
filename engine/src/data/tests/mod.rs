//! Tests of the data: which ids stand in which row, what is held out, what is refused.

use super::*;
use crate::config::Config;
use proptest::prelude::*;
use std::collections::HashSet;
use std::path::PathBuf;
use tempfile::TempDir;

mod real;

/// A folder of data files with a cache of its own.
struct Folder {
    folder: TempDir,
    cache: Cache,
}

impl Folder {
    fn new(files: &[(&str, &[u8])]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, bytes) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        let cache = Cache::at(folder.path().join("cache"));
        Self { folder, cache }
    }

    fn config(&self, data: &str) -> Config {
        let text = format!(
            "model = {{ layers = 1, dim = 8, heads = 1 }}\ntrain = {{ batch_size = 2, max_steps = 1 }}\n\
             optimizer.lr = 1.0\n[data]\norder = \"sequential\"\n{data}"
        );
        let file = self.folder.path().join("c.toml");
        Config::parse(Some(&file), &text, &[]).unwrap_or_else(|e| panic!("{e}\n{text}"))
    }

    fn open_with(&self, data: &str, special: &[&str]) -> Result<Datasets, DataError> {
        let tokenizer = Some(byte_ids(special));
        open(
            &self.config(data),
            tokenizer.as_ref(),
            65536,
            Some(&self.cache),
        )
    }

    fn open(&self, data: &str) -> Datasets {
        self.open_with(data, &[]).unwrap_or_else(|e| panic!("{e}"))
    }

    fn refused(&self, data: &str) -> String {
        let error = self.open_with(data, &[]).unwrap_err().to_string();
        assert!(!error.contains('\n'), "{error}");
        error.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

const EOT: &[&str] = &["<|endoftext|>"];

fn byte_ids(special: &[&str]) -> Arc<Tokenizer> {
    let special: Vec<_> = special.iter().map(|s| (*s).to_owned()).collect();
    Arc::new(Tokenizer::bytes(&special).unwrap())
}

/// All ids of a sequential dataset, put together from its rows again.
fn ids(dataset: &Dataset) -> Vec<i32> {
    let mut ids = Vec::new();
    for batch in dataset.batches(3) {
        let first = ids.is_empty().then(|| batch.tokens[0]);
        ids.extend(first);
        ids.extend(batch.targets.iter().filter(|id| **id >= 0));
    }
    ids
}

fn text(dataset: &Dataset) -> String {
    let letter = |id: &i32| char::from(u8::try_from(*id).unwrap_or(b'|'));
    ids(dataset).iter().map(letter).collect()
}

#[test]
fn rows_are_cut_from_the_stream_and_start_again_at_its_end() {
    let folder = Folder::new(&[("a.txt", b"0123456789AB")]);
    let data = folder.open("train = [\"a.txt\"]\nsequence_length = 4");
    let train = &data.train;
    assert_eq!((train.rows(), train.tokens()), (2, Some(12)));
    let batch = train.batch(1, 2, 3);
    assert_eq!(batch.tokens, b"45670123\0\0\0\0".map(i32::from));
    assert_eq!(batch.targets[..8], b"56781234".map(i32::from));
    assert_eq!(batch.targets[8..], [-1; 4]);
    assert_eq!((batch.rows, batch.height, batch.row0), (2, 3, 1));
    assert_eq!((batch.valid_targets, batch.target_bytes), (8, Some(8)));
    assert_eq!(batch.positions, [0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3]);
    assert_eq!(batch.doc_start, [0; 12]);
    let step = train.step(2, 3, 2);
    assert_eq!(
        step.micro_batches,
        [train.batch(3, 2, 2), train.batch(5, 1, 2)]
    );
    assert_eq!(step.valid_targets, 12);
    assert_eq!(train.bytes_per_token(), Some(1.0));
    let exact = folder
        .open("train = [\"a.txt\"]\nsequence_length = 11")
        .train;
    assert_eq!(exact.rows(), 1);
    assert_eq!(
        folder.refused("train = [\"a.txt\"]\nsequence_length = 12"),
        "data.train has 12 tokens, fewer than one row of data.sequence_length + 1 = 13; add text or shorten the rows"
    );
    // A share of it held out is not what makes it too short; where it is, both are named.
    for (length, fraction, said) in [
        (12, 0.25, "data.train has 12 tokens, fewer than one row"),
        (
            9,
            0.25,
            "data.validation_fraction leaves 9 of 12 tokens to train on, fewer than one row of data.sequence_length + 1 = 10;",
        ),
        (
            8,
            0.05,
            "data.validation_fraction leaves 1 tokens to evaluate",
        ),
    ] {
        let keys = format!(
            "train = [\"a.txt\"]\nsequence_length = {length}\nvalidation_fraction = {fraction}"
        );
        let refused = folder.refused(&keys);
        assert!(refused.starts_with(said), "{keys}\n{refused}");
    }
}

#[test]
fn the_last_tenth_of_a_single_text_is_held_out_to_the_byte_and_evaluated_whole() {
    let source: Vec<u8> = (0..1234).map(|i| b'a' + (i % 23) as u8).collect();
    let folder = Folder::new(&[("a.txt", &source)]);
    let data = folder.open("train = [\"a.txt\"]\nvalidation_fraction = 0.1\nsequence_length = 16");
    let validation = data.validation.unwrap();
    assert_eq!(
        (data.train.tokens(), validation.tokens()),
        (Some(1110), Some(124))
    );
    assert_eq!(text(&validation).as_bytes(), &source[1110..]);
    let targets: u64 = validation.batches(4).map(|b| b.valid_targets).sum();
    let bytes: u64 = validation.batches(4).filter_map(|b| b.target_bytes).sum();
    assert_eq!((targets, bytes, validation.rows()), (123, 123, 8));
    let last = data.train.batch(data.train.rows() - 1, 1, 1);
    assert_eq!(last.targets[15], i32::from(source[(1109 / 16) * 16]));
}

#[test]
fn a_separator_becomes_the_end_of_text_where_there_is_one() {
    let folder = Folder::new(&[
        ("a.txt", b"one##two####"),
        ("b.txt", "\u{FEFF}three".as_bytes()),
        ("c.txt", b"four"),
    ]);
    let data = "train = [\"a.txt\", \"b.txt\", \"c.txt\"]\ndocument_separator = \"##\"\nsequence_length = 4\nvalidation_fraction = 0.0";
    let open = |special| {
        let data = folder.open_with(data, special).unwrap();
        let Rows::Shard { shard, .. } = &data.train.rows else {
            panic!("a shard")
        };
        let (bytes, width) = shard.ids(0, shard.tokens() as usize);
        let letters =
            bins::numbers(bytes, width).map(|id| if id == 256 { '|' } else { id as u8 as char });
        (letters.collect::<String>(), data.report)
    };
    let (stream, report) = open(EOT);
    assert_eq!(stream, "one|two||three|four");
    let expected = Report {
        files: 3,
        documents: Some(5),
        bytes: Some(15),
        tokens: 19,
        skipped_lines: 0,
    };
    assert_eq!(report, expected);
    assert_eq!(open(&[]).0, "onetwothreefour");
    // A special token in the text is text.
    let folder = Folder::new(&[("a.txt", b"a<|endoftext|>b")]);
    let data = folder
        .open_with("train = [\"a.txt\"]\nsequence_length = 4", EOT)
        .unwrap();
    assert_eq!(data.train.tokens(), Some(15));
}

#[test]
fn json_lines_are_documents_and_bad_ones_are_named_or_counted() {
    let lines = b"{\"text\": \"ab\\n\", \"n\": 1}\r\n\n{\"text\": \"cd\"}\n{\"text\": 3}\n{\"body\": \"x\"}\n{oops\n\xff\n";
    let folder = Folder::new(&[
        ("a.jsonl", lines),
        ("b.jsonl", b"{\"body\": \"yz\"}\n{\"body\": \"w\"}"),
    ]);
    let data = "train = [\"a.jsonl\"]\nsequence_length = 2\n";
    let message = folder.refused(data);
    assert_eq!(
        message,
        "a.jsonl: line 4: field \"text\" is not a text (data.text_field); mend it, or set data.on_bad_line = \"skip\""
    );
    let skip = format!("{data}on_bad_line = \"skip\"");
    let data = folder.open_with(&skip, EOT).unwrap();
    assert_eq!(
        (data.report.skipped_lines, data.report.documents),
        (4, Some(2))
    );
    assert_eq!(text(&data.train), "ab\n|cd|");
    let body = "train = [\"b.jsonl\"]\ntext_field = \"body\"\nsequence_length = 2\n";
    assert_eq!(text(&folder.open(body).train), "yzw");
    let none = "train = [\"b.jsonl\"]\non_bad_line = \"skip\"\nsequence_length = 2\n";
    assert_eq!(
        folder.refused(none),
        "b.jsonl: holds no text; take it out of the list"
    );
}

#[test]
fn whole_documents_are_held_out_and_no_tokenizer_sees_them() {
    let lines: Vec<_> = (0..20)
        .map(|i| format!("{{\"text\": \"{i:04}\"}}"))
        .collect();
    let lines = lines.join("\n");
    let folder = Folder::new(&[("a.jsonl", lines.as_bytes())]);
    let setting = "train = [\"a.jsonl\"]\nvalidation_fraction = 0.15\nsequence_length = 5";
    let data = folder.open_with(setting, EOT).unwrap();
    let validation = data.validation.unwrap();
    assert_eq!(text(&validation), "0017|0018|0019|");
    assert_eq!(data.train.tokens(), Some(17 * 5));
    let bytes: u64 = validation.batches(1).filter_map(|b| b.target_bytes).sum();
    assert_eq!(
        bytes, 11,
        "the end marks are no text, and the first byte is not predicted"
    );
    let texts = training_texts(&folder.config(setting)).unwrap();
    assert_eq!((texts.len(), texts[16].as_str()), (17, "0016"));
    let folder = Folder::new(&[("a.txt", "\u{4e2d}\u{6587}".repeat(10).as_bytes())]);
    let one = "train = [\"a.txt\"]\nvalidation_fraction = 0.1\nsequence_length = 5";
    let texts = training_texts(&folder.config(one)).unwrap();
    assert_eq!(texts, ["\u{4e2d}\u{6587}".repeat(9)]);
}

#[test]
fn ids_are_read_from_both_kinds_of_bin_files() {
    let wide: Vec<u8> = [1u16, 500, 3]
        .iter()
        .flat_map(|id| id.to_le_bytes())
        .collect();
    let wider: Vec<u8> = [4u32, 70_000, 6]
        .iter()
        .flat_map(|id| id.to_le_bytes())
        .collect();
    let mut llm_c: Vec<u8> = [20_240_520u32, 1, 3]
        .iter()
        .flat_map(|id| id.to_le_bytes())
        .collect();
    llm_c.resize(1024, 0);
    llm_c.extend(&wide);
    let folder = Folder::new(&[
        ("a.bin", &wide),
        ("b.bin", &llm_c),
        ("c.bin", &wider),
        ("d.bin", &wide[..5]),
        ("e.bin", &llm_c[..1026]),
        ("t.txt", b"text"),
    ]);
    let open = |data: &str, vocab| {
        let data = format!("sequence_length = 2\n{data}");
        open(&folder.config(&data), None, vocab, None).map_err(|e| {
            let message = e.to_string();
            message.replace(&format!("{}/", folder.folder.path().display()), "")
        })
    };
    let data = open(
        "train = [\"a.bin\", \"b.bin\"]\nvalidation = [\"a.bin\"]",
        501,
    )
    .unwrap();
    assert_eq!(ids(&data.validation.unwrap()), [1, 500, 3]);
    assert_eq!(data.train.batch(1, 1, 1).tokens, [3, 1]);
    assert_eq!(data.train.batch(1, 1, 1).targets, [1, 500]);
    assert_eq!((data.train.rows(), data.train.bytes_per_token()), (2, None));
    assert_eq!(data.train.batch(0, 1, 1).target_bytes, None);
    let data = open("train = [\"c.bin\"]\ntoken_bytes = 4", 70_001).unwrap();
    assert_eq!(ids(&data.train), [4, 70_000, 6]);
    let refused = |data: &str, vocab| open(data, vocab).unwrap_err();
    assert_eq!(
        refused("train = [\"b.bin\"]", 500),
        "b.bin: id 500 at position 1 is beyond the vocabulary of 500; check model.vocab_size and data.token_bytes"
    );
    assert_eq!(
        refused("train = [\"d.bin\"]", 501),
        "d.bin: 5 bytes are no whole number of ids of 2 bytes; check data.token_bytes"
    );
    assert_eq!(
        refused("train = [\"e.bin\"]", 501),
        "e.bin: llm.c's header says 3 ids of 2 bytes, but 2 bytes follow; copy it again"
    );
    assert_eq!(
        refused("train = [\"t.txt\", \"a.bin\"]", 501),
        "a.bin: a .bin file among texts; give ids or texts, not both"
    );
    assert_eq!(
        refused("train = [\"t.txt\"]", 501),
        "t.txt: text needs a tokenizer"
    );
    assert!(refused("train = [\"a.bin\"]\ndocument_mask = true", 501).contains("tokenizer.path"));
    assert!(
        is_binary(
            &folder
                .config("sequence_length = 2\ntrain = [\"a.bin\"]")
                .data
        )
        .unwrap()
    );
}

#[test]
fn patterns_match_in_order_and_files_that_cannot_be_read_are_named() {
    let folder = Folder::new(&[
        ("[1]/b.txt", b"bb"),
        ("[1]/a.txt", b"aa"),
        ("[1]/x[1].txt", b"xx"),
        ("[1]/empty.bad", b""),
        ("[1]/latin.bad", b"caf\xe9!"),
        ("[1]/zero.bad", b"ab\0c"),
    ]);
    let open = |files: &str| format!("train = [{files}]\nsequence_length = 2");
    assert_eq!(text(&folder.open(&open("\"[1]/*.txt\"")).train).len(), 5);
    assert_eq!(
        text(
            &folder
                .open(&open("\"[1]/x[1].txt\", \"[1]/[ab].txt\""))
                .train
        ),
        "xxaab"
    );
    for (files, message) in [
        (
            "",
            "data.train names no file: add train = [\"file.txt\"] under [data], or --set data.train=file.txt",
        ),
        ("\"no.txt\"", "no.txt: no such file; check data.train"),
        (
            "\"no*.txt\"",
            "no*.txt: no file matches this pattern; check data.train",
        ),
        ("\"a[.txt\"", "a[.txt: not a pattern: "),
        (
            "\"[1]\"",
            "[1]: a folder; name its files in data.train, or a pattern such as [1]/*.txt",
        ),
        (
            "\"[1]/empty.bad\"",
            "[1]/empty.bad: holds no text; take it out of the list",
        ),
        (
            "\"[1]/latin.bad\"",
            "[1]/latin.bad: not UTF-8 at byte 3; convert it, or set data.format if it is no text",
        ),
        (
            "\"[1]/zero.bad\"",
            "[1]/zero.bad: a binary file (byte 2 is zero); only text, JSONL and .bin ids are read",
        ),
    ] {
        let found = folder.refused(&open(files));
        assert!(found.starts_with(message), "{files}\n {found}\n {message}");
    }
    assert!(
        folder
            .refused("train = [\"[1]/a.txt\"]\nvalidation = [\"v.txt\"]\nsequence_length = 1")
            .ends_with("check data.validation")
    );
}

#[test]
fn a_masked_row_keeps_documents_apart() {
    let folder = Folder::new(&[("a.txt", b"ab#cde#f#ghij")]);
    let setting = "train = [\"a.txt\"]\ndocument_separator = \"#\"\ndocument_mask = true\nsequence_length = 6";
    let batch = folder.open_with(setting, EOT).unwrap().train.batch(0, 2, 2);
    // Rows: a b | c d e and | f | g h i, each with one id more.
    assert_eq!(
        batch.tokens,
        [97, 98, 256, 99, 100, 101, 256, 102, 256, 103, 104, 105]
    );
    assert_eq!(
        batch.targets,
        [98, 256, -1, 100, 101, 256, -1, 256, -1, 104, 105, 106]
    );
    assert_eq!(batch.doc_start, [0, 0, 0, 3, 3, 3, 0, 1, 1, 3, 3, 3]);
    assert_eq!(batch.positions, [0, 1, 2, 0, 1, 2, 0, 0, 1, 0, 1, 2]);
    assert_eq!((batch.valid_targets, batch.target_bytes), (9, Some(6)));
    // Ids that others encoded: the end-of-text id tells.
    let raw: Vec<u8> = [
        97u16, 98, 256, 99, 100, 101, 256, 102, 256, 103, 104, 105, 106,
    ]
    .iter()
    .flat_map(|id| id.to_le_bytes())
    .collect();
    let folder = Folder::new(&[("a.bin", &raw)]);
    let setting = "train = [\"a.bin\"]\ndocument_mask = true\nsequence_length = 6";
    assert_eq!(
        folder.open_with(setting, EOT).unwrap().train.batch(0, 2, 2),
        batch
    );
}

#[test]
fn shards_come_from_the_cache_and_are_made_anew_where_it_fails() {
    let folder = Folder::new(&[("a.txt", b"some text to keep")]);
    let setting = "train = [\"a.txt\"]\nsequence_length = 4";
    let first = folder.open(setting).train;
    let shards = || -> Vec<PathBuf> {
        let entries = std::fs::read_dir(folder.cache.folder()).unwrap();
        entries.map(|entry| entry.unwrap().path()).collect()
    };
    let [shard] = shards().try_into().unwrap();
    // Another id in the shard shows that it is read, and not the text.
    let mut bytes = std::fs::read(&shard).unwrap();
    bytes[0] = b'S';
    std::fs::write(&shard, &bytes).unwrap();
    assert_eq!(text(&folder.open(setting).train), "Some text to keep");
    std::fs::write(&shard, &bytes[1..]).unwrap();
    assert_eq!(text(&folder.open(setting).train), "some text to keep");
    assert_eq!(std::fs::read(&shard).unwrap().len(), bytes.len());
    let other = folder.open_with(setting, EOT).unwrap().train;
    assert!(other.fingerprint() != first.fingerprint() && shards().len() == 2);
    let tokenizer = byte_ids(&[]);
    let unwritable = Cache::at(folder.folder.path().join("a.txt/cache"));
    for cache in [None, Some(&unwritable)] {
        let data = open(&folder.config(setting), Some(&tokenizer), 256, cache).unwrap();
        assert_eq!(text(&data.train), "some text to keep");
        assert_eq!(data.train.fingerprint(), first.fingerprint());
    }
}

#[test]
fn shuffled_epochs_visit_every_row_and_a_resumed_loader_goes_on_as_if_it_had_never_stopped() {
    let source: Vec<u8> = (0..100u8)
        .flat_map(|i| [i + 20, 0x20 + i % 7, 0x41])
        .collect();
    let folder = Folder::new(&[("a.txt", &source)]);
    let config = folder.config("sequence_length = 3\ntrain = [\"a.txt\"]");
    let sets = ["data.order=shuffled".to_owned()];
    let config = Config::parse(None, &config.to_toml(), &sets).unwrap();
    let train = open(&config, Some(&byte_ids(&[])), 256, None)
        .unwrap()
        .train;
    let rows = train.rows();
    assert_eq!(rows, 99);
    let epoch = |number: u64| -> Vec<i32> {
        (0..rows)
            .map(|row| train.batch(number * rows + row, 1, 1).tokens[0])
            .collect()
    };
    let (first, second) = (epoch(0), epoch(1));
    assert!(first != second);
    assert_eq!(first.iter().collect::<HashSet<_>>().len(), 99);
    assert_eq!(
        first.iter().collect::<HashSet<_>>(),
        second.iter().collect()
    );
    let mut all = Loader::new(Arc::clone(&train), 7, 3, 1);
    let steps: Vec<_> = (0..30).map(|_| all.next_step()).collect();
    let mut resumed = Loader::new(Arc::clone(&train), 7, 3, 13);
    for step in &steps[12..] {
        // Looked at or not, now or later.
        if let Some(seen) = resumed.peek() {
            assert_eq!(seen, step);
        }
        assert_eq!(&resumed.next_step(), step);
    }
    let heights: Vec<_> = steps[0]
        .micro_batches
        .iter()
        .map(|b| (b.rows, b.height))
        .collect();
    assert_eq!(heights, [(3, 3), (3, 3), (1, 3)]);
    assert_eq!((steps[29].step, steps[29].valid_targets), (30, 21));
    let whole = train.step(5, 7, 7).micro_batches.remove(0).tokens;
    let parts: Vec<i32> = steps[4]
        .micro_batches
        .iter()
        .flat_map(|b| b.tokens[..b.rows * 3].to_vec())
        .collect();
    assert_eq!(whole, parts);
}

#[test]
fn stories_are_endless_rows_that_any_order_reaches() {
    let config = Config::demo(&["data.document_mask=true".to_owned()]).unwrap();
    let data = open(&config, Some(&byte_ids(EOT)), 257, None).unwrap();
    let (train, validation) = (&data.train, data.validation.unwrap());
    assert_eq!((train.tokens(), train.rows()), (None, u64::MAX));
    let far = train.batch(1_000_000_007, 2, 2);
    let near = train.batch(62, 4, 4);
    assert_eq!(train.batch(1_000_000_007, 2, 2), far);
    assert!(near.tokens != far.tokens && near.rows == 4);
    // Rows of a block follow each other; a block begins with a story.
    assert_eq!(near.doc_start[2 * 128], 0);
    let again = open(&config, Some(&byte_ids(EOT)), 257, None)
        .unwrap()
        .train;
    assert_eq!(again.batch(63, 1, 1).tokens, near.tokens[128..256]);
    for batch in [&near, &far] {
        let starts: Vec<_> = (1..512)
            .filter(|i| i % 128 > 0 && batch.positions.get(*i) == Some(&0))
            .collect();
        assert!(!starts.is_empty() || batch.rows < 4);
        for start in starts {
            assert_eq!(
                (batch.tokens[start - 1], batch.targets[start - 1]),
                (256, -1)
            );
        }
    }
    let held_out: Vec<_> = validation.batches(16).collect();
    assert_eq!(held_out.len(), 16);
    assert!(held_out[0].tokens[..128] != train.batch(0, 1, 1).tokens);
    let per_token = train.bytes_per_token().unwrap();
    assert!((0.97..1.0).contains(&per_token), "{per_token}");
    assert_eq!(
        train.floor_bits_per_byte(),
        Some(Storybook::expected().bits_per_byte())
    );
    assert!(training_texts(&config).unwrap().len() > 1000);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn rows_always_hold_the_stream(
        documents in prop::collection::vec("[a-z\u{e9}\u{4e2d}]{0,9}", 1..8),
        length in 1usize..9,
        fraction in 0.0..0.6,
    ) {
        let joined = documents.join("#");
        let folder = Folder::new(&[("a.txt", joined.as_bytes())]);
        let setting = format!(
            "train = [\"a.txt\"]\ndocument_separator = \"#\"\nsequence_length = {length}\nvalidation_fraction = {fraction:?}"
        );
        // Too little text is refused, never a panic.
        let Ok(data) = folder.open_with(&setting, EOT) else { return Ok(()) };
        let expected: Vec<i32> = joined.bytes().map(|b| if b == b'#' { 256 } else { i32::from(b) }).collect();
        let train = ids(&data.train);
        prop_assert_eq!(&train[..], &expected[..train.len()]);
        let split = data.train.tokens().unwrap() as usize;
        prop_assert!(split - train.len() < length);
        if let Some(validation) = data.validation {
            prop_assert_eq!(&ids(&validation)[..], &expected[split..]);
        } else {
            prop_assert_eq!(split, expected.len());
        }
    }
}
