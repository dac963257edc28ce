//! Which setting an environment variable means.
//!
//! `KAPPA_<TABLE>__<KEY>`: table and key in capital letters, two underscores between them, and in the key an underscore for
//! every `.`, `-` and `_`. To find the key again, the known keys of the table and those that `kappa.toml` writes come
//! first; any other name is read by the habits of its table, see [`habitual_key`].
//! Invariant: a variable means one key or is refused, whatever else is set.

use std::collections::BTreeSet;

use super::known;

/// What the names of our variables begin with.
const PREFIX: &str = "KAPPA_";
/// What stands between table and key; names without it belong to someone else.
const SEPARATOR: &str = "__";

/// The name of the variable that sets the key at `path`, such as `kafka.bootstrap.servers`.
pub fn variable_of(path: &str) -> String {
    let (table, key) = path.split_once('.').unwrap_or((path, ""));
    let capitals = |text: &str| text.to_ascii_uppercase().replace(['.', '-'], "_");
    format!("{PREFIX}{}{SEPARATOR}{}", capitals(table), capitals(key))
}

/// Whether a variable is meant as a setting.
pub fn is_setting(variable: &str) -> bool {
    variable.strip_prefix(PREFIX).is_some_and(|rest| rest.contains(SEPARATOR))
}

/// The path of the key that a variable means; `written` are the paths in `kappa.toml`. Otherwise what is wrong with the
/// name, and the way out.
pub fn key_of(variable: &str, written: &BTreeSet<&str>) -> Result<String, (String, String)> {
    let rest = variable.strip_prefix(PREFIX).unwrap_or_default();
    let (table, key) = rest.split_once(SEPARATOR).unwrap_or((rest, ""));
    let is_name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    if table.is_empty() || key.is_empty() || !rest.chars().all(is_name) {
        let help = format!("write {}", variable_of("kafka.bootstrap.servers"));
        return Err((format!("`{variable}` isn't {PREFIX}TABLE{SEPARATOR}KEY in capital letters"), help));
    }
    let table = table.to_ascii_lowercase();
    if table == "profile" {
        let help = format!("choose a profile by {PREFIX}PROFILE, and set {PREFIX}TABLE{SEPARATOR}KEY itself");
        return Err((format!("`{variable}` would change a profile"), help));
    }
    let known = known::keys(&table).into_iter().map(|key| format!("{table}.{key}"));
    let known = known.chain(written.iter().filter(|path| in_table(path, &table)).map(|path| (*path).to_owned()));
    let meant: BTreeSet<String> = known.filter(|path| variable_of(path) == variable).collect();
    let path = match (meant.len(), meant.into_iter().next()) {
        (1, Some(path)) => path,
        (0, _) | (_, None) => habitual_key(&table, key),
        (_, Some(path)) => {
            let help = "write the key in kappa.toml with another variable: \"${VARIABLE}\"".to_owned();
            return Err((format!("`{variable}` means `{path}` and another key of kappa.toml"), help));
        }
    };
    match known::judge(&path) {
        None => Ok(path),
        Some((message, help)) => Err((format!("`{variable}`: {message}"), nearest_variable(&path).unwrap_or(help))),
    }
}

fn in_table(path: &str, table: &str) -> bool {
    path.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'))
}

/// A key that nobody has named yet. librdkafka's properties have dots, names of HTTP headers have hyphens, all others
/// have underscores.
fn habitual_key(table: &str, key: &str) -> String {
    let key = key.to_ascii_lowercase();
    match (table, key.strip_prefix("header_")) {
        ("catalog", Some(header)) => format!("catalog.header.{}", header.replace('_', "-")),
        ("kafka", _) => format!("{table}.{}", key.replace('_', ".")),
        _ => format!("{table}.{key}"),
    }
}

/// The variable of the table and key that were most likely meant.
fn nearest_variable(path: &str) -> Option<String> {
    let (table, key) = path.split_once('.')?;
    if !known::TABLES.contains(&table) {
        let near = known::nearest(table, &known::TABLES)?;
        return Some(format!("did you mean `{}`?", variable_of(&format!("{near}.{key}"))));
    }
    let near = known::nearest(key, &known::keys(table)).filter(|near| *near != key)?;
    Some(format!("did you mean `{}`?", variable_of(&format!("{table}.{near}"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(variable: &str) -> Result<String, (String, String)> {
        key_of(variable, &BTreeSet::from(["catalog.header.my_x", "kafka.my.a-b", "kafka.my.a.b"]))
    }

    #[test]
    fn every_known_key_is_found_again() {
        for table in known::TABLES {
            for name in known::keys(table) {
                let path = format!("{table}.{name}");
                assert_eq!(key(&variable_of(&path)), Ok(path));
            }
        }
    }

    #[test]
    fn properties_of_others_are_found_by_the_habits_of_their_table() {
        for (variable, path) in [
            ("KAPPA_KAFKA__BOOTSTRAP_SERVERS", "kafka.bootstrap.servers"),
            ("KAPPA_KAFKA__SASL_OAUTHBEARER_TOKEN_ENDPOINT_URL", "kafka.sasl.oauthbearer.token.endpoint.url"),
            ("KAPPA_CATALOG__OAUTH2_SERVER_URI", "catalog.oauth2-server-uri"),
            ("KAPPA_CATALOG__HEADER_X_TENANT", "catalog.header.x-tenant"),
            ("KAPPA_CATALOG__HEADER_MY_X", "catalog.header.my_x"),
            ("KAPPA_STORE__AWS_ACCESS_KEY_ID", "store.aws_access_key_id"),
            ("KAPPA_RUN__CHECKPOINT_INTERVAL", "run.checkpoint_interval"),
        ] {
            assert_eq!(key(variable), Ok(path.to_owned()));
        }
    }

    #[test]
    fn what_means_nothing_is_refused_with_the_nearest_name() {
        let refused = |variable: &str| {
            let (message, help) = key(variable).expect_err("refused");
            format!("{message}; {help}")
        };
        assert_eq!(
            refused("KAPPA_RUN__WORKER"),
            "`KAPPA_RUN__WORKER`: [run] has no key `worker`; did you mean `KAPPA_RUN__WORKERS`?"
        );
        assert_eq!(
            refused("KAPPA_KAFKAA__SASL_PASSWORD"),
            "`KAPPA_KAFKAA__SASL_PASSWORD`: there is no table `kafkaa`; did you mean `KAPPA_KAFKA__SASL_PASSWORD`?"
        );
        assert!(refused("KAPPA_KAFKA__MY_A_B").contains("means `kafka.my.a-b` and another key"));
        assert!(refused("KAPPA_kafka__x").contains("in capital letters"));
        assert!(refused("KAPPA_KAFKA__").contains("in capital letters"));
        assert!(refused("KAPPA_PROFILE__PROD__KAFKA__X").contains("would change a profile"));
        assert!(!is_setting("KAPPA_PROFILE") && !is_setting("KAPPA_TEST_KAFKA") && !is_setting("MY_KAPPA_A__B"));
    }
}
