//! The REST catalog: Iceberg's protocol over HTTP, with our own client, as the one of the `iceberg` crate neither lets us
//! commit overwrites nor honours a server's namespace separator.
//! Invariant: an answer that leaves open whether a commit happened is [`CommitFailure::Unknown`], never a failure.

mod answer;
mod auth;
mod client;
mod vended;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use iceberg::TableCreation;
use iceberg::spec::TableMetadata;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;
use uuid::Uuid;

use self::answer::Problem;
use self::client::{Call, RestClient};
use self::vended::{Grant, StorageCredential, TableStores};
use super::catalog::{Backend, CatalogConfig, CommitFailure, MetadataChange, warehouse_location};
use super::{IcebergError, Table};
use crate::event::TableName;
use crate::time::clock::SystemClock;

pub use self::auth::KEYS as AUTH_KEYS;
#[cfg(test)]
pub(super) use self::client::ATTEMPTS;
pub use self::client::CA;

#[derive(Debug)]
pub(crate) struct RestCatalog {
    client: Arc<RestClient>,
    /// Where new tables go; `None`: where the server puts them.
    warehouse: Option<String>,
    stores: TableStores,
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
    config: Option<HashMap<String, String>>,
    storage_credentials: Option<Vec<StorageCredential>>,
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
    pub(crate) async fn open(config: &CatalogConfig, root: &Path) -> Result<RestCatalog, IcebergError> {
        let clock = Arc::new(SystemClock::start());
        let mut client = RestClient::new(config, clock.clone())?;
        // A folder or bucket is where we put tables; anything else is a name that only the server understands.
        let is_location = config.warehouse.contains('/');
        let warehouse = if is_location { Some(warehouse_location(config, root)?) } else { None };
        let asked = [("warehouse", config.warehouse.as_str())];
        let query: &[_] = if config.warehouse.is_empty() || is_location { &[] } else { &asked };
        let action = "tell its configuration";
        let sent = client.ask(&Call { query, ..Call::get("config") }).await;
        let answer = match sent {
            Ok(answer) if answer::is_of_no_catalog(answer.status) => {
                return Err(client.failed(action, answer::no_catalog(&answer)));
            }
            sent => client.success(action, sent)?,
        };
        let said: ServerConfig = client.parse(action, &answer)?;
        let setting = |key: &str| {
            let own = config.properties.get(key).map(str::to_owned);
            said.overrides.get(key).cloned().or(own).or_else(|| said.defaults.get(key).cloned())
        };
        client.configure(setting, said.overrides.get("uri").map(String::as_str));
        let mut of_files = said.defaults;
        of_files.extend(said.overrides);
        let own = config.stores.with(&vended::settings(&of_files), None);
        let client = Arc::new(client);
        Ok(RestCatalog { stores: TableStores::new(own, client.clone(), clock), client, warehouse })
    }

    fn table(&self, name: &TableName, loaded: LoadedTable) -> Result<Table, IcebergError> {
        let grant = Grant { config: loaded.config, storage_credentials: loaded.storage_credentials };
        let stores = self.stores.of(name, loaded.metadata.location(), &grant);
        Table::new(name, loaded.metadata, &loaded.metadata_location.unwrap_or_default(), &stores)
    }

    async fn ensure_namespace(&self, namespace: &[String]) -> Result<(), IcebergError> {
        // Some servers want the outer ones to exist first.
        for depth in 1..=namespace.len() {
            let body = json!({ "namespace": &namespace[..depth], "properties": {} });
            let sent = self.client.ask(&Call::post("namespaces", &body)).await;
            match &sent {
                Ok(answer) if answer.status == StatusCode::CONFLICT => {}
                _ => drop(self.client.success("create the namespace", sent)?),
            }
        }
        Ok(())
    }
}

/// Whether an answer to a commit that must fail is about who asks, or the server, and not about the commit.
fn tells_of_access(status: StatusCode) -> bool {
    status == StatusCode::FORBIDDEN || answer::is_unknown_caller(status) || status.is_server_error()
}

