//! Secrets: passwords, keys and tokens on their way from the profile to the client that needs them.
//! Invariant: nothing in here shows one, neither by `Debug` nor by `Display`; only [`Secret::expose`] hands it out.

use std::collections::BTreeMap;
use std::fmt;

/// What stands in place of a secret wherever one would be shown.
pub const HIDDEN: &str = "***";

/// Parts of a key's name that make its value a secret.
const SECRET_PARTS: [&str; 7] = ["secret", "password", "token", "credential", "customer_key", "key.pem", "header."];
/// Ends of a key's name that make it tell where a secret is kept or had from, which is none itself.
const PLACE_ENDS: [&str; 5] = ["file", "location", "path", "uri", "url"];

/// A text that is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text, for the one who has to send it.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(HIDDEN)
    }
}

/// Settings of an outer system by their names there; those whose names say so are secrets.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Properties(pub BTreeMap<String, String>);

impl Properties {
    /// The value of `key`, secret or not.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// All settings, secrets in the clear, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }
}

impl FromIterator<(String, String)> for Properties {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(settings: T) -> Properties {
        Properties(settings.into_iter().collect())
    }
}

impl fmt::Debug for Properties {
    /// With [`shown`] values.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().map(|(key, value)| (key, shown(key, value)))).finish()
    }
}

/// Whether the value of a setting is a secret, by its name: `sasl.password`, `aws_secret_access_key`, `token`, every
/// `header.…`. Where a secret is kept (`ssl.key.location`, `oauth2-server-uri`) is none.
pub fn is_secret(key: &str) -> bool {
    let key = key.to_ascii_lowercase();
    let names_place = !key.contains("header.") && PLACE_ENDS.iter().any(|end| key.ends_with(end));
    !names_place && SECRET_PARTS.iter().any(|part| key.contains(part))
}

/// A setting's value as it may be shown: [`HIDDEN`] if its name makes it a secret, else without a password in an address.
pub fn shown(key: &str, value: &str) -> String {
    if is_secret(key) { HIDDEN.to_owned() } else { without_password(value) }
}

/// An address as it may be shown: what stands between `user:` and `@` is hidden, and so are `password=…` and its like in
/// a query. Any other text is left as it is.
pub fn without_password(text: &str) -> String {
    let Some((scheme, rest)) = text.split_once("://") else { return text.to_owned() };
    let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    // A password with a slash in it, unescaped, is an error to come; it must not be shown by then.
    let (authority, path) = match (authority.contains('@'), rest.rfind('@')) {
        (false, Some(at)) => rest.split_at(rest[at..].find(['/', '?', '#']).map_or(rest.len(), |end| at + end)),
        _ => (authority, path),
    };
    let authority = match authority.rsplit_once('@') {
        Some((user, host)) => match user.split_once(':') {
            Some((name, _)) => format!("{name}:{HIDDEN}@{host}"),
            None => format!("{user}@{host}"),
        },
        None => authority.to_owned(),
    };
    let Some((path, query)) = path.split_once('?') else { return format!("{scheme}://{authority}{path}") };
    let query: Vec<String> = query.split('&').map(without_secret_parameter).collect();
    format!("{scheme}://{authority}{path}?{}", query.join("&"))
}

fn without_secret_parameter(parameter: &str) -> String {
    match parameter.split_once('=') {
        Some((key, _)) if is_secret(key) => format!("{key}={HIDDEN}"),
        _ => parameter.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        let secret = Secret::new("hunter2");
        assert_eq!(
            (format!("{secret:?}"), secret.to_string(), secret.expose()),
            ("***".into(), "***".into(), "hunter2")
        );
        let settings = [("sasl.password", "hunter2"), ("url", "http://u:hunter2@h/"), ("linger.ms", "5")];
        let properties: Properties =
            settings.map(|(key, value)| (key.to_owned(), value.to_owned())).into_iter().collect();
        assert_eq!(
            format!("{properties:?}"),
            r#"{"linger.ms": "5", "sasl.password": "***", "url": "http://u:***@h/"}"#
        );
    }

    #[test]
    fn names_tell_secrets_from_places_of_secrets() {
        let secrets = [
            "sasl.password",
            "ssl.key.password",
            "ssl.key.pem",
            "ssl.keystore.password",
            "sasl.oauthbearer.client.secret",
            "token",
            "credential",
            "header.authorization",
            "header.X-Api-Url",
            "aws_secret_access_key",
            "aws_session_token",
            "aws_sse_customer_key_base64",
            "s3.secret-access-key",
            "s3.session-token",
        ];
        let open = [
            "bootstrap.servers",
            "sasl.username",
            "ssl.key.location",
            "ssl.ca.pem",
            "sasl.oauthbearer.token.endpoint.url",
            "oauth2-server-uri",
            "scope",
            "aws_access_key_id",
            "aws_web_identity_token_file",
            "warehouse",
        ];
        for key in secrets {
            assert!(is_secret(key), "{key}");
        }
        for key in open {
            assert!(!is_secret(key), "{key}");
        }
    }

    #[test]
    fn passwords_in_addresses_are_hidden_and_the_rest_is_kept() {
        for (address, expected) in [
            (
                "postgres://kappa:p@ss@db:5432/catalog?sslmode=require",
                "postgres://kappa:***@db:5432/catalog?sslmode=require",
            ),
            ("postgres://kappa:p/ss@db/catalog", "postgres://kappa:***@db/catalog"),
            (
                "postgres://kappa@db/catalog?password=x&sslmode=require",
                "postgres://kappa@db/catalog?password=***&sslmode=require",
            ),
            ("http://localhost:8181/", "http://localhost:8181/"),
            ("sqlite:.kappa/catalog.db", "sqlite:.kappa/catalog.db"),
            ("s3://bucket/a@b", "s3://bucket/a@b"),
        ] {
            assert_eq!(without_password(address), expected);
        }
    }
}
