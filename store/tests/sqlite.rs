//! The SQLite backends pass the conformance suites, and what only files can do wrong is an error that says so.

use std::sync::Arc;

use async_trait::async_trait;
use sonde_store::conformance::{Fixture, block_on, catalog_suite, results_suite};
use sonde_store::sqlite::{SqliteCatalog, SqliteResults};
use sonde_store::{Catalog, Results};

struct Dir(tempfile::TempDir);

impl Dir {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }
}

#[async_trait]
impl Fixture<dyn Catalog> for Dir {
    async fn open(&self) -> Arc<dyn Catalog> {
        Arc::new(SqliteCatalog::open(self.0.path().join("catalog.db")).unwrap())
    }
}

#[async_trait]
impl Fixture<dyn Results> for Dir {
    async fn open(&self) -> Arc<dyn Results> {
        Arc::new(SqliteResults::open(self.0.path().join("results")).unwrap())
    }
}

#[test]
fn the_catalog_keeps_its_promises() {
    block_on(catalog_suite(Dir::new));
}

#[test]
fn the_results_keep_their_promises() {
    block_on(results_suite(Dir::new));
}
