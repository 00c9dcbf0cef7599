//! Processor, memory and disk, from `/proc` and the file system.

use crate::link::System;
use std::fs;
use std::path::Path;
use std::time::Instant;

/// Clock ticks a second in `/proc`: 100 on every Linux that shows them to programs.
const TICKS: f64 = 100.0;

/// What the last sample saw.
#[derive(Debug)]
pub(super) struct Host {
    at: Instant,
    machine: Option<Busy>,
    own_ticks: u64,
}

/// Ticks of all processors since the start of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Busy {
    busy: u64,
    all: u64,
}

impl Default for Host {
    fn default() -> Self {
        Self {
            at: Instant::now(),
            machine: read("/proc/stat").as_deref().and_then(machine),
            own_ticks: 0,
        }
    }
}

impl Host {
    /// Everything but the step, the deadline and the GPUs.
    pub(super) fn sample(&mut self, folder: &Path) -> System {
        let meminfo = read("/proc/meminfo").unwrap_or_default();
        let machine = read("/proc/stat").as_deref().and_then(machine);
        let own_ticks = read("/proc/self/stat").as_deref().and_then(own);
        let elapsed = self.at.elapsed().as_secs_f64();
        let system = System {
            cpu_percent: machine
                .zip(self.machine)
                .and_then(|(now, then)| share(now, then)),
            process_cpu_percent: own_ticks
                .filter(|_| elapsed > 0.0)
                .map(|ticks| 100.0 * ticks.saturating_sub(self.own_ticks) as f64 / TICKS / elapsed),
            rss_bytes: crate::estimate::resident_bytes(),
            memory_available_bytes: kibibytes(&meminfo, "MemAvailable:"),
            memory_total_bytes: kibibytes(&meminfo, "MemTotal:"),
            disk_free_bytes: disk_free(folder),
            ..System::default()
        };
        (self.at, self.machine) = (Instant::now(), machine);
        self.own_ticks = own_ticks.unwrap_or(self.own_ticks);
        system
    }
}

fn read(path: &str) -> Option<String> {
    fs::read_to_string(path).ok()
}

/// The first line of `/proc/stat`: user, nice, system, idle, iowait, irq, softirq, steal ticks of all processors.
fn machine(stat: &str) -> Option<Busy> {
    let numbers: Vec<u64> = stat
        .lines()
        .find_map(|line| line.strip_prefix("cpu "))?
        .split_whitespace()
        .take(8)
        .map_while(|word| word.parse().ok())
        .collect();
    let all = numbers.iter().sum();
    let idle = numbers.get(3)? + numbers.get(4).unwrap_or(&0);
    Some(Busy {
        busy: all - idle,
        all,
    })
}

/// Percent of all processors between two samples; 100 is all of them.
fn share(now: Busy, then: Busy) -> Option<f64> {
    let all = now.all.checked_sub(then.all).filter(|all| *all > 0)?;
    Some(100.0 * now.busy.saturating_sub(then.busy) as f64 / all as f64)
}

/// User and system ticks of this process: fields 14 and 15 of `/proc/self/stat`. The second field, the program's name in
/// parentheses, may hold spaces and parentheses itself.
fn own(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn kibibytes(meminfo: &str, key: &str) -> Option<u64> {
    let line = meminfo.lines().find(|line| line.starts_with(key))?;
    Some(line.split_whitespace().nth(1)?.parse::<u64>().ok()? * 1024)
}

/// Bytes that this user may still write where `folder` is.
#[cfg(unix)]
fn disk_free(folder: &Path) -> Option<u64> {
    let disk = rustix::fs::statvfs(folder).ok()?;
    Some(disk.f_bavail * disk.f_frsize)
}

#[cfg(not(unix))]
fn disk_free(_: &Path) -> Option<u64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_read_whatever_the_program_is_called() {
        let stat = "cpu  10 0 5 80 5 0 0 0 0 0\ncpu0 1 1 1 1\n";
        let then = machine(stat).unwrap();
        assert_eq!(then, Busy { busy: 15, all: 100 });
        let now = machine("cpu  40 0 15 130 5 0 10 0\n").unwrap();
        assert_eq!(share(now, then), Some(50.0));
        assert_eq!(share(then, then), None);
        assert_eq!(machine("intr 5\n"), None);
        let line = "7 (a) b) S 1 7 7 0 -1 0 1 2 3 4 250 50 0 0 20 0";
        assert_eq!(own(line), Some(300));
        assert_eq!(own("7 (torn"), None);
        assert_eq!(
            kibibytes("MemTotal:  12 kB\n", "MemTotal:"),
            Some(12 * 1024)
        );
    }

    #[test]
    fn this_machine_has_memory_and_a_disk() {
        let mut host = Host::default();
        let folder = tempfile::tempdir().unwrap();
        let system = host.sample(folder.path());
        if cfg!(target_os = "linux") {
            assert!(system.memory_total_bytes.unwrap() > system.rss_bytes);
            assert!(system.rss_bytes > 0 && system.disk_free_bytes.is_some());
            let own = system.process_cpu_percent.unwrap();
            assert!(own.is_finite() && own >= 0.0);
        }
        assert_eq!(
            host.sample(Path::new("/no/such/folder")).disk_free_bytes,
            None
        );
    }
}
