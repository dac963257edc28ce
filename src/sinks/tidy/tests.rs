use super::*;
use crate::sinks::testing::{Row, Sink, batch};

const HOUR: i64 = 3_600_000_000;
const MINUTE: i64 = HOUR / 60;

fn tidy(sink: &Sink) -> Tidy {
    Tidy::new(&sink.result.table, sink.result.spec.clone(), 0)
}

async fn files(sink: &Sink) -> Vec<Vec<Row>> {
    sink.files(&sink.result).await
}

async fn rows(sink: &Sink) -> Vec<Row> {
    sink.rows(&sink.result).await
}

#[tokio::test]
async fn what_earlier_runs_left_is_found_and_becomes_one_sorted_file() {
    let sink = Sink::embedded().await;
    let publisher = sink.publisher().await;
    sink.append(&[(20 * MINUTE, 1), (10 * MINUTE, 2)]).await;
    sink.append(&[(50 * MINUTE, 3)]).await;
    sink.append(&[(5 * MINUTE, 4)]).await;
    sink.append(&[(HOUR, 5)]).await;
    for value in [6, 7] {
        sink.append(&[(2 * HOUR, value)]).await;
    }
    let before = rows(&sink).await;
    let mut tidy = tidy(&sink);
    let edge = EventTime(2 * HOUR);
    let found = tidy.find(&sink.world, edge).await.expect("found");
    assert_eq!(found, BTreeSet::from([EventTime(0)]), "hour 1 has one file, hour 2 is above the edge");
    tidy.saw(found);
    let rewrite = tidy.next(edge).expect("hour 0");
    assert!(tidy.next(edge).is_none(), "each is given once");
    rewrite.clone().run(&publisher).await;
    assert_eq!(rows(&sink).await, before);
    let tidied = files(&sink).await;
    assert_eq!(tidied.len(), 4);
    assert_eq!(tidied[0], [(5 * MINUTE, 4), (10 * MINUTE, 2), (20 * MINUTE, 1), (50 * MINUTE, 3)]);
    rewrite.run(&publisher).await;
    assert_eq!(files(&sink).await, tidied, "one file is left alone");
}

#[tokio::test]
async fn a_rewrite_that_a_crash_cut_off_before_its_commit_doubles_nothing() {
    let sink = Sink::embedded().await;
    let publisher = sink.publisher().await;
    for value in 0..3 {
        sink.append(&[(value * MINUTE, value)]).await;
    }
    let before = rows(&sink).await;
    let mut tidy = tidy(&sink);
    tidy.saw(BTreeSet::from([EventTime(0)]));
    let rewrite = tidy.next(EventTime(HOUR)).expect("hour 0");
    let options = &rewrite.options;
    let cut_off = compact(&sink.world, &rewrite.table, &rewrite.range, options).await.expect("done").expect("small");
    assert_eq!(files(&sink).await.len(), 3, "staged files are nobody's");
    rewrite.clone().run(&publisher).await;
    assert_eq!((files(&sink).await.len(), rows(&sink).await), (1, before.clone()));
    publisher.replace(cut_off).await.expect_err("the files that it replaces are gone");
    assert_eq!((files(&sink).await.len(), rows(&sink).await), (1, before));
}

#[tokio::test]
async fn large_files_and_tables_of_a_newer_run_are_left_alone() {
    let sink = Sink::embedded().await;
    let older = sink.publisher().await;
    for value in 0..3 {
        sink.append(&[(value * MINUTE, value)]).await;
    }
    let before = files(&sink).await;
    let mut tidy = tidy(&sink);
    tidy.saw(BTreeSet::from([EventTime(0)]));
    let mut rewrite = tidy.next(EventTime(HOUR)).expect("hour 0");
    let small_bytes = std::mem::replace(&mut rewrite.options.small_bytes, 1);
    rewrite.clone().run(&older).await;
    assert_eq!(files(&sink).await, before, "they are large");
    rewrite.options.small_bytes = small_bytes;
    let newer = sink.publisher().await;
    rewrite.clone().run(&older).await;
    assert_eq!(files(&sink).await, before, "a newer run owns the table");
    rewrite.run(&newer).await;
    assert_eq!(files(&sink).await.len(), 1);
}

#[tokio::test]
async fn a_complete_partition_is_rewritten_again_only_when_many_rows_have_trickled_in() {
    let sink = Sink::embedded().await;
    let mut tidy = tidy(&sink);
    let rows = batch(&[(10, 1), (HOUR - 1, 2), (HOUR, 3), (5, 4)]);
    assert_eq!(tidy.partitions_of(&[rows]), BTreeSet::from([EventTime(0), EventTime(HOUR)]));
    let hour = BTreeSet::from([EventTime(0)]);
    tidy.saw(hour.clone());
    assert!(tidy.next(EventTime(HOUR - 1)).is_none());
    assert!(tidy.next(EventTime(HOUR)).is_some());
    for _ in 1..AGAIN_TIMES {
        tidy.saw(hour.clone());
        assert!(tidy.next(EventTime(HOUR)).is_none());
    }
    tidy.saw(hour);
    assert!(tidy.next(EventTime(HOUR)).is_some());
}
