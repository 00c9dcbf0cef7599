use super::*;
use crate::safetensors::{Dtype, TensorInfo, encode};
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;

mod faults;
mod keeping;

/// Named tensors in memory, both ways.
#[derive(Clone, Default, PartialEq, Debug)]
struct Memory(Vec<(TensorInfo, Vec<f32>)>);

impl Memory {
    fn new(value: f32) -> Self {
        let tensor = |name: &str, len: usize| {
            let values = (0..len).map(|i| value + i as f32).collect();
            (TensorInfo::f32(name, [len]), values)
        };
        Self(vec![tensor("a", 3), tensor("b", 5)])
    }
}

impl TensorSource for Memory {
    fn tensors(&self) -> Vec<TensorInfo> {
        self.0.iter().map(|(info, _)| info.clone()).collect()
    }
    fn write(&self, index: usize, out: &mut dyn Write) -> io::Result<()> {
        encode(Dtype::F32, &self.0[index].1, out)
    }
}

impl TensorSink for Memory {
    fn tensors(&self) -> Vec<TensorInfo> {
        TensorSource::tensors(self)
    }
    fn part(&mut self, index: usize, range: std::ops::Range<usize>) -> &mut [f32] {
        &mut self.0[index].1[range]
    }
}

/// A folder in memory where there is one: syncing it takes no time.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").unwrap_or_else(|_| tempfile::tempdir().unwrap())
}

fn state(step: u64) -> TrainerState {
    TrainerState {
        step,
        tokens: 1 << 40,
        seconds: 12.5,
        attempt: 2,
        config_version: 3,
        config: vec![("optimizer.lr".to_owned(), "0.001".to_owned())],
        data: DataPosition {
            epoch: 1,
            row: 77,
            rows: 1000,
            seed: 9,
        },
        seed: 42,
        generators: vec![("sample".to_owned(), [1, u64::MAX, 3, 4])],
        best_loss: Some(1.25),
        best_step: 500,
        loss_ema: (3.5, 0.9),
        skipped: 1,
        counters: vec![("rollbacks".to_owned(), 2.0)],
    }
}

fn save_on(disk: &dyn Disk, checkpoints: &Path, step: u64) -> Result<Written, CheckpointError> {
    let contents = Contents {
        model: &Memory::new(step as f32),
        optimizer: &Memory::new(-(step as f32)),
        config: &json!({"model_type": "llama"}),
        generation_config: &json!({"eos_token_id": 0}),
        tokenizer: Some(b"{}"),
        trainer: &state(step),
    };
    write_on(disk, checkpoints, &contents, "interval")
}

fn save(checkpoints: &Path, step: u64) -> Written {
    save_on(&RealDisk, checkpoints, step).unwrap()
}

fn newest(checkpoints: &Path) -> Option<u64> {
    let found = newest_valid(checkpoints, &mut |_| {}).unwrap();
    found.map(|found| found.manifest.step)
}

