//! The text of a `kappa.toml` as it may be shown beside a problem: every secret in it replaced by as many stars, so that
//! lines and columns stay where they are. Works on text that isn't valid TOML too, as that is what is shown most.

use crate::secret;

/// Quotes that a text of several lines stands between.
const LONG_QUOTES: [&str; 2] = ["\"\"\"", "'''"];

/// The text with stars for the values of secret keys and for the passwords of addresses; of the same length in bytes.
pub fn without_secrets(text: &str) -> String {
    let mut masked: Vec<u8> = text.as_bytes().to_vec();
    let mut table = String::new();
    // The quotes that end a secret of several lines, while we are inside of one.
    let mut inside: Option<&str> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let from = match inside {
            Some(_) => Some(0),
            None => secret_value(&table, line),
        };
        if let Some(from) = from {
            hide(&mut masked[at + from..at + line.len()]);
        }
        inside = match (inside, from) {
            (Some(quotes), _) => Some(quotes).filter(|quotes| !line.contains(quotes)),
            (None, Some(from)) => LONG_QUOTES.into_iter().find(|quotes| line[from..].matches(quotes).count() == 1),
            (None, None) => None,
        };
        if let Some(name) = table_name(line) {
            table = name;
        }
        at += line.len();
    }
    for password in secret::passwords(text) {
        hide(&mut masked[password]);
    }
    String::from_utf8(masked).expect("only whole lines and texts were replaced, by ASCII")
}

/// Stars for everything but white space and quotes, by which the form is still seen.
fn hide(bytes: &mut [u8]) {
    for byte in bytes.iter_mut().filter(|byte| !byte.is_ascii_whitespace() && !matches!(byte, b'"' | b'\'')) {
        *byte = b'*';
    }
}

/// Where the value of the first secret key of a line begins; several can stand in an inline table.
fn secret_value(table: &str, line: &str) -> Option<usize> {
    line.match_indices('=').map(|(at, _)| at).find_map(|at| {
        let key = line[..at].trim_end().rsplit([',', '{', ' ', '\t']).next()?;
        let path = format!("{table}.{}", key.replace(['"', '\''], ""));
        let name = path.split_once('.').map_or("", |(_, name)| name);
        (!key.is_empty() && secret::is_secret(name)).then_some(at + 1)
    })
}

/// The table whose keys stand below a line such as `[profile.prod.kafka]`, without what profiles put before it.
fn table_name(line: &str) -> Option<String> {
    let (name, _) = line.trim().strip_prefix('[')?.split_once(']')?;
    let name = name.replace(['"', '\'', ' ', '['], "");
    Some(match name.strip_prefix("profile.").and_then(|rest| rest.split_once('.')) {
        Some((_, table)) => table.to_owned(),
        None => name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_become_stars_and_everything_stays_where_it_is() {
        let text = "[kafka]\n\"sasl.password\" = \"pä ss\" # note\nlinger.ms = 5\n[kafka.ssl.key]\npem = \"\"\"\nAB=\nCD\n\"\"\"\n\
                    [catalog]\nuri = \"postgres://u:pw@h/d\"\ntoken=\"t\n[profile.p]\nkafka = { a = 1, sasl.password = 'x' }\n";
        let masked = without_secrets(text);
        assert_eq!(masked.len(), text.len());
        let expected = "[kafka]\n\"sasl.password\" = \"*** **\" * ****\nlinger.ms = 5\n[kafka.ssl.key]\npem = \"\"\"\n***\n**\n\"\"\"\n\
                        [catalog]\nuri = \"postgres://u:**@h/d\"\ntoken=\"*\n[profile.p]\nkafka = { a = 1, sasl.password = '*' *\n";
        assert_eq!(masked, expected);
    }
}
