//! From a project's settings to what the drivers work with: catalog, checkpoints, logs, clock, runtime.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use super::exit::{Failure, invalid_project};
use super::log;
use super::progress::{Progress, ProgressMode, RangeState};
use super::redact;
use super::terminal::Terminal;
use crate::checkpoints::{CheckpointError, CheckpointStore};
use crate::config::{self, Project, SizeText};
use crate::event::Micros;
use crate::iceberg::{Catalog, CatalogConfig, CatalogKind, IcebergError};
use crate::memory;
use crate::recompute::Scope;
use crate::sources::{Logs, RealLogs, SourceSettings, group_of};
use crate::store::{Place, Stores};
use crate::time::clock::{Clock, SystemClock};

/// The project of a job, with logging started as it says, and without its secrets.
pub fn open_project(job: &Path, terminal: &Terminal) -> Result<Project, Failure> {
    let project = Project::find(job, terminal.overrides).map_err(|error| invalid_project(&error, terminal.colour))?;
    redact::learn(project.redactor());
    log::start(project.run.log, terminal.verbosity, terminal.colour);
    Ok(project)
}

/// The async runtime of a command. Dropped, it waits for nobody: a question to a broker that doesn't answer may be under way,
/// for half a minute and without anyone left to take a second signal. All that must be done has been waited for by then.
#[derive(Debug)]
pub struct CommandRuntime(Option<tokio::runtime::Runtime>);

/// The async runtime of a command.
pub fn runtime() -> Result<CommandRuntime, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(Failure::running)?;
    Ok(CommandRuntime(Some(runtime)))
}

impl CommandRuntime {
    /// Runs a command to its end.
    pub fn block_on<F: Future>(&self, command: F) -> F::Output {
        self.0.as_ref().expect("only dropping takes it").block_on(command)
    }
}

impl Drop for CommandRuntime {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// The clock of a command.
pub fn clock() -> Arc<dyn Clock> {
    Arc::new(SystemClock::start())
}

/// Opens the project's catalog.
pub async fn catalog(project: &Project) -> Result<Catalog, Failure> {
    let settings = &project.catalog;
    let config = CatalogConfig {
        kind: match settings.kind {
            config::CatalogKind::Sql => CatalogKind::Sql,
            config::CatalogKind::Rest => CatalogKind::Rest,
        },
        uri: settings.uri.clone(),
        name: settings.name.clone(),
        warehouse: settings.warehouse.clone().unwrap_or_default(),
        properties: settings.properties.clone(),
        stores: Stores::new(&project.store),
    };
    Ok(Catalog::open(&config, &project.root).await?)
}

/// Whether the catalog is a file that isn't there yet; opening it would make it.
pub fn catalog_is_new(project: &Project) -> bool {
    let file = project.catalog.uri.strip_prefix("sqlite:");
    project.catalog.kind == config::CatalogKind::Sql && file.is_some_and(|file| !Path::new(file).exists())
}

/// Opens `state.location`.
pub fn state(project: &Project) -> Result<Place, Failure> {
    let place = Stores::new(&project.store).place(&project.state.location, &project.root);
    Ok(place.map_err(CheckpointError::from)?)
}

/// Opens the place of new tables, with its location; `None` where the catalog decides it.
pub fn warehouse(project: &Project) -> Result<Option<(Place, String)>, Failure> {
    let settings = &project.catalog;
    let Some(location) = settings.warehouse.as_ref().filter(|_| settings.kind == config::CatalogKind::Sql) else {
        return Ok(None);
    };
    let place = Stores::new(&project.store).place(location, &project.root);
    Ok(Some((place.map_err(IcebergError::from)?, location.clone())))
}

/// Opens the checkpoints of a job or an archiver.
pub fn checkpoints(project: &Project, owner: &str) -> Result<CheckpointStore, Failure> {
    Ok(CheckpointStore::at(&state(project)?, owner))
}

/// Bytes that a run may hold in memory; `None` where the system doesn't say what there is.
pub fn memory_max(project: &Project) -> Option<u64> {
    match project.run.memory_max {
        SizeText::Bytes(bytes) => Some(bytes),
        share => memory::available_bytes().map(|whole| share.of(whole)),
    }
}

/// The logs of the project's streams, read under the group of a job or an archiver.
pub fn logs(project: &Project, owner: &str) -> Arc<dyn Logs> {
    let (kafka, root) = (project.kafka.clone(), project.root.clone());
    let settings = SourceSettings { kafka, group: group_of(owner), root };
    Arc::new(RealLogs::new(settings))
}

/// Shows how far a recomputation has got.
pub fn range_watch(clock: Arc<dyn Clock>, mode: ProgressMode) -> impl Fn(&Scope, u64) + Sync {
    let progress = Mutex::new(Progress::new(mode));
    let started = clock.elapsed();
    move |scope, records| {
        let files = scope.histories.iter().flat_map(|history| &history.files);
        let state = RangeState {
            rows: records,
            rows_total: files.map(|file| file.records).sum(),
            range: Micros(scope.range.end.0.saturating_sub(scope.range.start.0)),
        };
        let elapsed = clock.elapsed().saturating_sub(started);
        progress.lock().unwrap_or_else(PoisonError::into_inner).range(elapsed, &state);
    }
}
