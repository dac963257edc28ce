//! Everything that a user can type or set has a test: commands and their options, exit codes, keys of `kappa.toml`.
//!
//! The names come from the program itself and from the lists below, which are what was promised. A test is looked for in the
//! text of the tests: an option must stand there as an argument of its command, a key in its table, a code in an assertion.
//! What is found may still be tested badly; what isn't found isn't tested at all.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use kappa::cli;
use kappa::config::{ConfigError, Overrides, Project};

/// Commands and options that were promised.
const PROMISED: &[(&str, &[&str])] = &[
    ("validate", &["--connect", "--json"]),
    ("explain", &["--json"]),
    (
        "run",
        &[
            "--start",
            "--until",
            "--drain",
            "--allow-partial",
            "--whole-from",
            "--upgrade",
            "--take-over",
            "--savepoint",
            "--workers",
            "--json",
        ],
    ),
    ("archive", &["--stream", "--start", "--until", "--evolve", "--rejects", "--json"]),
    ("backfill plan", &["--from", "--to", "--late", "--drain", "--widen", "--workers", "--json"]),
    ("backfill run", &["--from", "--to", "--late", "--drain", "--widen", "--workers", "--json"]),
    ("status", &["--json"]),
    ("offsets get", &["--archive", "--json"]),
    (
        "offsets reset",
        &[
            "--to-earliest",
            "--to-latest",
            "--to-datetime",
            "--by-duration",
            "--shift-by",
            "--to-offset",
            "--to-current",
            "--from-file",
            "--topic",
            "--whole-from",
            "--allow-partial",
            "--execute",
            "--export",
            "--json",
        ],
    ),
    ("savepoint create", &[]),
    ("savepoint list", &[]),
    ("savepoint show", &[]),
    ("savepoint delete", &[]),
    ("diff", &["--from", "--to", "--drain", "--limit", "--json"]),
    ("test", &["--bless", "--limit", "--json"]),
    ("demo", &["--keep"]),
    ("config", &["--json"]),
    ("completions", &[]),
    ("man", &[]),
];

/// Options that every command takes.
const EVERYWHERE: [&str; 4] = ["--profile", "--set", "--quiet", "--verbose"];

/// Keys of `kappa.toml` that were promised, beside any property of librdkafka and any `header.…` of a REST catalog.
const KEYS: &[(&str, &[&str])] = &[
    ("catalog", &["type", "uri", "name", "warehouse", "token", "credential", "ca"]),
    ("store", &["aws_endpoint", "aws_region", "aws_ca_bundle"]),
    ("state", &["location"]),
    ("run", &["workers", "checkpoint_interval", "rejects_max", "memory_max", "listen", "log"]),
];

/// Exit codes, and how a test asserts them where it has no code at hand.
const EXITS: [(&str, &str); 7] = [
    ("0", "Exit::Done"),
    ("1", "Exit::Failed"),
    ("2", "Exit::Usage"),
    ("3", "Exit::Invalid"),
    ("4", "Exit::Unequal"),
    ("5", "Exit::Person"),
    ("130", "Exit::Interrupted"),
];

#[test]
fn everything_that_was_promised_is_there() {
    let offered = offered();
    let mut missing = Vec::new();
    for (command, options) in PROMISED {
        match offered.get(*command) {
            None => missing.push((*command).to_owned()),
            Some(offered) => {
                let absent = options.iter().filter(|option| !offered.contains(**option));
                missing.extend(absent.map(|option| format!("{command} {option}")));
            }
        }
    }
    for (table, keys) in KEYS {
        let known = known_keys(table);
        missing.extend(keys.iter().filter(|key| !known.contains(**key)).map(|key| format!("[{table}] {key}")));
    }
    assert!(missing.is_empty(), "promised, but not there: {missing:#?}");
}

