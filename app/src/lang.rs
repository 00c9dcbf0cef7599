//! The screen's languages: English and Chinese.
//!
//! A [`Text`] is one phrase in both, written where it is used (an action's help stands in the action's file); phrases
//! that several places share stand here. A [`Phrase`] is made while the program runs: a text with its gaps filled, or a
//! sentence of the engine, whose events and errors are English ([`catalogue`] has their Chinese). Words that Chinese
//! practitioners write in Latin letters (loss, lr, token, the keys of the configuration, units) stay as they are.

use crate::view::{Scene, View};

mod catalogue;
mod phrase;
#[cfg(test)]
mod tests;

pub use phrase::{Phrase, Words};

/// A language of the screen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lang {
    /// English.
    #[default]
    En,
    /// Chinese.
    Zh,
}

impl Lang {
    /// The language that a word asks for: `en` or `zh`.
    pub fn parse(word: &str) -> Option<Self> {
        match word {
            "en" => Some(Self::En),
            "zh" => Some(Self::Zh),
            _ => None,
        }
    }

    /// The language of an environment: Chinese where the first of `LC_ALL`, `LC_MESSAGES` and `LANG` that is set begins
    /// with `zh`.
    pub fn detect(var: impl Fn(&str) -> Option<String>) -> Self {
        let locale = ["LC_ALL", "LC_MESSAGES", "LANG"]
            .into_iter()
            .find_map(|name| var(name).filter(|v| !v.is_empty()));
        match locale {
            Some(l) if l.starts_with("zh") => Self::Zh,
            _ => Self::En,
        }
    }

    /// An English sentence of the engine, as [`Phrase`] has it.
    pub fn say(self, sentence: &str) -> String {
        match self {
            Self::En => sentence.to_owned(),
            Self::Zh => catalogue::chinese(sentence),
        }
    }
}

/// One phrase in every language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Text {
    en: &'static str,
    zh: &'static str,
}

impl Text {
    /// A phrase in English and Chinese.
    pub const fn new(en: &'static str, zh: &'static str) -> Self {
        Self { en, zh }
    }

    /// The phrase in one language.
    pub fn get(self, lang: Lang) -> &'static str {
        match lang {
            Lang::En => self.en,
            Lang::Zh => self.zh,
        }
    }

    /// The phrase with the key of a line in the place of `{}`.
    pub fn with_key(self, view: &View, line: &str) -> String {
        let key = view.keys.key_of(line);
        let phrase = self.get(view.lang);
        phrase.replace("{}", if key.is_empty() { line } else { key })
    }
}

/// What is said in place of what is not there yet, and how to ask the engine for it.
#[derive(Clone, Copy, Debug)]
pub struct Missing {
    /// What is not there.
    pub said: Text,
    /// The rest of the sentence, with `{}` for the key of the line.
    pub hint: Text,
    /// The line that asks for it.
    pub line: &'static str,
}

impl Missing {
    /// The sentence; without the hint where nothing can be asked.
    pub fn get(&self, scene: &Scene<'_>) -> String {
        let mut said = self.said.get(scene.view.lang).to_owned();
        if scene.can_ask() {
            said.push_str(&self.hint.with_key(scene.view, self.line));
        }
        said
    }
}

/// A word of the engine's, as records have it: why a checkpoint was written, how a run ended, what was done, what was asked.
/// A word that is none of those stays as it is.
pub fn term(word: &str) -> Phrase {
    let zh = match word {
        "interval" => "定期",
        "command" => "命令",
        "best" => "最好",
        "finished" => "已完成",
        "preempted" => "被抢占",
        "max_steps" => "完成全部步数",
        "stopped" => "已停止",
        "diverged" => "已发散",
        "warn" => "警告",
        "skip" => "放弃更新",
        "pause" | "paused" => "暂停",
        "resume" => "继续",
        "rollback" => "回退",
        "stop" => "停止",
        "checkpoint" => "检查点",
        "eval" => "评估",
        "sample" => "样本",
        "set" | "config" => "配置",
        "reload" => "重读",
        "attention" => "注意力",
        "weights" => "权重",
        "profile" => "测量",
        "note" => "备注",
        "validation" => "验证",
        "running" => "训练中",
        "failed" => "已失败",
        "interrupted" => "已中断",
        "new" => "未开始",
        "created" => "已创建",
        _ => return Phrase::verbatim(word),
    };
    Phrase::pair(word, zh)
}

