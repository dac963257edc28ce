//! How a REST catalog is told who asks: headers as given, a fixed token, or tokens had for client credentials (OAuth2).
//! Invariant: a token is used only well before it expires, and no error holds a secret.

use std::sync::Arc;
use std::time::Duration;

use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::answer::{Answer, Problem};
use crate::secret::{Properties, Secret};
use crate::time::clock::Clock;

/// Scope of the tokens asked for, unless set.
const SCOPE: &str = "catalog";
/// A token is renewed this long before it expires: longer than any request may take.
const RENEW_BEFORE: Duration = Duration::from_secs(60);
/// Of a short-lived token at least this share is used, so that it isn't renewed at every request.
const USED_MIN_PERCENT: u32 = 50;
/// Tokens whose life isn't told are renewed only when they are refused.
const UNTOLD: Duration = Duration::MAX;

/// Properties that say who asks a REST catalog, beside `header.…`.
pub const KEYS: [&str; 6] = ["token", "credential", "scope", "audience", "resource", "oauth2-server-uri"];

/// Who asks.
#[derive(Debug)]
pub(super) enum Auth {
    /// Nobody says so; a header may.
    None,
    /// A token that was given, and can't be renewed.
    Token(Secret),
    /// Client credentials, and the token had for them.
    Client(Box<ClientCredentials>),
}

/// OAuth2 client credentials.
#[derive(Debug)]
pub(super) struct ClientCredentials {
    /// Where tokens are had.
    uri: String,
    id: Option<String>,
    secret: Secret,
    /// Scope, audience, resource.
    parameters: Vec<(&'static str, String)>,
    held: Mutex<Option<Held>>,
    clock: Arc<dyn Clock>,
}

#[derive(Clone, Debug)]
struct Held {
    token: Secret,
    /// By [`Clock::elapsed`].
    renew_at: Duration,
}

#[derive(Deserialize)]
struct TokenAnswer {
    access_token: String,
    #[serde(default)]
    expires_in: Option<u64>,
}

impl Auth {
    /// By the catalog's properties; `base` is its address.
    pub(super) fn new(properties: &Properties, base: &str, clock: Arc<dyn Clock>) -> Auth {
        let Some(credential) = properties.get("credential") else {
            return properties.get("token").map_or(Auth::None, |token| Auth::Token(Secret::new(token)));
        };
        let (id, secret) = match credential.split_once(':') {
            Some((id, secret)) => (Some(id.to_owned()), secret),
            None => (None, credential),
        };
        let uri = match properties.get("oauth2-server-uri") {
            Some(uri) if uri.contains("://") => uri.to_owned(),
            Some(path) => format!("{base}/{}", path.trim_start_matches('/')),
            None => format!("{base}/v1/oauth/tokens"),
        };
        let mut parameters = vec![("scope", properties.get("scope").unwrap_or(SCOPE).to_owned())];
        for name in ["audience", "resource"] {
            parameters.extend(properties.get(name).map(|value| (name, value.to_owned())));
        }
        let (secret, held) = (Secret::new(secret), Mutex::default());
        Auth::Client(Box::new(ClientCredentials { uri, id, secret, parameters, held, clock }))
    }

    /// Adds to a request what says who asks. Asks for a token first if there is none that lasts.
    pub(super) async fn sign(&self, http: &Client, request: RequestBuilder) -> Result<RequestBuilder, Problem> {
        match self {
            Auth::None => Ok(request),
            Auth::Token(token) => Ok(request.bearer_auth(token.expose())),
            Auth::Client(client) => Ok(request.bearer_auth(client.token(http).await?.expose())),
        }
    }

    /// Forgets the token, as the server refuses it. False if there is no way to a new one.
    pub(super) async fn forget(&self) -> bool {
        match self {
            Auth::None | Auth::Token(_) => false,
            Auth::Client(client) => client.held.lock().await.take().is_some(),
        }
    }

