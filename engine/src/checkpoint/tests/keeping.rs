//! Which checkpoints stay and which go, what a survey says of them, and what the disk may do meanwhile.

use super::super::derive::derive_on;
use super::super::keep::{clean_on, forget_best_on};
use super::super::remove::delete_on;
use super::faults::faulty;
use super::*;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::time::SystemTime;

#[test]
fn pruning_keeps_the_last_the_best_and_the_tagged() {
    let folder = scratch();
    let (run, checkpoints) = (folder.path(), folder.path().join("checkpoints"));
    assert_eq!(list(&checkpoints).unwrap(), []);
    assert_eq!(clean(&checkpoints).unwrap(), 0);
    for step in 1..=6 {
        save(&checkpoints, step);
    }
    set_best(run, 2).unwrap();
    assert_eq!(best(run), Some(2));
    tag(&checkpoints.join("step_00000003"), "before the spike").unwrap();
    assert_eq!(
        tag_of(&checkpoints.join("step_00000003")).as_deref(),
        Some("before the spike")
    );
    fs::remove_file(checkpoints.join("step_00000006").join(TRAINER)).unwrap();
    let prune = |keep_last| {
        let mut removed = Vec::new();
        let none = BTreeSet::new();
        let mut tell = |it| removed.push(it);
        prune(run, &checkpoints, keep_last, &none, &mut tell).unwrap();
        removed
    };
    assert_eq!(prune(0), []);
    let pruned = prune(1);
    let gone: Vec<u64> = pruned.iter().map(|removed| removed.step).collect();
    assert_eq!(gone, [1, 4]);
    assert!(pruned.iter().all(|removed| removed.bytes > 500));
    let steps = |folder: &Path| {
        let found = list(folder).unwrap().into_iter();
        found.map(|(step, _)| step).collect::<Vec<_>>()
    };
    assert_eq!(steps(&checkpoints), [2, 3, 5, 6]);
    assert!(
        verify(&checkpoints.join("step_00000003")).is_ok(),
        "a tag is no damage"
    );

    // Going on from step 2: the later ones make room, and go at the next pruning unless tagged.
    assert_eq!(set_aside(&checkpoints, 2).unwrap(), 3);
    assert_eq!(steps(&checkpoints), [2]);
    save(&checkpoints, 3);
    assert_eq!(set_aside(&checkpoints, 2).unwrap(), 1);
    assert_eq!(newest(&checkpoints), Some(2));
    let pruned = prune(1);
    let mut gone: Vec<u64> = pruned.iter().map(|removed| removed.step).collect();
    gone.sort_unstable();
    assert_eq!(gone, [3, 5, 6]);
    assert!(checkpoints.join("superseded/step_00000003.1").is_dir());
}

#[test]
fn deleting_leaves_the_newest_good_one_and_nothing_half_gone() {
    let folder = scratch();
    let (run, checkpoints) = (folder.path(), folder.path().join("checkpoints"));
    for step in 1..=4 {
        save(&checkpoints, step);
    }
    let of = |step| checkpoints.join(folder_name(step));
    set_best(run, 2).unwrap();
    tag(&of(1), "first").unwrap();
    let none = BTreeSet::new();
    for (step, part) in [(4, "newest good checkpoint"), (9, "is not there")] {
        let error = delete(run, &checkpoints, step, &none).unwrap_err();
        assert!(error.to_string().contains(part), "{error}");
    }
    // Who asks for it may delete what is tagged, and what is best: then nothing is.
    let gone = delete(run, &checkpoints, 1, &none).unwrap();
    assert_eq!((gone.step, gone.path), (1, of(1)));
    assert!(gone.bytes > 500);
    delete(run, &checkpoints, 2, &none).unwrap();
    assert_eq!(best(run), None);
    // Of damaged ones the newest is not good: by its sizes, or as somebody has found.
    fs::remove_file(of(4).join(TRAINER)).unwrap();
    assert!(delete(run, &checkpoints, 3, &none).is_err());
    for (damaged, good) in [(9, Some(3)), (3, None)] {
        let damaged = BTreeSet::from([damaged]);
        assert_eq!(newest_good(&checkpoints, &damaged).unwrap(), good);
    }
    delete(run, &checkpoints, 4, &none).unwrap();
    save(&checkpoints, 5);
    delete(run, &checkpoints, 5, &BTreeSet::from([5])).unwrap();
    assert_eq!(newest(&checkpoints), Some(3));
    assert_eq!(fs::read_dir(&checkpoints).unwrap().count(), 1);
    // Killed between renaming and deleting: a leftover, which the next start sweeps.
    save(&checkpoints, 4);
    fs::rename(
        of(3),
        checkpoints.join(format!("{TEMPORARY}prune-step_00000003")),
    )
    .unwrap();
    assert_eq!(newest(&checkpoints), Some(4));
    assert_eq!(clean(&checkpoints).unwrap(), 1);
}

