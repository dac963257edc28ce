//! Requests to a REST catalog: addresses, who asks, time-outs, one more attempt with a new token when the old one is refused, and
//! some more while the server fails. Never repeats a commit that a server may have carried out.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use reqwest::{Certificate, Client, ClientBuilder, Method};
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::answer::{self, Answer, Problem};
use super::auth::{self, Auth};
use crate::event::TableName;
use crate::iceberg::{CatalogConfig, IcebergError};
use crate::secret::Properties;
use crate::store::read_ca;
use crate::time::clock::Clock;

/// A commit of a large table takes the server seconds; longer than this means that it is gone. Tests don't wait so long.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(if cfg!(test) { 5 } else { 60 });
/// Until a connection stands; a start has to say within 15 s what is wrong.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Milliseconds before a question is asked again that the server couldn't answer.
const PAUSES_MS: [u64; 5] = [100, 200, 400, 800, 1_600];
/// How often a question is asked that nobody answers.
#[cfg(test)]
pub const ATTEMPTS: u32 = PAUSES_MS.len() as u32 + 1;
/// No further attempt later than this after the first: a start has to say within 15 s what is wrong, and what lasts longer is
/// an outage, which the callers wait out.
const ATTEMPTS_TIMEOUT: Duration = Duration::from_secs(5);
/// Property that names a file of CAs which are trusted beside the system's: by the catalog's client, and by the one who
/// asks for tokens.
pub const CA: &str = "ca";
/// How namespace parts are joined in a path unless the server says otherwise: the unit separator.
const SEPARATOR: &str = "%1F";

/// A server and how it is asked.
#[derive(Debug)]
pub(super) struct RestClient {
    /// The catalog's name, for messages.
    catalog: String,
    http: Client,
    /// `<uri>/v1`, with the server's prefix if it has one.
    base: String,
    separator: String,
    auth: Auth,
    clock: Arc<dyn Clock>,
}

/// One request.
#[derive(Debug)]
pub(super) struct Call<'a> {
    pub(super) method: Method,
    /// Below `/v1`.
    pub(super) path: &'a str,
    pub(super) query: &'a [(&'a str, &'a str)],
    pub(super) body: Option<&'a Value>,
}

impl<'a> Call<'a> {
    pub(super) fn get(path: &'a str) -> Call<'a> {
        Call { method: Method::GET, path, query: &[], body: None }
    }

    pub(super) fn post(path: &'a str, body: &'a Value) -> Call<'a> {
        Call { method: Method::POST, path, query: &[], body: Some(body) }
    }
}

impl RestClient {
    pub(super) fn new(config: &CatalogConfig, clock: Arc<dyn Clock>) -> Result<RestClient, IcebergError> {
        let refuse = |detail: String| IcebergError::Config { catalog: config.name.clone(), detail };
        let http = Client::builder()
            .timeout(REQUEST_TIMEOUT)
            .connect_timeout(CONNECT_TIMEOUT)
            .default_headers(auth::headers(&config.properties).map_err(refuse)?);
        let trusted = trusted(&config.properties).map_err(|detail| refuse(format!("catalog.{CA}: {detail}")))?;
        let http = trusted.into_iter().fold(http, ClientBuilder::add_root_certificate);
        let http = http.build().map_err(|error| refuse(answer::with_causes(&error)))?;
        let uri = config.uri.trim_end_matches('/');
        Ok(RestClient {
            catalog: config.name.clone(),
            http,
            base: format!("{uri}/v1"),
            separator: SEPARATOR.to_owned(),
            auth: Auth::new(&config.properties, uri, clock.clone()),
            clock,
        })
    }

    /// Takes over what the server says about its addresses: `uri`, `prefix`, `namespace-separator`.
    pub(super) fn configure(&mut self, setting: impl Fn(&str) -> Option<String>, overridden_uri: Option<&str>) {
        if let Some(uri) = overridden_uri {
            self.base = format!("{}/v1", uri.trim_end_matches('/'));
        }
        if let Some(prefix) = setting("prefix") {
            self.base = format!("{}/{}", self.base, prefix.trim_matches('/'));
        }
        if let Some(separator) = setting("namespace-separator") {
            self.separator = separator;
        }
        // A server may exchange the token for another at the first answer.
        if let (Auth::Token(_) | Auth::None, Some(token)) = (&self.auth, setting("token")) {
            self.auth = Auth::Token(crate::secret::Secret::new(token));
        }
    }

