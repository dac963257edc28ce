//! Layers of settings: values by the path of their key, each with where it was set.
//!
//! From the bottom up: the defaults, the tables of `kappa.toml`, the chosen profile, the environment, the command line.
//! Invariant: the upper layer wins key by key, never table by table.

use std::collections::BTreeMap;
use std::ops::Range;

use crate::secret;

/// A plain value of a layer; tables are part of the key's path.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
    /// Text from a place that knows no types (the environment, the command line, `${VAR}`): it is taken as whatever is
    /// asked for.
    Untyped(String),
    /// A whole number.
    Integer(i64),
    /// Any other number, as written.
    Number(String),
    /// `true` or `false`.
    Boolean(bool),
}

impl Value {
    /// The value as text, as librdkafka and catalogs take every property.
    pub fn to_text(&self) -> String {
        match self {
            Value::Text(text) | Value::Untyped(text) | Value::Number(text) => text.clone(),
            Value::Integer(number) => number.to_string(),
            Value::Boolean(value) => value.to_string(),
        }
    }
}

/// Where a value was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nowhere: it is the default.
    Default,
    /// In a table of `kappa.toml`, at these bytes.
    File(Range<usize>),
    /// In a profile of `kappa.toml`, at these bytes.
    Profile {
        /// The profile.
        name: String,
        /// Bytes of the file.
        span: Range<usize>,
    },
    /// In the environment, by the variable of this name.
    Environment(String),
    /// On the command line, by `--set` of this key.
    Flag(String),
}

/// A value and where it was set.
#[derive(Clone, PartialEq)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// Where it was set.
    pub origin: Origin,
    /// It must not be shown whatever its key is called, as it comes from a mounted secret.
    pub from_secret: bool,
}

impl Setting {
    /// A value that was set at `origin`.
    pub fn new(value: Value, origin: Origin) -> Setting {
        Setting { value, origin, from_secret: false }
    }

    /// Whether the value as a whole must not be shown; `path` is its key.
    pub fn is_secret(&self, path: &str) -> bool {
        // What can only be true or false gives nothing away.
        self.from_secret || (!matches!(self.value, Value::Boolean(_)) && secret::is_secret(name_in_table(path)))
    }

    /// The value as it may be shown; `path` is its key.
    pub fn shown(&self, path: &str) -> String {
        match self.is_secret(path) {
            true => secret::HIDDEN.to_owned(),
            false => secret::without_password(&self.value.to_text()),
        }
    }
}

impl std::fmt::Debug for Setting {
    /// Without the value: whether it is a secret only its key tells.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Setting").field("origin", &self.origin).finish_non_exhaustive()
    }
}

fn name_in_table(path: &str) -> &str {
    path.split_once('.').map_or(path, |(_, name)| name)
}

/// Settings by the path of their key: `kafka.bootstrap.servers`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layer(BTreeMap<String, Setting>);

impl Layer {
    /// The values that hold where nobody says otherwise.
    pub fn defaults(values: &[(&str, &str)]) -> Layer {
        let setting = |text: &str| Setting::new(Value::Text(text.to_owned()), Origin::Default);
        Layer(values.iter().map(|(path, text)| ((*path).to_owned(), setting(text))).collect())
    }

    /// Sets a value; an earlier one at the same path is replaced.
    pub fn set(&mut self, path: String, setting: Setting) {
        self.0.insert(path, setting);
    }

    /// Takes a value out.
    pub fn remove(&mut self, path: &str) {
        self.0.remove(path);
    }

    /// This layer with `upper` laid over it.
    #[must_use]
    pub fn under(mut self, upper: Layer) -> Layer {
        self.0.extend(upper.0);
        self
    }

    /// The setting at `path`.
    pub fn get(&self, path: &str) -> Option<&Setting> {
        self.0.get(path)
    }

    /// All settings by their paths, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Setting)> {
        self.0.iter().map(|(path, setting)| (path.as_str(), setting))
    }

    /// All settings by their paths, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&str, &mut Setting)> {
        self.0.iter_mut().map(|(path, setting)| (path.as_str(), setting))
    }

    /// All settings of `table`, by the rest of their path.
    pub fn below<'a>(&'a self, table: &'a str) -> impl Iterator<Item = (&'a str, &'a Setting)> {
        let inside = move |path: &'a String| path.strip_prefix(table)?.strip_prefix('.');
        self.0.iter().filter_map(move |(path, setting)| Some((inside(path)?, setting)))
    }
}
