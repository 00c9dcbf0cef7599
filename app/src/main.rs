//! The zerollm command.
mod chart;
mod text;

fn main() {}
