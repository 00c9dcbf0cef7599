//! How a run is followed: the flags that `train`, `attach` and `watch` share, and following a run of another process.

use super::Failure;
use crate::ancestry;
use crate::chart::glyph::GlyphSet;
use crate::config_file;
use crate::keymap;
use crate::lang::Lang;
use crate::out;
use crate::plain::Plain;
use crate::remote;
use crate::seat::Seat;
use crate::settings::{self, Settings};
use crate::signals;
use crate::state::History;
use crate::theme::Wanted;
use crate::ui::{self, Outcome};
use clap::{Args, ValueEnum};
use engine::link::Request;
use engine::run_folder::{Next, Tail, is_gone};
use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How a run is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Ui {
    /// The terminal UI in a terminal, else plain lines
    #[default]
    Auto,
    /// The terminal UI
    Tui,
    /// A line an interval
    Plain,
    /// One event a line on stdout
    Json,
    /// Nothing
    None,
}

impl Ui {
    /// `auto` is the terminal UI only where there is a terminal at both ends and nobody says otherwise, else `plain`.
    pub fn choose(self) -> Self {
        if self != Self::Auto {
            return self;
        }
        let dumb = std::env::var("TERM").is_ok_and(|term| term == "dumb");
        let ci = std::env::var_os("CI").is_some();
        if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() && !dumb && !ci {
            Self::Tui
        } else {
            Self::Plain
        }
    }
}

/// Flags of a command that follows a run.
#[derive(Clone, Debug, Default, Args)]
pub struct ScreenFlags {
    /// How the run is followed
    #[arg(long, value_enum, default_value_t = Ui::Auto)]
    pub ui: Ui,
    /// Language of the screen: en, zh [default: LANG]
    #[arg(long, value_name = "LANG")]
    pub lang: Option<String>,
    /// Colours of the screen [default: ZEROLLM_THEME, settings.toml, auto: as the terminal's background]
    #[arg(long, value_name = "THEME", value_parser = Wanted::words())]
    pub theme: Option<String>,
    /// Characters of charts [default: what the terminal can show]
    #[arg(long, value_name = "GLYPHS", value_parser = GlyphSet::WORDS)]
    pub glyphs: Option<String>,
    /// File of one's own keys [default: keys.toml in the configuration folder, if it is there]
    #[arg(long, value_name = "FILE")]
    pub keys: Option<PathBuf>,
}

impl ScreenFlags {
    /// The screen that they, the environment and the person's own files ask for.
    ///
    /// # Errors
    /// If there is no such language, or a file is not as it should be.
    pub fn options(&self) -> Result<ui::Options, Failure> {
        let refused = |message: String| Failure::new(2, message);
        let var = |name: &str| std::env::var(name).ok();
        let mut flags = Settings {
            theme: self.theme.as_deref().and_then(Wanted::parse),
            glyphs: self.glyphs.as_deref().and_then(GlyphSet::parse),
            ..Settings::default()
        };
        if let Some(word) = &self.lang {
            let lang = Lang::parse(word);
            flags.lang =
                Some(lang.ok_or_else(|| refused(format!("--lang {word}: expected en or zh")))?);
        }
        let environment = Settings::environment(var).map_err(refused)?;
        let file = Settings::file(var).map_err(refused)?;
        let said = flags.or(environment).or(file);
        let mut options = ui::Options::from_environment();
        options.lang = said.lang.unwrap_or(options.lang);
        if let Some(Wanted::Palette(palette)) = said.theme {
            (options.palette, options.ask_background) = (palette, false);
        }
        options.glyphs = said.glyphs.unwrap_or(options.glyphs);
        options.mouse = said.mouse.unwrap_or(options.mouse);
        // Into a file nothing rings.
        if std::io::stdout().is_terminal() {
            options.bell = said.bell(std::env::var_os("TMUX").is_some());
        }
        let own = || settings::folder(var).map(|folder| folder.join("keys.toml"));
        let keys = self
            .keys
            .clone()
            .or_else(|| own().filter(|file| file.exists()));
        if let Some(file) = keys {
            options.keys = Arc::new(keymap::file::load(&file).map_err(refused)?);
        }
        Ok(options)
    }
}

/// Follows the run in a folder from its beginning until it ends or the person leaves. Requests of the screen go to `ask`,
/// numbered from `first_id`.
///
/// # Errors
/// If the record cannot be read, or the screen fails.
pub fn follow(
    folder: &Path,
    flags: &ScreenFlags,
    seat: Seat,
    first_id: u64,
    ask: impl FnMut(Request) -> Result<(), String> + Send + 'static,
) -> Result<u8, Failure> {
    let mut options = flags.options()?;
    match flags.ui.choose() {
        Ui::Tui => {
            let failed = |what: &str, error| Failure::new(1, format!("{what}: {error}"));
            options.signals = signals::install(None).map_err(|error| failed("signals", error))?;
            options.history = History::read(folder)?;
            let history = &options.history;
            let tail = Tail::open_at(folder, history.end, history.is_over())?;
            let last = history.index.as_ref().and_then(|index| index.last_step());
            (options.seat, options.first_id) = (seat, first_id);
            if seat.controls() {
                options.file = config_file::File::of_run(folder);
            }
            let client = remote::client(folder, tail, last.unwrap_or(0), ask)
                .map_err(|error| failed("threads", error))?;
            ancestry::tell(&mut options, folder);
            let (outcome, _) = ui::run(client, &options);
            left(outcome, folder)
        }
        Ui::Json => every_line(folder, out::line),
        Ui::Plain | Ui::Auto => {
            let mut plain = Plain::default();
            every_line(folder, |line| {
                let event = serde_json::from_str(line).ok();
                match event.and_then(|event| plain.line(&event)) {
                    Some(line) => out::line(&line),
                    None => Ok(()),
                }
            })
        }
        Ui::None => every_line(folder, |_| Ok(())),
    }
}

fn left(outcome: Outcome, folder: &Path) -> Result<u8, Failure> {
    let folder = crate::text::escape(&folder.display().to_string());
    match outcome {
        Outcome::Ended(_) => out::line(&format!("the run is in {folder}"))?,
        Outcome::Detached | Outcome::HardExit => {
            out::line(&format!("left; the run in {folder} is as it was"))?;
        }
        Outcome::Lost(why) => {
            return Err(Failure::new(1, format!("{why}; the run is as it was")));
        }
    }
    Ok(0)
}

/// Hands on every line until the run ends.
fn every_line(
    folder: &Path,
    mut tell: impl FnMut(&str) -> Result<(), Failure>,
) -> Result<u8, Failure> {
    let mut tail = Tail::open(folder)?;
    loop {
        match tail.wait(Duration::from_mins(1)) {
            Next::Line(line) => tell(&line)?,
            Next::Quiet => {}
            Next::Over if is_gone(folder) && !tail.has_ended() => {
                let folder = crate::text::escape(&folder.display().to_string());
                let message = format!("{folder} is gone: the folder was moved or deleted");
                return Err(Failure::new(1, message));
            }
            Next::Over => return Ok(0),
        }
    }
}
