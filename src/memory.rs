//! Memory: what the process holds, what it may hold, and what a driver does about it.
//!
//! The system says what is held, as everything counts: accumulators, batches under way, librdkafka's queues, what the
//! allocator keeps. What is *known* (state, rows that wait) only names the culprit. Invariant: never guesses: where the
//! system says nothing, there is no limit. Results don't depend on it: it decides how much is taken at a time.

use std::path::Path;

use crate::event::{EventTime, TableName};

/// From this share of the limit on, less is taken at a time.
const NEAR_PERCENT: u64 = 80;

/// Where cgroup 2 and 1 show the limit of the process, seen from inside a container.
const CGROUP_LIMITS: [&str; 2] = ["sys/fs/cgroup/memory.max", "sys/fs/cgroup/memory/memory.limit_in_bytes"];

/// How close the process is to its limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Pressure {
    /// There is room.
    #[default]
    None,
    /// Less should be taken at a time.
    Near,
    /// Nothing should be taken until some is given back.
    Over,
}

/// How much memory is held, and how much may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    /// Bytes that the process holds in memory, as the system counts them.
    pub used_bytes: u64,
    /// Bytes that it may hold; `None`: nobody set a limit.
    pub limit_bytes: Option<u64>,
}

impl Memory {
    /// What the process holds now, against a limit.
    pub fn now(limit_bytes: Option<u64>) -> Memory {
        Memory { used_bytes: used_bytes(Path::new("/")).unwrap_or(0), limit_bytes }
    }

    /// How close it is.
    pub fn pressure(self) -> Pressure {
        match self.limit_bytes {
            Some(limit) if self.used_bytes >= limit => Pressure::Over,
            Some(limit) if self.used_bytes >= limit / 100 * NEAR_PERCENT => Pressure::Near,
            _ => Pressure::None,
        }
    }
}

/// The memory of the machine, or that of the process' cgroup where it is less; `None` where the system doesn't say.
pub fn available_bytes() -> Option<u64> {
    available_below(Path::new("/"))
}

fn available_below(root: &Path) -> Option<u64> {
    let machine = read(root, "proc/meminfo").and_then(|text| kibibytes(&text, "MemTotal:"));
    limits_of_cgroups(root).into_iter().chain(machine).min()
}

/// The limits of the process' cgroup and of those above it, and of the one that a container sees as the root. Version 1
/// says "none" by a number larger than any machine, version 2 by `max`.
fn limits_of_cgroups(root: &Path) -> Vec<u64> {
    let mut files: Vec<String> = CGROUP_LIMITS.map(str::to_owned).to_vec();
    let own = read(root, "proc/self/cgroup").unwrap_or_default();
    for line in own.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (folder, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => continue,
        };
        let above = Path::new(path).ancestors().filter_map(|path| path.to_str());
        files.extend(above.map(|path| format!("{folder}/{}/{file}", path.trim_matches('/'))));
    }
    files.iter().filter_map(|file| read(root, file)?.trim().parse().ok()).collect()
}

fn used_bytes(root: &Path) -> Option<u64> {
    kibibytes(&read(root, "proc/self/status")?, "VmRSS:")
}

/// The number of a line such as `VmRSS:   12345 kB`, in bytes.
fn kibibytes(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    let number: u64 = line.split_whitespace().next()?.parse().ok()?;
    number.checked_mul(1 << 10)
}

fn read(root: &Path, file: &str) -> Option<String> {
    std::fs::read_to_string(root.join(file)).ok()
}

/// What of a run's memory is known: who holds how much. For the message of a run that has too little.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// For each INSERT.
    pub operators: Vec<HeldByOperator>,
    /// Rows that wait for a checkpoint.
    pub pending_bytes: u64,
    /// Rejected messages that wait for a checkpoint.
    pub rejects_bytes: u64,
}

/// What the open windows of one INSERT hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldByOperator {
    /// Its result.
    pub table: TableName,
    /// Bytes of its open windows, about.
    pub bytes: u64,
    /// How many windows are open.
    pub windows: u64,
    /// The one that holds most: its start and its bytes.
    pub largest: Option<(EventTime, u64)>,
}

