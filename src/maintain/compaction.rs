//! Compaction: which partitions' small files become few large ones.
//! Invariant: same rows. A partition that a running job may still change is left alone: rewriting it would be work for
//! nothing, and more of it for the job when it replaces a window.

use std::collections::BTreeMap;

use super::{Held, MaintainError, MaintainOptions};
use crate::archive;
use crate::checkpoints::{STREAM, TableProperties, generation_property};
use crate::event::{EventTime, PartitionField};
use crate::iceberg::{
    Catalog, CommitError, CompactOptions, ScanFile, ScanFilter, Table, WriteOptions, plan_files, rewrite_files,
};

/// Iceberg's property of how large files are to be.
const TARGET_BYTES: &str = "write.target-file-size-bytes";
/// A file below the target divided by this is small; what a rewrite leaves over isn't, mostly.
const SMALL_PART: u64 = 4;
/// Small files from which on a partition is rewritten.
const SMALL_FILES_MIN: usize = 2;
/// Arrow bytes that are sorted at once. Sorting copies them, so about twice as much is held.
const SORTED_BYTES: usize = 64 << 20;
/// Partitions and bytes that are rewritten by one commit: what is lost if it conflicts.
const PARTITIONS_MAX: usize = 128;
const BATCH_BYTES_MAX: u64 = 1 << 30;
/// How often what others have changed meanwhile is planned again.
const ROUNDS_MAX: usize = 3;

/// Small files that have become large ones, or would.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Compacted {
    /// Partitions.
    pub partitions: usize,
    /// Small files.
    pub files: usize,
    /// Their size.
    pub bytes: u64,
    /// Files that they have become; in a dry run about so many.
    pub into: u64,
    /// Partitions that were left as they were, as others changed them again and again.
    pub left: usize,
}

/// Which partitions nobody changes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Settled {
    /// Rows may come in anywhere, and none is replaced; or nobody writes.
    All,
    /// Those that end at or before this.
    Below(EventTime),
}

/// What decides on files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) target_bytes: u64,
    pub(super) settled: Settled,
    /// The partitioning by time.
    pub(super) times: Vec<PartitionField>,
}

/// The small files of a partition.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Group {
    pub(super) files: Vec<ScanFile>,
    pub(super) bytes: u64,
}

impl Rule {
    pub(super) fn of(table: &Table, held: &Held) -> Result<Rule, MaintainError> {
        let target = table.properties().get(TARGET_BYTES).and_then(|text| text.trim().parse().ok());
        let settled = settled(table, held)?;
        let times = match settled {
            Settled::All => Vec::new(),
            Settled::Below(_) => table.partitions()?.into_iter().filter(|field| field.transform.is_time()).collect(),
        };
        let target_bytes = target.filter(|bytes| *bytes > 0).unwrap_or(WriteOptions::default().target_bytes);
        Ok(Rule { target_bytes, settled, times })
    }

    /// Whether the partition that a file is in gets no rows any more.
    fn is_settled(&self, file: &ScanFile) -> bool {
        let Settled::Below(edge) = self.settled else { return true };
        let is_below = |field: &PartitionField| {
            let last = file.times.get(&field.column).map(|(_, last)| *last);
            last.is_some_and(|last| field.transform.next_edge(last) <= edge)
        };
        !self.times.is_empty() && self.times.iter().all(is_below)
    }

    fn is_small(&self, file: &ScanFile) -> bool {
        file.bytes < self.target_bytes / SMALL_PART
    }

    /// About so many files come out of a group.
    fn files_of(&self, group: &Group) -> u64 {
        group.bytes.div_ceil(self.target_bytes).max(1)
    }
}

/// What the table, and the checkpoints of who writes it, say of its partitions.
fn settled(table: &Table, held: &Held) -> Result<Settled, MaintainError> {
    let of = |owner: &str| {
        let properties = TableProperties::parse(owner, table.properties());
        properties.map_err(|source| MaintainError::Property { table: table.name().clone(), source })
    };
    if table.properties().contains_key(STREAM) {
        let watermark = held.watermark_of(&archive::owner(table.name()));
        return Ok(watermark.map_or(Settled::All, Settled::Below));
    }
    let properties = of("")?;
    let is_claimed = properties.owner.iter().any(|owner| table.properties().contains_key(&generation_property(owner)));
    match (properties.sealed_edge, properties.republish) {
        (Some(edge), None) => Ok(Settled::Below(edge)),
        (Some(edge), Some(again)) => Ok(Settled::Below(edge.min(again.from))),
        (None, _) if is_claimed => Ok(Settled::Below(EventTime::MIN)),
        (None, _) => Ok(Settled::All),
    }
}

