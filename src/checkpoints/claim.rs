//! Who runs a job or archives a history: what a claim says, and whether it still holds.
//!
//! Invariant: a claim only decides whether a new run waits. That two runs never both publish is the generation's doing,
//! which holds whatever clocks and processes do ([`super::run`]); so a wrong guess in here costs a restart, never a row.
//! Pure but for [`Process::this`] and [`Process::is_alive`], which look at `/proc`.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Generation;
use crate::event::EventTime;
use crate::time::clock::Clock;

/// How often a run renews its claim.
pub const RENEW_EVERY: Duration = Duration::from_secs(10);
/// A claim that wasn't renewed for so long doesn't hold any more: two renewals may be lost, and the clocks of two
/// machines differ by some seconds.
pub const STALE_AFTER: Duration = Duration::from_secs(30);

/// Version of the claims' layout; a claim of another one is passed over.
const FORMAT: u32 = 1;

/// A process, so that another one can tell whether it is still there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    /// Name of the machine or container.
    pub host: String,
    /// Where process ids mean the same: the boot of the machine, and the namespace of its process ids (containers have
    /// their own). Empty where the system doesn't say: then nothing is concluded from ids.
    pub boot: String,
    /// Process id.
    pub pid: u32,
    /// When it started, in ticks since the boot: ids are used again.
    pub started: u64,
}

impl Process {
    /// This process.
    pub fn this() -> Process {
        let read = |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned());
        let host = read("/proc/sys/kernel/hostname").ok().or_else(|| std::env::var("HOSTNAME").ok());
        let namespace = std::fs::read_link("/proc/self/ns/pid").map(|link| link.display().to_string());
        let boot = match (read("/proc/sys/kernel/random/boot_id"), namespace) {
            (Ok(boot), Ok(namespace)) => format!("{boot} {namespace}"),
            _ => String::new(),
        };
        let pid = std::process::id();
        Process {
            host: host.unwrap_or_else(|| "unknown host".to_owned()),
            boot,
            pid,
            started: started(pid).unwrap_or(0),
        }
    }

    /// Whether it runs, as far as `this` process can see it; `None`: it can't, as it is on another machine, in another
    /// container, or from before a reboot.
    pub fn is_alive(&self, this: &Process) -> Option<bool> {
        let same_ids = !self.boot.is_empty() && self.boot == this.boot && self.host == this.host;
        same_ids.then(|| started(self.pid) == Some(self.started))
    }
}

/// When the process of that id started, in ticks since the boot; `None`: there is none, or only its exit code is left.
fn started(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    // The name before it is in brackets, and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let is_over = matches!(*fields.first()?, "Z" | "X" | "x");
    // Field 22 of proc(5), counted from the one behind the name.
    if is_over { None } else { fields.get(19)?.parse().ok() }
}

/// What a run says about itself in `claim.json`, and again with every renewal in `heartbeat.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// The run's generation.
    pub generation: Generation,
    /// Where it runs.
    pub process: Process,
    /// When it claimed, by its machine's clock.
    pub since: EventTime,
    /// When it last renewed the claim, by its machine's clock.
    pub renewed: EventTime,
    /// Address of its metrics and health, if it listens.
    pub listens: Option<String>,
    /// It stopped in order.
    pub released: bool,
}

/// A claim as it lies in the store. Fields that this version doesn't know are passed over: the one who waits may be older
/// than the one who runs.
#[derive(Serialize, Deserialize)]
struct Versioned {
    format: u32,
    claim: Claim,
}

impl Claim {
    pub(super) fn encode(&self) -> Vec<u8> {
        let versioned = Versioned { format: FORMAT, claim: self.clone() };
        let mut bytes = serde_json::to_vec(&versioned).expect("texts and numbers always become JSON");
        bytes.push(b'\n');
        bytes
    }

    /// `None`: it isn't one that this version knows.
    pub(super) fn decode(bytes: &[u8]) -> Option<Claim> {
        let versioned: Versioned = serde_json::from_slice(bytes).ok()?;
        (versioned.format == FORMAT).then_some(versioned.claim)
    }
}

impl fmt::Display for Claim {
    /// `pid 4711 on host-a since 2026-11-21T08:00:00Z`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let since = EventTime(self.since.0 - self.since.0.rem_euclid(1_000_000));
        write!(f, "pid {} on {} since {since}", self.process.pid, self.process.host)
    }
}

/// Whether a claim holds at `now`. `alive` is whether its process is seen to run ([`Process::is_alive`]).
///
/// | released | renewed in the last 30 s | process | live |
/// |---|---|---|---|
/// | yes | any | any | no |
/// | no | no | any | no: it hangs, was stopped, or can't reach the store |
/// | no | yes | seen to run, or not to be seen from here | yes |
/// | no | yes | seen to be gone | no: it was killed |
///
/// A renewal in the future, by another machine's clock, counts as just made.
pub fn is_live(claim: &Claim, now: EventTime, alive: Option<bool>) -> bool {
    let stale_after = i64::try_from(STALE_AFTER.as_micros()).expect("is short");
    !claim.released && now.0.saturating_sub(claim.renewed.0) < stale_after && alive != Some(false)
}

