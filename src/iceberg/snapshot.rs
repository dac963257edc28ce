//! Stages a change: writes the manifests and the manifest list of its snapshot, for one state of the table.
//! A manifest that holds a removed file is rewritten (removed entries marked deleted, the others existing, all sequence
//! numbers kept); the others are taken over as they are; added files get manifests of their own.

use std::collections::{HashMap, HashSet};

use iceberg::spec::{
    DataFile, MAIN_BRANCH, ManifestContentType, ManifestEntry, ManifestFile, ManifestListWriter, ManifestStatus,
    ManifestWriter, ManifestWriterBuilder, PartitionSpecRef, Schema, SchemaRef, Snapshot, SnapshotRef,
    SnapshotReference, SnapshotRetention, SnapshotSummaryCollector, Summary,
};
use iceberg::{TableRequirement, TableUpdate};
use uuid::Uuid;

use super::overwrite::{Change, CommitError, Committed, Expect, Operation, Remove};
use super::partition::Lies;
use super::{IcebergError, PartitionRange, Table};

/// Small manifests are merged once a snapshot has more than this many: every commit adds one.
const MANIFESTS_MAX: usize = 100;
/// Size of a merged manifest: some ten thousand files. Larger ones would be rewritten too often and pruned too rarely.
const MANIFEST_BYTES_TARGET: i64 = 8 << 20;

/// Entry of a snapshot's summary that names its maker, as all engines write it.
pub(crate) const ENGINE: &str = "engine-name";
/// What it says of ours.
pub(crate) const ENGINE_NAME: &str = "kappa";

/// A snapshot that is written but not committed.
#[derive(Debug)]
pub(crate) struct Staged {
    pub(crate) updates: Vec<TableUpdate>,
    pub(crate) requirements: Vec<TableRequirement>,
    pub(crate) snapshot_id: i64,
    sequence_number: i64,
    removed_files: u64,
    removed_records: u64,
    /// Metadata files that nothing needs if the snapshot is not committed.
    written: Vec<String>,
}

impl Staged {
    pub(crate) fn committed(&self, attempts: u32) -> Committed {
        Committed {
            snapshot_id: self.snapshot_id,
            sequence_number: self.sequence_number,
            removed_files: self.removed_files,
            removed_records: self.removed_records,
            attempts,
        }
    }

    /// Deletes what was written. Only for snapshots that are certainly not in the table, and never will be.
    pub(crate) async fn discard(self, table: &Table) {
        for file in &self.written {
            if let Err(error) = table.inner.file_io().delete(file).await {
                tracing::debug!(%file, %error, "metadata of a lost commit stays behind");
            }
        }
    }
}

struct Stage<'a> {
    table: &'a Table,
    change: &'a Change,
    snapshot_id: i64,
    commit: Uuid,
    summary: SnapshotSummaryCollector,
    removed_files: u64,
    removed_records: u64,
    found: HashSet<String>,
    written: Vec<String>,
}

/// Writes the snapshot of `change` on top of the table's current one.
pub(crate) async fn stage(table: &Table, change: &Change) -> Result<Staged, CommitError> {
    let mut stage = Stage {
        table,
        change,
        snapshot_id: new_snapshot_id(table),
        commit: Uuid::new_v4(),
        summary: SnapshotSummaryCollector::default(),
        removed_files: 0,
        removed_records: 0,
        found: HashSet::new(),
        written: Vec::new(),
    };
    match stage.write().await {
        Ok((snapshot, parent)) => Ok(stage.finish(snapshot, parent)),
        Err(error) => {
            let Stage { written, snapshot_id, .. } = stage;
            let (updates, requirements) = (Vec::new(), Vec::new());
            let counts = (0, 0, 0);
            let (sequence_number, removed_files, removed_records) = counts;
            Staged { updates, requirements, snapshot_id, sequence_number, removed_files, removed_records, written }
                .discard(table)
                .await;
            Err(error)
        }
    }
}

fn new_snapshot_id(table: &Table) -> i64 {
    loop {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        let id = ((high ^ low) >> 1) as i64;
        if table.metadata().snapshot_by_id(id).is_none() {
            return id;
        }
    }
}

