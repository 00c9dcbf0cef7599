//! The zerollm command: trains language models from zero, in a terminal.
//!
//! `cli` has one file a subcommand; `ui` and its kin are the screen, which knows the engine only by the events and commands
//! of [`engine::link`].

mod actions;
mod ancestry;
mod background;
mod bars;
mod bell;
mod book;
mod chart;
mod cli;
mod command_line;
mod config_file;
mod cost;
mod edit;
mod errand;
mod export;
mod input;
mod kept_rows;
mod keymap;
mod lang;
mod leave;
mod mouse;
mod out;
mod pace;
mod paint;
mod palette;
mod panels;
mod plain;
mod prompt;
mod remote;
mod seat;
mod settings;
mod signals;
mod state;
mod terminal;
mod text;
mod theme;
mod ui;
mod view;
mod watch_file;
mod workbench;

use clap::Parser as _;
use cli::{Cli, Command, Failure};
use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

/// Commit that the program was built from.
pub(crate) const COMMIT: &str = env!("ZEROLLM_COMMIT");

/// Version, commit and instruction set.
pub(crate) fn version() -> &'static str {
    use std::sync::OnceLock;
    static VERSION: OnceLock<String> = OnceLock::new();
    VERSION.get_or_init(|| {
        format!(
            "{} (commit {COMMIT}, {})",
            env!("CARGO_PKG_VERSION"),
            kernels::Isa::detected().name()
        )
    })
}

fn main() -> ExitCode {
    terminal::install_panic_hook();
    let outcome = run();
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(Failure { code, message }) => {
            if !message.is_empty() {
                // Whoever closed stderr does not want to know.
                drop(writeln!(std::io::stderr(), "zerollm: {message}"));
            }
            ExitCode::from(code)
        }
    }
}

/// What is wrong with the command line, in few lines.
fn misused(error: &clap::Error) -> Failure {
    let text = error.render().to_string();
    let lines: Vec<&str> = text.lines().filter(|line| !line.is_empty()).collect();
    let text = lines.join("\n");
    Failure::new(2, text.strip_prefix("error: ").unwrap_or(&text))
}

fn run() -> Result<u8, Failure> {
    let requested = std::env::var("ZEROLLM_ISA").ok();
    kernels::Isa::choose(requested.as_deref())
        .map_err(|error| Failure::new(2, error.to_string()))?;
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() => return Err(misused(&error)),
        Err(help) => help.exit(),
    };
    match cli.command {
        Some(command) => command.run(),
        None if std::io::stdin().is_terminal() && std::io::stdout().is_terminal() => {
            Command::Train(cli::train::Arguments::default()).run()
        }
        None => {
            let mut help = <Cli as clap::CommandFactory>::command();
            // A reader that closes the pipe has seen enough.
            drop(help.print_help());
            Ok(0)
        }
    }
}