#[test]
fn a_survey_says_what_lies_there() {
    let folder = scratch();
    let (run, checkpoints) = (folder.path(), folder.path().join("checkpoints"));
    let mut surveyor = Surveyor::default();
    assert_eq!(surveyor.survey(run).unwrap(), []);
    for step in 1..=3 {
        save(&checkpoints, step);
    }
    let of = |step| checkpoints.join(folder_name(step));
    set_best(run, 2).unwrap();
    tag(&of(1), "first").unwrap();
    fs::write(of(3).join(MODEL), "short").unwrap();
    let found = surveyor.survey(run).unwrap();
    let tags: Vec<Option<&str>> = found.iter().map(|it| it.tag.as_deref()).collect();
    assert_eq!(tags, [Some("first"), None, None]);
    assert_eq!(found.iter().filter(|it| it.best).count(), 1);
    assert!(found[1].best && found[1].fault.is_none() && found[1].bytes > 500);
    assert_eq!(found[1].config_version, Some(state(2).config_version));
    assert_eq!(*found[1].config, state(2).config);
    assert!(
        found[2]
            .fault
            .as_ref()
            .is_some_and(|fault| fault.contains(MODEL))
    );
    untag(&of(1)).unwrap();
    untag(&of(2)).unwrap();
    assert!(
        surveyor
            .survey(run)
            .unwrap()
            .iter()
            .all(|it| it.tag.is_none())
    );
    for bad in ["", "  ", "a\nb", "a\x1b[2J", &"x".repeat(65)] {
        assert!(refuse_tag(bad).is_some(), "{bad:?}");
    }
    assert_eq!(refuse_tag("before the \u{4e2d} change"), None);
}

#[test]
fn a_survey_reads_only_what_is_new_or_changed() {
    let folder = scratch();
    let (run, checkpoints) = (folder.path(), folder.path().join("checkpoints"));
    save(&checkpoints, 1);
    let of = |step, name| checkpoints.join(folder_name(step)).join(name);
    let mut surveyor = Surveyor::default();
    let versions = |surveyor: &mut Surveyor| -> Vec<Option<u32>> {
        let found = surveyor.survey(run).unwrap().into_iter();
        found.map(|it| it.config_version).collect()
    };
    assert_eq!(versions(&mut surveyor), [Some(3)]);
    // Other contents of the same size and time: nobody looks again.
    let change = |step, version, modified| {
        let other = TrainerState {
            config_version: version,
            ..state(step)
        };
        let path = of(step, TRAINER);
        fs::write(&path, other.encode().unwrap()).unwrap();
        let file = fs::File::options().write(true).open(path).unwrap();
        file.set_modified(modified).unwrap();
    };
    let then = fs::metadata(of(1, TRAINER)).unwrap().modified().unwrap();
    change(1, 4, then);
    save(&checkpoints, 2);
    assert_eq!(versions(&mut surveyor), [Some(3), Some(3)]);
    assert_eq!(versions(&mut Surveyor::default()), [Some(4), Some(3)]);
    // Another time: it is read again, and only it.
    let two = fs::metadata(of(2, TRAINER)).unwrap().modified().unwrap();
    change(2, 5, two);
    change(1, 6, then - std::time::Duration::from_secs(1));
    assert_eq!(versions(&mut surveyor), [Some(6), Some(3)]);
    // What is gone is forgotten, and what cannot be read is tried each time.
    fs::rename(checkpoints.join(folder_name(2)), checkpoints.join("x")).unwrap();
    assert_eq!(versions(&mut surveyor), [Some(6)]);
    fs::rename(checkpoints.join("x"), checkpoints.join(folder_name(2))).unwrap();
    assert_eq!(versions(&mut surveyor), [Some(6), Some(5)]);
    fs::write(of(1, TRAINER), "torn").unwrap();
    assert_eq!(versions(&mut surveyor), [None, Some(5)]);
    change(1, 7, SystemTime::now());
    assert_eq!(versions(&mut surveyor), [Some(7), Some(5)]);
}

