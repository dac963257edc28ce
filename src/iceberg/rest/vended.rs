//! Credentials that a REST catalog hands out for one table's files (vended), and their renewal.
//! Invariant: they are used for that table only, and asked for again before they expire.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;
use serde::Deserialize;

use super::client::{Call, RestClient};
use crate::event::{EventTime, TableName};
use crate::iceberg::IcebergError;
use crate::secret::Properties;
use crate::store::Stores;
use crate::time::clock::Clock;

/// Keys are asked for again this long before they expire.
const RENEW_BEFORE: Duration = Duration::from_secs(60);

/// What an answer about a table says about its files, beside much else.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
pub(super) struct Grant {
    pub(super) config: Option<HashMap<String, String>>,
    pub(super) storage_credentials: Option<Vec<StorageCredential>>,
}

/// Credentials for files below a prefix.
#[derive(Deserialize)]
pub(super) struct StorageCredential {
    prefix: String,
    config: HashMap<String, String>,
}

/// Keys, and when they run out if that was said.
#[derive(Clone, Debug)]
struct Keys {
    credential: Arc<AwsCredential>,
    expires_at: Option<EventTime>,
}

impl Grant {
    /// All that is said about files at `location`: the table's settings, and over them the credentials of the longest
    /// prefix that holds it.
    fn properties(&self, location: &str) -> BTreeMap<String, String> {
        let config = self.config.iter().flatten();
        let mut found: BTreeMap<String, String> = config.map(|(key, value)| (key.clone(), value.clone())).collect();
        let fitting = self.storage_credentials.iter().flatten().filter(|given| location.starts_with(&given.prefix));
        if let Some(given) = fitting.max_by_key(|given| given.prefix.len()) {
            found.extend(given.config.clone());
        }
        found
    }
}

/// Iceberg's settings of S3 by the names of the profile's `[store]`, without keys.
pub(super) fn settings(properties: &BTreeMap<String, String>) -> Properties {
    let mut settings = BTreeMap::new();
    let mut set = |key: &str, value: &str| settings.insert(key.to_owned(), value.to_owned());
    for (key, value) in properties {
        match key.as_str() {
            "s3.endpoint" => {
                set("aws_endpoint", value);
                // The catalog says so: nobody else can be asked whether it is meant.
                set("aws_allow_http", if value.starts_with("http://") { "true" } else { "false" });
            }
            "s3.region" | "client.region" => drop(set("aws_region", value)),
            "s3.path-style-access" if value == "true" => drop(set("aws_virtual_hosted_style_request", "false")),
            _ => {}
        }
    }
    Properties(settings)
}

fn keys(properties: &BTreeMap<String, String>) -> Option<Keys> {
    let text = |key: &str| properties.get(key).cloned();
    let (key_id, secret_key) = (text("s3.access-key-id")?, text("s3.secret-access-key")?);
    let credential = Arc::new(AwsCredential { key_id, secret_key, token: text("s3.session-token") });
    let expires_ms = properties.get("s3.session-token-expires-at-ms").and_then(|text| text.parse::<i64>().ok());
    Some(Keys { credential, expires_at: expires_ms.map(|ms| EventTime(ms.saturating_mul(1_000))) })
}

/// The stores of the tables of one catalog.
#[derive(Debug)]
pub(super) struct TableStores {
    /// For tables about which the catalog says nothing.
    pub(super) own: Stores,
    client: Arc<RestClient>,
    clock: Arc<dyn Clock>,
    /// Kept, as each has connections of its own.
    opened: Mutex<HashMap<TableName, Opened>>,
}

#[derive(Debug)]
struct Opened {
    settings: Properties,
    keys: Option<Arc<VendedKeys>>,
    stores: Stores,
}

impl TableStores {
    pub(super) fn new(own: Stores, client: Arc<RestClient>, clock: Arc<dyn Clock>) -> TableStores {
        TableStores { own, client, clock, opened: Mutex::default() }
    }

