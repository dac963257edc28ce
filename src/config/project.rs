//! The project folder and its settings as types.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::duration::DurationText;
use super::effective::{effective, redactor};
use super::known;
use super::listing::{self, FoundDefault, Listed};
use super::operating::MEMORY_MAX;
use super::overrides::Overrides;
use super::problem::{ConfigError, ConfigProblem, Place};
use super::settings::{Layer, Origin, Setting, Value};
use super::size::SizeText;
use crate::iceberg::CA;
use crate::secret::{Properties, Redactor, without_password};
use crate::store::{CA_BUNDLE, check_location};

/// The file that makes a folder a project.
pub const PROJECT_FILE: &str = "kappa.toml";
/// Time between two checkpoints of a live run, unless set: how long a result waits to be seen.
pub const CHECKPOINT_INTERVAL_RUN: Duration = Duration::from_secs(10);
/// Time between two checkpoints of an archive, unless set: nobody waits for it, and fewer commits make larger files.
pub const CHECKPOINT_INTERVAL_ARCHIVE: Duration = Duration::from_secs(60);
/// As many workers as there are key groups: more would have nothing to do.
const WORKERS_MAX: i64 = 256;
/// Below it a run would do little else than write checkpoints.
const CHECKPOINT_INTERVAL_MIN: Duration = Duration::from_millis(100);
/// Beyond it a result can hardly be called live.
const CHECKPOINT_INTERVAL_MAX: Duration = Duration::from_secs(3_600);

const DEFAULTS: [(&str, &str); 6] = [
    ("kafka.bootstrap.servers", "localhost:9092"),
    ("catalog.type", "sql"),
    ("catalog.name", "kappa"),
    ("state.location", ".kappa/state"),
    ("run.rejects_max", "5%"),
    ("run.log", "text"),
];
/// Defaults of a SQL catalog; a REST catalog has an address of its own and may know its warehouse.
const DEFAULTS_SQL: [(&str, &str); 2] =
    [("catalog.uri", "sqlite:.kappa/catalog.db"), ("catalog.warehouse", ".kappa/warehouse")];

/// A project: a folder and its settings.
#[derive(Clone, PartialEq)]
pub struct Project {
    /// The folder, absolute; relative paths of jobs and settings start here.
    pub root: PathBuf,
    /// The profile that is laid over the tables of `kappa.toml`, if one was chosen.
    pub profile: Option<String>,
    /// Properties for librdkafka, as they are.
    pub kafka: BTreeMap<String, String>,
    /// The catalog of all tables.
    pub catalog: CatalogSettings,
    /// Credentials and settings of object stores, as `object_store` names them.
    pub store: Properties,
    /// Where checkpoints are.
    pub state: StateSettings,
    /// How jobs run.
    pub run: RunSettings,
    /// Everything that was set, with the defaults; the types above are read from it.
    settings: Layer,
    /// The text of `kappa.toml`, for the lines of origins.
    text: String,
}

impl std::fmt::Debug for Project {
    /// Without values, which may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Project { root, profile, .. } = self;
        f.debug_struct("Project").field("root", root).field("profile", profile).finish_non_exhaustive()
    }
}

/// The catalog of all tables.
#[derive(Clone, PartialEq, Eq)]
pub struct CatalogSettings {
    /// Which protocol.
    pub kind: CatalogKind,
    /// `sqlite:` and an absolute path, `postgres://…`, or the REST catalog's address. It may hold a password.
    pub uri: String,
    /// The catalog's name, as other engines write it.
    pub name: String,
    /// Where tables are created: for a SQL catalog an absolute folder or `s3://…`. For a REST catalog whatever it takes
    /// as a warehouse, as written; `None`: the catalog decides.
    pub warehouse: Option<String>,
    /// All other keys, such as `token` and `header.x-tenant`.
    pub properties: Properties,
}

impl std::fmt::Debug for CatalogSettings {
    /// Without the password of the address.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, uri, name, warehouse, properties } = self;
        let mut shown = f.debug_struct("CatalogSettings");
        shown.field("kind", kind).field("uri", &without_password(uri)).field("name", name);
        shown.field("warehouse", warehouse).field("properties", properties).finish()
    }
}

/// Protocols of catalogs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CatalogKind {
    /// Tables in a SQL database.
    Sql,
    /// Iceberg's REST protocol.
    Rest,
}

/// Where checkpoints are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateSettings {
    /// An absolute folder, or `s3://…`.
    pub location: String,
}

