//! Catalogs that tests run on: one in a folder always, those on servers when `tests/run` has started them.

use std::ops::Deref;

use tempfile::TempDir;

use super::*;
use crate::store::testing;

/// A catalog and the name of its table.
pub(super) trait Named {
    fn catalog(&self) -> &Catalog;
    fn name(&self) -> TableName;
}

impl Named for Catalog {
    fn catalog(&self) -> &Catalog {
        self
    }

    fn name(&self) -> TableName {
        name()
    }
}

/// A catalog, with a table name of its own where others use it too.
pub(super) struct World {
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

impl Named for World {
    fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    fn name(&self) -> TableName {
        TableName { namespace: vec![self.namespace.clone()], name: "hits".to_owned() }
    }
}

impl World {
    /// SQLite and a folder; with the servers also PostgreSQL and a bucket, REST and a folder, and a REST catalog that asks
    /// who asks and vends the keys of its bucket, which our own aren't.
    pub(super) async fn everywhere() -> Vec<World> {
        let folder = tempfile::tempdir().expect("a folder");
        let embedded = open(folder.path()).await;
        let mut all = vec![World { catalog: embedded, namespace: "marts".to_owned(), folder: Some(folder) }];
        for config in [postgres(), rest(), guarded_rest()].into_iter().flatten() {
            let catalog = Catalog::open(&config, Path::new("/")).await.expect("a catalog on a server");
            let namespace = format!("ns_{}", uuid::Uuid::new_v4().simple());
            all.push(World { catalog, namespace, folder: None });
        }
        all
    }

    /// Where everything lies, if it lies in a folder.
    pub(super) fn folder(&self) -> Option<&Path> {
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
