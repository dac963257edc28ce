//! The store's rules, one case each.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt, PutPayload};

use super::faulty_store::{Fault, FaultyStore, claimant};
use super::manifest::tests::sample;
use super::*;
use crate::event::{EventTime, TableName};
use crate::store::{Place, Stores, testing};

const OWNER: &str = "page_hits";

fn table() -> TableName {
    TableName::parse("marts.page_hits").expect("has a namespace")
}

/// Where the store has to keep its rules.
struct Somewhere {
    place: Place,
    /// Goes with it.
    _folder: Option<tempfile::TempDir>,
}

/// In memory, in a folder, and in a bucket if there is one.
fn everywhere() -> Vec<Somewhere> {
    let memory = Place { store: Arc::new(InMemory::new()), folder: None };
    let folder = tempfile::tempdir().expect("temporary folder");
    let in_folder = Stores::default().place(".kappa/state", folder.path()).expect("a folder");
    let mut all =
        vec![Somewhere { place: memory, _folder: None }, Somewhere { place: in_folder, _folder: Some(folder) }];
    all.extend(testing::place().map(|place| Somewhere { place, _folder: None }));
    all
}

fn over(objects: &Place) -> CheckpointStore {
    CheckpointStore::at(objects, OWNER)
}

async fn start(store: &CheckpointStore) -> Begun {
    let read = store.claim(&claimant()).await.expect("claims").tables_claimed(&[table()]).await.expect("reads");
    let newest = read.newest().id();
    read.begin(newest).await.expect("begins")
}

/// A manifest that names the given state files only.
fn manifest(id: ManifestId, state: Vec<StateFile>) -> Manifest {
    Manifest { state, ..sample(id) }
}

fn content() -> StateContent {
    StateContent { rows: 1, insert: 0, leg: 0, panes: vec![EventTime(0)] }
}

async fn put_with_state(run: &Begun, number: u64, older: &[StateFile]) -> Manifest {
    let bytes = Bytes::from(format!("state of {number}"));
    let file = run.put_state(number, "panes", bytes, content()).await.expect("puts state");
    let mut state = older.to_vec();
    state.push(file);
    let manifest = manifest(run.id(number), state);
    run.put(&manifest).await.expect("puts");
    manifest
}

async fn files(objects: &Place) -> BTreeSet<String> {
    objects.store.list(None).map_ok(|object| object.location.to_string()).try_collect().await.expect("lists")
}

/// Overwrites a file behind the store's back.
async fn spoil(objects: &Place, path: &str, change: impl FnOnce(&mut Vec<u8>)) {
    let path = Path::from(path);
    let mut bytes = objects.store.get(&path).await.expect("is there").bytes().await.expect("reads").to_vec();
    change(&mut bytes);
    objects.store.put(&path, PutPayload::from(bytes)).await.expect("puts");
}

#[tokio::test]
async fn runs_follow_one_another_and_reads_give_what_was_written() {
    for Somewhere { place, .. } in everywhere() {
        // An owner that isn't a plain file name stays one folder.
        for owner in ["page_hits", "raw.web requests%/ä"] {
            let store = CheckpointStore::at(&place, owner);
            assert_eq!(store.newest().await.expect("reads"), Newest { manifest: None, abandoned: None });
            let first = store.claim(&claimant()).await.expect("claims").tables_claimed(&[]).await.expect("reads");
            let first = first.begin(None).await.expect("begins");
            let named = |id, state| Manifest { owner: owner.to_owned(), ..manifest(id, state) };
            let file = first.put_state(1, "panes", Bytes::from_static(b"abc"), content()).await.expect("puts state");
            let one = named(first.id(1), vec![file.clone()]);
            first.put(&one).await.expect("puts");
            first.put(&one).await.expect("an equal one again");
            let other = Manifest { finished: true, ..one.clone() };
            assert!(matches!(first.put(&other).await, Err(CheckpointError::Taken { .. })));

            let claimed = store.claim(&claimant()).await.expect("claims");
            assert_eq!(claimed.generation(), Generation(2));
            assert_eq!(claimed.tables().await.expect("reads").len(), 1);
            let second = claimed.tables_claimed(&[table()]).await.expect("reads");
            assert_eq!(second.newest().manifest.as_ref(), Some(&one));
            let second = second.begin(Some(one.id)).await.expect("begins");
            for number in 1..=3 {
                second.put(&named(second.id(number), vec![file.clone()])).await.expect("puts");
            }
            assert_eq!(second.collect(second.id(3)).await.expect("collects"), 4);
            assert_eq!(store.newest().await.expect("reads").id(), Some(second.id(3)));
            assert_eq!(store.get_state(&file).await.expect("kept"), Bytes::from_static(b"abc"));
        }
        let owners = place.store.list_with_delimiter(None).await.expect("lists").common_prefixes;
        assert_eq!(owners.len(), 2);
    }
}

