//! Which tables and keys `kappa.toml` has, and what is said about a name that isn't one of them.

/// Tables that this version reads.
pub const TABLES: [&str; 5] = ["kafka", "catalog", "store", "state", "run"];

/// Keys of `[catalog]` for catalogs of every type.
pub const CATALOG: [&str; 4] = ["type", "uri", "name", "warehouse"];
/// Keys of `[catalog]` for REST catalogs, beside `header.…`.
pub const CATALOG_REST: [&str; 8] = {
    let [token, credential, scope, audience, resource, server] = crate::iceberg::AUTH_KEYS;
    [token, credential, scope, audience, resource, server, "prefix", crate::iceberg::CA]
};
/// What a key of a REST catalog begins with that is sent along with every request.
const HEADER: &str = "header.";
/// Keys of `[store]`.
pub use crate::store::KEYS as STORE;
/// Keys of `[state]`.
pub const STATE: [&str; 1] = ["location"];
/// Keys of `[run]`.
pub const RUN: [&str; 6] = ["workers", "checkpoint_interval", "rejects_max", "memory_max", "listen", "log"];

/// Judges the path of a key, such as `run.workers`: what is wrong with it and the way out, if anything.
pub fn judge(path: &str) -> Option<(String, String)> {
    let (table, key) = path.split_once('.').unwrap_or((path, ""));
    let keys: &[&str] = match table {
        "kafka" => return None,
        "catalog" => return judge_catalog(key),
        "store" => &STORE,
        "state" => &STATE,
        "run" => &RUN,
        "profile" => {
            let help = "choose a profile by `--profile NAME` or KAPPA_PROFILE, and set the key itself";
            return Some((format!("`{path}` would change a profile"), help.to_owned()));
        }
        _ => return Some((format!("there is no table `{table}`"), way_out(table, &TABLES, "tables"))),
    };
    if keys.contains(&key) {
        return None;
    }
    Some((format!("[{table}] has no key `{key}`"), way_out(key, keys, "keys")))
}

/// The keys of a table that have a meaning of their own.
pub fn keys(table: &str) -> Vec<&'static str> {
    match table {
        "catalog" => [&CATALOG[..], &CATALOG_REST].concat(),
        "store" => STORE.to_vec(),
        "state" => STATE.to_vec(),
        "run" => RUN.to_vec(),
        _ => Vec::new(),
    }
}

/// The table that a key of this name belongs into, if one has it.
pub fn table_of(key: &str) -> Option<&'static str> {
    TABLES.into_iter().find(|table| keys(table).contains(&key))
}

fn judge_catalog(key: &str) -> Option<(String, String)> {
    let known = keys("catalog");
    if known.contains(&key) || key.starts_with(HEADER) {
        return None;
    }
    let help = match key.starts_with("s3.") || key.starts_with("aws_") {
        true => "settings of object stores stand in [store]".to_owned(),
        false => way_out(key, &known, "keys"),
    };
    Some((format!("[catalog] has no key `{key}`"), help))
}

fn way_out(name: &str, known: &[&str], what: &str) -> String {
    match nearest(name, known) {
        Some(near) => format!("did you mean `{near}`?"),
        None => format!("the {what} are {}", list(known)),
    }
}

/// The known name that `name` is most likely a misspelling of: at most a third of its letters are wrong.
pub fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    let distance = |candidate: &str| strsim::damerau_levenshtein(&name.to_lowercase(), candidate);
    let near = known.iter().copied().min_by_key(|candidate| distance(candidate))?;
    (distance(near) <= (near.len() / 3).max(1)).then_some(near)
}

/// `a, b and c`.
pub fn list(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [one] => format!("`{one}`"),
        [first @ .., last] => {
            let first: Vec<String> = first.iter().map(|name| format!("`{name}`")).collect();
            format!("{} and `{last}`", first.join(", "))
        }
    }
}
