//! `kappa config`: the settings that hold, each with where it was set.

use std::path::Path;

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::arguments::OutputArgs;
use super::connect::open_project;
use super::exit::{Exit, Failure};
use super::terminal::Terminal;
use crate::config::{Listed, ListedOrigin, PROJECT_FILE, Project};

/// Comments stand in a column of their own unless a value is longer than this.
const COMMENT_COLUMN_MAX: usize = 60;

/// Shows the settings that hold, each with where it was set
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Shows the settings that hold for jobs in this folder, each with where it was set; secrets are hidden.\n\n\
        They come from the command line (--set kafka.bootstrap.servers=…), else from the environment \
        (KAPPA_KAFKA__BOOTSTRAP_SERVERS: capital letters, two underscores behind the table, one for each dot, hyphen or \
        underscore of the key), else from the chosen profile, else from the tables of kappa.toml, else they are defaults. \
        In kappa.toml and in --set, ${VAR} stands for a variable of the environment and ${file:PATH} for the content of a \
        file, such as a mounted secret; $${ stands for the characters ${.",
    after_long_help = "Examples:\n  \
        kappa config                        what holds here, and why\n  \
        kappa config --profile prod --json  what would hold in production, for a script\n  \
        kappa config --set run.workers=8    what would hold with that"
)]
pub struct ConfigArgs {
    #[command(flatten)]
    #[expect(missing_docs, reason = "a doc comment here would become the help text of the command")]
    pub output: OutputArgs,
}

impl ConfigArgs {
    /// Shows the settings.
    pub fn execute(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        let project = open_project(Path::new("."), terminal)?;
        let settings = project.list();
        match self.output.json {
            true => terminal.json(&Document::new(&project, &settings))?,
            false => terminal.data(&text(&project, &settings))?,
        }
        Ok(Exit::Done)
    }
}

/// As `kappa.toml` would be written, with origins as comments.
fn text(project: &Project, settings: &[Listed]) -> String {
    let file = project.root.join(PROJECT_FILE);
    let mut text = match file.is_file() {
        true => format!("# {}", file.display()),
        false => format!("# {} has no {PROJECT_FILE}", project.root.display()),
    };
    if let Some(profile) = &project.profile {
        text += &format!(", profile {profile}");
    }
    text.push('\n');
    let mut tables: Vec<&str> = settings.iter().map(|setting| setting.table.as_str()).collect();
    tables.dedup();
    for table in tables {
        let inside = settings.iter().filter(|setting| setting.table == table);
        let lines: Vec<(String, String)> = inside.map(line).collect();
        let widths = lines.iter().map(|(assignment, _)| assignment.chars().count());
        let column = widths.filter(|width| *width <= COMMENT_COLUMN_MAX).max().unwrap_or(0);
        text += &format!("\n[{table}]\n");
        for (assignment, comment) in lines {
            text += &format!("{assignment:column$}  # {comment}\n");
        }
    }
    text
}

fn line(setting: &Listed) -> (String, String) {
    let Listed { key, value, origin, remark, .. } = setting;
    let is_bare = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    let key = if is_bare { key.clone() } else { Value::from(key.as_str()).to_string() };
    (format!("{key} = {value}"), format!("{origin}{remark}"))
}

/// The settings, as `--json` shows them.
#[derive(Serialize)]
struct Document<'a> {
    root: String,
    file: Option<String>,
    profile: Option<&'a str>,
    settings: Vec<SettingDocument<'a>>,
}

#[derive(Serialize)]
struct SettingDocument<'a> {
    key: String,
    value: Value,
    hidden: bool,
    origin: &'a ListedOrigin,
}

impl<'a> Document<'a> {
    fn new(project: &'a Project, settings: &'a [Listed]) -> Document<'a> {
        let file = project.root.join(PROJECT_FILE);
        let settings = settings.iter().map(|listed| SettingDocument {
            key: format!("{}.{}", listed.table, listed.key),
            // What TOML writes is JSON, but for numbers that JSON doesn't have.
            value: serde_json::from_str(&listed.value).unwrap_or_else(|_| Value::from(listed.value.as_str())),
            hidden: listed.hidden,
            origin: &listed.origin,
        });
        Document {
            root: project.root.display().to_string(),
            file: file.is_file().then(|| file.display().to_string()),
            profile: project.profile.as_deref(),
            settings: settings.collect(),
        }
    }
}
