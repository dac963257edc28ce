//! Putting the pieces of sessions together: to results, or to larger pieces.

use std::sync::Arc;

use arrow::array::{ArrayRef, Int64Array, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::{DataType, Field, Schema};
use arrow::record_batch::RecordBatch;
use datafusion_expr::EmitTo;

use super::walk::{Found, Walk};
use super::{Sessions, taken};
use crate::windows::MadeWindows;
use crate::windows::identities::Identities;
use crate::windows::numbered::Numbered;
use crate::windows::pane::PaneError;

/// Pieces of some sessions with the numbers of their groups.
#[derive(Default)]
struct Grouped {
    /// Piece by piece: its row, and its group.
    rows: Vec<u32>,
    numbers: Vec<usize>,
    /// Group by group: a row that has its keys, and its session.
    heads: Vec<u32>,
    sessions: Vec<usize>,
}

impl Sessions {
    /// Pieces of sessions, those of one group put together. `given`: what each session's pieces are to say of it.
    pub(super) fn join(
        &self,
        pieces: &RecordBatch,
        walk: &Walk,
        sessions: &[&Found],
        given: &[Option<i64>],
    ) -> Result<RecordBatch, PaneError> {
        let grouped = self.group(pieces, walk, sessions)?;
        let rows = taken(pieces, &grouped.rows);
        let mut columns = if grouped.heads.len() == grouped.rows.len() {
            rows.columns()[..self.held.state_columns()].to_vec()
        } else {
            let (mut columns, states) = self.columns(pieces, &rows, &grouped);
            let mut together = Numbered::new(&self.aggregation)?;
            together.merge(&grouped.numbers, grouped.heads.len(), &states)?;
            columns.extend(together.take_states(EmitTo::All)?);
            columns
        };
        if self.revised.is_some() {
            let given: Int64Array = grouped.sessions.iter().map(|&session| given[session]).collect();
            columns.push(Arc::new(given));
        }
        columns.push(new_null_array(&DataType::Int64, grouped.heads.len()));
        let joined = RecordBatch::try_new(self.held.layout(), columns);
        Ok(joined.expect("accumulators emit what their state fields say"))
    }

    /// The results of sessions.
    pub(super) fn evaluate(
        &self,
        pieces: &RecordBatch,
        walk: &Walk,
        over: &[&Found],
    ) -> Result<Option<MadeWindows>, PaneError> {
        if over.is_empty() {
            return Ok(None);
        }
        let grouped = self.group(pieces, walk, over)?;
        let rows = taken(pieces, &grouped.rows);
        let (mut columns, states) = self.columns(pieces, &rows, &grouped);
        let mut together = Numbered::new(&self.aggregation)?;
        together.merge(&grouped.numbers, grouped.heads.len(), &states)?;
        let mut results = together.take_results(EmitTo::All, &columns)?;
        results.truncate(results.len() - 2);
        columns.extend(results);
        let windows = grouped.sessions.iter().map(|&session| over[session]);
        let windows = windows.map(|session| self.window.window(session.first, session.last)).collect();
        Ok(Some(MadeWindows::new(windows, &self.closed, columns)))
    }

    /// The keys of the groups, and the states of `rows`.
    fn columns(&self, pieces: &RecordBatch, rows: &RecordBatch, grouped: &Grouped) -> (Vec<ArrayRef>, Vec<ArrayRef>) {
        let count = self.aggregation.keys.fields().len();
        let heads = UInt32Array::from(grouped.heads.clone());
        let keys = pieces.columns()[..count].iter();
        let keys = keys.map(|key| take(key, &heads, None).expect("row numbers are in range")).collect();
        (keys, rows.columns()[count..self.held.state_columns()].to_vec())
    }

    /// Numbers the groups of some sessions: one a session, or several where further keys split it.
    fn group(&self, pieces: &RecordBatch, walk: &Walk, sessions: &[&Found]) -> Result<Grouped, PaneError> {
        let mut grouped = Grouped::default();
        let others = &pieces.columns()[self.window.partition_keys..self.aggregation.keys.fields().len()];
        if others.is_empty() {
            for (number, session) in sessions.iter().enumerate() {
                let before = grouped.rows.len();
                grouped.rows.extend(walk.rows(session));
                grouped.numbers.resize(grouped.rows.len(), number);
                grouped.heads.push(grouped.rows[before]);
                grouped.sessions.push(number);
            }
            return Ok(grouped);
        }
        let mut fields = vec![Field::new("session", DataType::Int64, false)];
        let of_others = &self.aggregation.keys.fields()[self.window.partition_keys..];
        fields.extend(of_others.iter().map(|field| field.as_ref().clone()));
        let mut groups = Identities::new(&Arc::new(Schema::new(fields)))?;
        let mut of_rows: Vec<i64> = Vec::new();
        for (number, session) in (0_i64..).zip(sessions) {
            grouped.rows.extend(walk.rows(session));
            of_rows.resize(grouped.rows.len(), number);
        }
        let rows = UInt32Array::from(grouped.rows.clone());
        let mut columns: Vec<ArrayRef> = vec![Arc::new(Int64Array::from(of_rows.clone()))];
        columns.extend(others.iter().map(|key| take(key, &rows, None).expect("row numbers are in range")));
        groups.resolve(&columns, grouped.rows.len(), &mut grouped.numbers)?;
        for (place, &group) in grouped.numbers.iter().enumerate() {
            if group == grouped.heads.len() {
                grouped.heads.push(grouped.rows[place]);
                grouped.sessions.push(usize::try_from(of_rows[place]).expect("a number of a session"));
            }
        }
        Ok(grouped)
    }
}
