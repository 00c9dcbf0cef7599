//! The choice of the language, and that every text says in Chinese what it says in English.

use super::*;

#[test]
fn the_environment_chooses() {
    let with = |pairs: &'static [(&str, &str)]| {
        Lang::detect(|key| {
            let found = pairs.iter().find(|p| p.0 == key);
            found.map(|p| p.1.to_owned())
        })
    };
    assert_eq!(with(&[("LANG", "zh_CN.UTF-8")]), Lang::Zh);
    assert_eq!(with(&[("LANG", "zh_CN.UTF-8"), ("LC_ALL", "C")]), Lang::En);
    assert_eq!(with(&[("LANG", "zh_TW"), ("LC_ALL", "")]), Lang::Zh);
    assert_eq!(with(&[]), Lang::En);
    assert_eq!(Lang::parse("zh"), Some(Lang::Zh));
}
