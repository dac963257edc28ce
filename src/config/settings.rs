//! Layers of settings: values by the path of their key, each with where it was set.
//!
//! A file is one layer, the defaults are another; others (a profile, the environment, the command line) are laid over
//! them in the same way. Invariant: the upper layer wins key by key, never table by table.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::known;
use super::problem::ConfigProblem;

/// A plain value of a layer; tables are part of the key's path.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Text.
    Text(String),
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
            Value::Text(text) | Value::Number(text) => text.clone(),
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
    /// In `kappa.toml`, at these bytes.
    File(Range<usize>),
}

impl Origin {
    /// The bytes of the file, if it stands there.
    pub fn span(&self) -> Option<Range<usize>> {
        match self {
            Origin::Default => None,
            Origin::File(span) => Some(span.clone()),
        }
    }
}

/// A value and where it was set.
#[derive(Clone, Debug, PartialEq)]
pub struct Setting {
    /// The value.
    pub value: Value,
    /// Where it was set.
    pub origin: Origin,
}

/// Settings by the path of their key: `kafka.bootstrap.servers`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layer(BTreeMap<String, Setting>);

impl Layer {
    /// The values that hold where nobody says otherwise.
    pub fn defaults(values: &[(&str, &str)]) -> Layer {
        let setting = |text: &str| Setting { value: Value::Text(text.to_owned()), origin: Origin::Default };
        Layer(values.iter().map(|(path, text)| ((*path).to_owned(), setting(text))).collect())
    }

    /// Reads the text of a `kappa.toml`; what is wrong with its notation or its names goes to `problems`.
    pub fn from_file(text: &str, problems: &mut Vec<ConfigProblem>) -> Layer {
        let (document, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let message = error.message().lines().collect::<Vec<_>>().join("; ");
            problems.push(ConfigProblem { span: error.span(), message, help: String::new() });
        }
        let mut layer = Layer::default();
        // A broken notation makes values stand in wrong places: their names would be blamed for it.
        if errors.is_empty() {
            layer.take(document.get_ref(), "", problems);
        }
        layer
    }

    fn take(&mut self, table: &DeTable<'_>, above: &str, problems: &mut Vec<ConfigProblem>) {
        for (key, value) in table {
            let path = if above.is_empty() { key.get_ref().to_string() } else { format!("{above}.{}", key.get_ref()) };
            // A table below `kafka` or `catalog` is only another way to write a dotted key.
            if let DeValue::Table(inner) = value.get_ref() {
                let known_table = known::TABLES.contains(&path.as_str()) || !above.is_empty();
                match known::judge(&path).filter(|_| !known_table) {
                    Some((message, help)) => problems.push(ConfigProblem { span: Some(key.span()), message, help }),
                    None => self.take(inner, &path, problems),
                }
                continue;
            }
            if above.is_empty() {
                problems.push(outside_of_tables(key.get_ref(), key.span()));
                continue;
            }
            if let Some((message, help)) = known::judge(&path) {
                problems.push(ConfigProblem { span: Some(key.span()), message, help });
                continue;
            }
            match plain(value.get_ref()) {
                Some(plain) => {
                    self.0.insert(path, Setting { value: plain, origin: Origin::File(value.span()) });
                }
                None => problems.push(ConfigProblem {
                    span: Some(value.span()),
                    message: format!("`{path}` must be text, a number, true or false"),
                    help: "write a list as one text with commas".to_owned(),
                }),
            }
        }
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

    /// All settings of `table`, by the rest of their path.
    pub fn below<'a>(&'a self, table: &'a str) -> impl Iterator<Item = (&'a str, &'a Setting)> {
        let inside = move |path: &'a String| path.strip_prefix(table)?.strip_prefix('.');
        self.0.iter().filter_map(move |(path, setting)| Some((inside(path)?, setting)))
    }
}

fn outside_of_tables(key: &str, span: Range<usize>) -> ConfigProblem {
    let table = [("catalog", &known::CATALOG[..]), ("state", &known::STATE), ("run", &known::RUN)]
        .into_iter()
        .find(|(_, keys)| keys.contains(&key));
    let help = match table {
        Some((table, _)) => format!("write it below a line `[{table}]`"),
        None => format!("every key stands in one of the tables {}", known::list(&known::TABLES)),
    };
    ConfigProblem { span: Some(span), message: format!("`{key}` stands outside of a table"), help }
}

fn plain(value: &DeValue<'_>) -> Option<Value> {
    match value {
        DeValue::String(text) => Some(Value::Text(text.to_string())),
        DeValue::Integer(number) => {
            let parsed = i64::from_str_radix(number.as_str(), number.radix()).ok();
            Some(parsed.map_or_else(|| Value::Number(number.as_str().to_owned()), Value::Integer))
        }
        DeValue::Float(number) => Some(Value::Number(number.as_str().to_owned())),
        DeValue::Boolean(value) => Some(Value::Boolean(*value)),
        DeValue::Datetime(_) | DeValue::Array(_) | DeValue::Table(_) => None,
    }
}