impl Stage<'_> {
    async fn write(&mut self) -> Result<(Snapshot, Option<SnapshotRef>), CommitError> {
        let version = self.table.metadata().format_version();
        if version != iceberg::spec::FormatVersion::V2 {
            return Err(self.rejected(format!("it has format {version}, and only format 2 is written: upgrade it")));
        }
        let parent = self.table.metadata().current_snapshot().cloned();
        self.check_expectation(parent.as_ref()).await?;
        let mut manifests = match &parent {
            Some(parent) => self.keep_or_rewrite(self.table.manifests(parent).await?).await?,
            None => Vec::new(),
        };
        self.check_removed()?;
        let mut added = self.write_added().await?;
        added.append(&mut manifests);
        let manifests = self.merge(added).await?;
        let snapshot = self.write_list(manifests, parent.as_ref()).await?;
        Ok((snapshot, parent))
    }

    fn rejected(&self, detail: String) -> CommitError {
        CommitError::Rejected { table: self.change.table.clone(), detail }
    }

    fn conflict(&self, detail: String) -> CommitError {
        CommitError::Conflict { table: self.change.table.clone(), detail }
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(iceberg::Error) -> CommitError + use<> {
        let wrap = IcebergError::metadata(&self.change.table, action);
        move |error| CommitError::Table(wrap(error))
    }

    fn spec(&self, id: i32) -> Result<PartitionSpecRef, CommitError> {
        let spec = self.table.metadata().partition_spec_by_id(id).cloned();
        spec.ok_or_else(|| self.rejected(format!("its metadata has no partition spec {id}")))
    }

    fn schema(&self) -> &SchemaRef {
        self.table.metadata().current_schema()
    }

    /// Fails if a snapshot after the expected one touched the partitions that are to be removed.
    async fn check_expectation(&self, head: Option<&SnapshotRef>) -> Result<(), CommitError> {
        let (Expect::Snapshot(base), Remove::Partitions(ranges)) = (self.change.expect, &self.change.remove) else {
            return Ok(());
        };
        if head.map(|head| head.snapshot_id()) == base {
            return Ok(());
        }
        let since = self.table.ancestor_snapshots();
        let since = match base {
            None => since,
            Some(base) => {
                let count = since.iter().position(|snapshot| snapshot.snapshot_id() == base);
                let count = count.ok_or_else(|| {
                    self.conflict(format!("snapshot {base} is not in its history any more (rolled back, or expired)"))
                })?;
                since[..count].to_vec()
            }
        };
        for snapshot in since.iter().rev() {
            if snapshot.summary().operation != iceberg::spec::Operation::Replace {
                self.check_untouched(snapshot, ranges).await?;
            }
        }
        Ok(())
    }

    async fn check_untouched(&self, snapshot: &SnapshotRef, ranges: &[PartitionRange]) -> Result<(), CommitError> {
        let id = snapshot.snapshot_id();
        for manifest in self.table.manifests(snapshot).await? {
            let spec = self.spec(manifest.partition_spec_id)?;
            if manifest.added_snapshot_id != id || !may_hold(ranges, &manifest, &spec, self.schema()) {
                continue;
            }
            let entries = manifest.load_manifest(self.table.inner.file_io()).await;
            let (entries, _) = entries.map_err(self.failed("read a manifest"))?.into_parts();
            let touched = entries.iter().find(|entry| {
                let own = entry.snapshot_id() == Some(id) && entry.status() != ManifestStatus::Existing;
                own && ranges.iter().any(|range| range.judge(entry.data_file(), &spec, self.schema()) != Lies::Outside)
            });
            if let Some(entry) = touched {
                return Err(self.conflict(format!(
                    "snapshot {id} ({}) changed {} meanwhile",
                    snapshot.summary().operation.as_str(),
                    entry.file_path()
                )));
            }
        }
        Ok(())
    }

    async fn keep_or_rewrite(&mut self, manifests: Vec<ManifestFile>) -> Result<Vec<ManifestFile>, CommitError> {
        let files: HashSet<&str> = match &self.change.remove {
            Remove::Files(files) => files.iter().map(String::as_str).collect(),
            Remove::None | Remove::Partitions(_) => HashSet::new(),
        };
        let mut kept = Vec::with_capacity(manifests.len() + 1);
        for manifest in manifests {
            // Entries of files deleted by snapshots before are of no use to this one.
            if !manifest.has_added_files() && !manifest.has_existing_files() {
                continue;
            }
            let spec = self.spec(manifest.partition_spec_id)?;
            let may_hold = match &self.change.remove {
                Remove::None => false,
                Remove::Files(_) => self.found.len() < files.len(),
                Remove::Partitions(ranges) => may_hold(ranges, &manifest, &spec, self.schema()),
            };
            match may_hold {
                true => kept.extend(self.rewrite(manifest, &spec, &files).await?),
                false => kept.push(manifest),
            }
        }
        Ok(kept)
    }

    /// The manifest without the files to remove; itself if it has none of them.
    async fn rewrite(
        &mut self,
        manifest: ManifestFile,
        spec: &PartitionSpecRef,
        files: &HashSet<&str>,
    ) -> Result<Option<ManifestFile>, CommitError> {
        let cant = "rewrite a manifest";
        let loaded = manifest.load_manifest(self.table.inner.file_io()).await;
        let (entries, meta) = loaded.map_err(self.failed("read a manifest"))?.into_parts();
        let mut hits = Vec::with_capacity(entries.len());
        for entry in &entries {
            hits.push(entry.is_alive() && self.is_removed(entry.data_file(), spec, files)?);
        }
        if !hits.contains(&true) {
            return Ok(Some(manifest));
        }
        let mut writer = self.manifest_writer(meta.schema().clone(), spec).map_err(self.failed(cant))?;
        for (entry, hit) in entries.iter().zip(hits) {
            let file = entry.data_file();
            if hit {
                self.removed_files += 1;
                self.removed_records += file.record_count();
                self.found.insert(file.file_path().to_owned());
                self.summary.remove_file(file, self.schema().clone(), spec.clone());
                let sequence = entry.sequence_number().unwrap_or(0);
                let done = writer.add_delete_file(file.clone(), sequence, entry.file_sequence_number);
                done.map_err(self.failed(cant))?;
            } else if entry.is_alive() {
                keep(&mut writer, entry, &manifest).map_err(self.failed(cant))?;
            }
        }
        writer.write_manifest_file().await.map(Some).map_err(self.failed(cant))
    }

    fn is_removed(&self, file: &DataFile, spec: &PartitionSpecRef, files: &HashSet<&str>) -> Result<bool, CommitError> {
        let Remove::Partitions(ranges) = &self.change.remove else { return Ok(files.contains(file.file_path())) };
        for range in ranges {
            match range.judge(file, spec, self.schema()) {
                Lies::Inside => return Ok(true),
                Lies::Outside => {}
                Lies::Across => {
                    return Err(self.rejected(format!(
                        "{} was written under another partitioning and holds rows in and out of {} to {}; rewrite it \
                         under the current one",
                        file.file_path(),
                        range.from,
                        range.to
                    )));
                }
            }
        }
        Ok(false)
    }

    /// Checks that all named files were found, and that a replace keeps the number of rows.
    fn check_removed(&self) -> Result<(), CommitError> {
        if let Remove::Files(files) = &self.change.remove
            && let Some(missing) = files.iter().find(|file| !self.found.contains(*file))
        {
            return Err(self.conflict(format!("{missing} is not one of its files any more")));
        }
        let added: u64 = self.change.add.iter().map(|file| file.record_count).sum();
        if self.change.operation == Operation::Replace && added != self.removed_records {
            return Err(self.rejected(format!(
                "a replace must keep the rows, but puts {added} in place of {}",
                self.removed_records
            )));
        }
        Ok(())
    }

    /// One manifest for the added files of each partition spec.
    async fn write_added(&mut self) -> Result<Vec<ManifestFile>, CommitError> {
        let cant = "write a manifest";
        let mut spec_ids: Vec<i32> = self.change.add.iter().map(|file| file.spec_id).collect();
        spec_ids.sort_unstable();
        spec_ids.dedup();
        let mut manifests = Vec::new();
        for id in spec_ids {
            let spec = self.spec(id)?;
            let mut writer = self.manifest_writer(self.schema().clone(), &spec).map_err(self.failed(cant))?;
            for staged in self.change.add.iter().filter(|file| file.spec_id == id) {
                let file = staged.data_file(self.table)?;
                self.summary.add_file(&file, self.schema().clone(), spec.clone());
                // No sequence number of its own: it inherits that of the commit.
                writer.add_file(file, -1).map_err(self.failed(cant))?;
            }
            manifests.push(writer.write_manifest_file().await.map_err(self.failed(cant))?);
        }
        Ok(manifests)
    }

    fn manifest_writer(&mut self, schema: SchemaRef, spec: &PartitionSpecRef) -> iceberg::Result<ManifestWriter> {
        let number = self.written.len();
        let path = format!("{}/metadata/{}-m{number}.avro", self.table.location(), self.commit);
        let output = self.table.inner.file_io().new_output(&path)?;
        self.written.push(path);
        let builder = ManifestWriterBuilder::new(output, Some(self.snapshot_id), schema, spec.as_ref().clone());
        Ok(builder.build_v2_data())
    }

    /// Merges small manifests once there are many, neighbours with neighbours: they mostly hold neighbouring times.
    async fn merge(&mut self, manifests: Vec<ManifestFile>) -> Result<Vec<ManifestFile>, CommitError> {
        if manifests.len() <= MANIFESTS_MAX {
            return Ok(manifests);
        }
        let mut merged = Vec::new();
        let mut bins: HashMap<i32, (i64, Vec<ManifestFile>)> = HashMap::new();
        for manifest in manifests {
            let small = manifest.manifest_length < MANIFEST_BYTES_TARGET / 2;
            if !small || manifest.content != ManifestContentType::Data {
                merged.push(manifest);
                continue;
            }
            let (bytes, bin) = bins.entry(manifest.partition_spec_id).or_default();
            *bytes += manifest.manifest_length;
            bin.push(manifest);
            if *bytes >= MANIFEST_BYTES_TARGET {
                let bin = std::mem::take(bin);
                *bytes = 0;
                merged.push(self.merge_bin(bin).await?);
            }
        }
        let mut rest: Vec<(i32, Vec<ManifestFile>)> = bins.into_iter().map(|(id, (_, bin))| (id, bin)).collect();
        rest.sort_by_key(|(id, _)| *id);
        for (_, bin) in rest.into_iter().filter(|(_, bin)| !bin.is_empty()) {
            merged.push(self.merge_bin(bin).await?);
        }
        Ok(merged)
    }

    async fn merge_bin(&mut self, bin: Vec<ManifestFile>) -> Result<ManifestFile, CommitError> {
        let cant = "merge manifests";
        let spec = self.spec(bin[0].partition_spec_id)?;
        let mut writer = self.manifest_writer(self.schema().clone(), &spec).map_err(self.failed(cant))?;
        for manifest in bin {
            let own = manifest.added_snapshot_id == self.snapshot_id;
            let loaded = manifest.load_manifest(self.table.inner.file_io()).await.map_err(self.failed(cant))?;
            for entry in loaded.entries() {
                let file = entry.data_file().clone();
                let done = match entry.status() {
                    ManifestStatus::Added if own => writer.add_file(file, -1),
                    ManifestStatus::Deleted if own => {
                        let sequence = entry.sequence_number().unwrap_or(0);
                        writer.add_delete_file(file, sequence, entry.file_sequence_number)
                    }
                    ManifestStatus::Deleted => Ok(()),
                    ManifestStatus::Added | ManifestStatus::Existing => keep(&mut writer, entry, &manifest),
                };
                done.map_err(self.failed(cant))?;
            }
        }
        writer.write_manifest_file().await.map_err(self.failed(cant))
    }

    async fn write_list(
        &mut self,
        manifests: Vec<ManifestFile>,
        parent: Option<&SnapshotRef>,
    ) -> Result<Snapshot, CommitError> {
        let metadata = self.table.metadata();
        let sequence = metadata.next_sequence_number();
        let parent_id = parent.map(|parent| parent.snapshot_id());
        let path = format!("{}/metadata/snap-{}-0-{}.avro", self.table.location(), self.snapshot_id, self.commit);
        self.written.push(path.clone());
        let write = async {
            let output = self.table.inner.file_io().new_output(&path)?.writer().await?;
            let mut writer = ManifestListWriter::v2(output, self.snapshot_id, parent_id, sequence);
            writer.add_manifests(manifests.into_iter())?;
            writer.close().await
        };
        write.await.map_err(self.failed("write the manifest list"))?;
        Ok(Snapshot::builder()
            .with_snapshot_id(self.snapshot_id)
            .with_parent_snapshot_id(parent_id)
            .with_sequence_number(sequence)
            .with_timestamp_ms(commit_time_ms().max(metadata.last_updated_ms()))
            .with_manifest_list(path)
            .with_summary(self.summary(parent))
            .with_schema_id(metadata.current_schema_id())
            .build())
    }

    fn summary(&self, parent: Option<&SnapshotRef>) -> Summary {
        let mut entries: HashMap<String, String> = self.change.summary.clone().into_iter().collect();
        // So that a later look can tell which snapshot a marker came with.
        entries.extend(self.change.marker.clone());
        entries.insert(ENGINE.to_owned(), ENGINE_NAME.to_owned());
        entries.insert("engine-version".to_owned(), env!("CARGO_PKG_VERSION").to_owned());
        entries.extend(self.summary.build());
        for (total, plus, minus) in [
            ("total-data-files", "added-data-files", "deleted-data-files"),
            ("total-records", "added-records", "deleted-records"),
            ("total-files-size", "added-files-size", "removed-files-size"),
            ("total-delete-files", "added-delete-files", "removed-delete-files"),
            ("total-position-deletes", "added-position-deletes", "removed-position-deletes"),
            ("total-equality-deletes", "added-equality-deletes", "removed-equality-deletes"),
        ] {
            let read = |entries: &HashMap<String, String>, key: &str| entries.get(key)?.parse::<i64>().ok();
            // A total that the parent doesn't tell stays untold.
            let before = parent.map_or(Some(0), |parent| read(&parent.summary().additional_properties, total));
            if let Some(before) = before {
                let now = before + read(&entries, plus).unwrap_or(0) - read(&entries, minus).unwrap_or(0);
                entries.insert(total.to_owned(), now.to_string());
            }
        }
        let operation = match (self.change.operation, self.change.add.is_empty(), self.removed_files) {
            (Operation::Replace, _, _) => iceberg::spec::Operation::Replace,
            (_, _, 0) => iceberg::spec::Operation::Append,
            (_, true, _) => iceberg::spec::Operation::Delete,
            (_, false, _) => iceberg::spec::Operation::Overwrite,
        };
        Summary { operation, additional_properties: entries }
    }

    fn finish(self, snapshot: Snapshot, parent: Option<SnapshotRef>) -> Staged {
        let reference = SnapshotReference::new(self.snapshot_id, SnapshotRetention::branch(None, None, None));
        let sequence_number = snapshot.sequence_number();
        let mut updates = vec![
            TableUpdate::AddSnapshot { snapshot },
            TableUpdate::SetSnapshotRef { ref_name: MAIN_BRANCH.to_owned(), reference },
        ];
        let present = self.change.remove_properties.iter().filter(|key| self.table.properties().contains_key(*key));
        let removals: Vec<String> = present.cloned().collect();
        if !removals.is_empty() {
            updates.push(TableUpdate::RemoveProperties { removals });
        }
        let mut properties: HashMap<String, String> = self.change.properties.clone().into_iter().collect();
        properties.extend(self.change.marker.clone());
        properties.extend(self.change.snapshot_property.clone().map(|key| (key, self.snapshot_id.to_string())));
        if !properties.is_empty() {
            updates.push(TableUpdate::SetProperties { updates: properties });
        }
        let requirements = vec![
            TableRequirement::UuidMatch { uuid: self.table.uuid() },
            TableRequirement::RefSnapshotIdMatch {
                r#ref: MAIN_BRANCH.to_owned(),
                snapshot_id: parent.map(|parent| parent.snapshot_id()),
            },
        ];
        Staged {
            updates,
            requirements,
            snapshot_id: self.snapshot_id,
            sequence_number,
            removed_files: self.removed_files,
            removed_records: self.removed_records,
            written: self.written,
        }
    }
}

/// Takes an entry over as existing, with the snapshot and the sequence numbers that it came with.
fn keep(writer: &mut ManifestWriter, entry: &ManifestEntry, manifest: &ManifestFile) -> iceberg::Result<()> {
    writer.add_existing_file(
        entry.data_file().clone(),
        entry.snapshot_id().unwrap_or(manifest.added_snapshot_id),
        entry.sequence_number().unwrap_or(manifest.sequence_number),
        entry.file_sequence_number,
    )
}

fn may_hold(ranges: &[PartitionRange], manifest: &ManifestFile, spec: &PartitionSpecRef, schema: &Schema) -> bool {
    ranges.iter().any(|range| range.may_hold(manifest.partitions.as_ref(), spec, schema))
}

/// When a snapshot was made, for people and for retention; no row and no decision of ours depends on it.
#[expect(clippy::disallowed_methods, reason = "Iceberg dates snapshots by the wall clock; no row depends on it")]
pub(crate) fn commit_time_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