impl std::fmt::Display for Held {
    /// Who holds how much, the largest first, as a part of a sentence.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts: Vec<(u64, String)> = Vec::new();
        for operator in self.operators.iter().filter(|operator| operator.bytes > 0) {
            let windows = if operator.windows == 1 { "window" } else { "windows" };
            let mut text =
                format!("{} open {windows} of {} hold {}", operator.windows, operator.table, Bytes(operator.bytes));
            if let Some((start, bytes)) = operator.largest {
                text += &format!(" (the one that starts at {start}: {})", Bytes(bytes));
            }
            parts.push((operator.bytes, text));
        }
        for (bytes, what) in
            [(self.pending_bytes, "rows that wait for a checkpoint"), (self.rejects_bytes, "rejected messages")]
        {
            if bytes > 0 {
                parts.push((bytes, format!("{what} {}", Bytes(bytes))));
            }
        }
        parts.sort_by_key(|&(bytes, _)| std::cmp::Reverse(bytes));
        let texts: Vec<String> = parts.into_iter().map(|(_, text)| text).collect();
        match texts.is_empty() {
            true => f.write_str("no open window holds any; the program itself and its queues do"),
            false => f.write_str(&texts.join(", ")),
        }
    }
}

/// Bytes for people: `1.5 GB`, in powers of 1024 as limits are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units = [("GB", 1_u64 << 30), ("MB", 1 << 20), ("KB", 1 << 10)];
        match units.into_iter().find(|(_, factor)| self.0 >= *factor) {
            Some((unit, factor)) => write!(f, "{:.1} {unit}", self.0 as f64 / factor as f64),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A system that says what these files say.
    fn system(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (file, text) in files {
            let path = root.path().join(file);
            std::fs::create_dir_all(path.parent().expect("it is in a folder")).expect("folders");
            std::fs::write(path, text).expect("a file");
        }
        root
    }

    const MACHINE: (&str, &str) = ("proc/meminfo", "MemTotal:        8000000 kB\nMemFree: 1 kB\n");

    #[test]
    fn the_least_of_machine_and_cgroups_holds() {
        let available = |files: &[(&str, &str)]| available_below(system(files).path());
        assert_eq!(available(&[MACHINE]), Some(8_000_000 << 10));
        assert_eq!(available(&[MACHINE, ("sys/fs/cgroup/memory.max", "1048576\n")]), Some(1 << 20));
        assert_eq!(available(&[MACHINE, ("sys/fs/cgroup/memory.max", "max\n")]), Some(8_000_000 << 10));
        let none = ("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(available(&[MACHINE, none]), Some(8_000_000 << 10));
        assert_eq!(available(&[]), None);
    }

    #[test]
    fn a_limit_above_the_own_cgroup_holds_too() {
        let two = [
            MACHINE,
            ("proc/self/cgroup", "0::/system.slice/kappa.service\n"),
            ("sys/fs/cgroup/system.slice/memory.max", "2097152\n"),
            ("sys/fs/cgroup/system.slice/kappa.service/memory.max", "max\n"),
        ];
        assert_eq!(available_below(system(&two).path()), Some(2 << 20));
        let one = [
            MACHINE,
            ("proc/self/cgroup", "5:cpu:/a\n4:blkio,memory:/a/b\n"),
            ("sys/fs/cgroup/memory/a/b/memory.limit_in_bytes", "3145728\n"),
        ];
        assert_eq!(available_below(system(&one).path()), Some(3 << 20));
    }

    #[test]
    fn this_process_holds_some_of_what_there_is() {
        let memory = Memory::now(available_bytes());
        assert!(memory.used_bytes > 1 << 20, "{memory:?}");
        assert!(memory.limit_bytes.is_some_and(|limit| limit > memory.used_bytes), "{memory:?}");
    }

    #[test]
    fn pressure_rises_with_what_is_used() {
        let pressure = |used_bytes, limit_bytes| Memory { used_bytes, limit_bytes }.pressure();
        assert_eq!(pressure(799, Some(1_000)), Pressure::None);
        assert_eq!(pressure(800, Some(1_000)), Pressure::Near);
        assert_eq!(pressure(1_000, Some(1_000)), Pressure::Over);
        assert_eq!(pressure(u64::MAX, None), Pressure::None);
    }

    #[test]
    fn the_largest_holder_is_named_first() {
        let operator = |table: &str, bytes, largest| HeldByOperator {
            table: TableName::parse(table).expect("a name"),
            bytes,
            windows: 2,
            largest,
        };
        let largest = Some((EventTime(0), 3 << 20));
        let held = Held {
            operators: vec![operator("marts.a", 1 << 10, None), operator("marts.b", 4 << 20, largest)],
            pending_bytes: 2 << 20,
            rejects_bytes: 0,
        };
        assert_eq!(
            held.to_string(),
            "2 open windows of marts.b hold 4.0 MB (the one that starts at 1970-01-01T00:00:00Z: 3.0 MB), rows that wait for \
             a checkpoint 2.0 MB, 2 open windows of marts.a hold 1.0 KB"
        );
        assert_eq!(Held::default().to_string(), "no open window holds any; the program itself and its queues do");
    }
}
