//! Rows on every way round: spread over panes, frozen, restored, merged; the bits that come out are always the same.

use super::*;

/// What happens to a run of rows in a test: which of three panes takes it, and what is done to that pane then.
#[derive(Clone, Copy, Debug)]
enum Then {
    Nothing,
    Freeze,
    /// Frozen, then its deltas go into another pane in reverse, as if from a checkpoint.
    Restore,
    Evaluate,
}

fn chunks() -> impl Strategy<Value = Vec<(usize, usize, Then)>> {
    let then = prop::sample::select(vec![Then::Nothing, Then::Freeze, Then::Restore, Then::Evaluate]);
    prop::collection::vec((1usize..12, 0usize..3, then), 1..14)
}

/// A pane with all that it ever gave a checkpoint.
struct Stored {
    pane: Pane,
    deltas: Vec<(u64, Deferred)>,
}

impl Stored {
    fn new(aggregation: &Arc<Aggregation>) -> Stored {
        Stored { pane: Pane::new(aggregation).expect("known functions"), deltas: Vec::new() }
    }

    fn freeze(&mut self) {
        let Some(Frozen { states, covers }) = self.pane.freeze().expect("a state") else { return };
        self.deltas.retain(|(first, _)| *first < covers.start);
        self.deltas.push((covers.start, states));
    }
}

/// Spreads the rows over panes as the chunks say, and merges all in the end.
fn roundabout(
    aggregation: &Arc<Aggregation>,
    calls: &[Call],
    rows: &[Row],
    chunks: &[(usize, usize, Then)],
) -> RecordBatch {
    let mut panes = [Stored::new(aggregation), Stored::new(aggregation), Stored::new(aggregation)];
    let mut rest = rows;
    for &(count, index, then) in chunks.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (chunk, behind) = rest.split_at(count.min(rest.len()));
        rest = behind;
        let stored = &mut panes[index];
        update(&mut stored.pane, &[KEY], calls, chunk).expect("rows of the schema");
        match then {
            Then::Nothing => {}
            Then::Freeze => stored.freeze(),
            Then::Evaluate => {
                stored.pane.evaluate().expect("no overflow");
            }
            Then::Restore => {
                stored.freeze();
                let mut restored = Pane::new(aggregation).expect("known functions");
                for (_, delta) in std::mem::take(&mut stored.deltas).into_iter().rev() {
                    restored.merge(&delta.get().expect("a state")).expect("the same layout");
                }
                stored.pane = restored;
            }
        }
    }
    let mut whole = Pane::new(aggregation).expect("known functions");
    for mut stored in panes {
        stored.freeze();
        for (_, delta) in stored.deltas {
            whole.merge(&delta.get().expect("a state")).expect("the same layout");
        }
    }
    sorted(&whole.close().expect("no overflow"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn batches_order_and_partial_states_leave_no_trace(
        (rows, shuffled) in rows(80).prop_flat_map(|rows| (Just(rows.clone()), Just(rows).prop_shuffle())),
        chunks in chunks(),
    ) {
        let calls = calls();
        let aggregation = aggregation(&[KEY], &calls);
        let mut pane = Pane::new(&aggregation).expect("known functions");
        update(&mut pane, &[KEY], &calls, &rows).expect("rows of the schema");
        let evaluated = sorted(&pane.evaluate().expect("no overflow"));
        let closed = sorted(&pane.close().expect("no overflow"));
        prop_assert_eq!(&evaluated, &closed);
        let other = roundabout(&aggregation, &calls, &shuffled, &chunks);
        for (index, field) in closed.schema().fields().iter().enumerate() {
            prop_assert_eq!(closed.column(index), other.column(index), "{}", field.name());
        }
        model::compare(&calls, &rows, &closed)?;
    }

    #[test]
    fn a_single_accumulator_agrees_with_the_groups(rows in rows(40), cut in 0usize..40) {
        let calls: Vec<Call> = calls().into_iter().filter(|call| !call.filtered).collect();
        let aggregation = aggregation(&[], &calls);
        let mut pane = Pane::new(&aggregation).expect("known functions");
        update(&mut pane, &[], &calls, &rows).expect("rows of the schema");
        let closed = pane.close().expect("no overflow");
        prop_assert_eq!(closed.num_rows(), 1);
        let parts = rows.split_at(cut.min(rows.len()));
        for (index, call) in calls.iter().enumerate() {
            let mut single = call.expression().create_accumulator().expect("known");
            for part in [parts.0, parts.1] {
                let batch = batch(part);
                single.update_batch(&call.columns(&batch)).expect("rows of the schema");
                single.evaluate().expect("a result");
            }
            let result = single.evaluate().expect("a result").to_array_of_size(1).expect("a scalar");
            // DataFusion's own single min and max over other types are not ours to compare bit by bit.
            prop_assert_eq!(&result, closed.column(index), "{}", call.name());
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// DataFusion asks for the first groups alone where its input is sorted, as above a window.
    #[test]
    fn groups_may_be_taken_out_a_few_at_a_time(rows in rows(40), first in 0usize..=4) {
        // As a key set numbers groups: every group has a row.
        let mut rows = rows;
        rows.splice(0..0, (0..4).map(|key| Row { key: Some(key), text: Some("x".to_owned()), ..blank(-4) }));
        let groups: Vec<usize> = rows.iter().map(|row| usize::from(row.key.unwrap_or(0))).collect();
        let batch = batch(&rows);
        for call in calls() {
            let columns = call.columns(&batch);
            let filled = || {
                let mut accumulator = call.expression().create_groups_accumulator().expect("known");
                accumulator.update_batch(&columns, &groups, None, 4).expect("rows of the schema");
                accumulator
            };
            let whole = filled().evaluate(EmitTo::All).expect("no overflow");
            let mut accumulator = filled();
            let mut merged = call.expression().create_groups_accumulator().expect("known");
            if first > 0 {
                let state = accumulator.state(EmitTo::First(first)).expect("a state");
                merged.merge_batch(&state, &(0..first).collect::<Vec<_>>(), None, first).expect("a state");
            }
            let rest = accumulator.evaluate(EmitTo::All).expect("no overflow");
            prop_assert_eq!(&rest, &whole.slice(first, 4 - first), "{}", call.name());
            let taken = merged.evaluate(EmitTo::All).expect("no overflow");
            prop_assert_eq!(&taken, &whole.slice(0, first), "{}", call.name());
        }
    }
}
