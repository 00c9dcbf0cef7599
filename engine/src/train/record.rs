//! What a run says: events go to the run's folder first, then to whoever listens.

use super::run::{Engine, now};
use crate::link::{Body, Command, Doing, Event, Memory, Started, Urgency};
use crate::records::live::Attempt;
use crate::run_folder::RunError;
use crate::watch::NONFINITE;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::Path;
use std::time::Duration;

impl Engine {
    pub(super) fn announce(
        &mut self,
        memory: Memory,
        resumed_from: Option<String>,
        warnings: &[String],
    ) {
        let config = self.config();
        let floor = self.setup.datasets.train.floor_bits_per_byte();
        let bytes_per_token = self.setup.datasets.train.bytes_per_token();
        let started = Started {
            schema: crate::link::SCHEMA,
            run: self.folder.name(),
            attempt: self.attempt,
            config_version: self.config_version,
            parameters: self.trainer.model.specs().count(),
            device: self.trainer.device_name(),
            isa: self.trainer.cpu.isa.name().to_owned(),
            threads: self.trainer.cpu.pool.threads(),
            precision: self.trainer.precision().name().to_owned(),
            step: self.step,
            max_steps: config.train.max_steps,
            tokens_per_step: (config.train.batch_size * config.data.sequence_length) as u64,
            floor_bits_per_byte: floor,
            floor_loss: floor
                .zip(bytes_per_token)
                .map(|(floor, bytes)| floor * bytes * std::f64::consts::LN_2),
            bytes_per_token,
            layers: self.trainer.model.layer_names(),
            memory,
            chat_bytes: crate::estimate::chat(&self.trainer.model, self.trainer.precision()),
            config: config.effective(),
        };
        self.emit(Body::Started(Box::new(started)));
        if let Some(path) = resumed_from {
            self.emit(Body::Resumed {
                step: self.step,
                path,
                attempt: self.attempt,
            });
        }
        for message in std::mem::take(&mut self.notes) {
            self.emit(Body::Warning {
                step: self.step,
                message,
                note: true,
            });
        }
        for message in warnings {
            self.warn(message.clone());
        }
        self.follow_live();
    }

    /// Starts and stops what is written beside the record while the run goes on.
    fn follow_live(&mut self) {
        let attempt = Attempt {
            folder: self.folder.path().to_owned(),
            start: self.record_start,
            number: self.attempt,
            step: self.step,
        };
        let telemetry = &self.setup.config.telemetry;
        for note in self.live.follow(telemetry, &attempt) {
            match note {
                Ok(text) => self.log(&now(), &text),
                Err(message) => self.warn(message),
            }
        }
    }

    /// Writes an event to the run's folder, then hands it to whoever listens. A full disk pauses the run: nothing is lost,
    /// and training does not go on unrecorded. Checkpoints that somebody wants deleted go meanwhile: that makes room.
    pub(super) fn emit(&mut self, body: Body) {
        self.emit_event(Event { body, time: now() });
    }

    /// The same of an event that has its time.
    pub(super) fn emit_event(&mut self, event: Event) {
        let mut told = false;
        let mut deletions = Vec::new();
        while let Err(error) = self.events.append(&event) {
            if !matches!(error, RunError::DiskFull { .. })
                || self.interrupt.urgency() != Urgency::None
                || self.stop_is_asked()
            {
                break;
            }
            if !told {
                told = true;
                let reason = Some(format!("{error}; training waits for room on the disk"));
                self.link.emit(Event {
                    body: Body::Paused {
                        step: self.step,
                        reason,
                        hard: self.released,
                    },
                    time: now(),
                });
            }
            let asked = self.delete_as_asked();
            if asked.is_empty() {
                std::thread::sleep(Duration::from_millis(200));
            }
            deletions.extend(asked);
        }
        if told {
            self.link.emit(Event {
                body: Body::ResumedFromPause { step: self.step },
                time: now(),
            });
        }
        self.note_for_people(&event);
        let edited = matches!(event.body, Body::ConfigApplied { .. });
        let alarms = self.watch_event(&event.body);
        self.link.emit(event);
        if edited {
            self.follow_live();
        }
        self.raise_all(alarms);
        for deletion in deletions {
            self.tell_deletion(deletion);
        }
    }

    /// A line in `engine.log`.
    fn log(&self, time: &str, text: &str) {
        append(
            &self.folder.path().join("engine.log"),
            &format!("{time} {text}\n"),
        );
    }

    /// Samples and troubles also go to files that a person opens: `samples/step_00000100.txt` and `engine.log`. They repeat
    /// what the events say, so a disk that refuses them costs nothing.
    fn note_for_people(&self, event: &Event) {
        let log = |text: &str| self.log(&event.time, text);
        match &event.body {
            Body::Sample {
                step, prompt, text, ..
            } => {
                let name = format!("{}.txt", crate::checkpoint::folder_name(*step));
                append(
                    &self.folder.samples().join(name),
                    &format!("{prompt}{text}\n\n"),
                );
            }
            // Its own event says it.
            Body::Alert(alert) if alert.rule == NONFINITE => {}
            Body::Alert(alert) => log(&format!(
                "alert {}: {}: {}",
                alert.rule, alert.message, alert.action
            )),
            Body::Warning {
                message,
                note: true,
                ..
            } => log(&format!("note: {message}")),
            Body::Warning { message, .. } => log(&format!("warning: {message}")),
            Body::Failed { message, .. } => log(&format!("failed: {message}")),
            Body::ConfigRejected { message, .. } => {
                log(&format!("configuration rejected: {message}"))
            }
            Body::Nonfinite {
                step,
                r#where: what,
                action,
            } => {
                log(&format!("{what} of step {step} is not finite: {action}"));
            }
            _ => {}
        }
    }

    /// Whether a stop has come in while the engine waits; other requests are kept for the next boundary.
    pub(super) fn stop_is_asked(&mut self) -> bool {
        while let Ok(request) = self.link.requests.try_recv() {
            self.kept_requests.push_back(request);
        }
        self.kept_requests
            .iter()
            .any(|request| matches!(request.command, Command::Stop { .. }))
    }

    /// Writes and hands over an event after the engine has failed, as far as that is possible.
    pub(crate) fn report(&mut self, event: Event) {
        self.interrupt.tell(Doing::Ended, self.step);
        drop(self.events.append(&event));
        self.link.emit(event);
        self.link.flush();
    }

    pub(super) fn warn(&mut self, message: String) {
        self.emit(Body::Warning {
            step: self.step,
            message,
            note: false,
        });
    }
}

/// Adds to a file that repeats what the record says; a disk that refuses it costs nothing.
fn append(path: &Path, text: &str) {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    drop(opened.and_then(|mut file| file.write_all(text.as_bytes())));
}