/// Every file under a folder with its contents.
fn contents(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(contents(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

#[test]
fn what_is_saved_is_loaded() {
    let folder = scratch();
    let checkpoints = folder.path().join("checkpoints");
    let written = save(&checkpoints, 1000);
    assert_eq!(written.path, checkpoints.join("step_00001000"));
    let found = verify(&written.path).unwrap();
    assert_eq!(found.trainer, state(1000));
    assert_eq!(found.manifest.reason, "interval");
    assert_eq!(found.manifest.files.len(), 7);
    let on_disk: usize = contents(&written.path).values().map(Vec::len).sum();
    assert_eq!(written.bytes, on_disk as u64);
    let mut model = Memory::new(0.0);
    load_tensors(&written.path.join(MODEL), &mut model).unwrap();
    assert_eq!(model, Memory::new(1000.0));
    let mut arrays = Memory::new(0.0);
    load_tensors(&written.path.join(OPTIMIZER), &mut arrays).unwrap();
    assert_eq!(arrays, Memory::new(-1000.0));
    arrays.0.pop();
    let error = load_tensors(&written.path.join(OPTIMIZER), &mut arrays).unwrap_err();
    assert!(error.to_string().contains("tensor b: is not expected"));
    arrays.0.push((TensorInfo::f32("c", [5]), vec![0.0; 5]));
    let error = load_tensors(&written.path.join(OPTIMIZER), &mut arrays).unwrap_err();
    assert!(error.to_string().contains("tensor c: is missing"));
    arrays.0[1].0 = TensorInfo::f32("b", [5, 1]);
    let error = load_tensors(&written.path.join(OPTIMIZER), &mut arrays).unwrap_err();
    assert!(error.to_string().contains("has shape [5]"), "{error}");
}

#[test]
fn nothing_is_overwritten() {
    let folder = scratch();
    save(folder.path(), 10);
    let before = contents(folder.path());
    let error = save_on(&RealDisk, folder.path(), 10).unwrap_err();
    assert!(matches!(error, CheckpointError::Exists { .. }), "{error}");
    assert_eq!(contents(folder.path()), before);
    // A damaged one makes room and is kept beside.
    fs::write(folder.path().join("step_00000010").join(MODEL), "x").unwrap();
    save(folder.path(), 10);
    assert_eq!(newest(folder.path()), Some(10));
    let aside = folder.path().join("superseded/step_00000010.1").join(MODEL);
    assert_eq!(fs::read(aside).unwrap(), b"x");
    // So does one that only its hashes give away: the run could not go on from it, and could not save this step either.
    let weights = folder.path().join("step_00000010").join(MODEL);
    let mut bytes = fs::read(&weights).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&weights, bytes).unwrap();
    save(folder.path(), 10);
    assert_eq!(newest(folder.path()), Some(10));
    assert!(folder.path().join("superseded/step_00000010.2").is_dir());
}

#[test]
fn every_damage_is_noticed() {
    let folder = scratch();
    save(folder.path(), 1);
    let good = contents(&save(folder.path(), 2).path);
    let mut warnings = Vec::new();
    for (path, bytes) in &good {
        // Cut short, grown, one bit flipped, gone.
        let mut flipped = bytes.clone();
        *flipped.last_mut().unwrap() ^= 1;
        let cut = bytes[..bytes.len() / 2].to_vec();
        let grown = [bytes.as_slice(), b"\0"].concat();
        for damaged in [
            Some(cut),
            Some(grown),
            Some(flipped),
            Some(Vec::new()),
            None,
        ] {
            match &damaged {
                Some(damaged) => fs::write(path, damaged).unwrap(),
                None => fs::remove_file(path).unwrap(),
            }
            // The manifest's last byte is a line feed: flipping it makes it invalid JSON too.
            let found = newest_valid(folder.path(), &mut |line| warnings.push(line)).unwrap();
            assert_eq!(found.unwrap().manifest.step, 1, "{}", path.display());
            fs::write(path, bytes).unwrap();
        }
    }
    assert_eq!(warnings.len(), good.len() * 5);
    assert!(
        warnings
            .iter()
            .all(|line| line.starts_with("skipped: ") && !line.contains('\n'))
    );
    assert_eq!(newest(folder.path()), Some(2));
    fs::rename(
        folder.path().join("step_00000002"),
        folder.path().join("step_00000003"),
    )
    .unwrap();
    assert_eq!(
        newest(folder.path()),
        Some(1),
        "a folder of another step's name"
    );
}

#[test]
fn a_trainer_state_survives_and_hostile_bytes_do_not() {
    let bytes = state(7).encode().unwrap();
    assert_eq!(TrainerState::decode(&bytes).unwrap(), state(7));
    // The form is frozen: a file of version 1 must stay readable.
    assert_eq!(bytes[..12], *b"ZLLMTRN1\x01\0\0\0");
    assert_eq!(bytes[44], 7, "the step is the payload's first number");
    for length in 0..bytes.len() {
        assert!(TrainerState::decode(&bytes[..length]).is_err(), "{length}");
    }
    for at in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[at] ^= 0x40;
        assert!(TrainerState::decode(&bytes).is_err(), "{at}");
    }
    // A correct checksum over forged lengths and versions.
    let forge = |version: u32, payload: &[u8]| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&version.to_le_bytes()).update(payload);
        let mut bytes = b"ZLLMTRN1".to_vec();
        bytes.extend(version.to_le_bytes());
        bytes.extend(hasher.finalize().as_bytes());
        bytes.extend(payload);
        TrainerState::decode(&bytes)
    };
    let payload = &bytes[44..];
    let error = |version, payload: &[u8]| forge(version, payload).unwrap_err().to_string();
    assert!(error(2, payload).contains("newer zerollm"));
    assert!(error(1, &[payload, b"x"].concat()).contains("left over"));
    assert!(error(1, &[0xff; 64]).contains("cannot be decoded"));
    for at in 0..payload.len() {
        let mut payload = payload.to_vec();
        payload.splice(at..=at, [253, 255, 255, 255, 255, 255, 255, 255, 255]);
        // A number may be any number; a length may not.
        if let Ok(state) = forge(1, &payload) {
            assert_eq!(state.config, self::state(7).config);
        }
    }
}
