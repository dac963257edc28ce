//! What a sink must do, as [`Publisher`] says: one suite, which it passes on every catalog and in every store.

use std::collections::BTreeMap;

use super::change::change;
use super::testing::{Row, Sink, batch};
use super::{PublishError, Publisher, Target, staged_change};
use crate::checkpoints::{
    CheckpointError, ClaimedTable, Manifest, PartitionProgress, ProtocolError, TableChange, TableProperties,
};
use crate::event::{EventTime, ResumeOffset};
use crate::iceberg::testing::forgetful;
use crate::iceberg::{RowCut, StagedFile};

/// Commits whose answers get lost.
const LOST: u32 = 3;
/// Checkpoints, and commits of somebody else, at the same time.
const RACES: i64 = 5;

const RESULT: &[Row] = &[(1, 10), (2, 20)];
const LATE: &[Row] = &[(0, 1)];

/// A checkpoint of both tables whose files are written.
struct Written {
    manifest: Manifest,
    changes: [TableChange; 2],
}

impl Sink {
    /// Stages rows for both tables, which are to take the place of those of the result that `cut` names.
    async fn write(
        &self,
        publisher: &Publisher,
        number: u64,
        (result, late): (&[Row], &[Row]),
        cut: &[RowCut],
    ) -> Written {
        let (added, dropped) =
            (self.stage(publisher, &self.result, result).await, self.stage(publisher, &self.late, late).await);
        let changes = [
            staged_change(publisher.table(&self.result.table), &added, cut),
            staged_change(publisher.table(&self.late.table), &dropped, &[]),
        ];
        Written { manifest: manifest(publisher, number, changes.to_vec()), changes }
    }

    async fn stage(&self, publisher: &Publisher, target: &Target, rows: &[Row]) -> Vec<StagedFile> {
        publisher.stage(&target.table, &target.spec.sort, vec![batch(rows)]).await.expect("staged")
    }

    async fn both(&self) -> [Vec<Row>; 2] {
        [self.rows(&self.result).await, self.rows(&self.late).await]
    }

    /// Snapshots of both tables.
    async fn snapshots(&self) -> [usize; 2] {
        [self.load(&self.result).await.lineage().main.len(), self.load(&self.late).await.lineage().main.len()]
    }
}

fn manifest(publisher: &Publisher, number: u64, tables: Vec<TableChange>) -> Manifest {
    let next_offset = ResumeOffset(100 * i64::try_from(number).expect("a small number"));
    let progress = PartitionProgress { next_offset, seen: None, taken: 0, rejected: 0 };
    Manifest {
        id: publisher.begun().id(number),
        owner: "job".to_owned(),
        fingerprint: "f".to_owned(),
        description: Vec::new(),
        streams: BTreeMap::from([("log".to_owned(), BTreeMap::from([(0, progress)]))]),
        topics: BTreeMap::new(),
        inserts: Vec::new(),
        watermark: EventTime(0),
        finished: false,
        state: Vec::new(),
        claimed: publisher
            .tables()
            .map(|table| ClaimedTable { table: table.name().clone(), uuid: table.uuid() })
            .collect(),
        tables,
        held: Vec::new(),
        reread: BTreeMap::new(),
        from_history: BTreeMap::new(),
    }
}

fn is_fenced(error: &PublishError) -> bool {
    matches!(
        error,
        PublishError::Checkpoint(CheckpointError::Fenced { .. })
            | PublishError::Protocol(ProtocolError::Fenced { .. } | ProtocolError::FencedInStore { .. })
    )
}

#[tokio::test]
async fn what_is_staged_is_seen_when_it_is_published_in_one_snapshot_of_each_table() {
    for sink in Sink::everywhere().await {
        let publisher = sink.publisher().await;
        let before = sink.snapshots().await;
        let Written { manifest, .. } = sink.write(&publisher, 1, (RESULT, LATE), &[]).await;
        assert_eq!(sink.both().await, [vec![], vec![]]);
        publisher.publish(manifest.clone()).await.expect("published");
        assert_eq!(sink.both().await, [RESULT, LATE]);
        assert_eq!(sink.snapshots().await, before.map(|count| count + 1));
        // Each table says what it has, and up to which offsets.
        for target in [&sink.result, &sink.late] {
            let stated = TableProperties::parse("job", sink.load(target).await.properties()).expect("ours");
            assert_eq!(stated.checkpoint, Some(manifest.id));
            let offsets = BTreeMap::from([("log".to_owned(), BTreeMap::from([(0, ResumeOffset(100))]))]);
            assert_eq!(stated.offsets, Some(offsets));
        }
    }
}

#[tokio::test]
async fn what_goes_and_what_comes_is_one_snapshot() {
    for sink in Sink::everywhere().await {
        let publisher = sink.publisher().await;
        let first = sink.write(&publisher, 1, (RESULT, LATE), &[]).await;
        publisher.publish(first.manifest).await.expect("published");
        let before = sink.snapshots().await;
        let cut = RowCut::of_times("t", EventTime(1), EventTime(2));
        let second = sink.write(&publisher, 2, (&[(1, 11), (3, 30)], LATE), &[cut]).await;
        publisher.publish(second.manifest).await.expect("published");
        assert_eq!(sink.rows(&sink.result).await, [(1, 11), (2, 20), (3, 30)]);
        assert_eq!(sink.snapshots().await, before.map(|count| count + 1));
    }
}

