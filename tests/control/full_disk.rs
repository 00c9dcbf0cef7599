//! A disk without room: the run stands still and says so, and the deletion that makes room is obeyed.

use crate::common::{ENDLESS, Place};
use std::process::Command;

/// In a mount namespace of its own, as a full disk of a few megabytes: two checkpoints, the rest of the disk filled, the
/// record's last page too; then one checkpoint is deleted by the run itself.
const SCRIPT: &str = r#"
mkdir -p runs && mount -t tmpfs -o size=4m tmpfs runs || { echo skipped; exit 0; }
"$0" train c.toml --run r --ui none 2> said & train=$!
until [ -e runs/r/checkpoints/step_00000004/manifest.json ]; do
    kill -0 $train || { cat said; exit 1; }
    sleep 0.1
done
cat /dev/zero > runs/ballast 2> /dev/null
sleep 2
"$0" ctl r delete 2 --timeout 20
echo "code $?"
[ -e runs/r/checkpoints/step_00000002 ] && echo "still there"
grep -o '"event":"checkpoint_deleted","step":2' runs/r/events.jsonl
kill -INT $train
wait $train
"#;

#[test]
fn a_checkpoint_is_deleted_while_there_is_no_room() {
    let place = Place::new(&[
        ENDLESS,
        ("train.checkpoint_interval", "2"),
        ("train.keep_last", "0"),
    ]);
    let mut command = Command::new("unshare");
    place.settle(&mut command);
    let arguments = ["-rm", "sh", "-c", SCRIPT, env!("CARGO_BIN_EXE_zerollm")];
    let output = match command.args(arguments).output() {
        Ok(output) => output,
        Err(error) => return eprintln!("skipped: no unshare to make a small disk with: {error}"),
    };
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    if said.starts_with("skipped") || errors.contains("unshare") {
        return eprintln!("skipped: no small disk may be mounted here: {errors}");
    }
    for part in [
        "step_00000002 is deleted",
        "code 0",
        "\"checkpoint_deleted\",\"step\":2",
    ] {
        assert!(said.contains(part), "{part}\n{said}\n{errors}");
    }
    assert!(!said.contains("still there"), "{said}\n{errors}");
}
