//! The zerollm command.
mod chart;
mod terminal;
mod text;
mod theme;

fn main() {}
