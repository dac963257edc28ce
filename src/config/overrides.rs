//! What the command line and the environment set beside `kappa.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use thiserror::Error;

use super::environment;
use super::known;
use super::problem::{ConfigProblem, Place};
use super::settings::{Layer, Origin, Setting, Value};

/// Chooses the profile where `--profile` doesn't.
const PROFILE_VARIABLE: &str = "KAPPA_PROFILE";

/// What the command line and the environment set: a profile, single keys, and the variables that values may name.
#[derive(Clone, PartialEq, Eq)]
pub struct Overrides {
    /// The chosen profile, and what chose it.
    profile: Option<(String, String)>,
    /// Keys and values of `--set`, in their order.
    set: Vec<(String, String)>,
    variables: BTreeMap<OsString, OsString>,
}

/// A `--set` that sets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("--set takes TABLE.KEY=VALUE, such as --set kafka.bootstrap.servers=broker:9092")]
pub struct SetError;

impl std::fmt::Debug for Overrides {
    /// Without the values, which may be secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let set: Vec<&String> = self.set.iter().map(|(key, _)| key).collect();
        f.debug_struct("Overrides").field("profile", &self.profile).field("set", &set).finish_non_exhaustive()
    }
}

impl Overrides {
    /// Nothing is set beside `kappa.toml`, and no variable is seen.
    pub fn none() -> &'static Overrides {
        static NONE: Overrides = Overrides { profile: None, set: Vec::new(), variables: BTreeMap::new() };
        &NONE
    }

    /// What `--profile`, the texts of `--set` and the environment say.
    pub fn new(
        profile: Option<&str>,
        set: &[String],
        variables: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Result<Overrides, SetError> {
        let variables: BTreeMap<OsString, OsString> = variables.into_iter().collect();
        let from_environment = || {
            let name = variables.get(OsStr::new(PROFILE_VARIABLE))?.to_string_lossy();
            (!name.is_empty()).then(|| (name.into_owned(), format!("environment variable {PROFILE_VARIABLE}")))
        };
        let profile = profile.map(|name| (name.to_owned(), format!("--profile {name}"))).or_else(from_environment);
        let set = set.iter().map(|text| {
            let (path, value) = text.split_once('=').ok_or(SetError)?;
            // Quotes as in the file do no harm; a key holds none.
            let path = path.trim().replace('"', "");
            path.contains('.').then(|| (path, value.to_owned())).ok_or(SetError)
        });
        Ok(Overrides { profile, set: set.collect::<Result<_, _>>()?, variables })
    }

    /// Name of the chosen profile.
    pub fn profile(&self) -> Option<&str> {
        self.profile.as_ref().map(|(name, _)| name.as_str())
    }

    /// The variables that values may name.
    pub(super) fn variables(&self) -> &BTreeMap<OsString, OsString> {
        &self.variables
    }

    /// The chosen one of `profiles`; nothing if none is chosen.
    pub(super) fn chosen(&self, profiles: &BTreeMap<String, Layer>, problems: &mut Vec<ConfigProblem>) -> Layer {
        let Some((name, by)) = &self.profile else { return Layer::default() };
        if let Some(profile) = profiles.get(name) {
            return profile.clone();
        }
        let names: Vec<&str> = profiles.keys().map(String::as_str).collect();
        let help = match (known::nearest(name, &names), names.len()) {
            (_, 0) => format!("kappa.toml has none; write one below lines such as [profile.{name}.kafka]"),
            (_, 1) => format!("the only profile is {}", known::list(&names)),
            (Some(near), _) => format!("did you mean `{near}`? The profiles are {}", known::list(&names)),
            (None, _) => format!("the profiles are {}", known::list(&names)),
        };
        let message = format!("there is no profile `{name}`");
        problems.push(ConfigProblem { place: Place::Outside(by.clone()), message, help });
        Layer::default()
    }

    /// What the environment sets. `written` are the paths in `kappa.toml`. Values are taken as they are: whoever sets a
    /// variable has its content at hand, so there is nothing to put into it.
    pub(super) fn environment(&self, written: &BTreeSet<&str>, problems: &mut Vec<ConfigProblem>) -> Layer {
        let mut layer = Layer::default();
        for (variable, value) in &self.variables {
            let Some(variable) = variable.to_str().filter(|name| environment::is_setting(name)) else { continue };
            let mut refuse = |message: String, help: String| {
                let place = Place::Outside(format!("environment variable {variable}"));
                problems.push(ConfigProblem { place, message, help });
            };
            match (environment::key_of(variable, written), value.to_str()) {
                (Err((message, help)), _) => refuse(message, help),
                (Ok(path), None) => refuse(format!("`{path}` isn't UTF-8"), "set it to text".to_owned()),
                (Ok(path), Some(value)) => {
                    let origin = Origin::Environment(variable.to_owned());
                    layer.set(path, Setting::new(Value::Untyped(value.to_owned()), origin));
                }
            }
        }
        layer
    }

    /// What the command line sets.
    pub(super) fn flags(&self, problems: &mut Vec<ConfigProblem>) -> Layer {
        let mut layer = Layer::default();
        for (path, value) in &self.set {
            let origin = Origin::Flag(path.clone());
            match known::judge(path) {
                Some((message, help)) => {
                    problems.push(ConfigProblem { place: Place::of(&origin), message, help });
                }
                None => layer.set(path.clone(), Setting::new(Value::Untyped(value.clone()), origin)),
            }
        }
        layer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn overrides(profile: Option<&str>, set: &[&str], variables: &[(&str, &str)]) -> Result<Overrides, SetError> {
        let set: Vec<String> = set.iter().map(|text| (*text).to_owned()).collect();
        Overrides::new(profile, &set, variables.iter().map(|(name, value)| (name.into(), value.into())))
    }

    #[test]
    fn the_command_line_chooses_before_the_environment() {
        let chosen = |profile, variables: &[(&str, &str)]| {
            overrides(profile, &[], variables).expect("valid").profile().map(str::to_owned)
        };
        assert_eq!(chosen(None, &[]), None);
        assert_eq!(chosen(None, &[("KAPPA_PROFILE", "")]), None);
        assert_eq!(chosen(None, &[("KAPPA_PROFILE", "dev")]).as_deref(), Some("dev"));
        assert_eq!(chosen(Some("prod"), &[("KAPPA_PROFILE", "dev")]).as_deref(), Some("prod"));
    }

    #[test]
    fn a_set_needs_a_table_a_key_and_a_value() {
        assert!(overrides(None, &["run.workers"], &[]).is_err());
        assert!(overrides(None, &["workers=1"], &[]).is_err());
        let set = overrides(None, &["kafka.\"sasl.password\"=a=b"], &[]).expect("valid").set;
        assert_eq!(set, [("kafka.sasl.password".to_owned(), "a=b".to_owned())]);
    }

    #[test]
    fn values_are_not_shown() {
        let overrides = overrides(None, &["kafka.sasl.password=canary"], &[("PW", "canary")]).expect("valid");
        assert_eq!(format!("{overrides:?}").find("canary"), None);
    }
}
