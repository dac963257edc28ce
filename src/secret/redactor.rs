//! What takes known secrets out of text that others wrote: a library's log, a server's answer.

use std::borrow::Cow;

use super::HIDDEN;
use super::address::without_password;

/// Shorter texts are hidden by type and name only: taken out of foreign text they would leave holes in ordinary words.
const REDACTED_CHARS_MIN: usize = 6;
/// Parts of a secret, such as one of a `client:secret` pair, are taken for ordinary words below this.
const PART_CHARS_MIN: usize = 8;

/// Takes known secrets out of text that others wrote.
#[derive(Clone, Default)]
pub struct Redactor {
    /// Longest first, so that a part never breaks up the whole.
    texts: Vec<String>,
}

impl std::fmt::Debug for Redactor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Redactor({} texts)", self.texts.len())
    }
}

impl Redactor {
    /// One that knows no secret.
    pub const fn new() -> Redactor {
        Redactor { texts: Vec::new() }
    }

    /// One that knows these secrets, as they are, as JSON and percent-encoding write them, and their parts.
    pub fn of<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Redactor {
        let mut texts = Vec::new();
        for secret in secrets {
            let parts = secret.split(|c: char| c.is_whitespace() || matches!(c, ':' | ';' | ',' | '"' | '\'' | '@'));
            // The frame of a PEM file is no secret.
            let parts = parts.filter(|part| part.chars().count() >= PART_CHARS_MIN && !part.contains("-----"));
            let decoded = percent_decoded(secret);
            let wholes = [secret.trim(), decoded.as_str()].into_iter();
            for text in wholes.filter(|text| text.chars().count() >= REDACTED_CHARS_MIN).chain(parts) {
                let json = serde_json::Value::from(text).to_string();
                texts.push(json[1..json.len() - 1].to_owned());
                texts.push(url::form_urlencoded::byte_serialize(text.as_bytes()).collect());
                texts.push(text.to_owned());
            }
        }
        let mut redactor = Redactor::new();
        redactor.add(Redactor { texts });
        redactor
    }

    /// Knows the secrets of another one too.
    pub fn add(&mut self, other: Redactor) {
        self.texts.extend(other.texts);
        self.texts.sort_by(|a, b| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        self.texts.dedup();
    }

    /// The text without secrets: those known, and passwords of addresses.
    pub fn hide<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let mut hidden = if text.contains("://") { Cow::Owned(without_password(text)) } else { Cow::Borrowed(text) };
        for secret in &self.texts {
            if hidden.contains(secret.as_str()) {
                hidden = Cow::Owned(hidden.replace(secret.as_str(), HIDDEN));
            }
        }
        hidden
    }
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let code = (first == b'%').then(|| behind.get(..2)).flatten();
        let code =
            code.and_then(|code| std::str::from_utf8(code).ok()).and_then(|code| u8::from_str_radix(code, 16).ok());
        bytes.push(code.unwrap_or(first));
        rest = &behind[if code.is_some() { 2 } else { 0 }..];
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_secrets_are_taken_out_of_foreign_text() {
        let redactor = Redactor::of(["client:canary-of-client", "qu\"oted/pw", "short", "enc%2Foded"]);
        let hide = |text: &str| redactor.hide(text).into_owned();
        assert_eq!(hide("401: wrong client:canary-of-client"), "401: wrong ***");
        assert_eq!(hide("client_secret=canary-of-client&x"), "client_secret=***&x");
        assert_eq!(hide(r#"{"said":"qu\"oted/pw"}"#), r#"{"said":"***"}"#);
        assert_eq!(hide("?p=qu%22oted%2Fpw"), "?p=***");
        assert_eq!(hide("enc/oded"), "***");
        assert_eq!(hide("a short way"), "a short way");
        assert_eq!(format!("{redactor:?}").find("canary"), None);
    }

    #[test]
    fn a_key_of_many_lines_is_taken_out_line_by_line() {
        let redactor =
            Redactor::of(["-----BEGIN PRIVATE KEY-----\nMIICANARYLINE1\nMIICANARYLINE2\n-----END PRIVATE KEY-----"]);
        assert_eq!(redactor.hide("read MIICANARYLINE2 of PRIVATE"), "read *** of PRIVATE");
    }
}