#[test]
fn a_survey_says_how_things_are_now() {
    let folder = scratch();
    let (run, checkpoints) = (folder.path(), folder.path().join("checkpoints"));
    save(&checkpoints, 1);
    let weights = checkpoints.join(folder_name(1)).join(MODEL);
    let whole = fs::read(&weights).unwrap();
    let mut surveyor = Surveyor::default();
    let mut look = || surveyor.survey(run).unwrap().remove(0);
    let before = look();
    assert!(before.fault.is_none() && before.stamps.len() > 5);
    assert_eq!(look(), before);
    fs::write(&weights, "short").unwrap();
    assert!(look().fault.unwrap().contains(MODEL));
    fs::write(&weights, &whole).unwrap();
    let file = fs::File::options().write(true).open(&weights).unwrap();
    file.set_modified(SystemTime::UNIX_EPOCH).unwrap();
    let mended = look();
    assert_eq!((mended.fault, mended.bytes), (None, before.bytes));
    assert_ne!(mended.stamps, before.stamps, "somebody has changed it");
    fs::remove_file(&weights).unwrap();
    assert!(look().fault.unwrap().contains(MODEL));
    // No folder, for a reason that is not that there is none.
    fs::rename(&checkpoints, run.join("elsewhere")).unwrap();
    fs::write(&checkpoints, "").unwrap();
    let why = surveyor.survey(run).unwrap_err().to_string();
    assert!(why.contains("checkpoints: cannot be read: "), "{why}");
    assert!(!why.contains("intact") && !why.contains('\n'), "{why}");
}

#[test]
fn what_cannot_be_read_is_not_taken_for_nothing() {
    let folder = scratch();
    let (run, checkpoints) = (folder.path(), folder.path().join("checkpoints"));
    for step in 1..=4 {
        save(&checkpoints, step);
    }
    let steps = || {
        let found = list(&checkpoints).unwrap().into_iter();
        found.map(|(step, _)| step).collect::<Vec<_>>()
    };
    let prune = |damaged: &[u64]| {
        let damaged = damaged.iter().copied().collect();
        prune(run, &checkpoints, 1, &damaged, &mut |_| {})
    };
    // A note that is there and cannot be read: nobody knows which is the best.
    fs::create_dir(run.join("best")).unwrap();
    let why = prune(&[]).unwrap_err().to_string();
    assert!(why.contains("best: cannot be read: "), "{why}");
    assert_eq!(steps(), [1, 2, 3, 4]);
    fs::remove_dir(run.join("best")).unwrap();
    // A tag that is no text is a tag.
    fs::write(checkpoints.join(folder_name(1)).join("tag"), b"\xff").unwrap();
    assert_eq!(tag_of(&checkpoints.join(folder_name(1))), None);
    // The newest is known to be damaged: the one before it is the last that a resume could take up.
    prune(&[4]).unwrap();
    assert_eq!(steps(), [1, 3, 4]);
    prune(&[]).unwrap();
    assert_eq!(steps(), [1, 4]);
}

#[test]
fn a_deletion_that_the_disk_cuts_short_is_told_and_finished_later() {
    // The note, the renaming, the sync, the removal: each may fail.
    for n in 1..=4 {
        let folder = scratch();
        let (run, checkpoints) = (folder.path(), folder.path().join("checkpoints"));
        save(&checkpoints, 1);
        save(&checkpoints, 2);
        set_best(run, 1).unwrap();
        let before = contents(run);
        let none = BTreeSet::new();
        let disk = faulty(n, ErrorKind::PermissionDenied, false);
        let outcome = delete_on(&disk, run, &checkpoints, 1, &none);
        if n <= 2 {
            let error = outcome.unwrap_err().to_string();
            assert!(error.contains("permission denied"), "{n}: {error}");
            assert_eq!(
                contents(run),
                before,
                "{n}: not deleted, and the best still"
            );
            continue;
        }
        // For every reader it is gone; the disk says what is left of it.
        let removed = outcome.unwrap();
        let leftover = removed.leftover.unwrap();
        assert!(leftover.contains("permission denied"), "{n}: {leftover}");
        let name = format!("{TEMPORARY}prune-step_00000001");
        assert!(leftover.contains(&name), "{n}: {leftover}");
        assert_eq!(removed.bytes, 0, "{n}: nothing is freed yet");
        assert_eq!((newest(&checkpoints), best(run)), (Some(2), None), "{n}");
        assert!(checkpoints.join(&name).join(MODEL).is_file(), "{n}");
        // Another of that step, which goes too, is not in its way.
        save(&checkpoints, 1);
        let again = delete_on(
            &faulty(3, ErrorKind::Other, false),
            run,
            &checkpoints,
            1,
            &none,
        );
        assert!(
            again
                .unwrap()
                .leftover
                .unwrap()
                .contains(&format!("{name}.1"))
        );
        // The next checkpoint sweeps both, also where none is to go.
        prune(run, &checkpoints, 0, &none, &mut |_| {}).unwrap();
        assert_eq!(fs::read_dir(&checkpoints).unwrap().count(), 1, "{n}");
    }
}

