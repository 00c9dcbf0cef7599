//! The screen as a whole: what it shows, what keys do, that no size breaks it.

use super::fixture::{states, text};

#[test]
#[ignore]
fn look() {
    let size = std::env::var("SIZE").unwrap_or("80x24".into());
    let (w, h) = size.split_once('x').unwrap();
    let which = std::env::var("STATE").unwrap_or("normal".into());
    let keys = std::env::var("KEYS").unwrap_or_default();
    for (name, mut bench) in states() {
        if name == which {
            for key in keys.split(' ').filter(|k| !k.is_empty()) {
                bench.press(key);
            }
            println!("{}", text(&bench, w.parse().unwrap(), h.parse().unwrap()));
        }
    }
}
