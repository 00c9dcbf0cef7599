//! What is found, and that the catalogue says what the engine says.

use std::collections::BTreeSet;
use std::path::Path;

use engine::config;

use super::{chinese, keys, sentences};

fn all() -> impl Iterator<Item = &'static (&'static str, &'static str)> {
    keys::KEYS.iter().chain(sentences::all())
}

#[test]
fn sentences_are_found_whole_with_gaps_and_within_each_other() {
    for (en, zh) in [
        ("training is paused already", "训练已经暂停"),
        ("nothing of the kind", "nothing of the kind"),
        ("stops after step 12", "第 12 步后停止"),
        (
            "paused after step 3, and the memory is given back",
            "第 3 步后暂停, 内存已释放",
        ),
        (
            "the gradient of blocks.3.ffn explodes at step 5: rms 1.20e1, its own median is 3.00e-1 (and 2 more layers)",
            "第 5 步, blocks.3.ffn 的梯度爆炸: rms 1.20e1, 自身中位数为 3.00e-1 (另有 2 层)",
        ),
        (
            "no checkpoint of step 7: /runs/a: no room on the disk (os error 28); free some space, earlier checkpoints are intact",
            "没有写成第 7 步的检查点: /runs/a: 磁盘空间不足 (os error 28); 请腾出空间, 先前的检查点完好",
        ),
        (
            "c.toml:3:5: optimizer.lr: expected a number above 0, found true",
            "c.toml:3:5: optimizer.lr: 应为 大于 0 的数, 却是 true",
        ),
        ("c.toml: there is no such file", "c.toml: 没有这个文件"),
        (
            "c.toml: this is a folder, not a configuration file",
            "c.toml: 这是文件夹, 不是配置文件",
        ),
        (
            "the loss of step 9 is 7.2400, 3.1 times the median 2.3300 of the 100 before it; no rollback: there is no checkpoint yet",
            "第 9 步的 loss 为 7.2400, 是之前 100 步中位数 2.3300 的 3.1 倍; 未回退: 尚无检查点",
        ),
        (
            "the validation loss rose 3 times in a row, to 4.1000; its minimum was 3.9000; no rollback: there were three already",
            "验证 loss 连续上升 3 次, 到 4.1000; 其最小值曾为 3.9000; 未回退: 已回退过三次",
        ),
        (
            "there is no checkpoint of step 77; there are those of 600, 620",
            "没有第 77 步的检查点; 现有 600, 620",
        ),
        (
            "training cannot go on yet, and stays paused: a chat needs 3 MiB of memory, 2 MiB are free",
            "训练暂时无法继续, 保持暂停: 对话需要 3 MiB 内存, 空闲 2 MiB",
        ),
    ] {
        assert_eq!(chinese(en), zh);
    }
    // A text that is nobody's sentence costs little, however it is made.
    let long = "a: b; ".repeat(400);
    assert_eq!(chinese(&long), long);
}

/// Every key has its lines in Chinese.
#[test]
fn every_key_is_explained() {
    for key in config::keys() {
        let form = config::form(&key).expect("a key");
        for line in [form.doc, &form.takes] {
            let zh = chinese(line);
            assert!(
                zh != line || is_formula(line),
                "{key}: {line:?} has no Chinese"
            );
        }
    }
}

/// What is the same in every language.
fn is_formula(line: &str) -> bool {
    line.starts_with("pre: x + f(N x)")
}

/// The fixed words of every sentence stand in a text of the program: one that was changed there is changed here.
#[test]
fn every_sentence_is_one_of_the_program() {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let mut texts = String::new();
    for crate_ in ["engine", "kernels", "app"] {
        read(&root.join(crate_).join("src"), &mut texts);
    }
    let gap = |c: char| c == '{' || c == '}';
    for (en, zh) in all() {
        let fixed = en.split("{}").map(|words| words.trim_matches(gap));
        for words in fixed.filter(|words| words.chars().any(char::is_alphabetic)) {
            assert!(texts.contains(words), "{words:?} of {en:?} is said nowhere");
        }
        let gaps = en.matches("{}").count();
        for gap in 0..gaps {
            assert!(zh.contains(&format!("{{{gap}}}")), "{zh:?} lacks gap {gap}");
        }
        assert!(
            !zh.contains(&format!("{{{gaps}}}")),
            "{zh:?} has a gap too many"
        );
    }
    let known: BTreeSet<&str> = all().map(|(en, _)| *en).collect();
    assert_eq!(known.len(), all().count(), "a sentence stands there twice");
}

/// The texts of a folder's sources as the program says them, this catalogue's own left out.
fn read(folder: &Path, texts: &mut String) {
    for entry in std::fs::read_dir(folder).expect("the sources") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "catalogue") {
                read(&path, texts);
            }
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            let source = std::fs::read_to_string(&path).expect("a source");
            // As they are said: joined where a text goes on in the next line, quotation marks bare.
            let mut rest = source.as_str();
            while let Some((before, behind)) = rest.split_once("\\\n") {
                texts.push_str(&before.replace("\\\"", "\""));
                rest = behind.trim_start();
            }
            texts.push_str(
                &rest
                    .replace("\\\"", "\"")
                    .replace("{{", "{")
                    .replace("}}", "}"),
            );
        }
    }
}