#[test]
fn a_location_that_can_not_be_used_is_named_with_its_key_of_the_profile() {
    let root = tempfile::tempdir().expect("temporary folder");
    let error = CheckpointStore::open("gs://bucket/state", root.path(), OWNER).expect_err("not built in");
    assert_eq!(
        error.to_string(),
        "state.location can't be used: gs://bucket/state: Google Cloud Storage is not built in; use a folder or \
         s3://BUCKET/PREFIX"
    );
    let url = format!("file://{}/x", root.path().display());
    assert!(CheckpointStore::open(&url, root.path(), OWNER).is_ok());
    assert!(root.path().join("x").is_dir());
}

#[tokio::test]
async fn runs_that_claim_at_once_get_different_generations_and_the_last_one_goes_on() {
    for Somewhere { place, .. } in everywhere() {
        let claims = (0..8).map(|_| {
            let store = over(&place);
            tokio::spawn(async move { store.claim(&claimant()).await.map(|claimed| claimed.generation()) })
        });
        let claims: Vec<_> = claims.collect();
        let mut taken = BTreeSet::new();
        let mut fenced_by = Generation(0);
        for claim in claims {
            match claim.await.expect("no panic") {
                Ok(generation) => assert!(taken.insert(generation), "claimed twice"),
                Err(CheckpointError::Fenced { mine, newest, .. }) => {
                    assert!(newest > mine);
                    fenced_by = fenced_by.max(newest);
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(taken.last().is_some_and(|last| *last >= fenced_by), "the last one is never fenced");
    }
}

#[tokio::test]
async fn a_state_file_too_large_for_one_request_is_put_in_parts_once() {
    for Somewhere { place, .. } in everywhere() {
        let run = start(&over(&place)).await;
        // More than two parts, the last of them short.
        let bytes = Bytes::from((0..(17 << 20) + 3).map(|at: u32| (at % 251) as u8).collect::<Vec<u8>>());
        let file = run.put_state(1, "panes", bytes.clone(), content()).await.expect("puts state");
        run.put_state(1, "panes", bytes.clone(), content()).await.expect("an equal one again");
        assert_eq!(over(&place).get_state(&file).await.expect("reads"), bytes);
        let other = bytes.slice(1..);
        let error = run.put_state(1, "panes", other, content()).await.expect_err("another one of that name");
        assert!(matches!(error, CheckpointError::Taken { .. }), "{error}");
    }
}

#[tokio::test]
async fn a_claim_put_late_under_a_collected_number_does_not_count() {
    for Somewhere { place: objects, .. } in everywhere() {
        let view = FaultyStore::over(objects.store.clone());
        let sleeper = CheckpointStore::over(Arc::clone(&view) as Arc<dyn ObjectStore>, OWNER);
        let first = start(&over(&objects)).await;
        put_with_state(&first, 1, &[]).await;
        start(&over(&objects)).await;
        let third = start(&over(&objects)).await;
        put_with_state(&third, 1, &[]).await;
        put_with_state(&third, 2, &[]).await;
        third.collect(third.id(2)).await.expect("collects");
        assert!(files(&objects).await.iter().all(|file| file.contains("/0000000003/")), "older claims are collected");
        // It listed before there was any claim, and was stopped until now: its put of the first one succeeds.
        view.hide_above(Generation(0), 1);
        let late = sleeper.claim(&claimant()).await.expect_err("others have claimed since");
        assert!(matches!(late, CheckpointError::Fenced { mine: Generation(1), newest: Generation(3), .. }));
        assert!(files(&objects).await.contains("page_hits/0000000001/claim.json"));
    }
}

#[tokio::test]
async fn b7_an_older_run_is_refused_every_put_once_a_newer_one_has_claimed() {
    for Somewhere { place: objects, .. } in everywhere() {
        let zombie = start(&over(&objects)).await;
        put_with_state(&zombie, 1, &[]).await;
        over(&objects).claim(&claimant()).await.expect("claims");
        let before = files(&objects).await;
        let fenced = |result: Result<(), CheckpointError>| match result {
            Err(CheckpointError::Fenced { mine, newest, .. }) => {
                assert_eq!((mine, newest), (Generation(1), Generation(2)));
            }
            other => panic!("{other:?}"),
        };
        fenced(zombie.put(&manifest(zombie.id(2), vec![])).await);
        fenced(zombie.put_state(2, "panes", Bytes::new(), content()).await.map(|_| ()));
        fenced(zombie.collect(zombie.id(1)).await.map(|_| ()));
        assert_eq!(files(&objects).await, before);
    }
}

#[tokio::test]
async fn a_folder_left_by_a_start_that_failed_fences_nobody() {
    let root = tempfile::tempdir().expect("temporary folder");
    let store = CheckpointStore::open("state", root.path(), OWNER).expect("opens");
    let run = start(&store).await;
    std::fs::create_dir(root.path().join("state/page_hits/0000000002")).expect("made");
    run.put(&manifest(run.id(1), vec![])).await.expect("puts");
    assert_eq!(store.claim(&claimant()).await.expect("claims").generation(), Generation(3));
}

#[tokio::test]
async fn a_manifest_that_a_fenced_run_put_late_never_counts() {
    for Somewhere { place: objects, .. } in everywhere() {
        let view = FaultyStore::over(objects.store.clone());
        let zombie = start(&CheckpointStore::over(Arc::clone(&view) as Arc<dyn ObjectStore>, OWNER)).await;
        let first = put_with_state(&zombie, 1, &[]).await;
        let run = start(&over(&objects)).await;
        // The zombie checked for newer claims before there was one, and was stopped just before its put.
        view.hide_above(Generation(1), usize::MAX);
        put_with_state(&zombie, 2, &[]).await;
        assert_eq!(over(&objects).newest().await.expect("reads").manifest, Some(first));
        // Nor can anyone go back to it.
        let claimed = over(&objects).claim(&claimant()).await.expect("claims");
        let read = claimed.tables_claimed(&[table()]).await.expect("reads");
        let error = read.begin(Some(zombie.id(2))).await.expect_err("not in the line");
        assert_eq!(error.to_string(), "there is no checkpoint 1/2 of page_hits to start from; the newest is 1/1");
        assert_eq!(run.begin().after, Some(zombie.id(1)));
    }
}

#[tokio::test]
async fn a_manifest_put_before_the_begin_record_counts_although_its_run_was_fenced_then() {
    for Somewhere { place: objects, .. } in everywhere() {
        let view = FaultyStore::over(objects.store.clone());
        let zombie = start(&CheckpointStore::over(Arc::clone(&view) as Arc<dyn ObjectStore>, OWNER)).await;
        put_with_state(&zombie, 1, &[]).await;
        let claimed = over(&objects).claim(&claimant()).await.expect("claims");
        // Until its tables are claimed, the older run may put a manifest and commit it to some of them.
        view.hide_above(Generation(1), usize::MAX);
        let second = put_with_state(&zombie, 2, &[]).await;
        let read = claimed.tables_claimed(&[table()]).await.expect("reads");
        assert_eq!(read.newest().manifest, Some(second));
    }
}

#[tokio::test]
async fn tables_of_the_newest_checkpoint_must_be_claimed_before_it_is_read() {
    for Somewhere { place: objects, .. } in everywhere() {
        put_with_state(&start(&over(&objects)).await, 1, &[]).await;
        let claimed = over(&objects).claim(&claimant()).await.expect("claims");
        assert_eq!(claimed.tables().await.expect("reads").iter().map(|of| &of.table).collect::<Vec<_>>(), [&table()]);
        let error = claimed.tables_claimed(&[]).await.expect_err("one isn't claimed");
        assert_eq!(
            error.to_string(),
            "the newest checkpoint writes to marts.page_hits, which this run hasn't claimed; start it again"
        );
    }
}

#[tokio::test]
async fn going_back_keeps_numbers_unique_and_remembers_what_was_left_behind() {
    for Somewhere { place: objects, .. } in everywhere() {
        let run = start(&over(&objects)).await;
        for number in 1..=3 {
            put_with_state(&run, number, &[]).await;
        }
        let read =
            over(&objects).claim(&claimant()).await.expect("claims").tables_claimed(&[table()]).await.expect("reads");
        let back = read.begin(Some(run.id(2))).await.expect("begins");
        assert_eq!(back.identity().abandoned, Some(run.id(3)));
        assert!(back.id(1) > run.id(3), "no number is used twice");
        let newest = over(&objects).newest().await.expect("reads");
        assert_eq!((newest.id(), newest.abandoned), (Some(run.id(2)), Some(run.id(3))));
        // A crash before the first checkpoint: the next start still knows.
        let next = start(&over(&objects)).await;
        assert_eq!(next.identity().abandoned, Some(run.id(3)));
        // Above it by now, so it is forgotten.
        put_with_state(&next, 1, &[]).await;
        assert_eq!(start(&over(&objects)).await.identity().abandoned, None);
        // Begun anew, without any.
        let read =
            over(&objects).claim(&claimant()).await.expect("claims").tables_claimed(&[table()]).await.expect("reads");
        let anew = read.begin(None).await.expect("begins");
        assert_eq!(anew.identity().abandoned, Some(next.id(1)));
        let newest = over(&objects).newest().await.expect("reads");
        assert_eq!((newest.id(), newest.abandoned), (None, Some(next.id(1))));
    }
}

#[tokio::test]
async fn b11_a_put_whose_answer_was_lost_succeeds_when_repeated() {
    for Somewhere { place: objects, .. } in everywhere() {
        let view = FaultyStore::over(objects.store.clone());
        let run = start(&CheckpointStore::over(Arc::clone(&view) as Arc<dyn ObjectStore>, OWNER)).await;
        let manifest = manifest(run.id(1), vec![]);
        // One listing, then the put.
        view.set_fault(Some(Fault { after_calls: 1, performed: true, dies: false }));
        assert!(matches!(run.put(&manifest).await, Err(CheckpointError::Write { .. })));
        assert_eq!(over(&objects).newest().await.expect("reads").manifest.as_ref(), Some(&manifest));
        run.put(&manifest).await.expect("it is there already");
    }
}

#[tokio::test]
async fn every_spoiled_file_is_found_and_named() {
    for Somewhere { place: objects, .. } in everywhere() {
        let run = start(&over(&objects)).await;
        let one = put_with_state(&run, 1, &[]).await;
        let two = put_with_state(&run, 2, &one.state).await;
        let store = over(&objects);
        let path = |name: &str| format!("page_hits/0000000001/{name}");

        spoil(&objects, &path("state/0000000001-panes.arrow"), |bytes| bytes[0] ^= 1).await;
        spoil(&objects, &path("state/0000000002-panes.arrow"), |bytes| bytes.truncate(3)).await;
        for (file, detail) in [(&two.state[0], "its checksum is"), (&two.state[1], "it has 3 bytes, 10 were written")] {
            let error = store.get_state(file).await.expect_err("spoiled").to_string();
            assert!(error.contains(&file.path) && error.contains(detail), "{error}");
        }
        objects.store.delete(&Path::from(path("state/0000000001-panes.arrow"))).await.expect("deletes");
        assert!(matches!(store.get_state(&two.state[0]).await, Err(CheckpointError::Missing { .. })));

        let first = one.encode();
        spoil(&objects, &path("0000000002.json"), |bytes| *bytes = first).await;
        let swapped = store.newest().await.expect_err("swapped");
        assert!(matches!(&swapped, CheckpointError::BadManifest { source: BadManifest::Misplaced { .. }, .. }));
        spoil(&objects, &path("0000000002.json"), |bytes| bytes.truncate(40)).await;
        let cut = store.newest().await.expect_err("cut off");
        assert_eq!(
            cut.to_string(),
            "checkpoint file page_hits/0000000001/0000000002.json below state.location can't be read"
        );
        assert!(matches!(cut, CheckpointError::BadManifest { source: BadManifest::CutOff, .. }));
        spoil(&objects, &path("0000000000.json"), |bytes| bytes[3] ^= 4).await;
        assert!(store.newest().await.expect_err("spoiled").to_string().contains("0000000000.json"));
    }
}

#[tokio::test]
async fn a_manifest_that_a_begin_record_names_and_that_is_gone_is_an_error() {
    for Somewhere { place: objects, .. } in everywhere() {
        put_with_state(&start(&over(&objects)).await, 1, &[]).await;
        start(&over(&objects)).await;
        objects.store.delete(&Path::from("page_hits/0000000001/0000000001.json")).await.expect("deletes");
        let error = over(&objects).newest().await.expect_err("gone").to_string();
        assert_eq!(
            error,
            "checkpoint file page_hits/0000000001/0000000001.json below state.location is missing, though \
         page_hits/0000000002/0000000000.json needs it; restore it from a copy, or start from a savepoint"
        );
    }
}

#[tokio::test]
async fn a_collection_keeps_two_committed_checkpoints_later_ones_and_all_that_they_need() {
    for Somewhere { place: objects, .. } in everywhere() {
        let old = start(&over(&objects)).await;
        let one = put_with_state(&old, 1, &[]).await;
        let two = put_with_state(&old, 2, &one.state).await;
        let run = start(&over(&objects)).await;
        // Its first checkpoint needs the first state file, not the second.
        let three = put_with_state(&run, 1, &two.state[..1]).await;
        assert_eq!(run.collect(two.id).await.expect("an older run's"), 0);
        // Being written: its manifest isn't there yet.
        run.put_state(2, "panes", Bytes::from_static(b"ahead"), content()).await.expect("puts state");
        run.collect(three.id).await.expect("collects");
        let expected = [
            "0000000001/0000000002.json",
            "0000000001/state/0000000001-panes.arrow",
            "0000000001/state/0000000002-panes.arrow",
            "0000000002/0000000000.json",
            "0000000002/0000000001.json",
            "0000000002/claim.json",
            "0000000002/state/0000000001-panes.arrow",
            "0000000002/state/0000000002-panes.arrow",
        ];
        assert_eq!(files(&objects).await, expected.iter().map(|file| format!("page_hits/{file}")).collect());
        // Written, and the next one too; only the first is known to be committed.
        run.put(&manifest(run.id(2), three.state.clone())).await.expect("puts");
        put_with_state(&run, 3, &[]).await;
        run.collect(run.id(2)).await.expect("collects");
        let expected = [
            "0000000001/state/0000000001-panes.arrow",
            "0000000002/0000000000.json",
            "0000000002/0000000001.json",
            "0000000002/0000000002.json",
            "0000000002/0000000003.json",
            "0000000002/claim.json",
            "0000000002/state/0000000001-panes.arrow",
            "0000000002/state/0000000003-panes.arrow",
        ];
        assert_eq!(files(&objects).await, expected.iter().map(|file| format!("page_hits/{file}")).collect());
    }
}

#[tokio::test]
async fn a_collection_removes_what_puts_of_older_runs_have_left_unfinished() {
    let root = tempfile::tempdir().expect("temporary folder");
    let store = CheckpointStore::open("state", root.path(), OWNER).expect("opens");
    let old = start(&store).await;
    put_with_state(&old, 1, &[]).await;
    let run = start(&store).await;
    let owner = root.path().join("state").join(OWNER);
    let [of_old, of_old_state, of_run] =
        ["0000000001/0000000002.json#1", "0000000001/state/0000000002-0.arrow#1", "0000000002/0000000001.json#1"];
    for left in [of_old, of_old_state, of_run] {
        std::fs::write(owner.join(left), "{").expect("folder takes files");
    }
    put_with_state(&run, 1, &[]).await;
    put_with_state(&run, 2, &[]).await;
    run.collect(run.id(2)).await.expect("collects");
    assert!(!owner.join("0000000001").exists(), "nothing of it is needed, and nothing is left");
    assert!(owner.join(of_run).exists(), "this run may be in the middle of it");
}

#[tokio::test]
async fn a_claim_on_a_table_is_made_once_and_refused_below_a_newer_one() {
    for Somewhere { place: objects, .. } in everywhere() {
        let claimed = over(&objects).claim(&claimant()).await.expect("claims");
        assert_eq!(claimed.decide(&table(), None).await.expect("free"), Verdict::Commit);
        assert_eq!(claimed.decide(&table(), Some(Generation(0))).await.expect("an older one's"), Verdict::Commit);
        assert_eq!(claimed.decide(&table(), Some(Generation(1))).await.expect("its own"), Verdict::Done);
        // No claim in the store: the table knows more than the store, so the store isn't the one that wrote it.
        let lost = claimed.decide(&table(), Some(Generation(2))).await.expect_err("lost");
        assert_eq!(
            lost.to_string(),
            "marts.page_hits was last written by generation 2, but state.location knows none above 1: it was changed, set back \
         or lost; point it at the right folder, or drop the \
         job's tables and remove its folder below state.location to begin anew"
        );
        over(&objects).claim(&claimant()).await.expect("claims");
        let fenced = claimed.decide(&table(), Some(Generation(2))).await.expect_err("a newer run's");
        assert!(matches!(fenced, CheckpointError::Fenced { .. }) && !fenced.is_outage());
    }
}

#[tokio::test]
async fn owners_do_not_see_each_other() {
    for Somewhere { place: objects, .. } in everywhere() {
        put_with_state(&start(&over(&objects)).await, 1, &[]).await;
        let other = CheckpointStore::at(&objects, "page_hits_2");
        assert_eq!(other.newest().await.expect("reads").id(), None);
        assert_eq!(other.claim(&claimant()).await.expect("claims").generation(), Generation(1));
    }
}