/// Before the engine has said anything.
pub const WAITING: Text = Text::new("WAITING", "等待");
/// Training.
pub const RUNNING: Text = Text::new("RUN", "训练中");
/// Standing still.
pub const PAUSED: Text = Text::new("PAUSED", "已暂停");
/// Standing still, the memory given back.
pub const PAUSED_HARD: Text = Text::new("PAUSED, MEMORY FREE", "已暂停, 内存已释放");
/// Ended in good order.
pub const FINISHED: Text = Text::new("DONE", "已完成");
/// Ended because of values that are not finite.
pub const DIVERGED: Text = Text::new("DIVERGED", "已发散");
/// Ended on an error.
pub const FAILED: Text = Text::new("FAILED", "已失败");
/// Ended without a word, as a process that was killed does.
pub const INTERRUPTED: Text = Text::new("INTERRUPTED", "已中断");
/// The run's folder was moved or deleted.
pub const GONE: Text = Text::new("FOLDER GONE", "文件夹已不在");
/// The display stands still while training goes on.
pub const FROZEN: Text = Text::new("FROZEN", "画面冻结");
/// In place of a chart without rows.
pub const NO_STEPS: Text = Text::new("waiting for the first step", "等待第一步");
/// In place of an empty list of layers.
pub const NO_LAYERS: Text = Text::new(
    "no layer statistics yet (telemetry.layer_interval)",
    "尚无层统计 (telemetry.layer_interval)",
);
/// In place of an empty list of samples.
pub const NO_SAMPLES: Missing = Missing {
    said: Text::new("no sample yet", "尚无样本"),
    hint: Text::new("; {} writes one now", "; 按 {} 立即生成"),
    line: "sample",
};
/// In place of an empty list of checkpoints.
pub const NO_CHECKPOINTS: Missing = Missing {
    said: Text::new("no checkpoint yet", "尚无检查点"),
    hint: Text::new("; {} writes one now", "; 按 {} 立即保存"),
    line: "ckpt",
};
/// In place of an empty configuration.
pub const NO_CONFIG: Text = Text::new("waiting for the engine", "等待引擎");
/// Before the step that a screen of the past shows.
pub const AT_STEP: Text = Text::new("at step", "位于步");
/// How to leave it.
pub const BACK_TO_NOW: Text = Text::new("Esc goes back to now", "Esc 回到现在");
/// In place of an empty log.
pub const NO_LOG: Text = Text::new("nothing has happened yet", "尚无事件");
/// In place of the machine's figures.
pub const NO_SYSTEM: Text = Text::new(
    "not looked at yet (telemetry.system_interval)",
    "尚未采样 (telemetry.system_interval)",
);
/// In place of the table of a step's time.
pub const NO_PROFILE: Missing = Missing {
    said: Text::new("no step was timed yet", "尚未测量"),
    hint: Text::new("; r times the next five", "; 按 r 测量接下来五步"),
    line: "",
};
/// A run that ended keeps its screen.
pub const LEAVE_NOW: Text = Text::new("{} leaves", "按 {} 退出");

/// A paused run waits.
pub const GO_ON: Text = Text::new("{} goes on", "按 {} 继续");

/// What a command that the engine has not yet confirmed is doing.
pub fn pending(word: &str) -> Text {
    match word {
        "pause" => Text::new("pausing...", "正在暂停..."),
        "resume" => Text::new("resuming...", "正在继续..."),
        "checkpoint" => Text::new("writing a checkpoint...", "正在保存检查点..."),
        "eval" => Text::new("evaluating...", "正在评估..."),
        "sample" => Text::new("sampling...", "正在生成样本..."),
        "rollback" => Text::new("going back...", "正在回退..."),
        "tag" | "untag" => Text::new("tagging...", "正在修改标签..."),
        "verify" => Text::new("reading a checkpoint again...", "正在校验检查点..."),
        "delete" => Text::new("deleting a checkpoint...", "正在删除检查点..."),
        "stop" => Text::new("stopping...", "正在停止..."),
        "set" => Text::new("changing a key...", "正在修改配置..."),
        "attention" => Text::new("looking...", "正在查看..."),
        "weights" => Text::new("copying the weights...", "正在复制权重..."),
        "profile" => Text::new("timing steps...", "正在测量..."),
        "reload" => Text::new("reading the file again...", "正在重读配置..."),
        _ => Text::new("asking...", "正在请求..."),
    }
}
