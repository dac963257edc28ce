//! The text of a `kappa.toml` as layers: its tables, and each profile that may be laid over them.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::known;
use super::problem::{ConfigProblem, Place};
use super::settings::{Layer, Origin, Setting, Value};

/// The table that holds the profiles.
const PROFILES: &str = "profile";

/// What a `kappa.toml` says.
#[derive(Clone, Debug, Default)]
pub struct FileLayers {
    /// Its tables, profiles aside.
    pub tables: Layer,
    /// Its profiles by their names.
    pub profiles: BTreeMap<String, Layer>,
}

/// Reads the text of a `kappa.toml`; what is wrong with its notation or its names goes to `problems`, in profiles that
/// nobody has chosen too.
pub fn read(text: &str, problems: &mut Vec<ConfigProblem>) -> FileLayers {
    let (document, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let message = error.message().lines().collect::<Vec<_>>().join("; ");
        let place = error.span().map_or(Place::Nowhere, Place::File);
        problems.push(ConfigProblem { place, message, help: String::new() });
    }
    let mut layers = FileLayers::default();
    // A broken notation makes values stand in wrong places: their names would be blamed for it.
    if !errors.is_empty() {
        return layers;
    }
    let mut tables = Reading { profile: None, layer: Layer::default(), problems };
    for (key, value) in document.get_ref() {
        match value.get_ref() {
            DeValue::Table(profiles) if key.get_ref() == PROFILES => {
                for (name, profile) in profiles {
                    layers.profiles.insert(name.get_ref().to_string(), read_profile(name, profile, tables.problems));
                }
            }
            _ => tables.take_top(key, value),
        }
    }
    layers.tables = tables.layer;
    layers
}

type Key<'a> = toml::Spanned<std::borrow::Cow<'a, str>>;

fn read_profile(name: &Key<'_>, profile: &toml::Spanned<DeValue<'_>>, problems: &mut Vec<ConfigProblem>) -> Layer {
    let shown = name.get_ref();
    let DeValue::Table(tables) = profile.get_ref() else {
        let help = format!("write its keys below lines such as [{PROFILES}.{shown}.kafka]");
        problems.push(refusal(name.span(), format!("the profile `{shown}` must be a table"), help));
        return Layer::default();
    };
    let mut reading = Reading { profile: Some(shown), layer: Layer::default(), problems };
    for (key, value) in tables {
        reading.take_top(key, value);
    }
    reading.layer
}

fn refusal(span: Range<usize>, message: String, help: String) -> ConfigProblem {
    ConfigProblem { place: Place::File(span), message, help }
}

/// One layer while it is read.
struct Reading<'a> {
    /// The profile that the values belong to; `None`: to the file itself.
    profile: Option<&'a str>,
    layer: Layer,
    problems: &'a mut Vec<ConfigProblem>,
}

impl Reading<'_> {
    /// Takes what should be one of our tables.
    fn take_top(&mut self, key: &Key<'_>, value: &toml::Spanned<DeValue<'_>>) {
        let name = key.get_ref();
        let DeValue::Table(table) = value.get_ref() else {
            let below = self.profile.map_or(String::new(), |profile| format!("{PROFILES}.{profile}."));
            self.problems.push(outside_of_tables(&below, name, key.span()));
            return;
        };
        match known::judge(name).filter(|_| !known::TABLES.contains(&name.as_ref())) {
            Some((message, help)) => self.problems.push(refusal(key.span(), message, help)),
            None => self.take(table, name),
        }
    }

    fn take(&mut self, table: &DeTable<'_>, above: &str) {
        for (key, value) in table {
            let path = format!("{above}.{}", key.get_ref());
            // A table below `kafka` or `catalog` is only another way to write a dotted key.
            if let DeValue::Table(inner) = value.get_ref() {
                self.take(inner, &path);
                continue;
            }
            if let Some((message, help)) = known::judge(&path) {
                self.problems.push(refusal(key.span(), message, help));
                continue;
            }
            match plain(value.get_ref()) {
                Some(plain) => self.layer.set(path, Setting::new(plain, self.origin(value.span()))),
                None => self.problems.push(refusal(
                    value.span(),
                    format!("`{path}` must be text, a number, true or false"),
                    "write a list as one text with commas".to_owned(),
                )),
            }
        }
    }

    fn origin(&self, span: Range<usize>) -> Origin {
        match self.profile {
            Some(name) => Origin::Profile { name: name.to_owned(), span },
            None => Origin::File(span),
        }
    }
}

/// `below` is what the names of tables begin with: `profile.prod.`, or nothing.
fn outside_of_tables(below: &str, key: &str, span: Range<usize>) -> ConfigProblem {
    let help = match known::table_of(key) {
        Some(table) => format!("write it below a line `[{below}{table}]`"),
        None => format!("every key stands in one of the tables {}", known::list(&known::TABLES)),
    };
    refusal(span, format!("`{key}` stands outside of a table"), help)
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
