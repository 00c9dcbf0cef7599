//! `[watch]`: what the watchers look for and what is done then.

use super::typed::Reader;
use super::value::Value;
use crate::watch::{Action, RULES, Rule};

/// `[watch]`.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchConfig {
    /// A line for `sh -c`; none: no program is run.
    pub command: Option<String>,
    /// An address `http://...`; none: nothing is posted.
    pub webhook: Option<String>,
    /// What each of [`RULES`] is told, in their order.
    pub rules: Vec<RuleConfig>,
}

/// `[watch.spike]` and its kin.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleConfig {
    /// What is done.
    pub action: Action,
    values: Vec<(&'static str, Option<Value>)>,
}

impl RuleConfig {
    fn value(&self, name: &str) -> &Value {
        match self.values.iter().find(|(key, _)| *key == name) {
            Some((_, Some(value))) => value,
            _ => panic!("the rule has no key {name}"),
        }
    }

    /// The value of its number key `name`.
    ///
    /// # Panics
    /// If the rule declares no such key: a bug of the caller. So for [`RuleConfig::count`].
    pub fn number(&self, name: &str) -> f64 {
        match self.value(name) {
            Value::Float(x) => *x,
            other => panic!("{name} is {other:?}"),
        }
    }

    /// The value of its whole-number key `name`.
    pub fn count(&self, name: &str) -> usize {
        match self.value(name) {
            Value::Int(x) => *x as usize,
            other => panic!("{name} is {other:?}"),
        }
    }
}

impl Reader<'_> {
    pub(super) fn watch(&self) -> WatchConfig {
        let text = |path| self.0.text(path).map(str::to_owned);
        WatchConfig {
            command: text("watch.command"),
            webhook: text("watch.webhook"),
            rules: RULES.iter().map(|rule| self.rule(rule)).collect(),
        }
    }

    fn rule(&self, rule: &Rule) -> RuleConfig {
        let get = |name: &str| self.0.get(&format!("{}.{name}", rule.path)).cloned();
        let action = match get("action") {
            Some(Value::Text(word)) => Action::from_word(&word),
            _ => Action::Warn,
        };
        let values = rule.keys.iter().map(|key| (key.name, get(key.name)));
        RuleConfig {
            action,
            values: values.collect(),
        }
    }
}
