//! Starting a fork: a new run that goes on from a checkpoint of another, with changed settings.
//!
//! The configuration in force when that checkpoint was written is what the fork begins with; flags change it. Whatever
//! leaves the model's shape and the tokenizer alone may change. The parent is only read. A fork can also be made and left
//! to a later resume ([`make`]).

use super::attended::attended;
use super::prepared::Prepared;
use super::{LaunchError, Launched, PLACES, Request, checkpoint_config};
use crate::checkpoint::{self, Found, TOKENIZER, TensorSource};
use crate::config::{Config, Sources, diff, recorded};
use crate::data::Cache;
use crate::device;
use crate::link::{Change, Interrupt};
use crate::model::store::OptimizerSource;
use crate::optim::{self, Optimizer};
use crate::param::Params;
use crate::registry::Class;
use crate::run_folder::{
    NameFrom, Origin as RunOrigin, Parent, RunFolder, RunRecord, check_free, check_writable,
    config_path, find, summary,
};
use crate::setup::Setup;
use crate::train::run::{ConfigSource, Origin};
use crate::train::saving::{forked, same_data};
use kernels::Precision;
use std::path::{Path, PathBuf};

/// Where a fork begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The parent: its name in the folder of runs, or its folder.
    pub run: String,
    /// The checkpoint's step; the newest valid one where it is not said.
    pub step: Option<u64>,
}

/// What a fork would be.
#[derive(Clone, Debug)]
pub struct ForkPlan {
    /// Name of the parent.
    pub parent: String,
    /// Folder of the parent.
    pub parent_path: PathBuf,
    /// The step that it goes on from.
    pub step: u64,
    /// Every key that differs from the parent's at that step, with its class.
    pub changes: Vec<(Change, Class)>,
    /// Whether the optimizer begins with an empty state, because it is of another kind.
    pub fresh_optimizer: bool,
    /// The configuration that the fork begins with.
    pub config: Config,
    checkpoint: Found,
}

impl ForkPlan {
    fn changes_data(&self) -> bool {
        let mut keys = self.changes.iter().map(|(change, _)| change.key.as_str());
        keys.any(|key| key.starts_with("data."))
    }

    /// What the person should know, a line each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> = self
            .changes
            .iter()
            .map(|(change, _)| {
                let was = if change.from.is_empty() {
                    "had none"
                } else {
                    &change.from
                };
                format!("{} = {} (the parent: {was})", change.key, change.to)
            })
            .collect();
        if self.fresh_optimizer {
            notes.push("the optimizer is of another kind: its state starts empty".to_owned());
        }
        notes
    }
}

/// Says what the fork that `request` asks for would be; nothing is prepared or written.
///
/// # Errors
/// If there is no such run or checkpoint, the fork cannot have the name that is asked for, or a change is not a fork's to make.
pub fn plan(request: &Request, fork: &Fork) -> Result<ForkPlan, LaunchError> {
    let parent_path = find(&request.runs, &fork.run)?;
    if let Some(name) = &request.name {
        check_free(&request.runs, name)?;
    }
    let parent = summary(&parent_path).name;
    let checkpoint = choose(&parent_path, &parent, fork.step)?;
    let stored = checkpoint_config(&checkpoint.path)?;
    let shape = recorded(&checkpoint.path);
    let resolve = |flags: &[String]| {
        Config::resolve(&Sources {
            text: &stored,
            flags,
            shape: shape.as_ref(),
            ..Sources::default()
        })
    };
    let before = resolve(&[])?;
    let config = resolve(&request.flags)?;
    let changes = diff(&before, &config);
    for (change, _) in &changes {
        let shapes = change.key.starts_with("model.") || change.key.starts_with("tokenizer.");
        // What only says where something lies is checked by its content, once that is read.
        if shapes && !PLACES.contains(&change.key.as_str()) {
            return Err(LaunchError::Kept {
                run: parent,
                key: change.key.clone(),
                from: change.from.clone(),
                to: change.to.clone(),
            });
        }
    }
    let fresh_optimizer = changes
        .iter()
        .any(|(change, _)| change.key == "optimizer.kind");
    Ok(ForkPlan {
        parent,
        step: checkpoint.trainer.step,
        parent_path,
        changes,
        fresh_optimizer,
        config,
        checkpoint,
    })
}

/// The checkpoint of a step, or the newest valid one.
fn choose(run: &Path, name: &str, step: Option<u64>) -> Result<Found, LaunchError> {
    let checkpoints = run.join("checkpoints");
    let none = |nearest| LaunchError::NoCheckpoint {
        run: name.to_owned(),
        step,
        nearest,
    };
    let Some(step) = step else {
        let found = checkpoint::newest_valid(&checkpoints, &mut |_| {})?;
        return found.ok_or_else(|| none(None));
    };
    let path = checkpoints.join(checkpoint::folder_name(step));
    if path.exists() {
        return Ok(checkpoint::verify(&path)?);
    }
    let there = checkpoint::list(&checkpoints)?;
    let nearest = there.iter().map(|(there, _)| *there);
    Err(none(nearest.min_by_key(|there| there.abs_diff(step))))
}

/// A fork that nobody trains yet.
#[derive(Clone, Debug)]
pub struct MadeFork {
    /// Its folder.
    pub folder: PathBuf,
    /// What it is.
    pub plan: ForkPlan,
}

