//! Catalogs that tests run on: one in a folder always, those on servers when `tests/run` has started them.

use std::ops::Deref;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use iceberg::TableCreation;
use tempfile::TempDir;

use super::catalog::{Backend, CommitFailure, MetadataChange};
use super::{Catalog, CatalogConfig, CatalogKind, IcebergError, Table};
use crate::event::TableName;
use crate::secret::Properties;
use crate::store::testing;

/// A catalog, with a namespace of its own where others use it too.
pub(crate) struct World {
    catalog: Catalog,
    namespace: String,
    folder: Option<TempDir>,
}

impl Deref for World {
    type Target = Catalog;

    fn deref(&self) -> &Catalog {
        &self.catalog
    }
}

impl World {
    /// SQLite and a folder; with the servers also PostgreSQL and a bucket, REST and a folder, and a REST catalog that asks
    /// who asks and vends the keys of its bucket, which our own aren't.
    pub(crate) async fn everywhere() -> Vec<World> {
        let mut all = vec![World::embedded().await];
        for config in [postgres(), rest(), guarded_rest()].into_iter().flatten() {
            let catalog = Catalog::open(&config, Path::new("/")).await.expect("a catalog on a server");
            let namespace = format!("ns_{}", uuid::Uuid::new_v4().simple());
            all.push(World { catalog, namespace, folder: None });
        }
        all
    }

    /// The first of [`World::everywhere`].
    pub(crate) async fn embedded() -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let catalog = Catalog::open(&CatalogConfig::embedded(), folder.path()).await.expect("a catalog");
        World { catalog, namespace: "marts".to_owned(), folder: Some(folder) }
    }

    /// The name of a table here.
    pub(crate) fn table(&self, name: &str) -> TableName {
        TableName { namespace: vec![self.namespace.clone()], name: name.to_owned() }
    }

    /// Where everything lies, if it lies in a folder.
    pub(crate) fn folder(&self) -> Option<&Path> {
        self.folder.as_ref().map(TempDir::path)
    }
}

fn postgres() -> Option<CatalogConfig> {
    let uri = std::env::var("KAPPA_TEST_POSTGRES").ok().filter(|uri| uri != "missing")?;
    let stores = testing::stores()?;
    let name = uuid::Uuid::new_v4().to_string();
    Some(CatalogConfig { uri, name, warehouse: testing::location(), stores, ..CatalogConfig::embedded() })
}

fn rest() -> Option<CatalogConfig> {
    let uri = std::env::var("KAPPA_TEST_REST").ok()?;
    Some(CatalogConfig { kind: CatalogKind::Rest, uri, warehouse: String::new(), ..CatalogConfig::embedded() })
}

fn guarded_rest() -> Option<CatalogConfig> {
    let uri = std::env::var("KAPPA_TEST_REST_GUARDED").ok()?;
    let credential = [("credential".to_owned(), "kappa:kappa-client-secret".to_owned())];
    Some(CatalogConfig {
        kind: CatalogKind::Rest,
        uri,
        warehouse: String::new(),
        properties: Properties::from_iter(credential),
        stores: testing::stores_with("not-the-secret")?,
        ..CatalogConfig::embedded()
    })
}

/// A catalog whose next `lost` commits go without an answer, whether or not they land.
pub(crate) fn forgetful(inner: &Catalog, lands: bool, lost: u32) -> Catalog {
    Catalog { backend: Arc::new(Forgetful { inner: inner.clone(), lands, lost: AtomicU32::new(lost) }) }
}

#[derive(Debug)]
struct Forgetful {
    inner: Catalog,
    lands: bool,
    lost: AtomicU32,
}

#[async_trait]
impl Backend for Forgetful {
    async fn load(&self, name: &TableName) -> Result<Option<Table>, IcebergError> {
        self.inner.backend.load(name).await
    }
    async fn create(&self, name: &TableName, creation: TableCreation) -> Result<Table, IcebergError> {
        self.inner.backend.create(name, creation).await
    }
    async fn drop_table(&self, name: &TableName) -> Result<bool, IcebergError> {
        self.inner.backend.drop_table(name).await
    }
    async fn list(&self, namespace: &[String]) -> Result<Vec<TableName>, IcebergError> {
        self.inner.backend.list(namespace).await
    }
    async fn check_commit(&self, table: &Table) -> Result<(), IcebergError> {
        self.inner.backend.check_commit(table).await
    }
    async fn check_create(&self, namespace: &[String]) -> Result<(), IcebergError> {
        self.inner.backend.check_create(namespace).await
    }
    async fn commit(&self, base: &Table, change: &MetadataChange) -> Result<(), CommitFailure> {
        if self.lost.load(Ordering::Relaxed) == 0 {
            return self.inner.backend.commit(base, change).await;
        }
        self.lost.fetch_sub(1, Ordering::Relaxed);
        if self.lands {
            self.inner.backend.commit(base, change).await?;
        }
        Err(CommitFailure::Unknown("connection lost".into()))
    }
}
