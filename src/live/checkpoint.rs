//! Writing one checkpoint: state and result files, the manifest, the tables' commits.
//! Invariant: one at a time, in the order of barriers; the writer travels with the task that writes.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use datafusion_common::DataFusionError;

use super::RunError;
use super::pending::Pending;
use super::{replacing, republish};
use crate::checkpoints::{
    ClaimedTable, HeldFile, InsertProgress, Manifest, Offsets, REPUBLISH, RepublishRange, StateContent, StateFile,
    StreamProgress, TableChange, TableProperties,
};
use crate::decode::SideInputs;
use crate::engine::{EngineError, FrozenPane};
use crate::event::{EventTime, Reject, TableName};
use crate::iceberg::{RowCut, StagedFile};
use crate::job::explain::describe;
use crate::job::{Insert, Leg, Plan, Publish};
use crate::sinks::{
    PublishError, Publisher, Tidy, WATERMARK, file_value, layout, rejects_table, split_by_partition, staged_change,
};
use crate::sources::Identities;
use crate::state::{LiveFile, StateFiles};
use crate::windows::PublishRange;

/// What a barrier cuts off: everything fed before it, and nothing behind it.
#[derive(Debug)]
pub(super) struct Cut {
    pub(super) streams: BTreeMap<String, StreamProgress>,
    pub(super) watermark: EventTime,
    pub(super) finished: bool,
    /// For each stream.
    pub(super) rejects: Vec<Vec<Reject>>,
}

/// What a checkpoint has made visible.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) watermark: EventTime,
    pub(super) finished: bool,
    /// For each INSERT, the partitions of its result that rows are for.
    pub(super) touched: Vec<BTreeSet<EventTime>>,
    /// For each INSERT, below which edge of its result nothing can change any more.
    pub(super) sealed: Vec<EventTime>,
    /// For each INSERT, below which edge hardly anything comes any more: the same, but without a window, where nothing is ever sealed.
    pub(super) settled: Vec<EventTime>,
    /// For each INSERT, result rows that became visible: those that wait for their partition don't count yet.
    pub(super) rows: Vec<u64>,
    /// For each INSERT.
    pub(super) late: Vec<u64>,
    /// For each INSERT, records accepted.
    pub(super) accepted: Vec<u64>,
    /// Bytes of the files that were written.
    pub(super) bytes: u64,
    /// How far each stream is published.
    pub(super) streams: BTreeMap<String, StreamProgress>,
}

/// Writes the checkpoints of one attempt.
#[derive(Debug)]
pub(super) struct Writer {
    plan: Arc<Plan>,
    publisher: Publisher,
    identities: Identities,
    number: u64,
    state: StateFiles<StateFile>,
    held: Vec<HeldFile>,
    /// For each INSERT, what became of its records since the job began, and how far its table is.
    inserts: Vec<InsertProgress>,
    /// How far streams are taken by the checkpoint before.
    stood: BTreeMap<String, StreamProgress>,
    /// As in [`Manifest::reread`].
    reread: Offsets,
}

/// Rows and files for one table.
#[derive(Default)]
struct TableFiles {
    files: Vec<StagedFile>,
    /// Rows that the files replace.
    cuts: Vec<RowCut>,
    properties: BTreeMap<String, String>,
    remove_properties: Vec<String>,
    summary: BTreeMap<String, String>,
}

/// Published windows that late records have changed.
struct Revised {
    /// Their rows.
    cuts: Vec<RowCut>,
    /// How many there are.
    windows: usize,
}

