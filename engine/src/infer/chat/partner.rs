//! A chat in a thread of its own: what is said goes in, pieces of the answer come out, and nobody waits.
//!
//! The thread has the weights to itself and computes on one thread at a low priority ([`NICENESS`]), so that training beside
//! it loses little: on Linux a thread of that priority gets a tenth of a core that another one wants.

use super::{Answer, Chat, Copied, Need};
use crate::checkpoint;
use crate::infer::generate::Writing;
use crate::infer::load::Loaded;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread;
use std::time::Instant;

/// Niceness of the thread, where the system knows it for single threads (Linux): 110 shares of a core against the 1024 of
/// an ordinary thread.
pub const NICENESS: i32 = 10;

/// Where the weights come from.
#[derive(Debug)]
pub enum Source {
    /// A checkpoint of a run, or another model's folder.
    Folder(PathBuf),
    /// A run's engine.
    Copy(Box<Copied>),
}

enum Ask {
    Say(String, Writing),
    Forget,
}

/// The model is there.
#[derive(Clone, Debug, PartialEq)]
pub struct Ready {
    /// Whether it continues text, as it knows no turns.
    pub continues: bool,
    /// Most tokens of the conversation.
    pub context: usize,
    /// Numbers of the model.
    pub parameters: u64,
    /// Memory that the chat takes.
    pub need: Need,
    /// Time that reading it took.
    pub seconds: f64,
}

/// What the thread has to tell.
#[derive(Clone, Debug, PartialEq)]
pub enum Told {
    /// It can be talked with.
    Ready(Ready),
    /// A piece of the answer.
    Piece(String),
    /// The answer is complete.
    Answer(Answer),
    /// There is nobody to talk with, and why.
    Failed(String),
}

/// The other end of the thread. Dropped, it lets the thread end and its memory go.
#[derive(Debug)]
pub struct Partner {
    asks: Sender<Ask>,
    told: Receiver<Told>,
    stop: Arc<AtomicBool>,
    failed: bool,
}

impl Partner {
    /// Starts the thread; it reads the model and says so.
    ///
    /// # Errors
    /// If the system gives no thread.
    pub fn start(source: Source, context: usize) -> io::Result<Self> {
        let (asks, asked) = channel();
        let (tell, told) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        thread::Builder::new()
            .name("chat".to_owned())
            .spawn(move || {
                be_modest();
                match open(source, context) {
                    // Whoever does not listen any more has gone.
                    Ok((chat, ready)) => {
                        if tell.send(Told::Ready(ready)).is_ok() {
                            talk(chat, &asked, &tell, &flag);
                        }
                    }
                    Err(message) => drop(tell.send(Told::Failed(message))),
                }
            })?;
        Ok(Self {
            asks,
            told,
            stop,
            failed: false,
        })
    }

    /// Says something; the answer comes in pieces.
    pub fn say(&self, text: &str, writing: Writing) {
        self.stop.store(false, Ordering::SeqCst);
        // A thread that has gone says so itself.
        drop(self.asks.send(Ask::Say(text.to_owned(), writing)));
    }

    /// Begins the conversation anew, behind what was said already.
    pub fn forget(&self) {
        drop(self.asks.send(Ask::Forget));
    }

    /// Stops the answer under way behind the token that it is at.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
    }

    /// The next thing that it has told, without waiting.
    pub fn poll(&mut self) -> Option<Told> {
        match self.told.try_recv() {
            Ok(told) => {
                self.failed |= matches!(told, Told::Failed(_));
                Some(told)
            }
            Err(TryRecvError::Disconnected) if !self.failed => {
                self.failed = true;
                Some(Told::Failed("the chat has ended without a word".to_owned()))
            }
            Err(_) => None,
        }
    }
}

impl Drop for Partner {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Lowers the priority of this thread, and of those that it starts.
fn be_modest() {
    // Elsewhere the call would mean the whole process, training included. A system that refuses leaves the thread as it is.
    #[cfg(target_os = "linux")]
    let _ = rustix::process::setpriority_process(None, NICENESS);
}

fn open(source: Source, context: usize) -> Result<(Chat, Ready), String> {
    let start = Instant::now();
    let (chat, need) = match source {
        Source::Folder(folder) => {
            let flags = ["device.threads=1".to_owned()];
            // Before anything large is read: what does not fit is refused.
            let need =
                Need::of_folder(&folder, &flags, context).map_err(|error| error.to_string())?;
            need.check().map_err(|error| error.to_string())?;
            if folder.join(checkpoint::MANIFEST).is_file() {
                checkpoint::verify(&folder).map_err(|error| error.to_string())?;
            }
            let loaded = Loaded::open(&folder, &flags).map_err(|error| error.to_string())?;
            (Chat::new(loaded, context), need)
        }
        Source::Copy(copied) => {
            let Copied {
                loaded, tokenizer, ..
            } = *copied;
            let need = Need::of(&loaded.model, loaded.precision, context, &loaded.cpu);
            (Chat::with(loaded, tokenizer, context), need)
        }
    };
    let chat = chat.map_err(|error| error.to_string())?;
    let ready = Ready {
        continues: chat.continues(),
        context: chat.context(),
        parameters: chat.parameters(),
        need,
        seconds: start.elapsed().as_secs_f64(),
    };
    Ok((chat, ready))
}

fn talk(mut chat: Chat, asked: &Receiver<Ask>, tell: &Sender<Told>, stop: &AtomicBool) {
    for ask in asked {
        match ask {
            Ask::Forget => chat.forget(),
            Ask::Say(text, writing) => {
                let answer = chat.say(&text, &writing, &mut |piece| {
                    let heard =
                        piece.is_empty() || tell.send(Told::Piece(piece.to_owned())).is_ok();
                    heard && !stop.load(Ordering::SeqCst)
                });
                if tell.send(Told::Answer(answer)).is_err() {
                    return;
                }
            }
        }
    }
}
