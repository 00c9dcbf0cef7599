//! trainer.bin: the scalars of a run, in a frozen binary form.
//!
//! Bytes: the magic `ZLLMTRN1`, the version as a little-endian `u32`, the BLAKE3 hash (32 bytes) of version and payload, the
//! payload: bincode 2's standard configuration of that version's struct. A new version gets a new struct and an arm in
//! [`TrainerState::decode`]; older ones stay readable.

use bincode::config::{Configuration, LittleEndian, Varint, standard};
use bincode::{Decode, Encode};

const MAGIC: &[u8; 8] = b"ZLLMTRN1";
const VERSION: u32 = 1;
const HEAD: usize = 8 + 4 + 32;
/// More than any state needs; a forged length cannot ask for more memory.
const LIMIT: usize = 16 << 20;

/// Everything that continues a run besides arrays.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct TrainerState {
    /// Last step done.
    pub step: u64,
    /// Tokens trained on so far.
    pub tokens: u64,
    /// Seconds spent training, pauses left out.
    pub seconds: f64,
    /// Number of the attempt that wrote this, from 1.
    pub attempt: u32,
    /// Version of the configuration in force.
    pub config_version: u32,
    /// The configuration in force: dotted key and TOML value.
    pub config: Vec<(String, String)>,
    /// Where the data stands.
    pub data: DataPosition,
    /// The run's seed: with the step it gives every counter-based random number.
    pub seed: u64,
    /// Generators with a state of their own (sampling), by name.
    pub generators: Vec<(String, [u64; 4])>,
    /// Lowest validation loss so far.
    pub best_loss: Option<f64>,
    /// Its step.
    pub best_step: u64,
    /// Smoothed training loss: the weighted sum and the sum of the weights.
    pub loss_ema: (f64, f64),
    /// Steps whose update was left out because something was not finite.
    pub skipped: u64,
    /// Other counters, by name, so that a new one needs no new version.
    pub counters: Vec<(String, f64)>,
}

/// Where the data stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub struct DataPosition {
    /// Times that the data was gone through.
    pub epoch: u64,
    /// Next row within the epoch.
    pub row: u64,
    /// Rows of an epoch: other data would have another number.
    pub rows: u64,
    /// Seed of the order.
    pub seed: u64,
}

fn config() -> Configuration<LittleEndian, Varint, bincode::config::Limit<LIMIT>> {
    standard().with_limit::<LIMIT>()
}

impl TrainerState {
    /// Name of the counter that holds the loss of the last step.
    pub const LOSS: &'static str = "loss";

    /// One of the other counters, by its name.
    pub fn counter(&self, name: &str) -> Option<f64> {
        let mut counters = self.counters.iter();
        counters.find(|(known, _)| known == name).map(|pair| pair.1)
    }

    /// Loss of the last step, nats per token, where it is known and finite.
    pub fn last_loss(&self) -> Option<f64> {
        self.counter(Self::LOSS).filter(|loss| loss.is_finite())
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// If the state is larger than any run's; the message says so.
    pub fn encode(&self) -> Result<Vec<u8>, String> {
        let payload = bincode::encode_to_vec(self, config())
            .map_err(|error| format!("the trainer's state cannot be written: {error}"))?;
        if payload.len() > LIMIT {
            return Err(format!(
                "the trainer's state has {} bytes, more than {LIMIT}",
                payload.len()
            ));
        }
        let mut bytes = Vec::with_capacity(HEAD + payload.len());
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        bytes.extend(checksum(VERSION, &payload));
        bytes.extend(payload);
        Ok(bytes)
    }

    /// Reads the bytes of a file, of this version or an older one.
    ///
    /// # Errors
    /// If they are something else, damaged, or of a newer version; without the file's name.
    pub fn decode(bytes: &[u8]) -> Result<Self, Undecodable> {
        let damaged = |why: &str| Err(Undecodable::Damaged(why.to_owned()));
        if bytes.len() < HEAD || bytes[..8] != *MAGIC {
            return damaged("it is not a trainer state (or is cut short)");
        }
        let version = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]);
        let payload = &bytes[HEAD..];
        if checksum(version, payload) != bytes[12..HEAD] {
            return damaged("it is damaged (its checksum differs)");
        }
        if version != VERSION {
            return Err(Undecodable::Newer(version));
        }
        match bincode::decode_from_slice(payload, config()) {
            Ok((state, used)) if used == payload.len() => Ok(state),
            Ok(_) => damaged("bytes are left over at its end"),
            Err(error) => damaged(&format!("it cannot be decoded: {error}")),
        }
    }
}

/// Why bytes are no trainer's state.
#[derive(Debug, thiserror::Error)]
pub enum Undecodable {
    /// They are of this version, which a newer program writes.
    #[error("it has version {0}, this program reads up to {VERSION}; use a newer zerollm")]
    Newer(u32),
    /// They are not what was written.
    #[error("{0}")]
    Damaged(String),
}

fn checksum(version: u32, payload: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&version.to_le_bytes());
    hasher.update(payload);
    *hasher.finalize().as_bytes()
}