    /// The stores of a table's files, by what the catalog's answer about it grants.
    pub(super) fn of(&self, name: &TableName, location: &str, grant: &Grant) -> Stores {
        let properties = grant.properties(location);
        let (settings, keys) = (settings(&properties), keys(&properties));
        if settings.0.is_empty() && keys.is_none() {
            return self.own.clone();
        }
        let mut opened = self.opened.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = opened.get(name).filter(|there| there.settings == settings) {
            match (&there.keys, &keys) {
                (Some(held), Some(new)) => {
                    held.replace(new.clone());
                    return there.stores.clone();
                }
                (None, None) => return there.stores.clone(),
                _ => {}
            }
        }
        let keys = keys.map(|keys| {
            let (client, clock) = (self.client.clone(), self.clock.clone());
            Arc::new(VendedKeys {
                name: name.clone(),
                location: location.to_owned(),
                held: Mutex::new(keys),
                renewing: tokio::sync::Mutex::default(),
                client,
                clock,
            })
        });
        let stores = self.own.with(&settings, keys.clone().map(|keys| keys as _));
        opened.insert(name.clone(), Opened { settings, keys, stores: stores.clone() });
        stores
    }
}

/// The keys of one table's files.
#[derive(Debug)]
struct VendedKeys {
    name: TableName,
    location: String,
    held: Mutex<Keys>,
    /// Held by the one who asks for new keys.
    renewing: tokio::sync::Mutex<()>,
    client: Arc<RestClient>,
    clock: Arc<dyn Clock>,
}

impl VendedKeys {
    fn replace(&self, keys: Keys) {
        *self.held.lock().unwrap_or_else(PoisonError::into_inner) = keys;
    }

