//! What the process holds of memory and what it may hold, as the system says.
//! Invariant: never guesses: where the system says nothing, there is no limit.

use std::path::Path;

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
}
