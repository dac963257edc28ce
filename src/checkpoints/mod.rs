//! Checkpoints: what makes a run continue where it stopped, and every staged change reach its table exactly once.
//!
//! Owns the manifest's bytes ([`Manifest`]), the folder that holds them ([`CheckpointStore`]), the order of steps
//! ([`Checkpoint`], pure) and the names of table properties ([`TableProperties`]). Invariant: a manifest is never
//! changed and its name never used twice. Knows no engine and no Iceberg: staged files are opaque values in here, and
//! `archive` uses all of it without the engine.
//!
//! # The life of a run
//!
//! 1. [`CheckpointStore::claim`] takes a generation in the store, unless another process has a live claim;
//!    [`Claimed::keep_alive`] renews it until the run ends.
//! 2. The caller commits an empty snapshot with property `kappa.<owner>.generation` to every table that it will write
//!    to, and to those of [`Claimed::tables`], so that any commit of an older run conflicts from then on;
//!    [`Claimed::decide`] says whether it may.
//! 3. [`Claimed::tables_claimed`] reads the newest manifest, and only now: an older run may have put one, and committed
//!    it to some tables, until its tables were claimed.
//! 4. [`ReadNewest::begin`] puts `<generation>/0000000000.json`, which names the manifest that this run continues.
//!    Manifests that older runs put after that don't count.
//! 5. A newest manifest that is damaged or gone is passed over by who [falls back](Claimant::falls_back); what that takes is in
//!    [`Newest::is_behind`].
//! 6. [`Checkpoint::recover`] finishes the newest manifest's commits; then one [`Checkpoint::open`] after another.

mod claim;
mod error;
mod fallback;
mod gaps;
mod heartbeat;
mod id;
mod kept;
mod layout;
mod look;
mod manifest;
mod properties;
mod protocol;
mod run;
mod savepoint;
mod store;
mod verdict;

#[cfg(test)]
mod faulty_store;
#[cfg(test)]
mod heartbeat_tests;
#[cfg(test)]
mod protocol_tests;
#[cfg(test)]
mod savepoint_tests;
#[cfg(test)]
mod simulation;
#[cfg(test)]
mod store_tests;

pub use claim::{Claim, Claimant, Process, RENEW_EVERY, STALE_AFTER, is_live};
pub use error::CheckpointError;
pub use fallback::{GoodWithState, Usable};
pub use gaps::Gaps;
pub use heartbeat::Heartbeat;
pub use id::{Generation, ManifestId};
pub use manifest::{
    BadManifest, BeginRecord, ClaimedTable, HeldFile, InsertProgress, Manifest, Operation, PartitionProgress,
    RepublishRange, StateFile, StreamProgress, TableChange, checksum_text,
};
pub use properties::{
    ADDED_COLUMNS, BACKFILLED_TO, FIRST_WINDOW, GAPS, IN_TABLE, OWNER, Offsets, PropertyError, REPUBLISH, SEALED_EDGE,
    SEEN_ANEW, STREAM, TableProperties, checkpoint_property, format_time, generation_property, offsets_property,
    parse_time, snapshot_property,
};
pub use protocol::{Action, Checkpoint, Event, Stage};
pub use run::{Begun, Claimed, ReadNewest, StateContent};
pub use savepoint::{BadSavepointName, Savepoint, SavepointLabel, SavepointName, Version};
pub use store::{CheckpointStore, Newest};
pub use verdict::{
    ARCHIVE, ProtocolError, Rollback, RunIdentity, TableSeen, Verdict, check_not_lost, check_not_rolled_back,
    check_same_table, decide,
};
