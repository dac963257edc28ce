//! A story as its reader sees it: what happens, the commands that are given, and everything that they say.

use crate::support::process::Finished;
use crate::support::project::Project;
use crate::support::said::snapshots;
use crate::support::{guarded_rest_address, kafka_address, s3_address};

/// Lines of `[run]` under which a command makes one checkpoint, at its end, however slow the machine is.
pub const SETTINGS: &str = "workers = 2\ncheckpoint_interval = \"1h\"";

/// What differs from run to run, and stands in stories only.
const FILTERS: [(&str, &str); 2] = [
    // How far an event of a fixed day is behind the clock, in the last column of `offsets get`.
    (r"\d+d \d+h\n", "[AGE]\n"),
    // When a numbered savepoint was made, in the second column of `savepoint list`.
    (r"(before-[a-z]+-\[\d+\] +)\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", "$1[TIME]              "),
];

/// Begins the names of savepoints that the program keeps by itself; the time follows.
const KEPT: [&str; 3] = ["before-reset-", "before-savepoint-", "before-upgrade-"];

/// The story so far.
pub struct Story<'a> {
    project: &'a Project,
    told: String,
    masks: Vec<(String, &'static str)>,
}

impl<'a> Story<'a> {
    /// Of a project whose topic and namespace have names of their own in each run of the tests; the story tells these.
    pub fn new(
        project: &'a Project,
        (topic, told_topic): (&str, &'static str),
        told_namespace: &'static str,
    ) -> Story<'a> {
        let root = project.path().canonicalize().expect("a folder");
        let masks = vec![
            (topic.to_owned(), told_topic),
            (project.namespace().to_owned(), told_namespace),
            (kafka_address(), "broker:9092"),
            (guarded_rest_address(), "http://catalog:8181"),
            (s3_address(), "http://s3:9000"),
            (root.display().to_string(), "[PROJECT]"),
        ];
        Story { project, told: String::new(), masks }
    }

    /// What happens between commands.
    pub fn tell(&mut self, what: &str) {
        let lines: String = what.lines().map(|line| format!("# {}\n", line.trim_start())).collect();
        self.told += &format!("{}{lines}\n", if self.told.is_empty() { "" } else { "\n" });
    }

    /// A file of the project is written, and shown.
    pub fn write(&mut self, path: &str, content: &str) {
        self.project.write(path, content);
        self.told += &format!("$ cat {path}\n{content}\n");
    }

    /// A command line is given, as it is typed, and ends with this exit code.
    #[track_caller]
    pub fn give(&mut self, line: &str, code: i32) -> Finished {
        let arguments: Vec<&str> = line.strip_prefix("kappa ").expect("a command of ours").split(' ').collect();
        let finished = self.project.kappa(&arguments).exits(code);
        self.told += &format!("$ {line}\n{}", finished.stdout);
        if !finished.stderr.is_empty() {
            self.told += &format!("--- stderr\n{}", finished.stderr);
        }
        self.told += &format!("--- exit {code}\n\n");
        finished
    }

    /// Compares the whole story with its file.
    #[track_caller]
    pub fn ends(self, name: &str) {
        let mut told = self.told;
        for (actual, shown) in &self.masks {
            told = replaced(&told, actual, shown);
        }
        let mut numbered: Vec<(String, usize)> = kept(&told).into_iter().zip(1..).collect();
        // Longer ones first: of two in one second, the first one's name begins the second one's.
        numbered.sort_by_key(|(actual, _)| std::cmp::Reverse(actual.len()));
        for (actual, number) in numbered {
            let prefix = KEPT.iter().find(|prefix| actual.starts_with(**prefix)).expect("it was found by one");
            told = replaced(&told, &actual, &format!("{prefix}[{number}]"));
        }
        snapshots("stories/told", &FILTERS).bind(|| insta::assert_snapshot!(name, told));
    }
}

/// The text between `before` and the end of its line, such as a command that is to be given next.
#[track_caller]
pub fn behind<'a>(text: &'a str, before: &str) -> &'a str {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before:?} in\n{text}"));
    rest.lines().next().unwrap_or_default()
}

/// Savepoints that the program has kept by itself, in the order in which they are first told of.
fn kept(text: &str) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for word in text.split(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
        let is_kept = KEPT.iter().any(|prefix| {
            word.strip_prefix(prefix).is_some_and(|time| time.starts_with(|first: char| first.is_ascii_digit()))
        });
        if is_kept && !names.iter().any(|name| name == word) {
            names.push(word.to_owned());
        }
    }
    names
}

/// The text with a name in place of another. In lines of tables the columns behind it stay where they were.
fn replaced(text: &str, actual: &str, shown: &str) -> String {
    let saved = actual.chars().count().saturating_sub(shown.chars().count());
    let line = |line: &str| {
        let mut parts = line.split(actual);
        let mut told = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            told += shown;
            match part.find("  ") {
                Some(column) => told += &format!("{}{}{}", &part[..column], " ".repeat(saved), &part[column..]),
                None => told += part,
            }
        }
        told
    };
    text.split_inclusive('\n').map(line).collect()
}

#[test]
fn names_are_told_without_moving_columns() {
    let text = "ns_12.hits  3  -\nof ns_12, twice ns_12\n";
    assert_eq!(replaced(text, "ns_12", "ns"), "ns.hits     3  -\nof ns, twice ns\n");
    assert_eq!(
        kept("savepoint before-reset-20260101t000000z-2 keeps; before-reset-[TIME]"),
        ["before-reset-20260101t000000z-2"]
    );
}
