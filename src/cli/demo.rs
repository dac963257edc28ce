//! `kappa demo`: the whole story, told by the commands that a user would type.

use std::path::{Path, PathBuf};

use clap::Args;

use super::command;
use super::connect;
use super::exit::{Exit, Failure};
use super::log::Verbosity;
use super::output::{Column, Table, number};
use super::terminal::Terminal;
use crate::config::{Overrides, Project};
use crate::demo::{Broker, DemoError, Folder, JOB, REPAIR, RESULT, Totals, requests, totals};
use crate::event::TableName;

/// The first day, which is computed again.
const DAY: [&str; 4] = ["--from", "2026-11-18T00:00:00Z", "--to", "2026-11-19T00:00:00Z"];

/// Shows the whole story on embedded parts, in one screen
#[derive(Args, Clone, Debug)]
#[command(
    long_about = "Shows the whole story on embedded parts, in about a minute and with nothing to install.\n\n\
        Two days of web requests go to an embedded Kafka; a job runs live and is archived; then a bug in the job is fixed, \
        the first day is computed again from history, and diff shows that everything agrees.",
    after_long_help = "Examples:\n  kappa demo\n  kappa demo --keep /tmp/kappa-demo"
)]
pub struct DemoArgs {
    /// Keep catalog, tables and jobs in this folder, to look at them afterwards; it must be empty or not there yet
    /// [default: a folder in the temporary directory]
    #[arg(long, value_name = "DIR")]
    pub keep: Option<PathBuf>,
}

impl DemoArgs {
    /// Tells the story.
    pub fn execute(&self, terminal: &Terminal) -> Result<Exit, Failure> {
        let unique = format!("kappa-demo-{}", std::process::id());
        let path = self.keep.clone().unwrap_or_else(|| std::env::temp_dir().join(unique));
        let broker = Broker::start()?;
        let folder = Folder::create(&path, &broker.servers())?;
        // The commands below are shown as they are typed in that folder.
        std::env::set_current_dir(&folder.path).map_err(Failure::running)?;
        Story { terminal, folder }.tell(&broker)
    }
}

struct Story<'a> {
    terminal: &'a Terminal,
    folder: Folder,
}

impl Story<'_> {
    fn tell(&self, broker: &Broker) -> Result<Exit, Failure> {
        let topic = requests::topic();
        broker.fill(&topic.messages)?;
        self.say(&format!(
            "Two days of web requests are in an embedded Kafka: {} messages in {} partitions, out of order, {} of them\n\
             minutes late, {} broken. A job counts the hits of each host by minute; keep the topic, then run it:\n",
            number(topic.messages.len() as u64),
            requests::PARTITIONS,
            number(topic.delayed as u64),
            topic.broken,
        ))?;
        self.run(&["archive", JOB, "--until", "end"], Exit::Done)?;
        self.run(&["run", JOB, "--until", "end"], Exit::Done)?;
        let before = self.totals()?;
        let bots = number(topic.bots as u64);
        self.say(&format!("\n{}", hits(&before)))?;
        self.say(&format!(
            "But {bots} of the requests are of bots, and they are counted. The repair is a line in the job, and the first\n\
             day is computed again from history by the same file:\n\n  + {REPAIR}\n"
        ))?;
        self.folder.mend_job()?;
        let with_day = |command: &[&'static str], rest: &[&'static str]| [command, &[JOB], &DAY, rest].concat();
        self.run(&with_day(&["diff"], &["--limit", "3"]), Exit::Unequal)?;
        self.run(&with_day(&["backfill", "plan"], &[]), Exit::Done)?;
        self.run(&with_day(&["backfill", "run"], &[]), Exit::Done)?;
        self.run(&with_day(&["diff"], &[]), Exit::Done)?;
        let after = self.totals()?;
        self.say(&format!("\n{}", comparison(&before, &after)))?;
        self.say(&next(&self.folder.path, &after))?;
        Ok(Exit::Done)
    }

    fn say(&self, text: &str) -> Result<(), Failure> {
        self.terminal.data(&format!("{text}\n"))
    }

    /// Shows a command and does it; the story ends if it ends otherwise than it should.
    fn run(&self, arguments: &[&str], wanted: Exit) -> Result<(), Failure> {
        self.say(&format!("$ kappa {}", arguments.join(" ")))?;
        // Notes and logs of the single commands would drown the story, unless they are asked for.
        let verbose = self.terminal.verbosity > Verbosity::Normal;
        let verbosity = if verbose { self.terminal.verbosity } else { Verbosity::Quiet };
        // Profiles and variables of the user's are not for this project.
        let terminal = Terminal { quiet: !verbose, verbosity, overrides: Overrides::none(), ..*self.terminal };
        match command::perform(arguments, &terminal)? {
            exit if exit == wanted => Ok(()),
            exit => Err(Failure::Running(anyhow::anyhow!(
                "the demo's command ended with {}, not {}; everything is in {}",
                exit as u8,
                wanted as u8,
                self.folder.path.display()
            ))),
        }
    }

    fn totals(&self) -> Result<Totals, Failure> {
        let project = Project::at(&self.folder.path, Overrides::none()).map_err(Failure::running)?;
        let name = TableName::parse(RESULT).expect("the name has a namespace");
        connect::runtime()?.block_on(async {
            let catalog = connect::catalog(&project).await?;
            totals(&catalog, &name).await.map_err(Failure::from)
        })
    }
}

/// Hits by host as the live run published them.
fn hits(totals: &Totals) -> String {
    let mut table = Table::new(&[Column::Text("host"), Column::Number("18 Nov"), Column::Number("19 Nov")]);
    for (host, days) in &totals.hits {
        table.row([host.clone(), number(days[0]), number(days[1])]);
    }
    table.to_string()
}

/// Hits by host, before and after.
fn comparison(before: &Totals, after: &Totals) -> String {
    let mut table = Table::new(&[
        Column::Text("host"),
        Column::Number("18 Nov, live"),
        Column::Number("18 Nov, backfilled"),
        Column::Number("19 Nov, live"),
    ]);
    for (host, [first, _]) in &before.hits {
        let [mended, second] = after.hits.get(host).copied().unwrap_or_default();
        table.row([host.clone(), number(*first), number(mended), number(second)]);
    }
    table.to_string()
}

/// Where everything is, and what to try.
fn next(folder: &Path, totals: &Totals) -> String {
    let shown = folder.display();
    let metadata = totals.metadata.strip_prefix("file://").unwrap_or(&totals.metadata);
    format!(
        "Everything is in {shown}: the job, kappa.toml, and catalog, tables and checkpoints in .kappa. Try next, there:\n\n  \
         kappa explain {JOB}\n  \
         duckdb -c \"INSTALL iceberg; LOAD iceberg; SELECT host, sum(hits) FROM iceberg_scan('{metadata}') GROUP BY host\"\n  \
         python3 -c \"from pyiceberg.catalog.sql import SqlCatalog as C; print(C('kappa', uri='sqlite:///{shown}/.kappa/catalog.db')\
         .load_table('{RESULT}').scan(limit=10).to_arrow())\""
    )
}

impl From<DemoError> for Failure {
    fn from(error: DemoError) -> Failure {
        match error {
            DemoError::NotEmpty { .. } => Failure::Usage(error.to_string()),
            _ => Failure::running(error),
        }
    }
}