#[test]
fn a_leftover_that_stays_does_not_keep_the_others() {
    let folder = scratch();
    for name in ["a", "b", "c"] {
        fs::create_dir(folder.path().join(format!("{TEMPORARY}{name}"))).unwrap();
    }
    let refused = clean_on(
        &faulty(2, ErrorKind::PermissionDenied, false),
        folder.path(),
    );
    let why = refused.unwrap_err().to_string();
    assert!(why.contains("cannot remove the leftover"), "{why}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    assert_eq!(clean(folder.path()).unwrap(), 1);
    assert!(
        forget_best_on(&RealDisk, folder.path()).is_ok(),
        "there is none"
    );
}

#[test]
fn the_first_checkpoint_of_a_fork_is_whole_or_not_there() {
    let folder = scratch();
    let parent = save(&folder.path().join("parent"), 7).path;
    let parent = verify(&parent).unwrap();
    let forked = TrainerState {
        attempt: 1,
        ..state(7)
    };
    let own = folder.path().join("fork");
    let make = |disk: &dyn Disk| derive_on(disk, &parent, &own, &forked, Some(&Memory::new(0.5)));
    let mut refused = 0;
    while let Err(error) = make(&faulty(refused + 1, ErrorKind::StorageFull, false)) {
        refused += 1;
        assert!(matches!(error, CheckpointError::DiskFull { .. }), "{error}");
        let lies = fs::read_dir(&own).map_or(0, Iterator::count);
        assert_eq!(lies, 0, "operation {refused}");
    }
    assert!(refused > 10, "{refused}");
    assert_eq!(newest(&own), Some(7));
    // One that was killed there with this process's number is not in the way; one that is there stays until there is another.
    let leftover = own.join(format!("{TEMPORARY}step_00000007-{}", std::process::id()));
    fs::create_dir(&leftover).unwrap();
    assert!(make(&faulty(4, ErrorKind::Other, false)).is_err());
    assert_eq!(newest(&own), Some(7));
    assert_eq!(make(&RealDisk).unwrap().trainer, forked);
    assert!(own.join("superseded/step_00000007.1").is_dir() && !leftover.exists());
}

/// Who goes on from an older one sets the newer ones aside, which are deleted later.
#[cfg(unix)]
#[test]
fn a_newer_one_that_cannot_be_read_now_is_not_passed_over() {
    let folder = scratch();
    let checkpoints = folder.path();
    save(checkpoints, 1);
    save(checkpoints, 2);
    let place = checkpoints.join(folder_name(2));
    let refused = || {
        let error = newest_valid(checkpoints, &mut |_| {}).unwrap_err();
        let line = error.to_string();
        assert!(
            line.contains("step_00000002") && !line.contains('\n'),
            "{line}"
        );
        error
    };
    for name in [MANIFEST, MODEL, TRAINER] {
        // A link to itself: there, and not to be read.
        let (file, kept) = (place.join(name), checkpoints.join("kept"));
        fs::rename(&file, &kept).unwrap();
        std::os::unix::fs::symlink(&file, &file).unwrap();
        assert!(
            matches!(refused(), CheckpointError::Unreadable { .. }),
            "{name}"
        );
        fs::remove_file(&file).unwrap();
        fs::rename(kept, file).unwrap();
    }
    assert_eq!(newest(checkpoints), Some(2));
    // Whole, in a form that this program does not know.
    let manifest = place.join(MANIFEST);
    let text = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, text.replace("\"schema\": 1", "\"schema\": 2")).unwrap();
    let error = refused();
    assert!(matches!(error, CheckpointError::Newer { .. }), "{error}");
    assert!(
        error.to_string().ends_with("use a newer zerollm"),
        "{error}"
    );
}
