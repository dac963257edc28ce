//! `kappa validate`: all problems of all jobs, without connecting to anything unless `--connect` asks for it.

mod connected;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use self::connected::{Connected, ConnectedDocument};
use super::arguments::{OutputArgs, job_path};
use super::connect::open_project;
use super::exit::{Exit, Failure};
use super::job::{JobFile, JobFileError};
use super::output;
use super::terminal::Terminal;
use crate::config::{ConfigError, Place, Project};
use crate::job::Plan;

/// Checks job files: parses, plans and type-checks them
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Checks job files: parses, plans and type-checks them.\n\n\
        It shows all problems of all of them at once, each with its line; the kappa.toml of each is checked too. It connects \
        to nothing, unless --connect asks for it. Exits 0 if all is well, 3 if anything is wrong, 1 if with --connect \
        something can't be reached.",
    after_long_help = "Examples:\n  \
        kappa validate jobs/*.sql                                   all problems of all jobs\n  \
        kappa validate jobs/page_hits.sql --json                    for an editor or a pipeline\n  \
        kappa validate jobs/page_hits.sql --connect --profile prod  what a run in production would meet"
)]
pub struct ValidateArgs {
    /// The jobs' SQL files, such as jobs/page_hits.sql
    #[arg(value_name = "JOB", required = true, value_parser = job_path)]
    pub jobs: Vec<PathBuf>,
    /// Look at what a run would meet, too: topics and their newest 1,000 records, tables, state, the rights on all of them,
    /// the first window. Nothing is left behind
    #[arg(long)]
    pub connect: bool,
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub output: OutputArgs,
}

/// The document of `--json`.
#[derive(Debug, Serialize)]
struct Report {
    valid: bool,
    files: Vec<FileReport>,
}

#[derive(Debug, Serialize)]
struct FileReport {
    file: String,
    valid: bool,
    /// The job's version, if it has one.
    fingerprint: Option<String>,
    problems: Vec<ProblemReport>,
    /// With `--connect`: what a run would meet.
    #[serde(skip_serializing_if = "Option::is_none")]
    connected: Option<ConnectedDocument>,
}

#[derive(Debug, Serialize)]
struct ProblemReport {
    /// The file that it is in: the job file, one that it includes, or kappa.toml.
    file: String,
    /// From 1.
    line: Option<u64>,
    /// From 1, in characters.
    column: Option<u64>,
    /// Where it is, if not in the file: an option or a variable of the environment.
    #[serde(skip_serializing_if = "Option::is_none")]
    outside: Option<String>,
    message: String,
    help: Option<String>,
}

impl ValidateArgs {
    /// Checks the jobs and says what is wrong.
    pub fn execute(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        let mut files = Vec::new();
        for error in self.project_errors(terminal) {
            terminal.error(&error.render(terminal.colour));
            files.push(of_project(&error));
        }
        let projects_are_valid = files.is_empty();
        let mut met = Met { exit: Exit::Done, problems: 0, text: String::new() };
        for path in &self.jobs {
            let report = match JobFile::read(path).and_then(|file| file.compile()) {
                Ok(plan) => {
                    let connected = match self.connect && projects_are_valid {
                        true => Some(met.look(path, &plan, terminal)?),
                        false => None,
                    };
                    FileReport { fingerprint: Some(plan.fingerprint), connected, ..report(path, Vec::new()) }
                }
                Err(error) => {
                    terminal.error(&format!("{}\n", error.render(terminal.colour)));
                    of_job(path, &error)
                }
            };
            files.push(report);
        }
        let written: usize = files.iter().map(|file| file.problems.len()).sum();
        let valid = written == 0;
        let exit = if valid { met.exit } else { Exit::Invalid };
        let wrong = files.iter().filter(|file| !file.valid).count();
        let jobs = output::count(files.len(), "job", "jobs");
        if self.output.json {
            terminal.json(&Report { valid: exit == Exit::Done, files })?;
            return Ok(exit);
        }
        terminal.data(&met.text)?;
        if !valid {
            let (problems, wrong) =
                (output::count(written, "problem", "problems"), output::count(wrong, "file", "files"));
            terminal.error(&format!("{problems} in {wrong}"));
        } else if met.problems == 0 {
            terminal.data(&format!("{jobs} {} valid\n", if self.jobs.len() == 1 { "is" } else { "are" }))?;
        }
        if met.problems > 0 {
            let problems = output::count(met.problems, "problem", "problems");
            terminal.error(&format!("{problems} with what a run would meet"));
        }
        Ok(exit)
    }