impl Writer {
    /// `first_windows` are those of the INSERTs.
    pub(super) fn new(
        plan: &Arc<Plan>,
        (publisher, identities): (Publisher, Identities),
        continued: Option<&Manifest>,
        first_windows: &[EventTime],
    ) -> Writer {
        let known = continued.map_or(&[][..], |manifest| &manifest.inserts);
        let inserts = plan.inserts.iter().zip(first_windows).map(|(insert, &first_window)| {
            let known = known.iter().find(|progress| progress.table == insert.table).cloned();
            known.unwrap_or_else(|| InsertProgress::new(insert.table.clone(), first_window))
        });
        Writer {
            inserts: inserts.collect(),
            plan: plan.clone(),
            publisher,
            identities,
            number: 1,
            state: StateFiles::default(),
            held: continued.map_or_else(Vec::new, |manifest| manifest.held.clone()),
            stood: continued.map_or_else(BTreeMap::new, |manifest| manifest.streams.clone()),
            reread: continued.map_or_else(BTreeMap::new, |manifest| manifest.reread.clone()),
        }
    }

    /// Makes everything up to the barrier durable and visible.
    pub(super) async fn write(&mut self, cut: Cut, pending: Pending) -> Result<Written, RunError> {
        let mut written = Written { watermark: cut.watermark, finished: cut.finished, ..Written::default() };
        for (index, counts) in pending.counts.iter().enumerate() {
            written.accepted.push(counts.values().map(|counts| counts.accepted).sum());
            for (&partition, counts) in counts {
                *self.inserts[index].accepted.entry(partition).or_default() += counts.accepted;
                *self.inserts[index].late.entry(partition).or_default() += counts.late;
            }
        }
        written.bytes = self.write_state(cut.watermark, pending.frozen).await?;
        let mut tables: BTreeMap<TableName, TableFiles> = BTreeMap::new();
        let results = pending.results.into_iter().zip(pending.replaced).zip(pending.windows);
        for (index, ((batches, replaced), windows)) in results.enumerate() {
            let insert = &self.plan.inserts[index];
            let left = replacing::settle(batches, replaced).map_err(|source| unsettled(insert, source))?;
            let mut batches = left.results;
            let again = windows.values().filter(|window| window.again);
            let cuts = again.map(|window| republish::window(insert, window.mark)).chain(left.cut);
            let revised = Revised {
                cuts: cuts.collect(),
                windows: windows.values().filter(|window| window.again).count() + left.windows,
            };
            batches.extend(windows.into_values().map(|window| window.rows).filter(|rows| rows.num_rows() > 0));
            written.touched.push(Tidy::of_result(insert).partitions_of(&batches));
            let settled = insert.sealed_edge(cut.watermark, pending.opens_from[index]);
            let sealed = if insert.window.is_without_end() { EventTime::MIN } else { settled };
            let known = self.inserts[index].sealed_edge;
            written.sealed.push(sealed.max(known));
            written.settled.push(settled.max(known));
            self.stage_results(index, (batches, revised), sealed, &cut, &mut tables).await?;
            let change = tables.get(&self.plan.inserts[index].table);
            written.rows.push(change.map_or(0, |change| change.files.iter().map(|file| file.record_count).sum()));
        }
        for (insert, late) in self.plan.inserts.iter().zip(pending.late) {
            written.late.push(late.values().map(|batches| rows_of(batches)).sum());
            for (stream, batches) in late {
                let (table, sort) = (insert.late_of(stream), layout::late(insert, &self.plan.streams[stream]).sort);
                let files = self.publisher.stage(table, &sort, batches).await?;
                tables.entry(table.clone()).or_default().files.extend(files);
            }
        }
        // Several streams may share a table, so it has only what all rejects have.
        let inputs = SideInputs::default();
        for (stream, rejects) in cut.rejects.iter().enumerate() {
            if let Some(table) = rejects_table(&self.plan, stream).filter(|_| !rejects.is_empty()) {
                let rows = layout::reject_rows(&self.plan.streams[stream], rejects, &inputs);
                let files = self.publisher.stage(&table, &layout::rejects(&inputs).sort, vec![rows]).await?;
                tables.entry(table).or_default().files.extend(files);
            }
        }
        self.replace_what_is_read_again(&cut, &mut tables);
        let files = tables.values().flat_map(|table| &table.files);
        written.bytes += files.map(|file| file.bytes).sum::<u64>();
        if cut.streams != self.stood {
            // What was read is of the topics that it is counted in only if they are there still.
            self.identities.confirm().await?;
        }
        let manifest = self.manifest(&cut, tables);
        self.publisher.publish(manifest).await?;
        self.number += 1;
        self.stood.clone_from(&cut.streams);
        written.streams = cut.streams;
        Ok(written)
    }