#[test]
fn every_option_of_every_command_has_a_test() {
    let tests = tests();
    let mut without = Vec::new();
    for (command, options) in offered() {
        let own: Vec<&TestFile> = tests.iter().filter(|test| test.gives(&command)).collect();
        if own.is_empty() {
            without.push(command.clone());
        }
        let untested = options.iter().filter(|option| !own.iter().any(|test| test.has_argument(option)));
        without.extend(untested.map(|option| format!("{command} {option}")));
    }
    for option in EVERYWHERE {
        let short = match option {
            "--quiet" => "-q",
            "--verbose" => "-v",
            _ => option,
        };
        if !tests.iter().any(|test| test.has_argument(option) || test.has_argument(short) || test.has_argument("-vv")) {
            without.push(option.to_owned());
        }
    }
    assert!(without.is_empty(), "no test gives: {without:#?}");
}

#[test]
fn every_exit_code_has_a_test() {
    let tests = tests();
    let snapshots = snapshots();
    let asserted = |code: &str, name: &str| {
        // Commands' outputs are compared with snapshots, which end with the code.
        if snapshots.iter().any(|snapshot| snapshot.contains(&format!("--- exit {code}\n"))) {
            return true;
        }
        let forms = [format!(".exits({code})"), format!("Some({code})"), name.to_owned()];
        tests.iter().any(|test| test.is_outside() && forms.iter().any(|form| test.text.contains(form)))
    };
    let without: Vec<&str> = EXITS.iter().filter(|(code, name)| !asserted(code, name)).map(|(code, _)| *code).collect();
    assert!(without.is_empty(), "no test sees these exit codes: {without:?}");
}

#[test]
fn every_key_of_kappa_toml_has_a_test() {
    let tests = tests();
    let mut without = Vec::new();
    // What `[store]` takes is passed on, as properties of librdkafka are: see the test below.
    for table in ["catalog", "state", "run"] {
        for key in known_keys(table) {
            if !tests.iter().any(|test| test.sets(table, &key)) {
                without.push(format!("[{table}] {key}"));
            }
        }
    }
    assert!(without.is_empty(), "no test sets: {without:#?}");
}

#[test]
fn every_setting_of_object_stores_is_passed_on_and_secret_where_its_name_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    for key in known_keys("store") {
        let overrides = Overrides::new(None, &[format!("store.{key}=canary")], []).expect("a key and a value");
        let project = Project::at(folder.path(), &overrides).expect("the key is known");
        let passed = project.store.get(&key).expect("it was set");
        // Of a file all of its path is passed on.
        assert!(passed == "canary" || (key == "aws_ca_bundle" && passed.ends_with("/canary")), "{key}: {passed}");
        let listed = project.list().into_iter().find(|listed| listed.key == key).expect("it was set");
        let is_secret = kappa::secret::is_secret(&key);
        assert_eq!((listed.hidden, listed.value.contains("canary")), (is_secret, !is_secret), "{key}");
    }
}

#[test]
fn the_search_finds_what_is_there_and_nothing_else() {
    let test = TestFile {
        path: PathBuf::from("tests/x.rs"),
        text: r#"kappa(&["offsets", "get", "--json"]); let toml = "[run]\nworkers = 3\n"; run_with("--set", "state.location=x");"#
            .to_owned(),
    };
    assert!(test.gives("offsets get") && !test.gives("offsets reset") && !test.gives("diff"));
    assert!(test.has_argument("--json") && !test.has_argument("--js") && !test.has_argument("--archive"));
    assert!(test.sets("run", "workers") && test.sets("state", "location") && !test.sets("run", "log"));
}

/// Options by command, as the program offers them.
fn offered() -> BTreeMap<String, BTreeSet<String>> {
    fn walk(command: &clap::Command, name: &str, found: &mut BTreeMap<String, BTreeSet<String>>) {
        let children: Vec<&clap::Command> =
            command.get_subcommands().filter(|child| child.get_name() != "help").collect();
        for child in &children {
            walk(child, format!("{name} {}", child.get_name()).trim(), found);
        }
        if children.is_empty() {
            let longs = command.get_arguments().filter_map(clap::Arg::get_long).map(|long| format!("--{long}"));
            let own = longs.filter(|long| !EVERYWHERE.contains(&long.as_str()) && long != "--help");
            found.insert(name.to_owned(), own.collect());
        }
    }
    let mut found = BTreeMap::new();
    walk(&cli::command::tree(), "", &mut found);
    found
}

