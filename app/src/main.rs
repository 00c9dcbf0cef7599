//! The zerollm command.
fn main() {}
