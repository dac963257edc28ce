//! Iceberg tables: catalogs, data files, commits, scans. Knows neither engine nor jobs.
//!
//! A change goes: [`FileWriter`] stages data files, a [`Change`] names them together with the files to remove and the
//! properties to set, [`Catalog::commit`] lands it as one snapshot. A read goes: [`plan_files`], then [`read_file`].
//!
//! Built on the `iceberg` crate for formats (metadata, manifests, schemas). Ours are the overwrite commit, which it
//! lacks, the catalogs' protocols, file statistics and reading, each for the reason that its module gives.

mod catalog;
mod compact;
mod cut;
mod error;
mod evolve;
mod expire;
mod folder;
mod in_use;
mod like;
mod lineage;
mod order;
mod overwrite;
mod partition;
mod reach;
mod read;
mod rest;
mod scan;
mod snapshot;
mod sql;
mod staged;
mod statistics;
mod storage;
mod table;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod types;
mod writer;

pub use catalog::{Catalog, CatalogConfig, CatalogKind, TableSpec};
pub use compact::{CompactOptions, compact, rewrite_files};
pub use cut::{CutOut, OffsetCut, RowCut, TimeCut, count_cut, cut_out};
pub use error::IcebergError;
pub use evolve::Evolution;
pub use folder::{Folder, FoundFile};
pub use in_use::{InUse, is_mark};
pub use like::LikeRows;
pub use lineage::{Lineage, SnapshotFact};
pub use order::Sorted;
pub use overwrite::{Change, CommitError, Committed, Expect, Operation, Remove};
pub use partition::PartitionRange;
pub use reach::Reach;
pub use read::{RowStream, read_file};
pub use rest::{AUTH_KEYS, CA};
pub use scan::{ScanFile, ScanFilter, plan_files};
pub use staged::StagedFile;
pub use table::Table;
pub use writer::{FileWriter, WriteOptions};