/// The partitions that are worth it, by name.
pub(super) fn plan(files: Vec<ScanFile>, rule: &Rule) -> Vec<Group> {
    let mut partitions: BTreeMap<Vec<(String, Option<String>)>, Group> = BTreeMap::new();
    for file in files.into_iter().filter(|file| rule.is_small(file) && rule.is_settled(file)) {
        let empty = || Group { files: Vec::new(), bytes: 0 };
        let group = partitions.entry(file.partition.clone()).or_insert_with(empty);
        group.bytes += file.bytes;
        group.files.push(file);
    }
    partitions.into_values().filter(|group| group.files.len() >= SMALL_FILES_MIN).collect()
}

/// Cuts what is to be done into commits.
pub(super) fn batches(groups: Vec<Group>) -> Vec<Vec<Group>> {
    let mut batches: Vec<Vec<Group>> = Vec::new();
    let mut bytes = 0;
    for group in groups {
        match batches.last_mut() {
            Some(last) if last.len() < PARTITIONS_MAX && bytes + group.bytes <= BATCH_BYTES_MAX => {
                bytes += group.bytes;
                last.push(group);
            }
            _ => {
                bytes = group.bytes;
                batches.push(vec![group]);
            }
        }
    }
    batches
}

/// Rewrites small files, or only plans it.
pub(super) async fn compact(
    catalog: &Catalog,
    mut table: Table,
    held: &Held,
    options: &MaintainOptions,
) -> Result<Compacted, MaintainError> {
    let mut done = Compacted::default();
    for _ in 0..ROUNDS_MAX {
        let rule = Rule::of(&table, held)?;
        let groups = plan(plan_files(&table, None, &ScanFilter::default()).await?, &rule);
        if !options.execute {
            for group in &groups {
                done.add(std::slice::from_ref(group), rule.files_of(group));
            }
            return Ok(done);
        }
        done.left = 0;
        for batch in batches(groups) {
            match rewrite(catalog, &table, &batch, &rule).await? {
                Some(files) => done.add(&batch, files),
                None => done.left += batch.len(),
            }
        }
        if done.left == 0 {
            break;
        }
        let gone =
            || CommitError::TableGone { table: table.name().clone(), detail: "doesn't exist any more".to_owned() };
        table = catalog.load(table.name()).await?.ok_or_else(gone)?;
    }
    Ok(done)
}

impl Compacted {
    fn add(&mut self, groups: &[Group], into: u64) {
        self.partitions += groups.len();
        self.files += groups.iter().map(|group| group.files.len()).sum::<usize>();
        self.bytes += groups.iter().map(|group| group.bytes).sum::<u64>();
        self.into += into;
    }
}

/// Rewrites groups by one commit, and answers how many files came out; `None`: others have changed one of them meanwhile.
async fn rewrite(
    catalog: &Catalog,
    table: &Table,
    groups: &[Group],
    rule: &Rule,
) -> Result<Option<u64>, MaintainError> {
    let defaults = CompactOptions::default();
    let write = WriteOptions { target_bytes: rule.target_bytes, ..defaults.write };
    let sort = table.sort_columns();
    let options = CompactOptions { sort, memory_bytes: SORTED_BYTES, write, ..defaults };
    let files: Vec<Vec<ScanFile>> = groups.iter().map(|group| group.files.clone()).collect();
    let change = rewrite_files(table, &files, &options).await?;
    match catalog.commit(&change).await {
        Ok(_) => Ok(Some(change.add.len() as u64)),
        Err(CommitError::Conflict { .. }) => {
            table.discard(&change.add).await;
            Ok(None)
        }
        Err(error) => Err(error.into()),
    }
}
