//! The chart: metrics kept at full length, drawn so that no step is ever lost.
//!
//! Knows nothing of the engine, the clock or the terminal; it writes into a `ratatui` buffer. Read in this order:
//! [`series`] (what is kept), [`recorded`] (what stays on the disk), [`ema`] (smoothing), [`columns`] (what a
//! chart shows of them), [`axis`] (scales and ticks), [`glyph`] (sub-cell dots), [`draw`]
//! (a chart with its axes), [`means`] (lines that do not change), [`spark`] (one small strip without axes).

pub mod axis;
pub mod columns;
pub mod draw;
pub mod ema;
pub mod function;
pub mod glyph;
pub mod means;
pub mod recorded;
pub mod series;
pub mod spark;

#[cfg(test)]
mod tests;
