//! What a REST catalog's answers mean for us, and what to do about those that are errors.

use bytes::Bytes;
use reqwest::{RequestBuilder, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::store::NO_TLS;

/// Longest text of a server that a message shows.
const DETAIL_CHARS_MAX: usize = 500;

/// Why there is no answer to work with. The text says the way out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// Nobody answered, or the server failed: it may pass. Whether it did what was asked isn't known.
    Away(String),
    /// The server won't, until a person acts.
    Refused(String),
}

/// What a server has answered, all of it.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    url: Url,
    body: Bytes,
}

impl Answer {
    /// Sends a request to `address`, and reads its answer to the end.
    pub(super) async fn of(request: RequestBuilder, address: &str) -> Result<Answer, Problem> {
        let away = |error: reqwest::Error| unreachable(address, &error);
        let answer = request.send().await.map_err(away)?;
        let (status, url) = (answer.status(), answer.url().clone());
        Ok(Answer { status, url, body: answer.bytes().await.map_err(away)? })
    }

    /// The document in it.
    pub(super) fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_slice(&self.body)
    }

    /// Whether the server may answer otherwise soon.
    pub(super) fn may_pass(&self) -> bool {
        matches!(self.status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS)
            || self.status.is_server_error()
    }

    /// The message of an answer that is no success: Iceberg's `error.message`, or what OAuth2 has in its place.
    pub(super) fn error_text(&self) -> String {
        let body = String::from_utf8_lossy(&self.body).into_owned();
        let message = match serde_json::from_str::<Value>(&body) {
            Ok(value) => {
                let text = |value: &Value| value.as_str().map(str::to_owned);
                let iceberg = value.pointer("/error/message").and_then(text);
                let oauth = value.get("error_description").and_then(text);
                let oauth = oauth.or_else(|| value.get("error").and_then(text));
                iceberg.or(oauth).unwrap_or(body)
            }
            // A page of a gateway says nothing that its status doesn't.
            Err(_) if body.trim_start().starts_with('<') => String::new(),
            Err(_) => body,
        };
        message.trim().chars().take(DETAIL_CHARS_MAX).collect()
    }
}

/// A request that wasn't answered.
fn unreachable(address: &str, error: &reqwest::Error) -> Problem {
    let detail = innermost(error);
    if detail.contains("certificate") {
        return Problem::Refused(format!(
            "the certificate of {address} isn't trusted ({detail}); name the file of its CA as catalog.ca, or add it to \
             the system's"
        ));
    }
    if detail.contains(NO_TLS) {
        return Problem::Refused(format!("{address} doesn't speak TLS; write http:// if plain http is meant"));
    }
    Problem::Away(format!("no answer from {address} ({detail}); check catalog.uri, and the network"))
}

/// An answer by which the address is no catalog's.
pub(super) fn no_catalog(answer: &Answer) -> Problem {
    let (address, status, text) = (&answer.url, answer.status, answer.error_text());
    Problem::Refused(format!(
        "there is no REST catalog at {address} ({status}{}{text}); catalog.uri is the address before /v1, and \
         catalog.warehouse must be one of the server's",
        if text.is_empty() { "" } else { ": " }
    ))
}

/// What an answer that is no success means. `who` is what to do when the server doesn't know who asks.
pub(super) fn problem(answer: &Answer, who: &str) -> Problem {
    let (status, text) = (answer.status, answer.error_text());
    let said = if text.is_empty() { status.to_string() } else { format!("{status}: {text}") };
    match status {
        _ if is_unknown_caller(status) => Problem::Refused(format!("who asks isn't known ({said}); {who}")),
        StatusCode::FORBIDDEN => {
            Problem::Refused(format!("this isn't allowed ({said}); have the right granted at the catalog"))
        }
        _ if status.is_server_error() => Problem::Away(format!("the server failed ({said})")),
        _ if answer.may_pass() => Problem::Away(said),
        _ => Problem::Refused(said),
    }
}

/// Whether the answer to the first question means that nobody there understands it.
pub(super) fn is_of_no_catalog(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_REQUEST | StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED)
}

/// Whether an answer means that the token is missing, wrong or too old. 419 is the protocol's own for the last.
pub(super) fn is_unknown_caller(status: StatusCode) -> bool {
    status == StatusCode::UNAUTHORIZED || status.as_u16() == 419
}

/// An error with what caused it: reqwest's own text leaves out the interesting part.
pub(super) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

/// What the network says, without what every layer adds.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(cause) = innermost.source() {
        innermost = cause;
    }
    innermost.to_string()
}
