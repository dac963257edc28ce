//! The REST catalog: Iceberg's protocol over HTTP, with our own client, as the one of the `iceberg` crate neither lets us
//! commit overwrites nor honours a server's namespace separator.
//! Invariant: an answer that leaves open whether a commit happened is [`CommitFailure::Unknown`], never a failure.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use iceberg::TableCreation;
use iceberg::spec::TableMetadata;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};

use super::catalog::{Backend, CatalogConfig, CommitFailure, MetadataChange, warehouse_location};
use super::storage::Stores;
use super::{IcebergError, Table};
use crate::event::TableName;

/// A commit of a large table takes the server seconds; longer than this means that it is gone.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// How namespace parts are joined in a path unless the server says otherwise: the unit separator.
const SEPARATOR: &str = "%1F";

pub(crate) struct RestCatalog {
    name: String,
    http: Client,
    /// `<uri>/v1`, with the server's prefix if it has one.
    base: String,
    separator: String,
    token: Option<String>,
    /// Where new tables go; `None`: where the server puts them.
    warehouse: Option<String>,
    stores: Stores,
}

impl std::fmt::Debug for RestCatalog {
    /// Without the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RestCatalog").field("name", &self.name).field("base", &self.base).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct ServerConfig {
    #[serde(default)]
    defaults: BTreeMap<String, String>,
    #[serde(default)]
    overrides: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct LoadedTable {
    metadata_location: Option<String>,
    metadata: TableMetadata,
    #[serde(default)]
    config: Option<HashMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Listing {
    identifiers: Vec<Identifier>,
    #[serde(default)]
    next_page_token: Option<String>,
}

#[derive(Deserialize)]
struct Identifier {
    namespace: Vec<String>,
    name: String,
}

impl RestCatalog {
    pub(crate) async fn open(config: &CatalogConfig, root: &Path, stores: Stores) -> Result<RestCatalog, IcebergError> {
        let refuse = |detail: String| IcebergError::Config { catalog: config.name.clone(), detail };
        let http = Client::builder().timeout(REQUEST_TIMEOUT).connect_timeout(CONNECT_TIMEOUT).build();
        let http = http.map_err(|error| refuse(error.to_string()))?;
        // A folder is where we put tables; anything else is a name that only the server understands.
        let folder = config.warehouse.contains('/');
        let warehouse = if folder { Some(warehouse_location(config, root)?) } else { None };
        let mut catalog = RestCatalog {
            name: config.name.clone(),
            http,
            base: format!("{}/v1", config.uri.trim_end_matches('/')),
            separator: SEPARATOR.to_owned(),
            token: config.properties.get("token").cloned(),
            warehouse,
            stores,
        };
        let mut ask = catalog.request(Method::GET, "config");
        if !config.warehouse.is_empty() && !folder {
            ask = ask.query(&[("warehouse", &config.warehouse)]);
        }
        let answer = catalog.expect_success("tell its configuration", ask.send().await).await?;
        let said: ServerConfig = catalog.parse("tell its configuration", answer).await?;
        let setting = |key: &str| {
            let own = config.properties.get(key);
            said.overrides.get(key).or(own).or(said.defaults.get(key)).cloned()
        };
        if let Some(uri) = said.overrides.get("uri") {
            catalog.base = format!("{}/v1", uri.trim_end_matches('/'));
        }
        if let Some(prefix) = setting("prefix") {
            catalog.base = format!("{}/{}", catalog.base, prefix.trim_matches('/'));
        }
        catalog.separator = setting("namespace-separator").unwrap_or(catalog.separator);
        catalog.token = setting("token").or(catalog.token);
        Ok(catalog)
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}/{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    fn namespace_path(&self, namespace: &[String]) -> String {
        let parts: Vec<String> = namespace.iter().map(|part| percent_encoded(part)).collect();
        format!("namespaces/{}", parts.join(&self.separator))
    }

    fn table_path(&self, name: &TableName) -> String {
        format!("{}/tables/{}", self.namespace_path(&name.namespace), percent_encoded(&name.name))
    }

    fn failed(&self, action: &str, detail: String) -> IcebergError {
        IcebergError::Catalog { catalog: self.name.clone(), action: action.to_owned(), detail }
    }

    async fn expect_success(&self, action: &str, sent: reqwest::Result<Response>) -> Result<Response, IcebergError> {
        let answer = sent.map_err(|error| self.failed(action, with_causes(&error)))?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        Err(self.failed(action, error_text(answer).await))
    }

    async fn parse<T: serde::de::DeserializeOwned>(&self, action: &str, answer: Response) -> Result<T, IcebergError> {
        answer.json().await.map_err(|error| self.failed(action, with_causes(&error)))
    }

    fn table(&self, name: &TableName, loaded: LoadedTable) -> Result<Table, IcebergError> {
        let location = loaded.metadata_location.unwrap_or_default();
        Table::new(name, loaded.metadata, &location, &self.stores, &loaded.config.unwrap_or_default())
    }

    async fn ensure_namespace(&self, namespace: &[String]) -> Result<(), IcebergError> {
        // Some servers want the outer ones to exist first.
        for depth in 1..=namespace.len() {
            let body = json!({ "namespace": &namespace[..depth], "properties": {} });
            let sent = self.request(Method::POST, "namespaces").json(&body).send().await;
            match &sent {
                Ok(answer) if answer.status() == StatusCode::CONFLICT => {}
                _ => drop(self.expect_success("create the namespace", sent).await?),
            }
        }
        Ok(())
    }
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

/// An error with what caused it: reqwest's own text leaves out the interesting part.
fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}

async fn error_text(answer: Response) -> String {
    let status = answer.status();
    let body = answer.text().await.unwrap_or_default();
    let message = serde_json::from_str::<Value>(&body).ok();
    let message = message.and_then(|value| Some(value.get("error")?.get("message")?.as_str()?.to_owned()));
    format!("{status}: {}", message.unwrap_or(body).chars().take(500).collect::<String>())
}

#[async_trait]
impl Backend for RestCatalog {
    async fn load(&self, name: &TableName) -> Result<Option<Table>, IcebergError> {
        let action = format!("load table {name}");
        let sent = self.request(Method::GET, &self.table_path(name)).send().await;
        if matches!(&sent, Ok(answer) if answer.status() == StatusCode::NOT_FOUND) {
            return Ok(None);
        }
        let answer = self.expect_success(&action, sent).await?;
        self.table(name, self.parse(&action, answer).await?).map(Some)
    }

    async fn create(&self, name: &TableName, creation: TableCreation) -> Result<Table, IcebergError> {
        let action = format!("create table {name}");
        self.ensure_namespace(&name.namespace).await?;
        let location = self.warehouse.as_ref();
        let location = location.map(|folder| format!("{folder}/{}/{}", name.namespace.join("/"), name.name));
        let mut body = json!({
            "name": creation.name,
            "schema": creation.schema,
            "partition-spec": creation.partition_spec,
            "write-order": creation.sort_order,
            "properties": creation.properties,
        });
        if let Some(location) = location {
            body["location"] = location.into();
        }
        let path = format!("{}/tables", self.namespace_path(&name.namespace));
        let sent = self.request(Method::POST, &path).json(&body).send().await;
        if matches!(&sent, Ok(answer) if answer.status() == StatusCode::CONFLICT) {
            let there = self.load(name).await?;
            return there
                .ok_or_else(|| self.failed(&action, "another process created and dropped it meanwhile".into()));
        }
        let answer = self.expect_success(&action, sent).await?;
        self.table(name, self.parse(&action, answer).await?)
    }

    async fn drop_table(&self, name: &TableName) -> Result<bool, IcebergError> {
        let sent = self.request(Method::DELETE, &self.table_path(name)).send().await;
        if matches!(&sent, Ok(answer) if answer.status() == StatusCode::NOT_FOUND) {
            return Ok(false);
        }
        self.expect_success(&format!("drop table {name}"), sent).await.map(|_| true)
    }

    async fn list(&self, namespace: &[String]) -> Result<Vec<TableName>, IcebergError> {
        let path = format!("{}/tables", self.namespace_path(namespace));
        let (mut tables, mut page) = (Vec::new(), None::<String>);
        loop {
            let mut request = self.request(Method::GET, &path);
            if let Some(token) = &page {
                request = request.query(&[("pageToken", token)]);
            }
            let sent = request.send().await;
            if matches!(&sent, Ok(answer) if answer.status() == StatusCode::NOT_FOUND) {
                return Ok(Vec::new());
            }
            let answer = self.expect_success("list tables", sent).await?;
            let listing: Listing = self.parse("list tables", answer).await?;
            let names = listing.identifiers.into_iter();
            tables.extend(names.map(|found| TableName { namespace: found.namespace, name: found.name }));
            page = listing.next_page_token.filter(|token| !token.is_empty());
            if page.is_none() {
                return Ok(tables);
            }
        }
    }

    async fn commit(&self, base: &Table, change: &MetadataChange) -> Result<(), CommitFailure> {
        let body = json!({
            "identifier": { "namespace": base.name.namespace, "name": base.name.name },
            "requirements": change.requirements,
            "updates": change.updates,
        });
        let sent = self.request(Method::POST, &self.table_path(&base.name)).json(&body).send().await;
        let answer = sent.map_err(|error| CommitFailure::Unknown(with_causes(&error)))?;
        match answer.status() {
            status if status.is_success() => Ok(()),
            StatusCode::CONFLICT => Err(CommitFailure::Conflict(error_text(answer).await)),
            StatusCode::NOT_FOUND => Err(CommitFailure::Gone),
            status
                if status.is_client_error()
                    && status != StatusCode::TOO_MANY_REQUESTS
                    && status != StatusCode::REQUEST_TIMEOUT =>
            {
                Err(CommitFailure::Rejected(error_text(answer).await))
            }
            _ => Err(CommitFailure::Unknown(error_text(answer).await)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_encoded_for_paths() {
        assert_eq!(percent_encoded("a b/ü-1.x"), "a%20b%2F%C3%BC-1.x");
    }
}