/// How jobs run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunSettings {
    /// Worker threads, 1 to 256.
    pub workers: usize,
    /// Time between two checkpoints where it was set, for runs and archives alike.
    pub checkpoint_interval: Option<Duration>,
    /// More rejects than this share of a checkpoint's records stop the job before it publishes.
    pub rejects_max: Share,
    /// Memory that the process may use.
    pub memory_max: SizeText,
    /// Where metrics and health are shown, as `host:port`; `None`: nowhere.
    pub listen: Option<String>,
    /// How logs are written.
    pub log: LogFormat,
}

impl RunSettings {
    /// Time between two checkpoints of a live run.
    pub fn checkpoint_interval_run(&self) -> Duration {
        self.checkpoint_interval.unwrap_or(CHECKPOINT_INTERVAL_RUN)
    }

    /// Time between two checkpoints of an archive.
    pub fn checkpoint_interval_archive(&self) -> Duration {
        self.checkpoint_interval.unwrap_or(CHECKPOINT_INTERVAL_ARCHIVE)
    }
}

/// How logs are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Lines for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// A share of a whole in millionths, 0 to 1,000,000.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Share(u32);

impl Share {
    /// Reads a percentage, such as `5%` or `0.5%`; `None` if it is none or not within 0 and 100.
    pub fn parse(text: &str) -> Option<Share> {
        let percent: f64 = text.trim().strip_suffix('%')?.trim_end().parse().ok()?;
        // Ten thousand millionths are a per cent; the range is checked first, so the cast is exact to the millionth.
        (0.0..=100.0).contains(&percent).then(|| Share((percent * 10_000.0).round() as u32))
    }

    /// How many of a million it is.
    pub fn millionths(self) -> u32 {
        self.0
    }

    /// Whether `part` of `whole` is more than this share; never so for an empty whole.
    pub fn is_exceeded_by(self, part: u64, whole: u64) -> bool {
        u128::from(part) * 1_000_000 > u128::from(whole) * u128::from(self.0)
    }
}

impl std::fmt::Display for Share {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}%", f64::from(self.0) / 10_000.0)
    }
}

impl Project {
    /// The project of a job file: the nearest folder upwards from it that holds a `kappa.toml`, else the current folder
    /// with the defaults; `overrides` are laid over it. The job file itself need not be there.
    pub fn find(job: &Path, overrides: &Overrides) -> Result<Project, ConfigError> {
        let folder = match job.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let current = absolute(Path::new("."))?;
        // A folder that isn't there holds no kappa.toml; that the job is missing is said by whoever reads it.
        let folder = absolute(folder).unwrap_or_else(|_| current.clone());
        let root = folder.ancestors().find(|above| above.join(PROJECT_FILE).is_file());
        Project::at(root.unwrap_or(&current), overrides)
    }

    /// The project in `root`, whether or not it holds a `kappa.toml`, with `overrides` laid over it.
    pub fn at(root: &Path, overrides: &Overrides) -> Result<Project, ConfigError> {
        let root = absolute(root)?;
        let path = root.join(PROJECT_FILE);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(missing) if missing.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        Project::read(root, &text, overrides).map_err(|problems| ConfigError::Invalid { path, text, problems })
    }

    /// Reads the text of a `kappa.toml` in the folder `root`; all problems at once, in the order of the file.
    fn read(root: PathBuf, text: &str, overrides: &Overrides) -> Result<Project, Vec<ConfigProblem>> {
        let mut problems = Vec::new();
        let settings = effective(&root, text, overrides, &DEFAULTS, &mut problems);
        let redactor = redactor(&settings);
        let mut reader = Reader { root: &root, settings, problems };
        let kafka = reader.kafka();
        let catalog = reader.catalog();
        let store = reader.properties("store", &[], CA_BUNDLE);
        let state = reader.state();
        let run = reader.run();
        let Reader { settings, mut problems, .. } = reader;
        if problems.is_empty() {
            let (profile, text) = (overrides.profile().map(str::to_owned), text.to_owned());
            return Ok(Project { root, profile, kafka, catalog, store, state, run, settings, text });
        }
        // Stable: what isn't in the file stays in its order, behind what is.
        problems.sort_by_key(|problem| problem.place.span().map_or(usize::MAX, |span| span.start));
        for problem in &mut problems {
            problem.message = redactor.hide(&problem.message).into_owned();
            problem.help = redactor.hide(&problem.help).into_owned();
        }
        Err(problems)
    }

    /// The same, with nothing set beside the file.
    #[cfg(test)]
    pub(super) fn parse(root: PathBuf, text: &str) -> Result<Project, Vec<ConfigProblem>> {
        Project::read(root, text, Overrides::none())
    }