    /// Late rows and rejects of records that were taken before go, as this checkpoint says anew what became of them.
    fn replace_what_is_read_again(&mut self, cut: &Cut, tables: &mut BTreeMap<TableName, TableFiles>) {
        let none = StreamProgress::new();
        for (index, stream) in self.plan.streams.iter().enumerate() {
            let Some(left) = self.reread.get_mut(&stream.name) else { continue };
            let stood = self.stood.get(&stream.name).unwrap_or(&none);
            let again = republish::read_again(left, stood, &cut.streams[&stream.name]);
            if again.is_empty() {
                continue;
            }
            let at = |rows: RowCut| RowCut { positions: Some(again.clone()), ..rows };
            for (insert, progress) in self.plan.inserts.iter().zip(&self.inserts) {
                if insert.reads(index) {
                    // Without a window, what isn't published again isn't said again either.
                    let again_from =
                        progress.published.as_ref().map_or(EventTime::MIN, |published| published.again_from);
                    let from = progress.first_window.max(again_from);
                    let windows = PublishRange::of_marks(from, EventTime::MAX);
                    let late = at(layout::late_rows(insert, stream, windows));
                    tables.entry(insert.late_of(index).clone()).or_default().cuts.push(late);
                }
            }
            if let Some(table) = rejects_table(&self.plan, index) {
                tables.entry(table).or_default().cuts.push(at(layout::reject_rows_of(stream)));
            }
        }
        self.reread.retain(|_, left| !left.is_empty());
    }

