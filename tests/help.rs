//! The command line as users meet it: help texts, and how wrong usage is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Command, Output};

use clap::Args;
use kappa::cli;

/// Columns that help is wrapped at, whatever terminal the tests run in.
const COLUMNS: usize = 100;

/// All commands, those included whose drivers the tree doesn't offer yet.
fn tree() -> clap::Command {
    let all = [
        cli::run::RunArgs::augment_args(clap::Command::new("run")),
        cli::archive::ArchiveArgs::augment_args(clap::Command::new("archive")),
        cli::backfill::BackfillArgs::augment_args(clap::Command::new("backfill")),
        cli::diff::DiffArgs::augment_args(clap::Command::new("diff")),
        cli::offsets::OffsetsArgs::augment_args(clap::Command::new("offsets")),
        cli::savepoint::SavepointArgs::augment_args(clap::Command::new("savepoint")),
        cli::demo::DemoArgs::augment_args(clap::Command::new("demo")),
    ];
    let mut tree = cli::command::tree();
    for command in all {
        if tree.find_subcommand(command.get_name()).is_none() {
            tree = tree.subcommand(command);
        }
    }
    tree.term_width(COLUMNS)
}

fn check(command: &mut clap::Command, name: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_snapshot_path(Path::new("messages/help"));
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    let help = command.render_long_help().to_string();
    settings.bind(|| insta::assert_snapshot!(name, help));
    for child in command.get_subcommands_mut().filter(|child| child.get_name() != "help") {
        let name = format!("{name}-{}", child.get_name());
        check(child, &name);
    }
}

#[test]
fn every_command_has_a_help_page_with_an_example() {
    let mut tree = tree();
    tree.build();
    check(&mut tree, "kappa");
}

/// The commands of a page's examples, without what is said of them and what a shell does with their output.
fn examples(command: &clap::Command) -> Vec<String> {
    let after = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let (_, examples) = after.split_once("Examples:\n").unwrap_or_else(|| panic!("{} has none", command.get_name()));
    let lines = examples.lines().inspect(|line| {
        assert!(line.starts_with("  kappa ") && line.chars().count() <= COLUMNS, "at the end, unwrapped: {line}");
    });
    let given = lines.map(|line| line.trim().split("  ").next().unwrap_or_default());
    given.map(|line| line.split([';', '|', '>', '&']).next().unwrap_or_default().trim().to_owned()).collect()
}

#[test]
fn every_page_ends_with_examples_that_the_program_takes() {
    fn check(tree: &clap::Command, command: &clap::Command) {
        for example in examples(command) {
            let words: Vec<&str> = example.split_whitespace().collect();
            let taken = tree.clone().try_get_matches_from(&words);
            assert!(taken.is_ok(), "{example}: {}", taken.expect_err("refused"));
        }
        command.get_subcommands().for_each(|child| check(tree, child));
    }
    check(&tree(), &tree());
}

#[test]
fn an_option_of_several_commands_has_the_same_words_everywhere() {
    /// What they mean differs with what is begun, ended or taken over, or looked at without them.
    const THEIR_OWN: [&str; 7] = ["jobs", "start", "until", "drain", "take-over", "whole-from", "allow-partial"];
    fn collect(command: &clap::Command, words: &mut BTreeMap<String, BTreeSet<String>>) {
        for argument in command.get_arguments() {
            let name = argument.get_long().map_or_else(|| argument.get_id().to_string(), str::to_owned);
            let help = argument.get_long_help().or(argument.get_help()).map(ToString::to_string).unwrap_or_default();
            words.entry(name).or_default().insert(help);
        }
        command.get_subcommands().for_each(|child| collect(child, words));
    }
    let mut words = BTreeMap::new();
    collect(&tree(), &mut words);
    // Two names for one: those of savepoints.
    words.remove("name");
    let differing: Vec<_> =
        words.into_iter().filter(|(name, words)| words.len() > 1 && !THEIR_OWN.contains(&name.as_str())).collect();
    assert!(differing.is_empty(), "{differing:#?}");
}

#[test]
fn every_option_says_what_it_does() {
    fn check(command: &clap::Command) {
        let about = command.get_about().map(ToString::to_string).unwrap_or_default();
        assert!(!about.is_empty() && !about.ends_with('.'), "{}: {about:?}", command.get_name());
        for argument in command.get_arguments() {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            assert!(!help.is_empty(), "{} {} has no help", command.get_name(), argument.get_id());
        }
        command.get_subcommands().for_each(check);
    }
    tree().debug_assert();
    check(&tree());
}

