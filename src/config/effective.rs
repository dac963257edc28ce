//! The settings that hold: all layers laid over each other, with variables and files put in, and the secrets among them.

use std::path::Path;

use super::expand::{self, Surroundings};
use super::file;
use super::overrides::Overrides;
use super::problem::{ConfigProblem, Place};
use super::settings::{Layer, Origin, Value};
use crate::secret::{Redactor, passwords};

/// The layers laid over each other, with variables and files put in.
pub(super) fn effective(
    root: &Path,
    text: &str,
    overrides: &Overrides,
    defaults: &[(&str, &str)],
    problems: &mut Vec<ConfigProblem>,
) -> Layer {
    let file = file::read(text, problems);
    let written = file.profiles.values().chain([&file.tables]).flat_map(Layer::iter).map(|(path, _)| path).collect();
    let environment = overrides.environment(&written, problems);
    let profile = overrides.chosen(&file.profiles, problems);
    let flags = overrides.flags(problems);
    let mut settings = Layer::defaults(defaults).under(file.tables).under(profile).under(environment).under(flags);
    let surroundings = Surroundings { variables: overrides.variables(), root };
    // Only now: what another layer has replaced need not be there.
    for (path, setting) in settings.iter_mut() {
        let (Value::Text(text) | Value::Untyped(text)) = &setting.value else { continue };
        if matches!(setting.origin, Origin::Environment(_)) {
            continue;
        }
        match expand::expand(text, surroundings) {
            Ok(None) => {}
            Ok(Some(expanded)) => {
                setting.value = Value::Untyped(expanded.text);
                setting.from_secret = expanded.from_file;
            }
            Err(error) => problems.push(ConfigProblem {
                place: Place::of(&setting.origin),
                message: format!("`{path}`: {error}"),
                help: error.help(),
            }),
        }
    }
    settings
}

/// Knows every secret of the settings, and the passwords of addresses in them.
pub(super) fn redactor(settings: &Layer) -> Redactor {
    let mut secrets = Vec::new();
    for (path, setting) in settings.iter() {
        let text = setting.value.to_text();
        match setting.is_secret(path) {
            true => secrets.push(text),
            false => secrets.extend(passwords(&text).into_iter().map(|range| text[range].to_owned())),
        }
    }
    Redactor::of(secrets.iter().map(String::as_str))
}