    /// What to do when the server doesn't know who asks.
    pub(super) fn way_out(&self) -> &'static str {
        match self {
            Auth::None => "set catalog.token, or catalog.credential",
            Auth::Token(_) => {
                "catalog.token is wrong or has expired; set another, or catalog.credential, which is renewed"
            }
            Auth::Client(_) => "check catalog.credential, catalog.scope and catalog.oauth2-server-uri",
        }
    }
}

impl ClientCredentials {
    async fn token(&self, http: &Client) -> Result<Secret, Problem> {
        // Held meanwhile, so that of many requests one renews the token and the others wait for it.
        let mut held = self.held.lock().await;
        if let Some(held) = held.as_ref().filter(|held| self.clock.elapsed() < held.renew_at) {
            return Ok(held.token.clone());
        }
        let mut form = vec![("grant_type", "client_credentials"), ("client_secret", self.secret.expose())];
        form.extend(self.id.as_deref().map(|id| ("client_id", id)));
        form.extend(self.parameters.iter().map(|(name, value)| (*name, value.as_str())));
        let asked_at = self.clock.elapsed();
        let answer = Answer::of(http.post(&self.uri).form(&form), &self.uri).await?;
        if !answer.status.is_success() {
            let detail = format!("no token from {} ({}: {})", self.uri, answer.status, answer.error_text());
            return Err(match answer.may_pass() {
                true => Problem::Away(detail),
                false => Problem::Refused(format!(
                    "{detail}; check catalog.credential (CLIENT_ID:CLIENT_SECRET), catalog.scope and \
                     catalog.oauth2-server-uri"
                )),
            });
        }
        let token: TokenAnswer = answer.parse().map_err(|_| {
            // Not the parser's text: it may quote the token.
            Problem::Refused(format!("{} answers, but not with a token; check catalog.oauth2-server-uri", self.uri))
        })?;
        let life = token.expires_in.map_or(UNTOLD, Duration::from_secs);
        let new = Held { token: Secret::new(token.access_token), renew_at: asked_at.saturating_add(used(life)) };
        Ok(held.insert(new).token.clone())
    }
}

/// How long of a token's life it is used.
fn used(life: Duration) -> Duration {
    life.saturating_sub(RENEW_BEFORE).max(life / 100 * USED_MIN_PERCENT)
}

/// The headers that every request carries: those given as `header.…`, and that table credentials are wanted.
pub(super) fn headers(properties: &Properties) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    headers.insert("x-iceberg-access-delegation", HeaderValue::from_static("vended-credentials"));
    for (key, value) in properties.iter() {
        let Some(name) = key.strip_prefix("header.") else { continue };
        let parsed = name.parse::<HeaderName>().map_err(|_| format!("`{key}`: `{name}` is no name of a header"))?;
        let mut parsed_value =
            HeaderValue::from_str(value).map_err(|_| format!("`{key}`: its value can't stand in a header"))?;
        parsed_value.set_sensitive(true);
        headers.insert(parsed, parsed_value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_renewed_a_minute_before_or_after_half_of_a_short_life() {
        let seconds = Duration::from_secs;
        assert_eq!(used(seconds(3_600)), seconds(3_540));
        assert_eq!(used(seconds(100)), seconds(50));
        assert_eq!(used(seconds(2)), seconds(1));
        assert!(used(UNTOLD) > seconds(u64::MAX / 4));
    }

    #[test]
    fn a_header_that_is_none_is_refused_without_its_value() {
        let properties = |key: &str| [(key.to_owned(), "hunter2\n".to_owned())].into_iter().collect::<Properties>();
        let refused = |key: &str| headers(&properties(key)).expect_err("refused");
        assert_eq!(refused("header.a b"), "`header.a b`: `a b` is no name of a header");
        assert_eq!(refused("header.x-key"), "`header.x-key`: its value can't stand in a header");
    }
}