    /// Path of a namespace.
    pub(super) fn namespace(&self, namespace: &[String]) -> String {
        let parts: Vec<String> = namespace.iter().map(|part| percent_encoded(part)).collect();
        format!("namespaces/{}", parts.join(&self.separator))
    }

    /// Path of a table.
    pub(super) fn table(&self, name: &TableName) -> String {
        format!("{}/tables/{}", self.namespace(&name.namespace), percent_encoded(&name.name))
    }

    /// Sends a request that may be carried out more than once, again for some seconds while the server doesn't answer, or can't.
    pub(super) async fn ask(&self, call: &Call<'_>) -> Result<Answer, Problem> {
        let began = self.clock.elapsed();
        let mut sent = self.send(call).await;
        for pause in PAUSES_MS.map(Duration::from_millis) {
            let failure = match &sent {
                Err(Problem::Away(detail)) => detail.clone(),
                Ok(answer) if answer.may_pass() => answer.status.to_string(),
                _ => break,
            };
            if self.clock.elapsed().saturating_sub(began) > ATTEMPTS_TIMEOUT {
                break;
            }
            tracing::debug!(path = call.path, failure, "the catalog is asked again");
            tokio::time::sleep(pause).await;
            sent = self.send(call).await;
        }
        sent
    }

    /// Sends a request; whatever the server answers is an answer.
    pub(super) async fn send(&self, call: &Call<'_>) -> Result<Answer, Problem> {
        let answer = self.send_once(call).await?;
        // Who isn't known isn't served, so the request can be sent again.
        if answer::is_unknown_caller(answer.status) && self.auth.forget().await {
            return self.send_once(call).await;
        }
        Ok(answer)
    }

    async fn send_once(&self, call: &Call<'_>) -> Result<Answer, Problem> {
        let mut request = self.http.request(call.method.clone(), format!("{}/{}", self.base, call.path));
        if !call.query.is_empty() {
            request = request.query(call.query);
        }
        if let Some(body) = call.body {
            request = request.json(body);
        }
        Answer::of(self.auth.sign(&self.http, request).await?, &self.base).await
    }

    /// What an answer that is no success means.
    pub(super) fn problem(&self, answer: &Answer) -> Problem {
        answer::problem(answer, self.auth.way_out())
    }

    /// The answer, if it is a success.
    pub(super) fn success(&self, action: &str, sent: Result<Answer, Problem>) -> Result<Answer, IcebergError> {
        match sent {
            Ok(answer) if answer.status.is_success() => Ok(answer),
            Ok(answer) => Err(self.failed(action, self.problem(&answer))),
            Err(problem) => Err(self.failed(action, problem)),
        }
    }

    /// The document of a successful answer.
    pub(super) fn parse<T: DeserializeOwned>(&self, action: &str, answer: &Answer) -> Result<T, IcebergError> {
        let parsed = answer.parse();
        parsed.map_err(|error| self.failed(action, Problem::Away(format!("its answer can't be read: {error}"))))
    }

    pub(super) fn failed(&self, action: &str, problem: Problem) -> IcebergError {
        let (catalog, action) = (self.catalog.clone(), action.to_owned());
        match problem {
            Problem::Away(detail) => IcebergError::Catalog { catalog, action, detail },
            Problem::Refused(detail) => IcebergError::Refused { catalog, action, detail },
        }
    }
}

/// The CAs that the properties name.
fn trusted(properties: &Properties) -> Result<Vec<Certificate>, String> {
    let Some(path) = properties.get(CA) else { return Ok(Vec::new()) };
    let certificates = Certificate::from_pem_bundle(&read_ca(Path::new(path))?);
    certificates.map_err(|error| format!("{path}: {}", answer::with_causes(&error)))
}

/// A path segment of letters, digits and `-._~`; everything else as `%XX`.
fn percent_encoded(text: &str) -> String {
    text.bytes().fold(String::with_capacity(text.len()), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_for_paths() {
        assert_eq!(percent_encoded("a b/ü-1.x"), "a%20b%2F%C3%BC-1.x");
    }
}
