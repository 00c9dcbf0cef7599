//! `disk`: soon there is no room for another checkpoint.
//!
//! Looked at when a run starts, with the size that a checkpoint will have, and after each checkpoint, with the size that it has.
//! A checkpoint is written before an older one is deleted, so even a run that keeps few needs room for one more.

use super::{Finding, Rule, Seen, Sight, Watcher, action, key};
use crate::config::RuleConfig;
use crate::registry::Kind;
use std::path::Path;

pub(super) static RULE: Rule = Rule {
    path: "watch.disk",
    doc: "the disk of the run has room for few more checkpoints",
    keys: &[
        key(
            "checkpoints",
            Kind::POSITIVE,
            "3",
            "checkpoints that the free space must hold",
        ),
        action(&["warn", "pause", "off"]),
    ],
    new: || Box::new(Disk),
};

#[derive(Debug)]
struct Disk;

impl Watcher for Disk {
    fn see(&mut self, config: &RuleConfig, seen: &Seen<'_>) -> Sight {
        let Seen::Disk {
            step,
            free,
            checkpoint,
        } = *seen
        else {
            return Sight::Other;
        };
        let need = config.count("checkpoints") as u64;
        let room = free / checkpoint.max(1);
        if room >= need {
            return Sight::Calm;
        }
        Sight::Trouble(Finding {
            message: format!(
                "the disk has room for {room} more checkpoints after step {step}: {} MiB are free, each takes {} MiB",
                free >> 20,
                (checkpoint >> 20).max(1)
            ),
            layer: None,
            value: room as f64,
            threshold: need as f64,
        })
    }

    fn window(&self, _: &RuleConfig) -> u64 {
        1
    }

    fn save(&self) -> Vec<f64> {
        Vec::new()
    }

    fn load(&mut self, _: &[f64]) {}
}

/// Bytes that are free for this user on the disk of a folder; none where the system does not tell.
#[cfg(unix)]
pub fn free_bytes(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// Bytes that are free for this user on the disk of a folder; none where the system does not tell.
#[cfg(not(unix))]
pub fn free_bytes(_: &Path) -> Option<u64> {
    None
}