fn kappa(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kappa"));
    command.args(arguments).current_dir(std::env::temp_dir()).env_remove("RUST_BACKTRACE");
    command.output().expect("the binary was built for this test")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn help_and_version_are_data_and_no_error() {
    for arguments in [&["--help"][..], &["-h"], &["--version"], &["help", "explain"], &["validate", "--help"]] {
        let output = kappa(arguments);
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", text(&output.stderr));
        assert!(!output.stdout.is_empty() && output.stderr.is_empty(), "{arguments:?}");
    }
}

#[test]
fn wrong_usage_exits_2_and_leaves_stdout_empty() {
    for (arguments, reason) in [
        (&["frobnicate"][..], "unrecognized subcommand"),
        (&["validat", "a.sql"], "similar subcommand exists: 'validate'"),
        (&["validate"], "<JOB>"),
        (&["explain", "a.sql", "--jsn"], "--json"),
        (&["explain", "a.txt"], "a job is a .sql file"),
        (&["explain", "a.toml"], "requests aren't supported yet"),
        (&["-q", "-v", "explain", "a.sql"], "cannot be used with"),
        (&["maintain", "hits"], "neither a job file"),
        (&["maintain", "marts.hits", "--orphans-older-than", "1h"], "it must be 1d or more"),
        (&["maintain", "marts.hits", "--retain-last", "0"], "0 is not in 1.."),
    ] {
        let output = kappa(arguments);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        assert!(stderr.contains(reason), "{arguments:?}: {stderr}");
    }
}

#[test]
fn a_job_that_is_not_there_is_invalid() {
    for command in ["validate", "explain"] {
        let output = kappa(&[command, "no_such_job.sql"]);
        let stderr = text(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{command}: {stderr}");
        assert!(stderr.contains("no_such_job.sql can't be read"), "{command}: {stderr}");
    }
}

/// The options of one command, as its driver will get them.
fn parse<A: Args>(arguments: &[&str]) -> Result<A, String> {
    let command = A::augment_args(clap::Command::new("kappa"));
    let matches = command.try_get_matches_from(["kappa"].iter().chain(arguments)).map_err(|error| error.to_string())?;
    A::from_arg_matches(&matches).map_err(|error| error.to_string())
}

#[test]
fn arguments_that_contradict_each_other_are_refused() {
    let refused = |arguments: &[&str]| parse::<cli::run::RunArgs>(arguments).expect_err("refused");
    assert!(refused(&["a.sql", "--workers", "0"]).contains("0 is not in 1..=256"));
    assert!(refused(&["a.sql", "--allow-partial", "--whole-from", "now"]).contains("cannot be used with"));
    assert!(refused(&["a.sql", "--until", "yesterday"]).contains("or `end`"));
    let refused = |arguments: &[&str]| parse::<cli::archive::ArchiveArgs>(arguments).expect_err("refused");
    assert!(refused(&["a.sql", "--until", "now"]).contains("possible values: end"));
    let refused = |arguments: &[&str]| parse::<cli::offsets::OffsetsGetArgs>(arguments).expect_err("refused");
    assert!(refused(&[]).contains("<JOB|--archive <TABLE>>"));
    assert!(refused(&["a.sql", "--archive", "raw.a"]).contains("cannot be used with"));
    assert!(refused(&["--archive", "a"]).contains("isn't namespace.table"));
    let refused = |arguments: &[&str]| parse::<cli::diff::DiffArgs>(arguments).expect_err("refused");
    assert!(refused(&["a.sql", "--from", "2026-11-01"]).contains("--to <TIME>"));
}

mod meaning {
    use kappa::cli::backfill::{BackfillRangeArgs, Late};
    use kappa::cli::exit::Exit;
    use kappa::cli::run::{RunArgs, RunOptions};
    use kappa::cli::start::{StartChoice, Until};
    use kappa::cli::terminal::Terminal;
    use kappa::config::Project;
    use kappa::event::EventTime;

    use super::parse;

    const NOW: EventTime = EventTime(1_795_248_000_000_000);

    fn quiet() -> Terminal {
        Terminal::detect(true, 0)
    }

    fn project() -> Project {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("kappa.toml"), "[run]\nworkers = 3\n").expect("a file");
        Project::at(folder.path(), kappa::config::Overrides::none()).expect("a project")
    }

    fn run(arguments: &[&str]) -> Result<RunOptions, (Exit, String)> {
        let arguments: RunArgs = parse(arguments).expect("arguments");
        arguments.options(&project(), NOW, &quiet()).map_err(|failure| (failure.exit(), failure.to_string()))
    }

    #[test]
    fn a_run_without_options_leaves_the_choice_to_its_checkpoint() {
        let options = run(&["a.sql"]).expect("options");
        assert_eq!((options.start, options.until, options.drain, options.workers), (None, None, false, 3));
    }

    #[test]
    fn latest_is_now_and_draining_goes_to_the_end() {
        let options = run(&["a.sql", "--start", "latest", "--drain", "--workers", "8"]).expect("options");
        assert_eq!(options.start, Some(StartChoice::Time(NOW)));
        assert_eq!((options.until, options.drain, options.workers), (Some(Until::End), true, 8));
    }

    #[test]
    fn a_run_that_could_not_publish_anything_is_refused() {
        let (exit, message) = run(&["a.sql", "--start", "now", "--until", "now-1h"]).expect_err("refused");
        assert_eq!(exit, Exit::Usage);
        assert!(message.contains("isn't after --start"), "{message}");
        let (exit, message) = run(&["a.sql", "--drain", "--until", "now"]).expect_err("refused");
        assert_eq!(exit, Exit::Usage);
        assert!(message.contains("leave one of them out"), "{message}");
    }

    #[test]
    fn a_range_is_half_open_and_not_empty() {
        let options = |arguments: &[&str]| {
            let arguments: BackfillRangeArgs = parse(arguments).expect("arguments");
            arguments.options(&project(), NOW, &quiet()).map_err(|failure| failure.to_string())
        };
        let week = options(&["a.sql", "--from", "2026-11-01", "--to", "2026-11-08"]).expect("options");
        assert_eq!(week.range.to.0 - week.range.from.0, 7 * 86_400_000_000);
        assert_eq!((week.late, week.drain), (Late::Exact, false));
        let empty = options(&["a.sql", "--from", "2026-11-01", "--to", "2026-11-01"]).expect_err("refused");
        assert!(empty.contains("the range would be empty"), "{empty}");
    }
}
