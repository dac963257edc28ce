//! The settings that hold, as they may be shown: each with where it was set, secrets hidden.

use serde::Serialize;

use super::known;
use super::settings::{Layer, Origin, Setting, Value};

/// A setting as it may be shown.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// Its table.
    pub table: String,
    /// Its key in the table.
    pub key: String,
    /// The value as TOML writes it; `"***"` for a secret.
    pub value: String,
    /// Whether the value is hidden, wholly or in part.
    pub hidden: bool,
    /// Where it was set.
    pub origin: ListedOrigin,
    /// What there is to say about a default beside its value; else empty.
    pub remark: &'static str,
}

/// A default that isn't the same everywhere, and so isn't among the settings.
pub struct FoundDefault {
    /// Path of its key.
    pub path: &'static str,
    /// The value as TOML writes it.
    pub value: String,
    /// Where else it is another one, or where it comes from.
    pub remark: &'static str,
}

/// Where a setting was set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ListedOrigin {
    /// Nowhere.
    Default,
    /// In a table of `kappa.toml`.
    File {
        /// The line, from 1.
        line: usize,
    },
    /// In a profile of `kappa.toml`.
    Profile {
        /// The profile.
        name: String,
        /// The line, from 1.
        line: usize,
    },
    /// In the environment.
    Environment {
        /// The variable.
        variable: String,
    },
    /// By `--set`.
    Set,
}

impl std::fmt::Display for ListedOrigin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ListedOrigin::Default => f.write_str("default"),
            ListedOrigin::File { line } => write!(f, "kappa.toml:{line}"),
            ListedOrigin::Profile { name, line } => write!(f, "kappa.toml:{line}, profile {name}"),
            ListedOrigin::Environment { variable } => f.write_str(variable),
            ListedOrigin::Set => f.write_str("--set"),
        }
    }
}

/// All settings of `layer`, and of `found` those that aren't among them, by table and key; `text` is that of `kappa.toml`.
pub fn list(layer: &Layer, found: Vec<FoundDefault>, text: &str) -> Vec<Listed> {
    let set = layer.iter().map(|(path, setting)| {
        let shown = setting.shown(path);
        let hidden = shown != setting.value.to_text();
        let value = if hidden { quoted(&shown) } else { plain(setting) };
        listed(path, value, hidden, origin(&setting.origin, text), "")
    });
    let found = found.into_iter().filter(|default| layer.get(default.path).is_none());
    let found =
        found.map(|FoundDefault { path, value, remark }| listed(path, value, false, ListedOrigin::Default, remark));
    let mut all: Vec<Listed> = set.chain(found).collect();
    let rank = |table: &str| known::TABLES.iter().position(|known| *known == table);
    all.sort_by(|a, b| (rank(&a.table), &a.key).cmp(&(rank(&b.table), &b.key)));
    all
}

fn listed(path: &str, value: String, hidden: bool, origin: ListedOrigin, remark: &'static str) -> Listed {
    let (table, key) = path.split_once('.').expect("every path has a table");
    Listed { table: table.to_owned(), key: key.to_owned(), value, hidden, origin, remark }
}

/// The value as TOML writes it.
fn plain(setting: &Setting) -> String {
    match &setting.value {
        Value::Text(text) | Value::Untyped(text) => quoted(text),
        Value::Number(number) => number.clone(),
        Value::Integer(number) => number.to_string(),
        Value::Boolean(value) => value.to_string(),
    }
}

/// A text of TOML in one line: its escapes are those of JSON, a delete character aside.
pub fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007f")
}

fn origin(origin: &Origin, text: &str) -> ListedOrigin {
    let line = |at: usize| text.get(..at).unwrap_or_default().matches('\n').count() + 1;
    match origin {
        Origin::Default => ListedOrigin::Default,
        Origin::File(span) => ListedOrigin::File { line: line(span.start) },
        Origin::Profile { name, span } => ListedOrigin::Profile { name: name.clone(), line: line(span.start) },
        Origin::Environment(variable) => ListedOrigin::Environment { variable: variable.clone() },
        Origin::Flag(_) => ListedOrigin::Set,
    }
}
