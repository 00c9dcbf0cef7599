use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::SpecialMode;

/// The definition, O(V * N): count all pairs anew, merge the best, again. Returns the merges as byte strings.
fn naive(
    pieces: &BTreeMap<Vec<u8>, i64>,
    num_merges: usize,
    ties: Ties,
) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut ids: Vec<Vec<u8>> = alphabet::bytes_by_char()
        .into_iter()
        .map(|byte| vec![byte])
        .collect();
    let mut words: Vec<(Vec<Vec<u8>>, i64)> = pieces
        .iter()
        .map(|(piece, &count)| (piece.iter().map(|&byte| vec![byte]).collect(), count))
        .collect();
    let mut merges = Vec::new();
    while merges.len() < num_merges {
        let mut counts: BTreeMap<(Vec<u8>, Vec<u8>), i64> = BTreeMap::new();
        for (word, count) in &words {
            for pair in word.windows(2) {
                *counts
                    .entry((pair[0].clone(), pair[1].clone()))
                    .or_default() += count;
            }
        }
        let id = |token: &Vec<u8>| ids.iter().position(|known| known == token);
        let best = match ties {
            // Of equal counts the smallest ids: the last of a maximum in reversed order.
            Ties::Hf => counts.iter().max_by_key(|(pair, count)| {
                (**count, std::cmp::Reverse((id(&pair.0), id(&pair.1))))
            }),
            Ties::Greatest => counts
                .iter()
                .max_by_key(|(pair, count)| (**count, (*pair).clone())),
        };
        let Some((pair, _)) = best else { break };
        let (left, right) = pair.clone();
        for (word, _) in &mut words {
            let mut at = 0;
            while at + 1 < word.len() {
                if word[at] == left && word[at + 1] == right {
                    let joined = [&left[..], &right[..]].concat();
                    word.splice(at..at + 2, [joined]);
                }
                at += 1;
            }
        }
        ids.push([&left[..], &right[..]].concat());
        merges.push((left, right));
    }
    merges
}

fn merges_of(tokenizer: &Tokenizer) -> Vec<(Vec<u8>, Vec<u8>)> {
    let bytes = |id: u32| tokenizer.token_bytes(id).unwrap().to_vec();
    tokenizer
        .bpe
        .merges()
        .iter()
        .map(|merge| (bytes(merge.left), bytes(merge.right)))
        .collect()
}

fn options<'a>(vocab_size: usize, ties: Ties, threads: usize) -> TrainOptions<'a> {
    TrainOptions {
        vocab_size,
        ties,
        threads,
        ..TrainOptions::default()
    }
}

fn assert_equals_naive(text: &str, num_merges: usize, ties: Ties) {
    let gpt2 = split::by_name("gpt2").unwrap();
    let mut pieces = BTreeMap::new();
    split::for_each_piece(&[gpt2], text, &mut |piece| {
        *pieces.entry(piece.to_vec()).or_default() += 1;
    });
    let trained = train([text], options(256 + num_merges, ties, 1)).unwrap();
    assert_eq!(
        merges_of(&trained),
        naive(&pieces, num_merges, ties),
        "{ties:?} on {text:?}"
    );
}

const MIXED: &str = "low lower lowest newer newest wider widest \u{4E2D}\u{6587}\u{4E2D}\u{6587} aaaa aaaaa abab ababab \
    the then there these those they don't won't 1000 10000 100\n\n  \u{1F600}\u{1F601}\u{1F600} lowlow newnew";

#[test]
fn equals_the_naive_trainer() {
    for ties in [Ties::Hf, Ties::Greatest] {
        assert_equals_naive(MIXED, 80, ties);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]
    #[test]
    fn equals_the_naive_trainer_on_random_letters(text in "[ab]{1,60}|[abc ]{1,80}|[a]{1,30}|[ab\u{e9}\u{4E2D}]{1,50}") {
        assert_equals_naive(&text, 40, Ties::Hf);
        assert_equals_naive(&text, 40, Ties::Greatest);
    }
}

#[test]
fn the_textbook_example() {
    for ties in [Ties::Hf, Ties::Greatest] {
        let trained = train(["aaabdaaabac"], options(259, ties, 1)).unwrap();
        let ids = trained.encode("aaabdaaabac", SpecialMode::Parse);
        let byte = |text: &str| trained.id_of(text).unwrap();
        assert_eq!(ids, [258, byte("d"), 258, byte("a"), byte("c")], "{ties:?}");
    }
}

