//! Savepoints in a store in memory.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, StringArray};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use object_store::ObjectStore;
use object_store::memory::InMemory;

use super::faulty_store::{Fault, FaultyStore, claimant};
use super::manifest::tests::sample;
use super::*;
use crate::event::EventTime;
use crate::windows::{ASIDE, NUMBER};

fn label(name: &str) -> SavepointLabel {
    SavepointLabel { name: name.parse().expect("a name"), created: EventTime(5), reason: "a test".to_owned() }
}

fn store() -> CheckpointStore {
    CheckpointStore::over(Arc::new(InMemory::new()) as Arc<dyn ObjectStore>, "page_hits")
}

/// Another version than that of the checkpoints.
const VERSION: Version<'static> = Version { fingerprint: "another", legs: &[] };

fn state_bytes() -> Bytes {
    let keys: ArrayRef = Arc::new(StringArray::from(vec!["a", "b"]));
    let rows = RecordBatch::try_from_iter([("k0", keys)]).expect("one column");
    Bytes::from(crate::state::encode(&[(EventTime(0), rows)]).expect("memory takes it"))
}

/// A run with a checkpoint that has one state file.
async fn checkpoint(store: &CheckpointStore) -> (Begun, Manifest) {
    let claimed = store.claim(&claimant()).await.expect("claimed");
    let tables: Vec<_> = claimed.tables().await.expect("tables").into_iter().map(|claimed| claimed.table).collect();
    let read = claimed.tables_claimed(&tables).await.expect("read");
    let after = read.newest().id();
    let begun = read.begin(after).await.expect("begun");
    let content = StateContent { rows: 1, insert: 0, leg: 0, panes: vec![EventTime(0)] };
    let state = begun.put_state(1, "0-0", state_bytes(), content).await.expect("state");
    let manifest = Manifest { state: vec![state], ..sample(begun.id(1)) };
    begun.put(&manifest).await.expect("put");
    (begun, manifest)
}

#[test]
fn names_are_plain() {
    for good in ["a", "before-reset-20261121t174500z", "2026-11"] {
        assert_eq!(good.parse::<SavepointName>().expect("a name").as_str(), good);
    }
    for bad in ["", "-a", "A", "a_b", "a/b", "..", "ä", &"a".repeat(101)] {
        let refused = bad.parse::<SavepointName>().expect_err(bad).to_string();
        assert!(refused.contains("before-holidays"), "{refused}");
    }
}

#[tokio::test]
async fn a_savepoint_outlives_the_checkpoint_that_it_was_made_of() {
    let store = store();
    checkpoint(&store).await;
    let kept = store.keep_newest(&label("first"), &VERSION).await.expect("kept").expect("there is a checkpoint");
    assert!(kept.manifest.tables.is_empty() && kept.manifest.watermark == sample(kept.manifest.id).watermark);
    // Two more runs: what the savepoint was made of is collected.
    for _ in 0..2 {
        let (begun, manifest) = checkpoint(&store).await;
        begun.collect(manifest.id).await.expect("collected");
    }
    assert!(store.manifest(kept.manifest.id).await.is_err(), "it should be gone");
    assert_eq!(store.savepoints().await.expect("listed"), std::slice::from_ref(&kept));
    let panes = store.panes(&kept.manifest.state[0]).await.expect("a copy");
    assert_eq!(panes, crate::state::decode(&state_bytes()).expect("just written"));
}

#[tokio::test]
async fn rows_that_another_file_says_to_be_gone_are_not_kept() {
    let aside = |keys: &[Option<&str>], numbers: &[i64]| {
        let columns: [(_, ArrayRef); 2] = [
            ("k0", Arc::new(StringArray::from(keys.to_vec()))),
            (NUMBER, Arc::new(Int64Array::from(numbers.to_vec()))),
        ];
        vec![(EventTime(ASIDE), RecordBatch::try_from_iter(columns).expect("two columns"))]
    };
    let store = store();
    let (begun, manifest) = checkpoint(&store).await;
    let content = |leg| StateContent { rows: 1, insert: 0, leg, panes: vec![EventTime(ASIDE)] };
    let files = [
        (0, aside(&[Some("a"), Some("b")], &[1, 2])),
        (1, aside(&[Some("of another leg")], &[1])),
        (0, aside(&[Some("c"), None], &[3, -1])),
        (0, aside(&[None], &[-3])),
    ];
    let mut state = Vec::new();
    for (number, (leg, panes)) in files.iter().enumerate() {
        let bytes = Bytes::from(crate::state::encode(panes).expect("memory takes it"));
        state.push(begun.put_state(2, &format!("0-{number}"), bytes, content(*leg)).await.expect("state"));
    }
    begun.put(&Manifest { id: begun.id(2), state, ..manifest }).await.expect("put");
    let kept = store.keep_newest(&label("first"), &VERSION).await.expect("kept").expect("there is a checkpoint");
    let mut held = Vec::new();
    for file in &kept.manifest.state {
        held.extend(store.panes(file).await.expect("a copy"));
    }
    assert_eq!(held, [aside(&[Some("b")], &[2]), aside(&[Some("of another leg")], &[1])].concat());
}

#[tokio::test]
async fn a_name_is_taken_until_its_savepoint_is_deleted() {
    let store = store();
    assert_eq!(store.keep_newest(&label("a"), &VERSION).await.expect("nothing to keep"), None);
    checkpoint(&store).await;
    store.keep_newest(&label("a"), &VERSION).await.expect("kept");
    let taken = store.keep_newest(&label("a"), &VERSION).await.expect_err("taken").to_string();
    assert_eq!(taken, "page_hits has a savepoint a already; take another name, or delete that one first");
    let name = label("b").name;
    let missing = store.savepoint(&name).await.expect_err("not there").to_string();
    assert_eq!(missing, "page_hits has no savepoint b; it has a");
    store.delete_savepoint(&label("a").name).await.expect("deleted");
    assert!(store.savepoints().await.expect("listed").is_empty());
    let gone = store.delete_savepoint(&label("a").name).await.expect_err("gone").to_string();
    assert_eq!(gone, "page_hits has no savepoint a; it has none");
    store.keep_newest(&label("a"), &VERSION).await.expect("the name is free").expect("kept");
}

#[tokio::test]
async fn one_that_was_cut_off_is_none_and_its_name_can_be_taken() {
    let shared = Arc::new(InMemory::new());
    let store = CheckpointStore::over(shared.clone() as Arc<dyn ObjectStore>, "page_hits");
    checkpoint(&store).await;
    for after_calls in 0..40 {
        let view = FaultyStore::over(shared.clone());
        view.set_fault(Some(Fault { after_calls, performed: false, dies: true }));
        let dying = CheckpointStore::over(view.clone() as Arc<dyn ObjectStore>, "page_hits");
        let kept = dying.keep_newest(&label("cut"), &VERSION).await;
        if !view.is_dead() {
            assert!(kept.expect("kept").is_some() && after_calls > 3);
            return;
        }
        assert!(kept.is_err());
        assert!(store.savepoints().await.expect("listed").is_empty(), "cut off after {after_calls} calls");
    }
    panic!("it takes more calls than it should");
}
