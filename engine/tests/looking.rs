//! Looking into a run while it trains: attention maps, a copy of the weights, and a chat beside it change no bit.

#[expect(dead_code, reason = "not all that running tests share is needed")]
mod running;

use engine::infer::chat::{CONTEXT, Order, Partner, Source, Told};
use engine::infer::generate::Writing;
use engine::infer::sample::SamplerConfig;
use engine::link::{Attention, Body, Command, Urgency};
use running::{Running, losses, start};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const CONFIG: &str = "[data]\nsource = \"storybook\"\nsequence_length = 32\n\
    [model]\nlayers = 2\ndim = 32\nheads = 4\nkv_heads = 2\nffn = { hidden = 64 }\n\
    [tokenizer]\nalgorithm = \"bytes\"\n[device]\nthreads = 1\n[optimizer]\nlr = 0.01\n\
    [schedule]\nkind = \"constant\"\n\
    [train]\nbatch_size = 2\nmax_steps = 100000000\ncheckpoint_interval = 0\neval_interval = 0\n\
    [sample]\ninterval = 0\n";

fn look(prompt: &str, layer: usize, head: usize) -> Command {
    Command::Attention {
        prompt: prompt.to_owned(),
        layer,
        head,
    }
}

fn map(run: &mut Running, prompt: &str, layer: usize, head: usize) -> Attention {
    let answer = run.obeys(look(prompt, layer, head));
    let map = answer.before.into_iter().find_map(|body| match body {
        Body::Attention(map) => Some(*map),
        _ => None,
    });
    map.expect("an event before the answer")
}

fn answer(partner: &mut Partner) -> String {
    let begin = Instant::now();
    loop {
        match partner.poll() {
            Some(Told::Answer(answer)) => return answer.text,
            Some(Told::Failed(why)) => panic!("{why}"),
            Some(_) => {}
            None => std::thread::sleep(Duration::from_millis(2)),
        }
        assert!(begin.elapsed() < Duration::from_mins(1), "no answer");
    }
}

#[test]
fn maps_copies_and_chats_leave_training_the_same_bits() {
    let place = TempDir::new().expect("a temporary folder");
    let place = place.path();
    std::fs::write(place.join("c.toml"), CONFIG).expect("written");
    let plain = start(place, "plain", &["train.max_steps=60"], false);
    let folder = plain.folder.clone();
    plain.end();
    let plain = losses(&folder);
    assert_eq!(plain.len(), 60);

    let mut run = start(place, "looked", &[], false);
    run.wait_for_step(5);
    run.obeys(Command::Pause { hard: false });
    let first = map(&mut run, "One day a fox", 1, 3);
    assert_eq!((first.tokens.len(), first.skipped), (13, 0));
    assert_eq!(first.tokens[3..5], [" ", "d"]);
    for (i, row) in first.rows.iter().enumerate() {
        assert_eq!(row.len(), i + 1);
        assert!((row.iter().sum::<f64>() - 1.0).abs() < 0.01, "{row:?}");
    }
    assert_eq!(
        first.entropies.iter().map(Vec::len).collect::<Vec<_>>(),
        [4, 4]
    );
    let other = map(&mut run, "One day a fox", 0, 0);
    assert_eq!(other.entropies, first.entropies);
    assert_ne!(other.rows, first.rows);
    // Bytes of a character that is several tokens.
    let wide = map(&mut run, "\u{4e2d}", 0, 0);
    assert_eq!(wide.tokens, ["\\xe4", "\\xb8", "\\xad"]);
    for (command, why) in [
        (look("a", 2, 0), "2 layers of 4 heads"),
        (look("a", 0, 4), "2 layers of 4 heads"),
        (look("", 0, 0), "0 tokens"),
        (look(&"a".repeat(33), 0, 0), "1 to 32"),
        (Command::Weights, "in the process that trains"),
    ] {
        let refused = run.refuses(command);
        assert!(refused.contains(why), "{refused}");
    }

    let writing = Writing {
        sampler: SamplerConfig {
            seed: 4,
            ..SamplerConfig::default()
        },
        max_tokens: 12,
        ignore_end: true,
    };
    let desk = run.desk.clone();
    let chat = |run: &mut Running| {
        desk.order(Order { context: CONTEXT });
        run.obeys(Command::Weights);
        let copied = desk.fetch().expect("the copy is there before the reply");
        let step = copied.step;
        let partner = Partner::start(Source::Copy(copied), CONTEXT).expect("a thread");
        (step, partner)
    };
    let (step, mut early) = chat(&mut run);
    assert!(step >= 5);
    early.say("One day", writing);
    let said = answer(&mut early);
    let written = run.obeys(Command::Checkpoint {
        tag: Some("kept".to_owned()),
    });
    let path = written.message.trim_end_matches(" is written");
    let checkpoint = run.folder.join(path);
    assert!(checkpoint.is_dir(), "{}", written.message);
    // Statistics are taken between two steps too.
    run.set("telemetry.layer_interval", "7");
    run.obeys(Command::Resume);
    run.wait_for_step(30);
    // While it trains on: the chat still has the weights of its own step, which are those of the checkpoint.
    early.forget();
    early.say("One day", writing);
    assert_eq!(answer(&mut early), said);
    map(&mut run, "a fox", 0, 1);
    let mut named = Partner::start(Source::Folder(checkpoint), CONTEXT).expect("a thread");
    named.say("One day", writing);
    assert_eq!(answer(&mut named), said);
    run.wait_for_step(60);
    let (later, _) = chat(&mut run);
    assert!(later > step);
    run.interrupt.raise(Urgency::Stop);
    let folder = run.folder.clone();
    run.end();
    let mut looked = losses(&folder);
    looked.retain(|step, _| *step <= 60);
    assert_eq!(looked, plain);
}
