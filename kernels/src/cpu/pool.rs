//! Threads for kernels: workers that live as long as the pool, spin a little before they park, and claim numbered tasks
//! from a counter.
//!
//! A kernel cuts its work into tasks that depend only on shapes (never on the number of threads), each writing memory of
//! its own, so that results are the same bits whoever runs which task. Starting a parallel section costs a few hundred
//! nanoseconds while the workers still spin; `rayon`, which parks its threads sooner, cost 15 to 40 % of a 4 ms product.

#![expect(
    unsafe_code,
    reason = "shares a borrowed closure with worker threads that outlive the borrow"
)]

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{JoinHandle, Thread};

/// Spins before a waiting thread parks: some tens of microseconds.
const SPINS: usize = 2_000;

type Task<'a> = dyn Fn(usize, usize) + Sync + 'a;

#[derive(Clone, Copy)]
struct Job {
    task: *const Task<'static>,
    count: usize,
}

// SAFETY: the pointer is only dereferenced between the start and the end of `Pool::run_with_worker`, which keeps the
// closure alive and whose bound demands `Sync`.
unsafe impl Send for Job {}

struct Shared {
    /// Number of the current section; workers wait for it to change.
    section: AtomicU64,
    job: Mutex<Option<Job>>,
    next: AtomicUsize,
    busy: AtomicUsize,
    stop: AtomicBool,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// A fixed set of threads. The caller of [`Pool::run`] works too, so a pool of one thread starts none.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    threads: Vec<Thread>,
    /// One section at a time: a second caller waits.
    turn: Mutex<()>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pool({})", self.threads())
    }
}

impl Pool {
    /// A pool of `threads` threads, the caller's included (at least one).
    pub fn new(threads: usize) -> Self {
        let shared = Arc::new(Shared {
            section: AtomicU64::new(0),
            job: Mutex::new(None),
            next: AtomicUsize::new(0),
            busy: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            panic: Mutex::new(None),
        });
        let workers: Vec<_> = (1..threads.max(1))
            .map(|worker| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("kernel-{worker}"))
                    .spawn(move || work(&shared, worker))
                    .expect("the system gives a thread")
            })
            .collect();
        let threads = workers
            .iter()
            .map(|worker| worker.thread().clone())
            .collect();
        Self {
            shared,
            workers,
            threads,
            turn: Mutex::new(()),
        }
    }

    /// Number of threads, the caller's included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// Runs `task(0)` to `task(count - 1)`, in any order and on any thread, and returns when all are done. A panic in a task
    /// is passed on. Must not be called from within a task.
    pub fn run(&self, count: usize, task: impl Fn(usize) + Sync) {
        self.run_with_worker(count, |_, index| task(index));
    }

    /// As [`Pool::run`], and tells each task which thread runs it (below [`Pool::threads`]): for scratch memory of a
    /// thread, never for results.
    pub fn run_with_worker(&self, count: usize, task: impl Fn(usize, usize) + Sync) {
        if count <= 1 || self.workers.is_empty() {
            return (0..count).for_each(|index| task(0, index));
        }
        let turn = self
            .turn
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let task: &Task<'_> = &task;
        // SAFETY: only the lifetime changes; the wait below outlasts every use.
        let task = unsafe { std::mem::transmute::<&Task<'_>, &'static Task<'static>>(task) };
        let job = Job {
            task: std::ptr::from_ref(task),
            count,
        };
        *lock(&self.shared.job) = Some(job);
        self.shared.next.store(0, Ordering::Relaxed);
        self.shared
            .busy
            .store(self.workers.len(), Ordering::Relaxed);
        self.shared.section.fetch_add(1, Ordering::Release);
        self.threads.iter().for_each(Thread::unpark);
        claim(&self.shared, job, 0);
        let mut spins = 0usize;
        while self.shared.busy.load(Ordering::Acquire) > 0 {
            spins += 1;
            if spins.is_multiple_of(SPINS) {
                std::thread::yield_now()
            } else {
                std::hint::spin_loop()
            }
        }
        *lock(&self.shared.job) = None;
        let panic = lock(&self.shared.panic).take();
        drop(turn);
        if let Some(panic) = panic {
            resume_unwind(panic);
        }
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Release);
        self.shared.section.fetch_add(1, Ordering::Release);
        for worker in self.workers.drain(..) {
            worker.thread().unpark();
            // A worker catches the panics of its tasks, so it ends in good order.
            let _ = worker.join();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

fn work(shared: &Shared, worker: usize) {
    let mut seen = 0;
    loop {
        let mut spins = 0;
        while shared.section.load(Ordering::Acquire) == seen {
            spins += 1;
            if spins < SPINS {
                std::hint::spin_loop();
            } else {
                std::thread::park();
            }
        }
        seen = shared.section.load(Ordering::Acquire);
        if shared.stop.load(Ordering::Acquire) {
            return;
        }
        let job = *lock(&shared.job);
        if let Some(job) = job {
            claim(shared, job, worker);
        }
        shared.busy.fetch_sub(1, Ordering::Release);
    }
}

fn claim(shared: &Shared, job: Job, worker: usize) {
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        // SAFETY: `run_with_worker` does not return before every worker has left this function.
        let task = unsafe { &*job.task };
        loop {
            let index = shared.next.fetch_add(1, Ordering::Relaxed);
            if index >= job.count {
                break;
            }
            task(worker, index);
        }
    }));
    if let Err(panic) = outcome {
        shared.next.store(job.count, Ordering::Relaxed);
        lock(&shared.panic).get_or_insert(panic);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        for threads in [1, 2, 3, 7] {
            let pool = Pool::new(threads);
            for count in [0, 1, 2, 5, 100] {
                let hits: Vec<AtomicUsize> = (0..count).map(|_| AtomicUsize::new(0)).collect();
                for _ in 0..50 {
                    pool.run(count, |i| {
                        hits[i].fetch_add(1, Ordering::Relaxed);
                    });
                }
                assert!(hits.iter().all(|hit| hit.load(Ordering::Relaxed) == 50));
            }
        }
    }

    #[test]
    fn a_panic_is_passed_on_and_the_pool_lives() {
        let pool = Pool::new(3);
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            pool.run(64, |i| assert!(i != 40, "forty"))
        }));
        assert!(outcome.is_err());
        let sum = AtomicUsize::new(0);
        pool.run(10, |i| {
            sum.fetch_add(i, Ordering::Relaxed);
        });
        assert_eq!(sum.into_inner(), 45);
    }

    #[test]
    fn parked_workers_wake() {
        let pool = Pool::new(2);
        for _ in 0..3 {
            std::thread::sleep(std::time::Duration::from_millis(5));
            let sum = AtomicUsize::new(0);
            pool.run(8, |i| {
                sum.fetch_add(i + 1, Ordering::Relaxed);
            });
            assert_eq!(sum.into_inner(), 36);
        }
    }
}