#[tokio::test]
async fn published_again_it_is_there_once() {
    for sink in Sink::everywhere().await {
        let publisher = sink.publisher().await;
        let Written { manifest, .. } = sink.write(&publisher, 1, (RESULT, LATE), &[]).await;
        for _ in 0..2 {
            publisher.publish(manifest.clone()).await.expect("published");
        }
        assert_eq!(sink.both().await, [RESULT, LATE]);
    }
}

#[tokio::test]
async fn a_checkpoint_that_was_put_is_finished_by_the_next_start_whatever_was_committed_of_it() {
    for sink in Sink::everywhere().await {
        let mut expected = [vec![], vec![]];
        for committed in 0..=2 {
            let publisher = sink.publisher().await;
            let rows = (100 * committed as i64, committed as i64);
            let written = sink.write(&publisher, 1, (&[rows], &[rows]), &[]).await;
            publisher.begun().put(&written.manifest).await.expect("put");
            for staged in &written.changes[..committed] {
                let table = publisher.catalog().load(&staged.table).await.expect("answers").expect("is there");
                let generation = publisher.begun().identity().generation;
                let change = change("job", generation, &written.manifest, staged, &table).await.expect("read back");
                publisher.catalog().commit_on(&table, &change).await.expect("committed");
            }
            // What is staged beside it has no manifest, and is nobody's.
            sink.write(&publisher, 2, (RESULT, LATE), &[]).await;
            drop(publisher);
            expected.iter_mut().for_each(|of| of.push(rows));
            for _ in 0..2 {
                sink.publisher().await;
                assert_eq!(sink.both().await, expected, "after {committed} commits");
            }
        }
    }
}

#[tokio::test]
async fn an_older_run_publishes_nothing_any_more() {
    for sink in Sink::everywhere().await {
        let older = sink.publisher().await;
        let Written { manifest, .. } = sink.write(&older, 1, (RESULT, LATE), &[]).await;
        // Its manifest is there, and it is stopped before its commits.
        older.begun().put(&manifest).await.expect("put");
        let newer = sink.publisher().await;
        let error = older.publish(manifest).await.expect_err("it is fenced");
        assert!(is_fenced(&error), "{error:?}");
        assert_eq!(sink.both().await, [RESULT, LATE], "the newer run has finished it");
        let Written { manifest, .. } = sink.write(&older, 2, (RESULT, LATE), &[]).await;
        let error = older.publish(manifest).await.expect_err("it is fenced");
        assert!(is_fenced(&error), "{error:?}");
        let Written { manifest, .. } = sink.write(&newer, 1, (&[(3, 30)], &[(3, 3)]), &[]).await;
        newer.publish(manifest).await.expect("published");
        assert_eq!(sink.both().await, [vec![(1, 10), (2, 20), (3, 30)], vec![(0, 1), (3, 3)]]);
    }
}

#[tokio::test]
async fn what_others_commit_meanwhile_stays() {
    for sink in Sink::everywhere().await {
        let publisher = sink.publisher().await;
        let publishing = async {
            for number in 1..=RACES {
                let written = sink.write(&publisher, number as u64, (&[(number, 1)], &[(number, 1)]), &[]).await;
                publisher.publish(written.manifest).await.expect("published");
            }
        };
        let appending = async {
            for number in 1..=RACES {
                sink.append(&[(number, 2)]).await;
            }
        };
        tokio::join!(publishing, appending);
        let expected: Vec<Row> = (1..=RACES).flat_map(|number| [(number, 1), (number, 2)]).collect();
        assert_eq!(sink.rows(&sink.result).await, expected);
        assert_eq!(sink.rows(&sink.late).await, (1..=RACES).map(|number| (number, 1)).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn a_commit_whose_answer_is_lost_is_looked_up() {
    for sink in Sink::everywhere().await {
        for (number, lands) in [(0, true), (1, false)] {
            // The claims of a start are commits too.
            let publisher = sink.publisher_over(&forgetful(&sink.world, lands, LOST)).await;
            let rows = (number, number);
            let written = sink.write(&publisher, 1, (&[rows], &[rows]), &[]).await;
            let publisher = Publisher { catalog: forgetful(&sink.world, lands, LOST), ..publisher };
            publisher.publish(written.manifest).await.expect("published");
        }
        assert_eq!(sink.both().await, [[(0, 0), (1, 1)], [(0, 0), (1, 1)]]);
    }
}

#[tokio::test]
async fn a_table_that_was_made_anew_is_left_alone() {
    for sink in Sink::everywhere().await {
        let publisher = sink.publisher().await;
        let Written { manifest, .. } = sink.write(&publisher, 1, (RESULT, LATE), &[]).await;
        assert!(sink.world.drop(&sink.late.table).await.expect("answers"));
        sink.world.create(&sink.late.table, &sink.late.spec).await.expect("made");
        let error = publisher.publish(manifest).await.expect_err("it isn't the table that was claimed");
        assert!(matches!(error, PublishError::Protocol(ProtocolError::TableReplaced { .. })), "{error:?}");
        assert_eq!(sink.rows(&sink.late).await, []);
    }
}
