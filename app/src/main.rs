//! The zerollm command.
mod actions;
mod bars;
mod chart;
mod keymap;
mod lang;
mod leave;
mod paint;
mod panels;
mod state;
mod terminal;
mod text;
mod theme;
mod ui;
mod view;
mod workbench;

fn main() {}