#[async_trait]
impl Backend for RestCatalog {
    async fn load(&self, name: &TableName) -> Result<Option<Table>, IcebergError> {
        let action = format!("load table {name}");
        let sent = self.client.ask(&Call::get(&self.client.table(name))).await;
        if matches!(&sent, Ok(answer) if answer.status == StatusCode::NOT_FOUND) {
            return Ok(None);
        }
        let answer = self.client.success(&action, sent)?;
        self.table(name, self.client.parse(&action, &answer)?).map(Some)
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
        let path = format!("{}/tables", self.client.namespace(&name.namespace));
        let sent = self.client.ask(&Call::post(&path, &body)).await;
        if matches!(&sent, Ok(answer) if answer.status == StatusCode::CONFLICT) {
            let there = self.load(name).await?;
            let gone = "another process created and dropped it meanwhile";
            return there.ok_or_else(|| self.client.failed(&action, Problem::Away(gone.to_owned())));
        }
        let answer = self.client.success(&action, sent)?;
        self.table(name, self.client.parse(&action, &answer)?)
    }

    async fn drop_table(&self, name: &TableName) -> Result<bool, IcebergError> {
        let path = self.client.table(name);
        let sent = self.client.send(&Call { method: Method::DELETE, ..Call::get(&path) }).await;
        if matches!(&sent, Ok(answer) if answer.status == StatusCode::NOT_FOUND) {
            return Ok(false);
        }
        self.client.success(&format!("drop table {name}"), sent).map(|_| true)
    }

    async fn list(&self, namespace: &[String]) -> Result<Vec<TableName>, IcebergError> {
        let path = format!("{}/tables", self.client.namespace(namespace));
        let (mut tables, mut page) = (Vec::new(), None::<String>);
        loop {
            let of_page = [("pageToken", page.as_deref().unwrap_or_default())];
            let query: &[_] = if page.is_some() { &of_page } else { &[] };
            let sent = self.client.ask(&Call { query, ..Call::get(&path) }).await;
            if matches!(&sent, Ok(answer) if answer.status == StatusCode::NOT_FOUND) {
                return Ok(Vec::new());
            }
            let answer = self.client.success("list tables", sent)?;
            let listing: Listing = self.client.parse("list tables", &answer)?;
            let names = listing.identifiers.into_iter();
            tables.extend(names.map(|found| TableName { namespace: found.namespace, name: found.name }));
            page = listing.next_page_token.filter(|token| !token.is_empty());
            if page.is_none() {
                return Ok(tables);
            }
        }
    }

    async fn check_commit(&self, table: &Table) -> Result<(), IcebergError> {
        // A commit that must fail, as no table has this identity: who isn't let in is told so before that.
        let body = json!({
            "identifier": { "namespace": table.name.namespace, "name": table.name.name },
            "requirements": [{ "type": "assert-table-uuid", "uuid": Uuid::nil() }],
            "updates": [],
        });
        let sent = self.client.ask(&Call::post(&self.client.table(&table.name), &body)).await;
        match &sent {
            Ok(answer) if !tells_of_access(answer.status) => Ok(()),
            _ => self.client.success(&format!("commit to table {}", table.name), sent).map(drop),
        }
    }

    async fn check_create(&self, namespace: &[String]) -> Result<(), IcebergError> {
        self.list(namespace).await.map(drop)
    }

    async fn commit(&self, base: &Table, change: &MetadataChange) -> Result<(), CommitFailure> {
        let body = json!({
            "identifier": { "namespace": base.name.namespace, "name": base.name.name },
            "requirements": change.requirements,
            "updates": change.updates,
        });
        // Once: what has become of it is looked up, not tried.
        let sent = self.client.send(&Call::post(&self.client.table(&base.name), &body)).await;
        let answer = match sent {
            Ok(answer) => answer,
            // No token, so nothing was sent; or sent, and no answer.
            Err(Problem::Refused(detail)) => return Err(CommitFailure::Rejected(detail)),
            Err(Problem::Away(detail)) => return Err(CommitFailure::Unknown(detail)),
        };
        match answer.status {
            status if status.is_success() => Ok(()),
            StatusCode::CONFLICT => Err(CommitFailure::Conflict(answer.error_text())),
            StatusCode::NOT_FOUND => Err(CommitFailure::Gone),
            _ => match self.client.problem(&answer) {
                Problem::Refused(detail) => Err(CommitFailure::Rejected(detail)),
                Problem::Away(detail) => Err(CommitFailure::Unknown(detail)),
            },
        }
    }
}
