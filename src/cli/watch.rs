//! What a command shows while its drivers run: progress on stderr, metrics and health over HTTP if asked for. Both are the
//! same numbers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::exit::Failure;
use super::log_json;
use super::progress::{LiveState, Progress, ProgressMode};
use super::terminal::Terminal;
use crate::checkpoints::{ARCHIVE, Claim, STALE_AFTER};
use crate::config::Project;
use crate::server::{Board, ServeError, Server};
use crate::standing::Standing;
use crate::time::clock::Clock;

/// Watches the drivers of one command.
pub struct Watch {
    job: String,
    clock: Arc<dyn Clock>,
    started: Duration,
    board: Arc<Board>,
    shown: Mutex<(Progress, Vec<LiveState>)>,
    terminal: Terminal,
    /// Answers for as long as this lives.
    server: Option<Server>,
}

impl Watch {
    /// Opens the port, if the project names one, before any driver does anything. `owners`: whose drivers will say how they
    /// stand, in this order.
    pub async fn open(
        project: &Project,
        job: &str,
        owners: Vec<String>,
        clock: &Arc<dyn Clock>,
        (terminal, mode): (&Terminal, ProgressMode),
    ) -> Result<Watch, Failure> {
        log_json::set_writer(job, None);
        let states = owners.iter().map(|_| LiveState::default()).collect();
        let board = Arc::new(Board::new(clock, owners));
        let server = match &project.run.listen {
            Some(listen) => Some(Server::open(listen, board.clone()).await?),
            None => None,
        };
        if let Some(server) = &server {
            let address = server.address();
            terminal.note(&format!("metrics and health: http://{address}/metrics, /healthz, /readyz"));
        }
        let shown = Mutex::new((Progress::new(mode), states));
        let (job, started, terminal) = (job.to_owned(), clock.elapsed(), *terminal);
        Ok(Watch { job, clock: clock.clone(), started, board, shown, terminal, server })
    }

    /// Where metrics and health are served, if they are.
    pub fn address(&self) -> Option<String> {
        self.server.as_ref().map(|server| server.address().to_string())
    }

    /// A driver says how it stands.
    pub fn put(&self, driver: usize, standing: &Standing) {
        if let Some(holder) = &standing.waits_for {
            self.terminal.note(&waits_for(&standing.owner, holder));
        }
        if self.server.is_some() {
            self.board.put(driver, standing);
        }
        let elapsed = self.clock.elapsed().saturating_sub(self.started);
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        let (progress, states) = &mut *shown;
        states[driver] = LiveState::of(standing);
        // Several generations in one process: lines name the job only.
        let is_alone = states.len() == 1 && standing.generation > 0;
        log_json::set_writer(&self.job, is_alone.then_some(standing.generation));
        progress.live(elapsed, &LiveState::of_all(states));
    }

    /// A driver has ended as it should.
    pub fn end(&self, driver: usize) {
        self.board.end(driver);
    }
}

/// What is said once when another process is at work already.
fn waits_for(owner: &str, holder: &Claim) -> String {
    let what = match owner.strip_prefix(ARCHIVE) {
        Some(history) => format!("the archive of {history}"),
        None => format!("job {owner}"),
    };
    let listens = holder.listens.as_ref().map_or_else(String::new, |listens| format!(", listening at {listens}"));
    format!(
        "{what} is being run by {holder}{listens}: waiting until that process stops, or isn't heard of for {} s; \
         --take-over doesn't wait",
        STALE_AFTER.as_secs()
    )
}

impl From<ServeError> for Failure {
    fn from(error: ServeError) -> Failure {
        match error {
            // The one that has the port may be about to go.
            ServeError::Taken { .. } => Failure::running(error),
            ServeError::Open { .. } => Failure::invalid(error),
        }
    }
}