    /// Writes one state file for each leg and worker that has changed panes, and forgets closed ones. Answers the bytes
    /// written.
    async fn write_state(&mut self, watermark: EventTime, frozen: Vec<(usize, FrozenPane)>) -> Result<u64, RunError> {
        let plan = self.plan.clone();
        let legs: Vec<(usize, &Leg)> = plan.legs().collect();
        let mut written = 0;
        let mut groups: BTreeMap<(usize, usize), Vec<FrozenPane>> = BTreeMap::new();
        for (worker, pane) in frozen {
            groups.entry((pane.leg, worker)).or_default().push(pane);
        }
        for ((leg, worker), panes) in groups {
            let (panes, gone): (Vec<FrozenPane>, Vec<FrozenPane>) =
                panes.into_iter().partition(|pane| pane.states.is_some());
            self.state.forget(worker, leg, &gone.iter().map(|pane| pane.start).collect());
            if panes.is_empty() {
                continue;
            }
            let insert = legs[leg].0;
            let covers: BTreeMap<EventTime, Range<u64>> =
                panes.iter().map(|pane| (pane.start, pane.covers.clone())).collect();
            let table = plan.inserts[insert].table.clone();
            // The states of the panes are worked out here, beside the records that come meanwhile.
            let encoded = tokio::task::spawn_blocking(move || encode(table, panes)).await;
            let (rows, bytes) = encoded.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))?;
            let content = StateContent { rows, insert, leg, panes: covers.keys().copied().collect() };
            let name = format!("{leg}-{worker}");
            let file = self.publisher.put_state(self.number, &name, bytes, content).await?;
            written += file.bytes;
            self.state.add(LiveFile { worker, leg, panes: covers, file });
        }
        let needed_until = |leg: usize, pane| plan.inserts[legs[leg].0].pane_needed_until(legs[leg].1, pane);
        self.state.close(|leg, pane| needed_until(leg, pane) <= watermark);
        Ok(written)
    }

    /// Stages rows of closed windows; those of partitions that must be whole wait until they are. The rows of windows that
    /// late records have `revised` go.
    async fn stage_results(
        &mut self,
        index: usize,
        (batches, revised): (Vec<RecordBatch>, Revised),
        sealed: EventTime,
        cut: &Cut,
        tables: &mut BTreeMap<TableName, TableFiles>,
    ) -> Result<(), RunError> {
        let plan = self.plan.clone();
        let insert = &plan.inserts[index];
        let sort = layout::result(insert).sort;
        let mut files = Vec::new();
        match insert.publish {
            Publish::EachWindow => files = self.publisher.stage(&insert.table, &sort, batches).await?,
            Publish::WholePartitions => {
                for (edge, rows) in split_by_partition(insert, &batches)? {
                    for file in self.publisher.stage(&insert.table, &sort, vec![rows]).await? {
                        self.held.push(HeldFile {
                            table: insert.table.clone(),
                            partition: edge.to_string(),
                            complete_at: insert.complete_at(insert.range_transform().next_edge(edge)),
                            file: file_value(&file),
                        });
                    }
                }
                let is_ready = |held: &HeldFile| held.table == insert.table && held.complete_at <= cut.watermark;
                let (ready, waiting) = std::mem::take(&mut self.held).into_iter().partition(is_ready);
                self.held = waiting;
                let ready: Vec<HeldFile> = ready;
                for held in ready {
                    files.push(serde_json::from_value(held.file).map_err(|error| self.unreadable(insert, &error))?);
                }
            }
        }
        let piece = match insert.window.is_without_end() {
            true => self.hold_what_is_read_again(index, &mut files, cut)?,
            false => republish::advance(insert, &mut self.inserts[index], cut.watermark),
        };
        let progress = &mut self.inserts[index];
        if files.is_empty() && sealed <= progress.sealed_edge && piece.is_none() && revised.cuts.is_empty() {
            return Ok(());
        }
        // Windows that are published again lie below it: it stays, for those who go by it.
        progress.sealed_edge = progress.sealed_edge.max(sealed);
        let change = tables.entry(insert.table.clone()).or_default();
        change.files = files;
        change.cuts.extend(piece);
        change.cuts.extend(revised.cuts);
        let properties = TableProperties {
            sealed_edge: (!insert.window.is_without_end()).then_some(progress.sealed_edge),
            first_window: Some(progress.first_window),
            republish: progress.republish,
            in_table: insert
                .window
                .is_without_end()
                .then(|| progress.in_table(&cut.streams[&plan.streams[insert.only_stream()].name])),
            ..TableProperties::default()
        };
        change.properties = properties.format(&plan.name);
        if progress.republish.is_none() {
            change.remove_properties = vec![REPUBLISH.to_owned()];
        }
        let positions = insert.streams().flat_map(|stream| cut.streams[&plan.streams[stream].name].values());
        let rejected: u64 = positions.map(|at| at.rejected).sum();
        change.summary = BTreeMap::from([
            ("kappa.accepted".to_owned(), progress.accepted.values().sum::<u64>().to_string()),
            ("kappa.late".to_owned(), progress.late.values().sum::<u64>().to_string()),
            ("kappa.revised".to_owned(), revised.windows.to_string()),
            ("kappa.rejected".to_owned(), rejected.to_string()),
            ("kappa.fingerprint".to_owned(), plan.fingerprint.clone()),
            (WATERMARK.to_owned(), cut.watermark.to_string()),
        ]);
        Ok(())
    }

    /// Without a window nothing tells which of the rows that are there a checkpoint brings again. So all that comes waits
    /// until every record that was taken before is taken again; then it replaces what is there at once. Answers what goes.
    fn hold_what_is_read_again(
        &mut self,
        index: usize,
        files: &mut Vec<StagedFile>,
        cut: &Cut,
    ) -> Result<Option<RowCut>, RunError> {
        let plan = self.plan.clone();
        let insert = &plan.inserts[index];
        let Some(RepublishRange { from, to }) = self.inserts[index].republish else { return Ok(None) };
        self.held.extend(files.drain(..).map(|file| HeldFile {
            table: insert.table.clone(),
            partition: String::new(),
            complete_at: EventTime::MAX,
            file: file_value(&file),
        }));
        let stream = &plan.streams[insert.only_stream()].name;
        if !republish::is_through(self.reread.get(stream), &cut.streams[stream]) {
            return Ok(None);
        }
        let (ready, waiting) = std::mem::take(&mut self.held).into_iter().partition(|held| held.table == insert.table);
        self.held = waiting;
        let ready: Vec<HeldFile> = ready;
        for held in ready {
            files.push(serde_json::from_value(held.file).map_err(|error| self.unreadable(insert, &error))?);
        }
        self.inserts[index].republish = None;
        Ok(Some(RowCut::of_times(&insert.partitions[insert.range.partition].column, from, to)))
    }

    fn unreadable(&self, insert: &Insert, error: &serde_json::Error) -> PublishError {
        let id = self.publisher.begun().id(self.number);
        PublishError::Staged { table: insert.table.clone(), id, detail: error.to_string() }
    }

    fn manifest(&self, cut: &Cut, tables: BTreeMap<TableName, TableFiles>) -> Manifest {
        let claimed = self.publisher.tables();
        let changes = tables.into_iter().map(|(name, files)| TableChange {
            properties: files.properties,
            remove_properties: files.remove_properties,
            summary: files.summary,
            ..staged_change(self.publisher.table(&name), &files.files, &files.cuts)
        });
        // A backfill that knows from a result how far the job is must find the late rows up to there.
        let is_result = |change: &TableChange| self.plan.inserts.iter().any(|insert| insert.table == change.table);
        let (results, others): (Vec<TableChange>, Vec<TableChange>) = changes.partition(is_result);
        let tables = others.into_iter().chain(results).collect();
        let live = self
            .state
            .live()
            .iter()
            .map(|live| StateFile { panes: live.panes.keys().copied().collect(), ..live.file.clone() });
        Manifest {
            id: self.publisher.begun().id(self.number),
            owner: self.plan.name.clone(),
            fingerprint: self.plan.fingerprint.clone(),
            description: describe(&self.plan),
            streams: cut.streams.clone(),
            inserts: self.inserts.clone(),
            watermark: cut.watermark,
            finished: cut.finished,
            state: live.collect(),
            claimed: claimed.map(|table| ClaimedTable { table: table.name().clone(), uuid: table.uuid() }).collect(),
            tables,
            held: self.held.clone(),
            reread: self.reread.clone(),
            topics: self.identities.known().clone(),
            from_history: BTreeMap::new(),
        }
    }
}

/// The bytes of a state file with these panes, and how many rows are in it.
fn encode(table: TableName, panes: Vec<FrozenPane>) -> Result<(u64, Bytes), RunError> {
    let mut rows = 0;
    let mut batches: Vec<(EventTime, RecordBatch)> = Vec::with_capacity(panes.len());
    for FrozenPane { start, states, .. } in panes {
        let states = states.map(|states| states.get()).transpose().map_err(|source| EngineError::Aggregate {
            table: table.clone(),
            window: Some(start),
            source: Box::new(source),
        })?;
        rows += states.as_ref().map_or(0, |states| states.num_rows() as u64);
        batches.extend(states.map(|states| (start, states)));
    }
    Ok((rows, Bytes::from(crate::state::encode(&batches)?)))
}

/// Rows couldn't be compared with those that they take the place of.
fn unsettled(insert: &Insert, source: arrow::error::ArrowError) -> RunError {
    let source = Box::new(DataFusionError::from(source));
    EngineError::Evaluate { table: insert.table.clone(), window: None, source }.into()
}

fn rows_of(batches: &[RecordBatch]) -> u64 {
    batches.iter().map(|batch| batch.num_rows() as u64).sum()
}