    /// What is wrong with the jobs' projects, each project once.
    fn project_errors(&self, terminal: &Terminal) -> Vec<ConfigError> {
        let folders: BTreeSet<&Path> = self.jobs.iter().map(|job| job.parent().unwrap_or(Path::new(""))).collect();
        let mut errors: Vec<ConfigError> = Vec::new();
        for folder in folders {
            // Any name will do: a project is found from the folder.
            if let Err(error) = Project::find(&folder.join("job.sql"), terminal.overrides)
                && errors.iter().all(|other| other.to_string() != error.to_string())
            {
                errors.push(error);
            }
        }
        errors
    }
}

/// What runs of the jobs would meet, put together.
struct Met {
    exit: Exit,
    problems: usize,
    text: String,
}

impl Met {
    /// Looks at one job's surroundings, and says what is wrong.
    fn look(&mut self, path: &Path, plan: &Plan, terminal: &Terminal) -> Result<ConnectedDocument, Failure> {
        let project = open_project(path, terminal)?;
        let connected = Connected::look(plan, &project)?;
        connected.complain(terminal);
        self.problems += connected.problems();
        self.text += &connected.text(plan, &project);
        // What is wrong counts more than what can't be reached: trying again doesn't mend it.
        self.exit = match (self.exit, connected.exit()) {
            (Exit::Invalid, _) | (_, Exit::Invalid) => Exit::Invalid,
            (Exit::Done, other) => other,
            (before, _) => before,
        };
        Ok(connected.document())
    }
}

fn report(path: &Path, problems: Vec<ProblemReport>) -> FileReport {
    FileReport {
        file: path.display().to_string(),
        valid: problems.is_empty(),
        fingerprint: None,
        problems,
        connected: None,
    }
}

fn of_job(path: &Path, error: &JobFileError) -> FileReport {
    let problems = match error {
        JobFileError::File(message) => {
            let file = path.display().to_string();
            vec![ProblemReport { file, line: None, column: None, outside: None, message: message.clone(), help: None }]
        }
        JobFileError::Content(errors) => {
            let place = |problem: &crate::job::Problem| problem.span.map(|span| (span.start.line, span.start.column));
            let problem = |problem: &crate::job::Problem| ProblemReport {
                file: errors.path_of(problem).to_owned(),
                line: place(problem).map(|(line, _)| line),
                column: place(problem).map(|(_, column)| column),
                outside: None,
                message: problem.message.clone(),
                help: problem.help.clone(),
            };
            errors.problems().iter().map(problem).collect()
        }
    };
    report(path, problems)
}

fn of_project(error: &ConfigError) -> FileReport {
    match error {
        ConfigError::Invalid { path, text, problems } => {
            let problems = problems.iter().map(|problem| {
                let before = problem.place.span().and_then(|span| text.get(..span.start));
                let outside = match &problem.place {
                    Place::Outside(name) => Some(name.clone()),
                    Place::File(_) | Place::Nowhere => None,
                };
                ProblemReport {
                    file: path.display().to_string(),
                    line: before.map(|before| before.matches('\n').count() as u64 + 1),
                    column: before.map(|before| before.chars().rev().take_while(|c| *c != '\n').count() as u64 + 1),
                    outside,
                    message: problem.message.clone(),
                    help: Some(problem.help.clone()).filter(|help| !help.is_empty()),
                }
            });
            report(path, problems.collect())
        }
        ConfigError::Read { path, .. } | ConfigError::Folder { path, .. } => {
            let file = path.display().to_string();
            let message = error.to_string();
            report(path, vec![ProblemReport { file, line: None, column: None, outside: None, message, help: None }])
        }
    }
}