/// Makes the folder of the fork that `request` asks for, and trains nothing: a resume begins with its first step. Neither
/// weights nor optimizer state are loaded, so that a parent in training keeps the machine.
///
/// # Errors
/// As those of [`super::launch`], but for memory.
pub fn make(
    request: &Request,
    fork: &Fork,
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(&str),
) -> Result<MadeFork, LaunchError> {
    let (asked, wanted) = (request.clone(), fork.clone());
    let (plan, setup) = attended(interrupt, progress, move |interrupt, progress| {
        prepare(&asked, &wanted, interrupt, progress)
    })?;
    let optimizer = plan.fresh_optimizer.then(|| {
        let bytes = Params::flat_bytes(setup.model.specs(), Precision::F32);
        optim::build(&setup.config.optimizer, bytes / size_of::<f32>())
    });
    let (folder, _) = fill(request, &plan, &setup, optimizer.as_deref())?;
    Ok(MadeFork {
        folder: folder.path().to_owned(),
        plan,
    })
}

/// Prepares and starts the fork.
pub(super) fn start(
    request: &Request,
    fork: &Fork,
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(&str),
) -> Result<Launched, LaunchError> {
    let (asked, wanted) = (request.clone(), fork.clone());
    let (plan, prepared) = attended(interrupt, progress, move |interrupt, progress| {
        let (plan, setup) = prepare(&asked, &wanted, interrupt, progress)?;
        let device = device::open(&setup.config)?;
        let prepared = Prepared::of(setup, device, Some(&plan.checkpoint.path), progress)?;
        Ok((plan, prepared))
    })?;
    let optimizer = plan.fresh_optimizer.then_some(&*prepared.trainer.optimizer);
    let (folder, derived) = fill(request, &plan, &prepared.setup, optimizer)?;
    let path = folder.path().to_owned();
    let begun = begin(&plan, prepared, folder, derived, interrupt, progress);
    if begun.is_err() {
        // Nothing has happened in it, and its lock went with what failed.
        drop(std::fs::remove_dir_all(path));
    }
    begun
}

/// Makes the fork's folder with its first checkpoint, in which `optimizer`, where there is one, takes the place of the
/// parent's.
fn fill(
    request: &Request,
    plan: &ForkPlan,
    setup: &Setup,
    optimizer: Option<&dyn Optimizer>,
) -> Result<(RunFolder, Option<Found>), LaunchError> {
    let (name, from) = match &request.name {
        Some(name) => (name.clone(), NameFrom::Flag),
        None => (plan.parent.clone(), NameFrom::Config),
    };
    let what = RunRecord::read(&plan.parent_path).map(|record| record.what);
    let origin = RunOrigin {
        parent: Some(Parent {
            run: plan.parent.clone(),
            step: plan.step,
        }),
        ..request.origin(what)
    };
    let state = forked(
        &plan.checkpoint.trainer,
        setup,
        plan.fresh_optimizer,
        plan.changes_data(),
    );
    let text = setup.config.to_toml();
    let optimizer = optimizer.map(OptimizerSource);
    let optimizer = optimizer.as_ref().map(|it| it as &dyn TensorSource);
    let mut derived = None;
    let folder = RunFolder::create_with(&request.runs, &name, from, &origin, |folder| {
        folder.save_config(1, &text)?;
        let checkpoints = folder.checkpoints();
        derived = Some(checkpoint::derive(
            &plan.checkpoint,
            &checkpoints,
            &state,
            optimizer,
        )?);
        Ok(())
    })?;
    Ok((folder, derived))
}

/// What the fork would be, with its tokenizer and data.
fn prepare(
    request: &Request,
    fork: &Fork,
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(&str),
) -> Result<(ForkPlan, Setup), LaunchError> {
    progress("reading the checkpoint");
    let plan = plan(request, fork)?;
    check_writable(&request.runs)?;
    device::open(&plan.config)?;
    let own = Some(&*plan.checkpoint.path);
    let cache = Cache::of_user();
    let config = plan.config.clone();
    let setup = Setup::unless(interrupt, config, own, cache.as_ref(), progress)?;
    let now = setup.tokenizer.as_ref().map(|it| it.to_hf_json());
    let then = std::fs::read_to_string(plan.checkpoint.path.join(TOKENIZER)).ok();
    if now != then {
        return Err(LaunchError::OtherTokenizer { run: plan.parent });
    }
    let data = &setup.datasets.train;
    if !plan.changes_data() && !same_data(&plan.checkpoint.trainer, data) {
        return Err(LaunchError::OtherData { run: plan.parent });
    }
    Ok((plan, setup))
}

fn begin(
    plan: &ForkPlan,
    prepared: Prepared,
    folder: RunFolder,
    derived: Option<Found>,
    interrupt: &Interrupt,
    progress: &mut dyn FnMut(&str),
) -> Result<Launched, LaunchError> {
    let origin = Origin {
        source: ConfigSource {
            // Nobody edits it; it says what an edit changes.
            file: Some(config_path(folder.path(), 1)),
            ..ConfigSource::default()
        },
        attempt: folder.record().attempt,
        notes: plan.notes(),
        warnings: prepared.warnings(),
        config_version: 1,
    };
    // It was made beside the run's place, and came here with the folder.
    let found = derived.map(|found| Found {
        path: folder
            .checkpoints()
            .join(checkpoint::folder_name(found.trainer.step)),
        ..found
    });
    let ready = prepared.engine(folder, &origin, interrupt)?;
    let Some(found) = found else {
        return ready.start(None, origin.warnings);
    };
    progress("reading the checkpoint");
    let (ready, path) = attended(interrupt, progress, move |_, _| ready.restored(&found))?;
    ready.start(Some(path), origin.warnings)
}
