//! The rules of the protocol, one case each. What they come to together is tried out in `simulation`.

use std::sync::Arc;

use uuid::Uuid;

use super::manifest::tests::sample;
use super::*;
use crate::event::{EventTime, TableName};

const RUN: RunIdentity = RunIdentity { generation: Generation(3), abandoned: None };

fn id(generation: u64, number: u64) -> ManifestId {
    ManifestId::new(Generation(generation), number)
}

fn manifest(id: ManifestId) -> Arc<Manifest> {
    Arc::new(sample(id))
}

fn table() -> TableName {
    TableName::parse("marts.page_hits").expect("has a namespace")
}

fn seen(checkpoint: Option<ManifestId>) -> TableSeen {
    TableSeen { uuid: Uuid::from_u128(7), generation: Some(RUN.generation), checkpoint, rolled_back: None }
}

fn report(seen: TableSeen) -> Event {
    Event::TableSeen { table: table(), seen: Some(seen) }
}

fn verdict(run: &RunIdentity, manifest: &Manifest, seen: Option<TableSeen>) -> Result<Verdict, ProtocolError> {
    decide(run, manifest.id, &manifest.claimed[0], manifest.tables.first(), seen.as_ref())
}

#[test]
fn manifest_first_then_tables_then_collection() {
    let manifest = manifest(id(3, 1));
    let (step, actions) = Checkpoint::open(RUN, true).step(Event::FilesWritten(Arc::clone(&manifest)));
    assert_eq!(actions, [Action::PutManifest(Arc::clone(&manifest))]);
    let (step, actions) = step.step(Event::ManifestPut);
    assert_eq!(actions, [Action::LookUp(table())]);
    let (step, actions) = step.step(report(seen(None)));
    assert_eq!(actions, [Action::Commit { manifest: Arc::clone(&manifest), table: table() }]);
    assert!(!step.is_committed());
    let (step, actions) = step.step(Event::TableCommitted { table: table() });
    assert_eq!(actions, [Action::Publish(Arc::clone(&manifest)), Action::Collect(manifest.id)]);
    assert!(step.is_committed());
    let (step, actions) = step.step(Event::Collected);
    assert_eq!((step.stage(), actions), (&Stage::Collected, vec![]));
}

#[test]
fn a_manifest_waits_until_the_one_before_is_committed() {
    let manifest = manifest(id(3, 2));
    let (held, actions) = Checkpoint::open(RUN, false).step(Event::FilesWritten(Arc::clone(&manifest)));
    assert_eq!(actions, []);
    let (_, actions) = held.step(Event::PreviousCommitted);
    assert_eq!(actions, [Action::PutManifest(Arc::clone(&manifest))]);
    // The other way round.
    let (open, actions) = Checkpoint::open(RUN, false).step(Event::PreviousCommitted);
    assert_eq!(actions, []);
    let (_, actions) = open.step(Event::FilesWritten(Arc::clone(&manifest)));
    assert_eq!(actions, [Action::PutManifest(manifest)]);
}

#[test]
fn b10_a_commit_with_an_unknown_outcome_is_looked_up_and_never_repeated_blindly() {
    let manifest = manifest(id(3, 1));
    let committing = || {
        let (step, _) = Checkpoint::open(RUN, true).step(Event::FilesWritten(Arc::clone(&manifest)));
        let (step, _) = step.step(Event::ManifestPut);
        step.step(report(seen(None))).0
    };
    let (step, actions) = committing().step(Event::CommitUnknown { table: table() });
    assert_eq!(actions, [Action::LookUp(table())]);
    let (step, _) = step.step(report(seen(Some(id(3, 1)))));
    assert!(step.is_committed(), "it had happened");
    let (step, _) = committing().step(Event::CommitUnknown { table: table() });
    let (_, actions) = step.step(report(seen(None)));
    assert_eq!(actions, [Action::Commit { manifest: Arc::clone(&manifest), table: table() }]);
}

#[test]
fn a_checkpoint_with_nothing_to_publish_commits_nothing() {
    let empty = Arc::new(Manifest { tables: vec![], ..sample(id(3, 1)) });
    let (step, _) = Checkpoint::open(RUN, true).step(Event::FilesWritten(empty));
    assert!(step.step(Event::ManifestPut).0.is_committed());
}

