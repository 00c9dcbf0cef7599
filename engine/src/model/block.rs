//! One block: a mixer and a feed-forward network, each with its norm and its residual connection.

use super::Recording;
use super::ffn::{self, FeedForward};
use super::mixer::{self, Mixer};
use super::norm::{self, Norm};
use super::position::Position;
use crate::config::ModelConfig;
use crate::param::ParamSpecs;
use crate::tape::{Tape, Var};

/// Where the norm stands, with `f` a mixer or a feed-forward network.
#[derive(Debug)]
enum Residual {
    /// `x + f(N(x))` (Xiong et al. 2020, arXiv:2002.04745).
    Pre(Box<dyn Norm>),
    /// `N(x + f(x))` (Vaswani et al. 2017).
    Post(Box<dyn Norm>),
    /// `x + N2(f(N1(x)))` (Gemma 2, arXiv:2408.00118).
    Sandwich(Box<dyn Norm>, Box<dyn Norm>),
}

impl Residual {
    fn build(config: &ModelConfig, specs: &mut ParamSpecs, name: &str) -> Self {
        match config.norm.text("placement") {
            "post" => Self::Post(norm::build(config, specs, name, true)),
            "sandwich" => {
                let before = norm::build(config, specs, name, false);
                Self::Sandwich(
                    before,
                    norm::build(config, specs, &format!("{name}_post"), false),
                )
            }
            _ => Self::Pre(norm::build(config, specs, name, false)),
        }
    }

    /// `x (B, T, C)` wide -> the same.
    fn record(
        &self,
        tape: &mut Tape,
        x: Var,
        recording: &Recording<'_>,
        f: impl FnOnce(&mut Tape, Var) -> Var,
    ) -> Var {
        match self {
            Self::Pre(norm) => {
                let n = norm.record(tape, x, recording);
                let y = f(tape, n);
                let y = recording.drop_out(tape, y);
                tape.add(x, y)
            }
            Self::Post(norm) => {
                let y = f(tape, x);
                let y = recording.drop_out(tape, y);
                let s = tape.add(x, y);
                norm.record(tape, s, recording)
            }
            Self::Sandwich(before, after) => {
                let n = before.record(tape, x, recording);
                let y = f(tape, n);
                let y = after.record(tape, y, recording);
                let y = recording.drop_out(tape, y);
                tape.add(x, y)
            }
        }
    }
}

/// A block of a decoder.
#[derive(Debug)]
pub(super) struct Block {
    layer: usize,
    mixer: Box<dyn Mixer>,
    mixer_residual: Residual,
    ffn: Box<dyn FeedForward>,
    ffn_residual: Residual,
}

impl Block {
    pub(super) fn new(config: &ModelConfig, specs: &mut ParamSpecs, layer: usize) -> Self {
        let name = |part: &str| format!("blocks.{layer}.{part}");
        let mixer_residual = Residual::build(config, specs, &name("norm1"));
        let mixer = mixer::build(config, specs, &name("mixer"));
        let ffn_residual = Residual::build(config, specs, &name("norm2"));
        let ffn = ffn::build(config, specs, &name("ffn"));
        Self {
            layer,
            mixer,
            mixer_residual,
            ffn,
            ffn_residual,
        }
    }

    /// `x (B, T, C)` wide -> the same.
    pub(super) fn record(
        &self,
        tape: &mut Tape,
        x: Var,
        position: &dyn Position,
        recording: &Recording<'_>,
    ) -> Var {
        let x = self.mixer_residual.record(tape, x, recording, |tape, n| {
            let y = tape.scope("mixer", |tape| {
                self.mixer.record(tape, n, position, recording)
            });
            tape.observe(&format!("blocks.{}.mixer", self.layer), y);
            y
        });
        self.ffn_residual.record(tape, x, recording, |tape, n| {
            let y = tape.scope("ffn", |tape| self.ffn.record(tape, n, recording));
            tape.observe(&format!("blocks.{}.ffn", self.layer), y);
            y
        })
    }
}