/// Who wants to run, and how.
#[derive(Clone, Debug)]
pub struct Claimant {
    /// This process.
    pub process: Process,
    /// Address of its metrics and health, if it listens.
    pub listens: Option<String>,
    /// Don't wait for a live claim: fence its run.
    pub take_over: bool,
    /// Go on with tables that somebody has rolled back: what was taken out of them is to be published again.
    pub accepts_rollback: bool,
    /// Go back to an older checkpoint if files of the newest one are damaged or gone. Whoever does must look whether the
    /// newest one [is behind](super::Newest::is_behind) its tables.
    pub falls_back: bool,
    /// The wall clock.
    pub clock: Arc<dyn Clock>,
}

impl Claimant {
    /// This process, which waits for a live claim and listens nowhere.
    pub fn new(clock: Arc<dyn Clock>) -> Claimant {
        Claimant {
            process: Process::this(),
            listens: None,
            take_over: false,
            accepts_rollback: false,
            falls_back: false,
            clock,
        }
    }

    /// Its claim of a generation, made now.
    pub(super) fn claim(&self, generation: Generation) -> Claim {
        let now = self.clock.now();
        Claim {
            generation,
            process: self.process.clone(),
            since: now,
            renewed: now,
            listens: self.listens.clone(),
            released: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: EventTime = EventTime(1_795_248_000_000_000); // 2026-11-21T08:00:00Z

    fn claim(renewed_before_ms: i64, released: bool) -> Claim {
        Claim {
            generation: Generation(3),
            process: Process { host: "a".into(), boot: "b".into(), pid: 4711, started: 12 },
            since: EventTime(NOW.0 - 3_600_500_000),
            renewed: EventTime(NOW.0 - renewed_before_ms * 1_000),
            listens: Some("127.0.0.1:8090".into()),
            released,
        }
    }

    #[test]
    fn a_claim_is_live_while_it_is_renewed_and_its_process_is_not_seen_to_be_gone() {
        let unseen = None;
        for (renewed_before_ms, released, alive, live) in [
            (0, false, Some(true), true),
            (29_999, false, Some(true), true),
            (30_000, false, Some(true), false),
            (29_999, false, unseen, true),
            (30_000, false, unseen, false),
            (0, false, Some(false), false),
            (-3_600_000, false, unseen, true),
            (0, true, Some(true), false),
            (0, true, unseen, false),
        ] {
            let claim = claim(renewed_before_ms, released);
            assert_eq!(is_live(&claim, NOW, alive), live, "{renewed_before_ms} ms, {released}, {alive:?}");
        }
    }

    #[test]
    fn only_processes_of_this_machine_boot_and_container_are_seen() {
        let this = Process::this();
        assert_eq!(this.is_alive(&this), Some(true));
        for other in [
            Process { host: "elsewhere".into(), ..this.clone() },
            Process { boot: "before the reboot".into(), ..this.clone() },
            Process { boot: String::new(), ..this.clone() },
        ] {
            assert_eq!(other.is_alive(&this), None, "{other:?}");
        }
        let unsaid = Process { boot: String::new(), ..this.clone() };
        assert_eq!(unsaid.is_alive(&unsaid), None);
        // The same id, used again.
        assert_eq!(Process { started: this.started + 1, ..this.clone() }.is_alive(&this), Some(false));
    }

    #[test]
    fn a_process_that_only_waits_for_its_parent_is_gone() {
        let this = Process::this();
        let mut child = std::process::Command::new("sleep").arg("600").spawn().expect("sleep is there");
        let process = Process { pid: child.id(), started: started(child.id()).expect("runs"), ..this.clone() };
        assert_eq!(process.is_alive(&this), Some(true));
        child.kill().expect("is ours");
        // Its end is seen before anyone has asked for its exit code.
        while process.is_alive(&this) == Some(true) {
            std::thread::yield_now();
        }
        child.wait().expect("is ours");
        assert_eq!(process.is_alive(&this), Some(false));
    }

    #[test]
    fn claims_keep_their_bytes_and_what_is_unknown_in_them_is_passed_over() {
        let claim = claim(0, false);
        let text = String::from_utf8(claim.encode()).expect("JSON");
        assert_eq!(
            text,
            "{\"format\":1,\"claim\":{\"generation\":3,\"process\":{\"host\":\"a\",\"boot\":\"b\",\"pid\":4711,\"started\":12},\
             \"since\":1795244399500000,\"renewed\":1795248000000000,\"listens\":\"127.0.0.1:8090\",\"released\":false}}\n"
        );
        assert_eq!(Claim::decode(text.as_bytes()), Some(claim.clone()));
        let newer = text.replace("\"released\"", "\"later\":[1],\"released\"");
        assert_eq!(Claim::decode(newer.as_bytes()), Some(claim.clone()));
        for other in ["{\"format\":1}", "", &text.replace("\"format\":1", "\"format\":2")] {
            assert_eq!(Claim::decode(other.as_bytes()), None, "{other}");
        }
        assert_eq!(claim.to_string(), "pid 4711 on a since 2026-11-21T06:59:59Z");
    }
}
