//! Secrets: passwords, keys and tokens on their way from the profile to the client that needs them.
//!
//! What a key's name makes a secret is hidden where it is printed; a [`Redactor`] takes known secrets out of text that
//! others wrote. Invariant: nothing in here shows one, neither by `Debug` nor by `Display`; only [`Secret::expose`] hands
//! it out.

mod address;
mod redactor;

use std::collections::BTreeMap;
use std::fmt;

pub use address::{passwords, without_password};
pub use redactor::Redactor;

/// What stands in place of a secret wherever one would be shown.
pub const HIDDEN: &str = "***";

/// Parts of a key's name that make its value a secret.
const SECRET_PARTS: [&str; 15] = [
    "secret",
    "password",
    "passwd",
    "passphrase",
    "token",
    "credential",
    "customer_key",
    "account_key",
    "access.key",
    "api.key",
    "private.key",
    "key.pem",
    "jaas",
    "oauthbearer.config",
    "header.",
];
/// Ends of a key's name that make it tell where a secret is kept or had from, which is none itself.
const PLACE_ENDS: [&str; 8] = ["file", "location", "path", "uri", "url", "id", "enabled", "name"];

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
            "sasl.jaas.config",
            "azure_storage_account_key",
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
}