#[test]
fn recovery_commits_what_is_older_leaves_what_is_there_and_looks_at_every_claimed_table() {
    let old = manifest(id(2, 5));
    for (published, commits) in [(None, true), (Some(id(2, 4)), true), (Some(id(2, 5)), false)] {
        let (step, actions) = Checkpoint::recover(RUN, Arc::clone(&old));
        assert_eq!(actions, [Action::LookUp(table())]);
        let (step, actions) = step.step(report(seen(published)));
        assert_eq!(matches!(actions[0], Action::Commit { .. }), commits, "{published:?}");
        assert_eq!(step.is_committed(), !commits);
    }
    let unchanged = Arc::new(Manifest { tables: vec![], ..sample(id(2, 5)) });
    let (step, actions) = Checkpoint::recover(RUN, unchanged);
    assert_eq!(actions, [Action::LookUp(table())]);
    let (step, actions) = step.step(report(seen(Some(id(2, 6)))));
    assert!(matches!(step.stage(), Stage::Failed(ProtocolError::StateLost { .. })));
    assert!(matches!(actions[..], [Action::Stop(_)]));
    assert_eq!(step.clone().step(Event::Collected), (step, vec![]), "failed stays failed");
}

#[test]
fn a_run_stops_at_a_table_that_it_must_not_touch() {
    let manifest = sample(id(3, 1));
    let message = |seen: Option<TableSeen>| verdict(&RUN, &manifest, seen).expect_err("refused").to_string();
    let fine = seen(None);
    assert_eq!(
        message(Some(TableSeen { generation: Some(Generation(4)), ..fine.clone() })),
        "a newer run has taken over marts.page_hits: this run's generation is 3, the table's is 4"
    );
    assert_eq!(
        message(Some(TableSeen { generation: None, ..fine.clone() })),
        "marts.page_hits isn't claimed by this run (generation 3; the table says none): its properties were set back; start \
         the run again"
    );
    assert_eq!(
        message(None),
        "marts.page_hits is gone, though checkpoint 3/1 writes to it; restore it, or drop the \
         job's tables and remove its folder below state.location to begin anew"
    );
    assert_eq!(
        message(Some(TableSeen { uuid: Uuid::from_u128(8), ..fine })),
        "marts.page_hits was dropped and made anew (uuid 00000000-0000-0000-0000-000000000008, checkpoint 3/1 wrote to \
         00000000-0000-0000-0000-000000000007), so what was published is gone; put the old table back, or drop the \
         job's tables and remove its folder below state.location to begin anew"
    );
}

fn rollback(owner: &str) -> Rollback {
    let noon = 1_795_262_400_000_000; // 2026-11-21T12:00:00Z
    Rollback {
        owner: owner.to_owned(),
        snapshot: 123,
        can_be_undone: true,
        from: Some(EventTime(noon)),
        to: Some(EventTime(noon + 3_600_000_000)),
    }
}

#[test]
fn a_table_that_was_rolled_back_says_what_is_gone_and_the_ways_out() {
    let manifest = sample(id(3, 1));
    let message = |rollback: Rollback| {
        let seen = TableSeen { rolled_back: Some(rollback), ..seen(Some(id(2, 9))) };
        verdict(&RUN, &manifest, Some(seen)).expect_err("refused").to_string()
    };
    let of_job = rollback("page_hits");
    assert_eq!(
        message(of_job.clone()),
        "marts.page_hits was rolled back to before checkpoint 2/9: windows that ended after 2026-11-21T12:00:00Z, up to \
         2026-11-21T13:00:00Z, are gone; undo the rollback, with \
         CALL CATALOG.system.set_current_snapshot('marts.page_hits', 123) in Spark or \
         table.manage_snapshots().set_current_snapshot(123).commit() in pyiceberg, or publish them again, with kappa offsets \
         reset JOB --to-datetime 2026-11-21T12:00:00Z --execute"
    );
    let expired = Rollback { can_be_undone: false, from: None, ..of_job };
    assert_eq!(
        message(expired),
        "marts.page_hits was rolled back to before checkpoint 2/9: windows that ended up to 2026-11-21T13:00:00Z are gone; \
         publish all of it again, with kappa offsets reset JOB --to-earliest --execute"
    );
    let archived = Rollback { to: None, ..rollback("archive-raw.requests") };
    assert_eq!(
        message(archived),
        "marts.page_hits was rolled back to before checkpoint 2/9: records after 2026-11-21T12:00:00Z are gone; undo the \
         rollback, with CALL CATALOG.system.set_current_snapshot('marts.page_hits', 123) in Spark or \
         table.manage_snapshots().set_current_snapshot(123).commit() in pyiceberg, or drop the job's tables and remove its \
         folder below state.location to begin anew"
    );
}

