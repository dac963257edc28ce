//! What panes say of the memory that they hold: bounds that follow from what is in them, as layouts may change.

use super::*;

const KEYS: i64 = 20_000;

fn filled(aggregation: &Arc<Aggregation>, calls: &[Call], batches: usize) -> Pane {
    let rows: Vec<Row> = (0..KEYS).map(|int| Row { int: Some(int), ..blank(int) }).collect();
    let mut pane = Pane::new(aggregation).expect("known functions");
    for rows in rows.chunks(rows.len() / batches) {
        update(&mut pane, &[INT], calls, rows).expect("rows of the schema");
    }
    pane
}

#[test]
fn keys_and_accumulators_are_counted() {
    // Eight sums of 8 bytes at least are more than a key takes, and less than 32 times as much.
    let calls: Vec<Call> = (0..8).map(|_| Call::of("sum", INT)).collect();
    let sums = filled(&aggregation(&[INT], &calls), &calls, 100).bytes();
    let keys = filled(&aggregation(&[INT], &[]), &[], 100).bytes();
    let least = KEYS as usize * 8;
    assert!((least..least * 16).contains(&keys), "{keys}");
    assert!((keys + 8 * least..keys + 32 * 8 * least).contains(&sums), "{sums}");
}

#[test]
fn what_a_large_batch_has_left_allocated_is_counted() {
    let calls = [Call::of("count", POSITION)];
    let mut pane = Pane::new(&aggregation(&[], &calls)).expect("known functions");
    let rows: Vec<Row> = (0..KEYS).map(blank).collect();
    update(&mut pane, &[], &calls, &rows).expect("rows of the schema");
    // Without keys there is one group, but a number for each row.
    let least = KEYS as usize * size_of::<usize>();
    assert!((least..2 * least).contains(&pane.bytes()), "{}", pane.bytes());
}

#[test]
fn deltas_are_counted_beside_what_is_open() {
    let calls = [Call::of("sum", INT)];
    let mut pane = filled(&aggregation(&[INT], &calls), &calls, 1);
    pane.freeze().expect("a state");
    let frozen = pane.bytes();
    let least = KEYS as usize * (8 + 8);
    assert!(frozen >= least, "{frozen}");
    update(&mut pane, &[INT], &calls, &[Row { int: Some(KEYS), ..blank(KEYS) }]).expect("rows of the schema");
    assert!((frozen..frozen + 1_000_000).contains(&pane.bytes()), "{frozen}, then {}", pane.bytes());
}

#[test]
fn rows_that_stay_by_themselves_are_counted() {
    let aggregation = Arc::new(Aggregation::of_rows(Arc::new(schema().project(&[INT]).expect("a column"))));
    let bytes = filled(&aggregation, &[], 10).bytes();
    let least = KEYS as usize * 8;
    assert!((least..2 * least).contains(&bytes), "{bytes}");
}
