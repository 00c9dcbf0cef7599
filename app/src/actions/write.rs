//! Write the value in force of a key into the run's configuration file.

use super::{Action, Ran, Refused, set};
use crate::edit;
use crate::lang::Text;
use crate::workbench::Workbench;

/// See the module's page.
pub const ACTION: Action = Action::new(
    "write",
    Text::new("to file", "写入文件"),
    Text::new(
        "write the value in force of a key into the run's configuration file; its comments stay",
        "将配置项的当前值写入配置文件; 注释保留",
    ),
    run,
)
.takes("KEY", |before, bench| match before {
    [] => set::keys(bench),
    _ => Vec::new(),
});

fn run(key: &str, bench: &mut Workbench) -> Ran {
    if bench.file.is_none() {
        const NO_FILE: Text = Text::new(
            "write: this screen has no configuration file of the run to write to",
            "write: 本界面没有可写入的配置文件",
        );
        return Err(Refused::because(NO_FILE));
    }
    let value = bench.state.config.iter().find(|v| v.key == key);
    let value = value.ok_or_else(|| Refused::Because(edit::NO_KEY.fill(&[&key])))?;
    bench.to_file.push((key.to_owned(), value.value.clone()));
    Ok(())
}
