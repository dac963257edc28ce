//! What users read when a job is refused: one folder of job files, each with the message it must give.
//!
//! `KAPPA_BLESS=1 cargo test --test kappa messages` writes the messages anew; read the difference before you commit it.

mod by_data;
mod commands;
mod fixtures;
mod maintain;

use std::fs;
use std::path::{Path, PathBuf};

use kappa::job::{Colour, JobErrors, Plan, compile, compile_with};

fn jobs() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/messages/jobs");
    let mut jobs: Vec<PathBuf> = fs::read_dir(folder)
        .expect("the folder is part of the repository")
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "sql"))
        .collect();
    jobs.sort();
    jobs
}

fn stem(path: &Path) -> &str {
    path.file_stem().and_then(|stem| stem.to_str()).expect("names of jobs are ASCII")
}

/// The job at `path`, planned with what it includes.
fn plan(path: &Path) -> Result<Plan, JobErrors> {
    let text = fs::read_to_string(path).expect("a job can be read");
    let folder = path.parent().expect("jobs are in a folder");
    compile_with(stem(path), &text, &|included| fs::read_to_string(folder.join(included)))
}

/// The message that the job at `path` is refused with.
fn refusal(path: &Path) -> String {
    let errors = plan(path).expect_err("a job in this folder is refused");
    format!("{}\n", errors.render(Colour::Plain))
}

#[test]
fn every_refused_job_gives_its_message() {
    let bless = std::env::var_os("KAPPA_BLESS").is_some();
    let mut wrong = Vec::new();
    for path in jobs() {
        let actual = refusal(&path);
        let expected_path = path.with_extension("txt");
        if bless {
            fs::write(&expected_path, &actual).expect("the folder can be written");
        }
        let expected = fs::read_to_string(&expected_path).unwrap_or_default();
        if actual != expected {
            wrong.push(format!("{}: expected\n{expected}\nbut the message is\n{actual}", stem(&path)));
        }
    }
    assert!(wrong.is_empty(), "{} of the messages differ\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_message_says_where_and_gives_a_way_out() {
    for path in jobs() {
        let errors = plan(&path).expect_err("a job in this folder is refused");
        for problem in errors.problems() {
            let name = stem(&path);
            assert!(problem.help.is_some(), "{name}: no way out of `{}`", problem.message);
            assert!(!problem.message.ends_with('.'), "{name}: a full stop in `{}`", problem.message);
            let first_word = problem.message.split(' ').next().unwrap_or_default();
            let is_keyword = first_word.chars().filter(|character| character.is_alphabetic()).all(char::is_uppercase);
            let begins_small = !problem.message.starts_with(char::is_uppercase);
            assert!(begins_small || is_keyword, "{name}: a capital letter begins `{}`", problem.message);
        }
    }
}

#[test]
fn colour_is_only_used_when_asked_for() {
    let path = jobs().into_iter().next().expect("there are jobs");
    let errors = plan(&path).expect_err("a job in this folder is refused");
    assert!(!errors.render(Colour::Plain).contains('\u{1b}'));
    assert!(errors.render(Colour::Ansi).contains('\u{1b}'));
    assert!(errors.with_path("somewhere/else.sql").render(Colour::Plain).contains("somewhere/else.sql"));
}

#[test]
fn every_job_of_the_project_compiles() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs");
    for entry in fs::read_dir(folder).expect("the folder is part of the repository") {
        let path = entry.expect("the folder can be listed").path();
        if path.extension().is_some_and(|extension| extension == "sql") {
            let plan = plan(&path);
            assert!(plan.is_ok(), "{}", plan.unwrap_err());
        }
    }
}

#[test]
fn every_example_of_the_reference_compiles() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("jobs/README.md");
    let text = fs::read_to_string(path).expect("the reference is part of the repository");
    let examples: Vec<&str> = text.split("```sql\n").skip(1).filter_map(|behind| behind.split("```").next()).collect();
    assert!(examples.len() >= 2, "the reference has whole jobs as examples");
    for example in examples {
        let plan = compile("example", example);
        assert!(plan.is_ok(), "{}", plan.unwrap_err());
    }
}