#[test]
fn threads_change_nothing() {
    let words = (0..40_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 20).to_string());
    let text = words.fold(String::new(), |text, word| text + "w" + &word + " " + MIXED);
    let inputs = [&text[..], MIXED, "", "tail"];
    let one = train(inputs, options(600, Ties::Hf, 1))
        .unwrap()
        .to_hf_json();
    let four = train(inputs, options(600, Ties::Hf, 4))
        .unwrap()
        .to_hf_json();
    assert!(one == four);
    assert!(
        text.len() > 2 * (256 << 10),
        "the text must be cut into parts"
    );
}

#[test]
fn stops_where_no_pair_is_left() {
    let trained = train(["ab"], options(1000, Ties::Hf, 1)).unwrap();
    assert_eq!(trained.vocab_size(), 257);
    assert_eq!(
        train([""; 0], options(1000, Ties::Hf, 1))
            .unwrap()
            .vocab_size(),
        256
    );
}

#[test]
fn a_merge_with_the_text_of_a_special_token_takes_its_id() {
    let specials = vec!["the".to_owned(), "<|endoftext|>".to_owned()];
    let trained = train(
        ["the the thethe then"],
        TrainOptions {
            specials,
            ..options(262, Ties::Hf, 1)
        },
    )
    .unwrap();
    let result = trained
        .bpe
        .merges()
        .iter()
        .find(|merge| merge.result == 0)
        .expect("`the` is frequent");
    assert_eq!(trained.decode(&[result.left, result.right]), b"the");
    assert_eq!(
        trained
            .encode("<|endoftext|>the", SpecialMode::AsText)
            .last(),
        Some(&0)
    );
}

#[test]
fn refuses_impossible_options() {
    let with = |specials: &[&str], vocab_size| {
        let specials = specials.iter().map(|&token| token.to_owned()).collect();
        train(
            ["text"],
            TrainOptions {
                specials,
                ..options(vocab_size, Ties::Hf, 1)
            },
        )
        .unwrap_err()
    };
    assert!(matches!(
        with(&["<s>"], 256),
        TokenizerError::VocabularyTooSmall {
            asked: 256,
            specials: 1
        }
    ));
    assert!(matches!(
        with(&["<s>", "<s>"], 300),
        TokenizerError::SpecialToken { .. }
    ));
    assert!(matches!(
        with(&[], 1 << 30),
        TokenizerError::TooLarge { .. }
    ));
    let unknown = train(
        ["text"],
        TrainOptions {
            split: "gpt5".to_owned(),
            ..TrainOptions::default()
        },
    );
    assert!(unknown.unwrap_err().to_string().contains("gpt2, gpt4"));
}

#[test]
fn reports_progress_to_the_end() {
    let mut seen = Vec::new();
    let mut progress = |at| seen.push(at);
    train(
        [MIXED],
        TrainOptions {
            progress: Some(&mut progress),
            ..options(300, Ties::Hf, 1)
        },
    )
    .unwrap();
    assert_eq!(
        seen.first(),
        Some(&TrainProgress::Counting {
            bytes: MIXED.len() as u64
        })
    );
    assert_eq!(
        seen.last(),
        Some(&TrainProgress::Merging {
            tokens: 300,
            vocab_size: 300
        })
    );
}

#[test]
fn stops_when_it_is_asked_to_in_either_phase() {
    use std::sync::atomic::{AtomicUsize, Ordering};
    let text = MIXED.repeat(20);
    // Asked often enough that the second half of the questions falls into the merging.
    let asked = AtomicUsize::new(0);
    let trained = |patience: usize| {
        asked.store(0, Ordering::Relaxed);
        let stop = || asked.fetch_add(1, Ordering::Relaxed) >= patience;
        train(
            [&text],
            TrainOptions {
                stop: Some(&stop),
                ..options(300, Ties::Hf, 2)
            },
        )
    };
    assert!(trained(usize::MAX).is_ok());
    let questions = asked.load(Ordering::Relaxed);
    assert!(questions > 20, "{questions}");
    for patience in [0, 1, questions / 2, questions - 1] {
        let stopped = trained(patience);
        assert!(
            matches!(stopped, Err(TokenizerError::Interrupted)),
            "{patience}: {stopped:?}"
        );
    }
}