#[test]
fn a_rollback_of_what_was_left_behind_on_purpose_is_accepted() {
    let rollback = rollback("page_hits");
    let check = |abandoned, published| check_not_rolled_back(abandoned, &table(), published, Some(&rollback));
    assert_eq!(check(Some(id(2, 9)), Some(id(2, 9))), Ok(()));
    assert_eq!(check(Some(id(2, 9)), Some(id(2, 3))), Ok(()));
    assert!(check(Some(id(2, 9)), Some(id(3, 1))).is_err());
    assert!(check(None, None).is_err());
    assert_eq!(check_not_rolled_back(None, &table(), Some(id(2, 9)), None), Ok(()));
}

#[test]
fn a_start_looks_for_the_tables_that_the_newest_checkpoint_was_published_to() {
    let manifest = sample(id(3, 1));
    assert_eq!(check_same_table(Some(&manifest), &table(), Some(Uuid::from_u128(7))), Ok(()));
    let replaced = check_same_table(Some(&manifest), &table(), Some(Uuid::from_u128(8)));
    assert!(matches!(replaced, Err(ProtocolError::TableReplaced { .. })), "{replaced:?}");
    let gone = check_same_table(Some(&manifest), &table(), None);
    assert!(matches!(gone, Err(ProtocolError::TableGone { .. })), "{gone:?}");
    // A table that the job has only now, and the first start of all.
    let other = TableName::parse("marts.other").expect("has a namespace");
    assert_eq!(check_same_table(Some(&manifest), &other, None), Ok(()));
    assert_eq!(check_same_table(None, &table(), None), Ok(()));
}

#[test]
fn what_was_left_behind_on_purpose_is_not_taken_for_lost() {
    let back = RunIdentity { generation: Generation(3), abandoned: Some(id(2, 5)) };
    let restored = sample(id(2, 3));
    assert_eq!(verdict(&back, &restored, Some(seen(Some(id(2, 5))))), Ok(Verdict::Done));
    assert!(verdict(&RUN, &restored, Some(seen(Some(id(2, 5))))).is_err());
    assert!(verdict(&back, &restored, Some(seen(Some(id(2, 6))))).is_err());
    // The restored run's own checkpoints are above it.
    assert_eq!(verdict(&back, &sample(id(3, 1)), Some(seen(Some(id(2, 5))))), Ok(Verdict::Commit));
}

#[test]
fn a_lost_store_is_never_a_silent_start_from_the_beginning() {
    let lost = check_not_lost(None, None, &table(), Some(id(2, 5))).expect_err("lost");
    assert_eq!(
        lost.to_string(),
        "marts.page_hits has checkpoint 2/5, but the newest at state.location is none: state.location was changed, set back \
         or lost; point it at the right folder, or drop the \
         job's tables and remove its folder below state.location to begin anew"
    );
    assert!(check_not_lost(Some(id(2, 4)), None, &table(), Some(id(2, 5))).is_err());
    assert_eq!(check_not_lost(Some(id(2, 5)), None, &table(), Some(id(2, 5))), Ok(()));
    assert_eq!(check_not_lost(None, Some(id(2, 5)), &table(), Some(id(2, 5))), Ok(()));
    assert_eq!(check_not_lost(None, None, &table(), None), Ok(()));
}

#[test]
#[should_panic(expected = "can't happen")]
fn a_table_committed_before_the_manifest_is_our_bug() {
    let _ = Checkpoint::open(RUN, true).step(Event::TableCommitted { table: table() });
}