    /// All settings that hold, as they may be shown, by table and key.
    pub fn list(&self) -> Vec<Listed> {
        let found = vec![
            FoundDefault { path: "run.workers", value: self.run.workers.to_string(), remark: ": the cores" },
            FoundDefault {
                path: "run.checkpoint_interval",
                value: listing::quoted(&DurationText(CHECKPOINT_INTERVAL_RUN).to_string()),
                remark: "; 1m for an archive",
            },
            FoundDefault {
                path: "run.memory_max",
                value: listing::quoted(MEMORY_MAX),
                remark: " of the machine or its cgroup",
            },
        ];
        listing::list(&self.settings, found, &self.text)
    }

    /// What takes the project's secrets out of texts that others write.
    pub fn redactor(&self) -> Redactor {
        redactor(&self.settings)
    }
}

fn absolute(folder: &Path) -> Result<PathBuf, ConfigError> {
    folder.canonicalize().map_err(|source| ConfigError::Folder { path: folder.to_owned(), source })
}

/// Reads settings into types and collects what is wrong; where something is, the value it returns is not used.
pub(super) struct Reader<'a> {
    root: &'a Path,
    settings: Layer,
    problems: Vec<ConfigProblem>,
}

impl Reader<'_> {
    pub(super) fn refuse(&mut self, origin: &Origin, message: String, help: impl Into<String>) {
        self.problems.push(ConfigProblem { place: Place::of(origin), message, help: help.into() });
    }

    /// The text at `path`; a value of another type is refused.
    pub(super) fn text(&mut self, path: &str) -> Option<(String, Origin)> {
        let Setting { value, origin, .. } = self.settings.get(path)?.clone();
        match value {
            Value::Text(text) | Value::Untyped(text) if !text.trim().is_empty() => Some((text, origin)),
            Value::Text(_) | Value::Untyped(_) => {
                self.refuse(&origin, format!("`{path}` is empty"), "leave the line out for the default");
                None
            }
            other => {
                self.refuse(
                    &origin,
                    format!("`{path}` must be text"),
                    format!("write it in quotes: \"{}\"", other.to_text()),
                );
                None
            }
        }
    }

    fn kafka(&mut self) -> BTreeMap<String, String> {
        // librdkafka's other name for the same: the default must not stand beside it.
        if self.settings.get("kafka.metadata.broker.list").is_some()
            && self.settings.get("kafka.bootstrap.servers").is_some_and(|setting| setting.origin == Origin::Default)
        {
            self.settings.remove("kafka.bootstrap.servers");
        }
        self.settings.below("kafka").map(|(key, setting)| (key.to_owned(), setting.value.to_text())).collect()
    }

    fn catalog(&mut self) -> CatalogSettings {
        let kind = match self.text("catalog.type") {
            Some((text, origin)) => match text.as_str() {
                "sql" => CatalogKind::Sql,
                "rest" => CatalogKind::Rest,
                _ => {
                    self.refuse(&origin, format!("there is no catalog type `{text}`"), "write \"sql\" or \"rest\"");
                    CatalogKind::Sql
                }
            },
            None => CatalogKind::Sql,
        };
        if kind == CatalogKind::Sql {
            self.settings = Layer::defaults(&DEFAULTS_SQL).under(std::mem::take(&mut self.settings));
        }
        let uri = match (kind, self.text("catalog.uri")) {
            (CatalogKind::Sql, Some((uri, origin))) => self.database(&uri, &origin),
            (CatalogKind::Rest, Some((uri, origin))) => self.http(uri, &origin),
            (CatalogKind::Rest, None) => {
                if self.settings.get("catalog.uri").is_none() {
                    let help = "add its address: uri = \"https://…\"";
                    let kind = self.settings.get("catalog.type").map_or(Origin::Default, |kind| kind.origin.clone());
                    self.refuse(&kind, "a REST catalog needs `catalog.uri`".to_owned(), help);
                }
                String::new()
            }
            (CatalogKind::Sql, None) => String::new(),
        };
        let warehouse = self.text("catalog.warehouse").map(|(warehouse, origin)| match kind {
            CatalogKind::Sql => self.place("catalog.warehouse", &warehouse, &origin),
            CatalogKind::Rest => warehouse,
        });
        let name = self.text("catalog.name").map(|(name, _)| name).unwrap_or_default();
        let properties = self.properties("catalog", &known::CATALOG, CA);
        CatalogSettings { kind, uri, name, warehouse, properties }
    }

    /// The keys of a table as text, but for `others`; the path at the key `path`, if there is one, made absolute.
    fn properties(&self, table: &str, others: &[&str], path: &str) -> Properties {
        let settings = self.settings.below(table).filter(|(key, _)| !others.contains(key));
        let value = |key: &str, text: String| match key == path {
            true => self.root.join(text).display().to_string(),
            false => text,
        };
        settings.map(|(key, setting)| (key.to_owned(), value(key, setting.value.to_text()))).collect()
    }

    /// `sqlite:` with an absolute path (`sqlite://` as other programs write it means the same), or PostgreSQL's address.
    fn database(&mut self, uri: &str, origin: &Origin) -> String {
        if uri.starts_with("postgres://") || uri.starts_with("postgresql://") {
            return uri.to_owned();
        }
        let Some(path) = uri.strip_prefix("sqlite:") else {
            let help = match uri.split_once(':') {
                Some(("http" | "https", _)) => "an address belongs to a REST catalog: set type = \"rest\"",
                _ => "write \"sqlite:FILE\" or \"postgres://USER:PASSWORD@HOST:PORT/DATABASE\"",
            };
            self.refuse(origin, format!("`{}` isn't the address of a SQL catalog", without_password(uri)), help);
            return String::new();
        };
        let path = path.strip_prefix("//").unwrap_or(path);
        if path.is_empty() || path.starts_with(':') {
            let help = "write \"sqlite:FILE\": a catalog must outlive the process";
            self.refuse(origin, format!("`{uri}` names no file"), help);
            return String::new();
        }
        format!("sqlite:{}", self.root.join(path).display())
    }

    fn http(&mut self, uri: String, origin: &Origin) -> String {
        let parsed = url::Url::parse(&uri).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
        if parsed.is_none() {
            let help = match uri.starts_with("sqlite:") || uri.starts_with("postgres") {
                true => "a database belongs to a SQL catalog: set type = \"sql\"",
                false => "write \"https://HOST…\"",
            };
            self.refuse(origin, format!("`{}` isn't the address of a REST catalog", without_password(&uri)), help);
        }
        uri
    }

    /// An absolute folder from a path relative to the project, or a location of an object store as it is.
    fn place(&mut self, path: &str, text: &str, origin: &Origin) -> String {
        match check_location(text, self.root) {
            Ok(location) => location,
            Err(error) => {
                self.refuse(origin, format!("`{path}` can't be {}", without_password(text)), error.detail);
                String::new()
            }
        }
    }

    fn state(&mut self) -> StateSettings {
        let location = self.text("state.location");
        let location = location.map(|(text, origin)| self.place("state.location", &text, &origin));
        StateSettings { location: location.unwrap_or_default() }
    }

    fn run(&mut self) -> RunSettings {
        let rejects_max = match self.text("run.rejects_max") {
            Some((text, origin)) => Share::parse(&text).unwrap_or_else(|| {
                let help = "write a percentage from \"0%\" to \"100%\"";
                self.refuse(&origin, format!("`{text}` isn't a share of the records"), help);
                Share(0)
            }),
            None => Share(0),
        };
        let log = match self.text("run.log") {
            Some((text, origin)) => match text.as_str() {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => {
                    self.refuse(&origin, format!("there is no log format `{text}`"), "write \"text\" or \"json\"");
                    LogFormat::Text
                }
            },
            None => LogFormat::Text,
        };
        RunSettings {
            workers: self.workers(),
            checkpoint_interval: self.checkpoint_interval(),
            rejects_max,
            memory_max: self.memory_max(),
            listen: self.listen(),
            log,
        }
    }

    fn workers(&mut self) -> usize {
        let cores = std::thread::available_parallelism().map_or(1, usize::from).min(WORKERS_MAX as usize);
        let Some(Setting { value, origin, .. }) = self.settings.get("run.workers").cloned() else { return cores };
        let number = match &value {
            Value::Integer(number) => Some(*number),
            Value::Untyped(text) => text.trim().parse().ok(),
            _ => None,
        };
        match number {
            Some(workers @ 1..=WORKERS_MAX) => {
                // Wherever it was written, it is a number.
                self.settings.set("run.workers".to_owned(), Setting::new(Value::Integer(workers), origin));
                workers as usize
            }
            _ => {
                let help =
                    format!("write a whole number from 1 to {WORKERS_MAX}, or leave the line out: one for each core");
                self.refuse(&origin, format!("`run.workers` can't be {}", value.to_text()), help);
                cores
            }
        }
    }

    fn checkpoint_interval(&mut self) -> Option<Duration> {
        let (text, origin) = self.text("run.checkpoint_interval")?;
        match text.parse::<DurationText>() {
            Ok(DurationText(interval)) if (CHECKPOINT_INTERVAL_MIN..=CHECKPOINT_INTERVAL_MAX).contains(&interval) => {
                Some(interval)
            }
            Ok(_) => {
                self.refuse(&origin, format!("`run.checkpoint_interval` can't be {text}"), "write 100ms to 1h");
                None
            }
            Err(error) => {
                self.refuse(&origin, format!("`run.checkpoint_interval`: {error}"), "");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests;