/// The keys of a table, as the program names them to whoever sets one that isn't there.
fn known_keys(table: &str) -> BTreeSet<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let overrides = Overrides::new(None, &[format!("{table}.no_such_key_at_all=x")], []).expect("a key and a value");
    let refused = Project::at(folder.path(), &overrides).expect_err("there is no such key");
    let ConfigError::Invalid { problems, .. } = refused else { panic!("{refused}") };
    let help = &problems[0].help;
    let names = help.strip_prefix("the keys are ").unwrap_or_else(|| panic!("it names all keys: {help}"));
    names.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

/// A file with tests in it: only what stands in the tests counts.
struct TestFile {
    path: PathBuf,
    text: String,
}

impl TestFile {
    /// Whether the tests see the program from outside.
    fn is_outside(&self) -> bool {
        self.path.starts_with("tests") || self.path.ends_with("exit.rs")
    }

    /// Whether a text stands here as a whole word between quotes, or alone on a command line.
    fn has_argument(&self, argument: &str) -> bool {
        self.text.match_indices(argument).any(|(at, _)| {
            let before = self.text[..at].chars().next_back();
            let behind = self.text[at + argument.len()..].chars().next();
            matches!(before, Some('"' | ' ')) && matches!(behind, Some('"' | ' ' | '=' | '\n' | '\\'))
        })
    }

    /// Whether a command is given here, by its words or as its arguments' type.
    fn gives(&self, command: &str) -> bool {
        let words: Vec<&str> = command.split(' ').collect();
        let quoted: Vec<String> = words.iter().map(|word| format!("\"{word}\"")).collect();
        let name = words.iter().map(|word| word[..1].to_uppercase() + &word[1..]).collect::<String>();
        [quoted.join(", "), format!("\"{command}\""), format!("kappa {command}"), format!("{name}Args")]
            .iter()
            .any(|form| self.text.contains(form.as_str()))
    }

    /// Whether a key is set here: in the text of a `kappa.toml`, by `--set`, or by a variable.
    fn sets(&self, table: &str, key: &str) -> bool {
        let capitals = |text: &str| text.to_uppercase().replace(['.', '-'], "_");
        let in_toml = [format!("{key} = "), format!("{key}="), format!("\"{key}\\\" = "), format!("{key}\\\" = ")];
        let has_table = self.text.contains(&format!("[{table}]")) || self.text.contains(&format!(".{table}]"));
        (has_table && in_toml.iter().any(|form| self.text.contains(form.as_str())))
            || self.text.contains(&format!("{table}.{key}="))
            || self.text.contains(&format!("KAPPA_{}__{}", capitals(table), capitals(key)))
    }
}

/// The texts of all snapshots.
fn snapshots() -> Vec<String> {
    let mut files = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"), "snap", &mut files);
    files.iter().map(|file| fs::read_to_string(file).expect("the file is readable")).collect()
}

/// All files with tests, without this one: it names everything.
fn tests() -> Vec<TestFile> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = Vec::new();
    collect(&root.join("tests"), "rs", &mut files);
    collect(&root.join("src"), "rs", &mut files);
    let this = root.join(file!());
    let tests = files.into_iter().filter(|file| *file != this).filter_map(|file| {
        let text = fs::read_to_string(&file).expect("the file is readable");
        let path = file.strip_prefix(root).expect("it is in the repository").to_owned();
        let is_test = path.starts_with("tests") || path.iter().any(|part| part == "tests" || part == "tests.rs");
        let text = if is_test { text } else { text.split_once("#[cfg(test)]\nmod ")?.1.to_owned() };
        Some(TestFile { path, text })
    });
    tests.collect()
}

fn collect(folder: &Path, ending: &str, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the folder is readable") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            collect(&path, ending, files);
        } else if path.extension().is_some_and(|extension| extension == ending) {
            files.push(path);
        }
    }
}