    fn held(&self) -> Keys {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether keys last for `more` at least.
    fn last(&self, keys: &Keys, more: Duration) -> bool {
        let more = i64::try_from(more.as_micros()).unwrap_or(i64::MAX);
        keys.expires_at.is_none_or(|at| self.clock.now().0.saturating_add(more) < at.0)
    }

    async fn ask(&self) -> Result<Keys, IcebergError> {
        let action = format!("renew the credentials for the files of {}", self.name);
        let path = self.client.table(&self.name);
        let answer = self.client.success(&action, self.client.ask(&Call::get(&path)).await)?;
        let grant: Grant = self.client.parse(&action, &answer)?;
        keys(&grant.properties(&self.location)).ok_or_else(|| {
            let detail = "it gave some before, and now gives none; load the table again".to_owned();
            self.client.failed(&action, super::answer::Problem::Away(detail))
        })
    }
}

#[async_trait]
impl CredentialProvider for VendedKeys {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let held = self.held();
        if self.last(&held, RENEW_BEFORE) {
            return Ok(held.credential);
        }
        let _renewing = self.renewing.lock().await;
        let held = self.held();
        if self.last(&held, RENEW_BEFORE) {
            return Ok(held.credential);
        }
        match self.ask().await {
            Ok(keys) => {
                self.replace(keys.clone());
                Ok(keys.credential)
            }
            Err(error) if self.last(&held, Duration::ZERO) => {
                tracing::warn!(%error, table = %self.name, "credentials expire soon and were not renewed");
                Ok(held.credential)
            }
            Err(error) => Err(object_store::Error::Generic { store: "S3", source: Box::new(error) }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::iceberg::rest::ATTEMPTS;
    use crate::iceberg::{CatalogConfig, CatalogKind};
    use crate::time::clock::ManualClock;

    fn grant(text: &str) -> BTreeMap<String, String> {
        serde_json::from_str::<Grant>(text).expect("an answer").properties("s3://lake/marts/hits")
    }

    #[test]
    fn the_longest_prefix_that_holds_the_table_counts() {
        let properties = grant(
            r#"{"config": {"s3.endpoint": "http://s3:9000", "client.region": "eu-1", "s3.path-style-access": "true"},
                "metadata": {},
                "storage-credentials": [
                    {"prefix": "s3://lake/", "config": {"s3.access-key-id": "wide", "s3.secret-access-key": "w"}},
                    {"prefix": "s3://lake/marts/hits", "config": {"s3.access-key-id": "near", "s3.secret-access-key": "n",
                     "s3.session-token": "t", "s3.session-token-expires-at-ms": "1500"}},
                    {"prefix": "s3://other/", "config": {"s3.access-key-id": "other"}}]}"#,
        );
        let keys = keys(&properties).expect("keys");
        assert_eq!((keys.credential.key_id.as_str(), keys.credential.token.as_deref()), ("near", Some("t")));
        assert_eq!(keys.expires_at, Some(EventTime(1_500_000)));
        let expected = [
            ("aws_allow_http", "true"),
            ("aws_endpoint", "http://s3:9000"),
            ("aws_region", "eu-1"),
            ("aws_virtual_hosted_style_request", "false"),
        ];
        assert!(settings(&properties).iter().eq(expected));
    }

    /// Answers every request with the next of these documents, or hangs up.
    fn serve(answers: Vec<Option<String>>) -> String {
        use std::io::{Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let uri = format!("http://{}", listener.local_addr().expect("an address"));
        std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().expect("a client");
                let (Some(body), Ok(read)) = (answer, stream.read(&mut [0; 4_096])) else { continue };
                assert!(read > 0, "a request");
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).expect("the client is there");
            }
        });
        uri
    }

    fn vended(uri: String, clock: &Arc<ManualClock>) -> VendedKeys {
        let config = CatalogConfig { kind: CatalogKind::Rest, uri, ..CatalogConfig::embedded() };
        VendedKeys {
            name: TableName::parse("marts.hits").expect("a name"),
            location: "s3://lake/marts/hits".to_owned(),
            held: Mutex::new(key("first", Some(100))),
            renewing: tokio::sync::Mutex::default(),
            client: Arc::new(RestClient::new(&config, clock.clone()).expect("a client")),
            clock: clock.clone(),
        }
    }

    fn key(id: &str, expires_at_s: Option<i64>) -> Keys {
        let (key_id, secret_key) = (id.to_owned(), "s".to_owned());
        let credential = Arc::new(AwsCredential { key_id, secret_key, token: None });
        Keys { credential, expires_at: expires_at_s.map(|seconds| EventTime(seconds * 1_000_000)) }
    }

    #[tokio::test]
    async fn keys_are_asked_for_again_a_minute_before_they_expire_and_kept_if_nobody_answers() {
        let next = r#"{"config": {"s3.access-key-id": "second", "s3.secret-access-key": "s",
                       "s3.session-token-expires-at-ms": "1000000"}}"#;
        let mut answers = vec![None; ATTEMPTS as usize];
        answers.extend([Some(next.to_owned()), Some("{}".to_owned())]);
        let uri = serve(answers);
        let clock = Arc::new(ManualClock::default());
        let keys = vended(uri, &clock);
        let id = async || keys.get_credential().await.map(|credential| credential.key_id.clone());
        clock.advance(Duration::from_secs(39));
        assert_eq!(id().await.expect("held"), "first");
        clock.advance(Duration::from_secs(2));
        assert_eq!(id().await.expect("nobody answers, but they last still"), "first");
        assert_eq!(id().await.expect("new ones"), "second");
        assert_eq!(id().await.expect("held"), "second");
        clock.advance(Duration::from_secs(1_000));
        let error = id().await.expect_err("expired, and the catalog gives none").to_string();
        assert!(error.contains("now gives none"), "{error}");
    }

    #[test]
    fn an_answer_that_says_nothing_grants_nothing() {
        for text in [r#"{"metadata": {}}"#, r#"{"config": null}"#, r#"{"config": {"token": "x"}}"#] {
            assert!(settings(&grant(text)).0.is_empty() && keys(&grant(text)).is_none(), "{text}");
        }
    }
}
