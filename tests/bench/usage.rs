//! What work costs: processor time of all threads, wall time, the greatest resident memory.
//!
//! A child's figures are the kernel's, taken when it is waited for. A child that is started inherits the memory peak of
//! the process that starts it, so the one that starts all others stays small.
#![expect(unsafe_code, reason = "no safe wrapper gives the usage of one child")]

use std::io::Read;
use std::mem::MaybeUninit;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a piece of work has cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// User and system time of all threads.
    pub cpu: Duration,
    /// From beginning to end.
    pub wall: Duration,
    /// Greatest resident memory, in bytes; 0 where it says nothing.
    pub peak_bytes: u64,
}

/// Measures work inside this process, its other threads included.
pub struct Stopwatch {
    cpu: Duration,
    started: Instant,
}

impl Stopwatch {
    /// Starts.
    pub fn start() -> Stopwatch {
        Stopwatch { cpu: own_cpu(), started: now() }
    }

    /// What was used since.
    pub fn stop(&self) -> Cost {
        Cost { cpu: own_cpu() - self.cpu, wall: now() - self.started, peak_bytes: 0 }
    }
}

/// Runs a command to its end: its stdout and what it has cost. Its stderr is ours.
///
/// # Panics
/// If it can't be started or fails.
pub fn run(command: &mut Command) -> (String, Cost) {
    let started = now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let child = child.as_mut().unwrap_or_else(|error| panic!("{command:?} doesn't start: {error}"));
    let mut stdout = String::new();
    child.stdout.take().expect("it is piped").read_to_string(&mut stdout).expect("programs write UTF-8");
    let id = i32::try_from(child.id()).expect("process ids are small");
    let mut status = 0;
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the child is ours and not yet waited for; both places outlive the call, which fills them.
    let waited = unsafe { libc::wait4(id, &mut status, 0, usage.as_mut_ptr()) };
    assert_eq!(waited, id, "the child can be waited for");
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0, "{command:?} failed:\n{stdout}");
    // SAFETY: the call has succeeded; zeroes are a usage as well.
    let usage = unsafe { usage.assume_init() };
    let peak_bytes = usage.ru_maxrss as u64 * 1024;
    (stdout, Cost { cpu: cpu_of(&usage), wall: now() - started, peak_bytes })
}

fn own_cpu() -> Duration {
    let mut usage = MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: the place outlives the call, which fills it; zeroes are a usage as well.
    let usage = unsafe {
        assert_eq!(libc::getrusage(libc::RUSAGE_SELF, usage.as_mut_ptr()), 0, "a process knows its own usage");
        usage.assume_init()
    };
    cpu_of(&usage)
}

fn cpu_of(usage: &libc::rusage) -> Duration {
    let duration =
        |time: libc::timeval| Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64);
    duration(usage.ru_utime) + duration(usage.ru_stime)
}

#[expect(clippy::disallowed_methods, reason = "measuring is what a benchmark is for")]
fn now() -> Instant {
    Instant::now()
}
