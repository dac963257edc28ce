//! The manifest: everything that one checkpoint holds, and its bytes.
//!
//! Invariant: what [`Manifest::decode`] gives back is what [`Manifest::encode`] was given, or an error: the bytes carry
//! their own checksum. A file is two lines of JSON: the manifest, then `{"xxh3_128":"…"}` over the first line. The field
//! names of the structs in this file are the persisted names (the golden test below pins them); a change of meaning
//! needs a new [`FORMAT`].

use std::collections::BTreeMap;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;
use uuid::Uuid;

use super::{Generation, ManifestId};
use crate::event::{EventTime, ResumeOffset, TableName};
use crate::windows::Published;

/// Version of the files' layout that this program writes; it reads no other.
const FORMAT: u32 = 1;

/// One checkpoint of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Which checkpoint it is.
    pub id: ManifestId,
    /// Job name, or history table of an archiver.
    pub owner: String,
    /// The job's version, a hash of its plan; of an archiver, of the stream's declaration.
    pub fingerprint: String,
    /// What that version does, in lines for people: what a later version is shown against. Decides nothing. Absent in
    /// manifests of programs before it was kept, and of archivers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub description: Vec<String>,
    /// How far each stream has been read, by stream name.
    pub streams: BTreeMap<String, StreamProgress>,
    /// By stream, the broker's id of the topic whose offsets these are: another of the same name has other records. Absent where
    /// a log has none, and in manifests of programs before it was kept.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub topics: BTreeMap<String, String>,
    /// What became of the records, by INSERT in the order of the job; empty for an archiver.
    pub inserts: Vec<InsertProgress>,
    /// The job's watermark; never moves back from one checkpoint to the next.
    pub watermark: EventTime,
    /// Every window has been closed and published, as `--drain` does: there is nothing to continue.
    pub finished: bool,
    /// What is open, in files of this and earlier checkpoints.
    pub state: Vec<StateFile>,
    /// Every table that the run commits to. The next run claims these before it reads the newest manifest.
    pub claimed: Vec<ClaimedTable>,
    /// What this checkpoint commits, in the order of the commits. A table with nothing to publish isn't in here.
    pub tables: Vec<TableChange>,
    /// Staged files that wait until their partition is complete.
    pub held: Vec<HeldFile>,
    /// By stream and partition, the offset below which records were taken before: the job reads them again, and what it
    /// says of them, late rows and rejects, replaces what is said already. Without those that it is through with.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub reread: BTreeMap<String, BTreeMap<i32, ResumeOffset>>,
    /// Streams whose logs don't hold their `next_offset`s any more, which are those of the first records that windows from
    /// this start on need: a run that goes on from here takes them from history first. Only where a job was moved.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub from_history: BTreeMap<String, EventTime>,
}

/// How far one stream has been read: by partition.
pub type StreamProgress = BTreeMap<i32, PartitionProgress>;

/// How far one partition has been read, and what became of its records since the job began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PartitionProgress {
    /// First offset not yet taken.
    pub next_offset: ResumeOffset,
    /// Greatest event time below `next_offset`, rejected records aside, with WHEN of marker records; `None`: none yet.
    pub seen: Option<EventTime>,
    /// Records taken, rejected ones included.
    pub taken: u64,
    /// Records rejected.
    pub rejected: u64,
}

/// What became of one INSERT's records since the job began. With what its stream rejected, these are all that were
/// taken: accepted + late + rejected = taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InsertProgress {
    /// The result table.
    pub table: TableName,
    /// Start of the first window that it publishes; [`EventTime::MIN`]: from the beginning.
    pub first_window: EventTime,
    /// Records accepted, by partition; those that WHERE drops included.
    pub accepted: BTreeMap<i32, u64>,
    /// Records late, by partition.
    pub late: BTreeMap<i32, u64>,
    /// The sealed edge that the result table states; never moves back.
    #[serde(default)]
    pub sealed_edge: EventTime,
    /// What is left of the published windows that the job publishes again; `None`: it publishes new ones only.
    #[serde(default)]
    pub republish: Option<RepublishRange>,
    /// Without a window: what was published before the job was moved. Only where it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published: Option<Published>,
}

impl InsertProgress {
    /// Of a result to which nothing has happened yet.
    pub fn new(table: TableName, first_window: EventTime) -> InsertProgress {
        InsertProgress {
            table,
            first_window,
            accepted: BTreeMap::new(),
            late: BTreeMap::new(),
            sealed_edge: EventTime::MIN,
            republish: None,
            published: None,
        }
    }
}

impl InsertProgress {
    /// Without a window: by partition, the offset below which all that is to come of the records is in the table, when the
    /// stream is taken so far. What replaces published rows comes in one piece, so until then the table is as it was.
    pub fn in_table(&self, taken: &StreamProgress) -> BTreeMap<i32, ResumeOffset> {
        let mut below = self.published.as_ref().map(|published| published.below.clone()).unwrap_or_default();
        if self.republish.is_some() {
            return below;
        }
        for (&partition, at) in taken {
            let end = below.entry(partition).or_insert(at.next_offset);
            *end = at.next_offset.max(*end);
        }
        below
    }
}

/// Published windows that a job publishes again, by their time in the result's time partition column: `[from, to)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RepublishRange {
    /// Inclusive; moves up as windows are published again.
    pub from: EventTime,
    /// Exclusive; above it nothing is published.
    pub to: EventTime,
}

/// One file of state, and how to tell that it is the one that was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateFile {
    /// Path below the owner's folder.
    pub path: String,
    /// Length.
    pub bytes: u64,
    /// XXH3-128 of the bytes, in hexadecimal ([`checksum_text`]).
    pub checksum: String,
    /// Rows in it.
    pub rows: u64,
    /// Index of the INSERT in the job whose state it is.
    pub insert: usize,
    /// Which of the legs of all INSERTs it is of ([`crate::job::Plan::legs`]).
    pub leg: usize,
    /// Starts of the windows that it holds panes of.
    pub panes: Vec<EventTime>,
}

/// A table that a run has claimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClaimedTable {
    /// Its name.
    pub table: TableName,
    /// Its identity in the catalog: a table dropped and made anew has another.
    pub uuid: Uuid,
}

/// What one checkpoint commits to one table. Self-contained: recovery commits it without the job file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TableChange {
    /// The table.
    pub table: TableName,
    /// Its identity.
    pub uuid: Uuid,
    /// Schema of the staged files.
    pub schema_id: i32,
    /// Partition spec of the staged files.
    pub spec_id: i32,
    /// Staged data files, opaque in here.
    pub add: Vec<Value>,
    /// Rows that go, named by what they hold and found when it is committed; opaque in here.
    #[serde(default)]
    pub remove: Vec<Value>,
    /// What kind of snapshot it makes, if no row goes.
    pub operation: Operation,
    /// Table properties set by the same commit, beside those that name the checkpoint.
    pub properties: BTreeMap<String, String>,
    /// Table properties removed by the same commit.
    #[serde(default)]
    pub remove_properties: Vec<String>,
    /// Entries of the snapshot's summary.
    pub summary: BTreeMap<String, String>,
}

/// Kinds of snapshots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Operation {
    /// New windows: files are added.
    Append,
    /// Windows or partitions replaced.
    Overwrite,
    /// The same rows in other files.
    Replace,
}

/// A staged file that isn't to be committed yet (PUBLISH WHOLE PARTITIONS).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldFile {
    /// The table that it is for.
    pub table: TableName,
    /// The result partition, as text that is equal for equal partitions.
    pub partition: String,
    /// The watermark from which on the partition is complete.
    pub complete_at: EventTime,
    /// The staged data file, opaque in here.
    pub file: Value,
}

/// What `<generation>/0000000000.json` holds: where a run began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeginRecord {
    /// The run.
    pub generation: Generation,
    /// The manifest that it continues; `None`: it started without one.
    pub after: Option<ManifestId>,
    /// The newest manifest that this or an earlier start left behind on purpose, by continuing an older one. Tables may
    /// carry it, or ones before it, in their properties without anything being lost.
    pub abandoned: Option<ManifestId>,
}

/// Why bytes aren't a manifest.
#[derive(Debug, Error)]
pub enum BadManifest {
    /// The checksum's line is missing: the file was cut off, or isn't ours.
    #[error("the checksum line is missing, so the file was cut off or isn't a checkpoint; restore it from a copy")]
    CutOff,
    /// The checksum differs.
    #[error("its checksum is {found}, but {expected} was written: the file was damaged; restore it from a copy")]
    Checksum {
        /// As the last line says.
        expected: String,
        /// Of the bytes that are there.
        found: String,
    },
    /// Another layout.
    #[error("it has format {found}, this program reads format {FORMAT}; use the version of kappa that wrote it")]
    Format {
        /// As the file says.
        found: u64,
    },
    /// Good checksum, but not what we write.
    #[error("its content isn't a checkpoint")]
    Json(#[from] serde_json::Error),
    /// It lies under another name than its own.
    #[error("it holds checkpoint {found}, so it was moved or copied over another one; restore it from a copy")]
    Misplaced {
        /// As the content says.
        found: ManifestId,
    },
}

/// The last line of a file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seal {
    xxh3_128: String,
}

/// A manifest or begin record, with the format in front.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Versioned<T> {
    format: u32,
    content: T,
}

impl BadManifest {
    /// What is wrong, without the way out.
    pub(super) fn what(&self) -> String {
        let text = self.to_string();
        text.split_once("; ").map_or(text.clone(), |(what, _)| what.to_owned())
    }
}

impl Manifest {
    /// A checkpoint that nothing is known of but its name, and whose it is.
    pub fn empty(id: ManifestId, owner: impl Into<String>) -> Manifest {
        Manifest {
            id,
            owner: owner.into(),
            fingerprint: String::new(),
            description: Vec::new(),
            streams: BTreeMap::new(),
            topics: BTreeMap::new(),
            inserts: Vec::new(),
            watermark: EventTime::MIN,
            finished: false,
            state: Vec::new(),
            claimed: Vec::new(),
            tables: Vec::new(),
            held: Vec::new(),
            reread: BTreeMap::new(),
            from_history: BTreeMap::new(),
        }
    }

    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads what [`Manifest::encode`] wrote, after checking it.
    ///
    /// # Errors
    /// When a byte differs from what was written, or another format wrote it.
    pub fn decode(bytes: &[u8]) -> Result<Manifest, BadManifest> {
        decode(bytes)
    }

    /// Every table that the manifest has to do with: the claimed ones and the changed ones, each once, in that order.
    pub fn targets(&self) -> Vec<ClaimedTable> {
        let mut targets = self.claimed.clone();
        for change in &self.tables {
            if !targets.iter().any(|target| target.table == change.table) {
                targets.push(ClaimedTable { table: change.table.clone(), uuid: change.uuid });
            }
        }
        targets
    }
}

impl BeginRecord {
    /// The bytes of the file.
    pub fn encode(&self) -> Vec<u8> {
        encode(self)
    }

    /// Reads what [`BeginRecord::encode`] wrote, after checking it.
    ///
    /// # Errors
    /// As [`Manifest::decode`].
    pub fn decode(bytes: &[u8]) -> Result<BeginRecord, BadManifest> {
        decode(bytes)
    }
}

/// XXH3-128 in hexadecimal, as manifests carry it.
pub fn checksum_text(bytes: &[u8]) -> String {
    format!("{:032x}", xxhash_rust::xxh3::xxh3_128(bytes))
}

pub(super) fn encode<T: Serialize>(content: &T) -> Vec<u8> {
    let versioned = Versioned { format: FORMAT, content };
    let mut bytes = serde_json::to_vec(&versioned).expect("maps have text or integer keys, and nothing else can fail");
    let seal = Seal { xxh3_128: checksum_text(&bytes) };
    bytes.push(b'\n');
    serde_json::to_writer(&mut bytes, &seal).expect("writing one text into memory can't fail");
    bytes.push(b'\n');
    bytes
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, BadManifest> {
    let sealed = bytes.strip_suffix(b"\n").ok_or(BadManifest::CutOff)?;
    let line = sealed.iter().rposition(|byte| *byte == b'\n').ok_or(BadManifest::CutOff)?;
    let (content, seal) = (&sealed[..line], &sealed[line + 1..]);
    let seal: Seal = serde_json::from_slice(seal).map_err(|_| BadManifest::CutOff)?;
    let found = checksum_text(content);
    if seal.xxh3_128 != found {
        return Err(BadManifest::Checksum { expected: seal.xxh3_128, found });
    }
    // The format first: the content of another one need not fit our structs.
    let value: Value = serde_json::from_slice(content)?;
    match value.get("format").and_then(Value::as_u64) {
        Some(format) if format != u64::from(FORMAT) => Err(BadManifest::Format { found: format }),
        _ => Ok(serde_json::from_value::<Versioned<T>>(value)?.content),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use serde_json::json;

    /// A manifest with something in every field.
    pub(in crate::checkpoints) fn sample(id: ManifestId) -> Manifest {
        let table = TableName::parse("marts.page_hits").expect("has a namespace");
        let uuid = Uuid::from_u128(7);
        let progress = |next, seen| PartitionProgress { next_offset: ResumeOffset(next), seen, taken: 9, rejected: 1 };
        Manifest {
            id,
            owner: "page_hits".into(),
            fingerprint: "ab12".into(),
            description: vec!["stream web_requests".into()],
            topics: BTreeMap::from([("web_requests".into(), "Xm5vJ0bQQ0a1dG0yJ3pCPg".into())]),
            streams: BTreeMap::from([(
                "web_requests".into(),
                BTreeMap::from([(0, progress(12, Some(EventTime(-5)))), (10, progress(0, None))]),
            )]),
            inserts: vec![InsertProgress {
                table: table.clone(),
                first_window: EventTime::MIN,
                accepted: BTreeMap::from([(0, 6)]),
                late: BTreeMap::from([(0, 2)]),
                sealed_edge: EventTime(3),
                republish: Some(RepublishRange { from: EventTime(1), to: EventTime(9) }),
                published: Some(Published { below: BTreeMap::from([(0, ResumeOffset(20))]), again_from: EventTime(1) }),
            }],
            watermark: EventTime(1_700_000_000_000_000),
            finished: false,
            state: vec![StateFile {
                path: "0000000003/state/0000000012-panes-0.arrow".into(),
                bytes: 3,
                checksum: checksum_text(b"abc"),
                rows: 1,
                insert: 0,
                leg: 0,
                panes: vec![EventTime(0), EventTime(60_000_000)],
            }],
            claimed: vec![ClaimedTable { table: table.clone(), uuid }],
            tables: vec![TableChange {
                table: table.clone(),
                uuid,
                schema_id: 0,
                spec_id: 0,
                add: vec![json!({"file": "a.parquet", "rows": 1.5})],
                remove: vec![json!({"above": 7})],
                operation: Operation::Append,
                properties: BTreeMap::from([("kappa.sealed_edge".into(), "beginning".into())]),
                remove_properties: vec!["kappa.republish".into()],
                summary: BTreeMap::from([("kappa.late".into(), "2".into())]),
            }],
            held: vec![HeldFile {
                table,
                partition: "window_start_hour=2023-11-14-22".into(),
                complete_at: EventTime(1),
                file: json!({"file": "b.parquet"}),
            }],
            reread: BTreeMap::from([("web_requests".into(), BTreeMap::from([(0, ResumeOffset(20))]))]),
            from_history: BTreeMap::from([("web_requests".into(), EventTime(30))]),
        }
    }

    fn id() -> ManifestId {
        ManifestId::new(Generation(3), 12)
    }

    #[test]
    fn a_manifest_reads_back_as_it_was_written() {
        let manifest = sample(id());
        assert_eq!(Manifest::decode(&manifest.encode()).expect("just written"), manifest);
        let begin = BeginRecord { generation: Generation(4), after: Some(id()), abandoned: None };
        assert_eq!(BeginRecord::decode(&begin.encode()).expect("just written"), begin);
    }

    #[test]
    fn the_persisted_names_stay_as_they_are() {
        let text = String::from_utf8(sample(id()).encode()).expect("JSON is UTF-8");
        let expected = concat!(
            r#"{"format":1,"content":{"id":{"generation":3,"number":12},"owner":"page_hits","fingerprint":"ab12","#,
            r#""description":["stream web_requests"],"#,
            r#""streams":{"web_requests":{"0":{"next_offset":12,"seen":-5,"taken":9,"rejected":1},"#,
            r#""10":{"next_offset":0,"seen":null,"taken":9,"rejected":1}}},"topics":{"web_requests":"Xm5vJ0bQQ0a1dG0yJ3pCPg"},"inserts":[{"table":{"namespace":["marts"],"name":"page_hits"},"#,
            r#""first_window":-9223372036854775808,"accepted":{"0":6},"late":{"0":2},"sealed_edge":3,"republish":{"from":1,"to":9},"published":{"below":{"0":20},"again_from":1}}],"watermark":1700000000000000,"#,
            r#""finished":false,"state":[{"#,
            r#""path":"0000000003/state/0000000012-panes-0.arrow","bytes":3,"#,
            r#""checksum":"06b05ab6733a618578af5f94892f3950","rows":1,"insert":0,"leg":0,"panes":[0,60000000]}],"#,
            r#""claimed":[{"table":{"namespace":["marts"],"name":"page_hits"},"#,
            r#""uuid":"00000000-0000-0000-0000-000000000007"}],"#,
            r#""tables":[{"table":{"namespace":["marts"],"name":"page_hits"},"#,
            r#""uuid":"00000000-0000-0000-0000-000000000007","schema_id":0,"spec_id":0,"#,
            r#""add":[{"file":"a.parquet","rows":1.5}],"remove":[{"above":7}],"operation":"append","#,
            r#""properties":{"kappa.sealed_edge":"beginning"},"remove_properties":["kappa.republish"],"#,
            r#""summary":{"kappa.late":"2"}}],"#,
            r#""held":[{"table":{"namespace":["marts"],"name":"page_hits"},"#,
            r#""partition":"window_start_hour=2023-11-14-22","complete_at":1,"file":{"file":"b.parquet"}}],"#,
            r#""reread":{"web_requests":{"0":20}},"from_history":{"web_requests":30}}}"#,
        );
        let (content, seal) = text.split_once('\n').expect("two lines");
        assert_eq!(content, expected);
        assert_eq!(seal, format!("{{\"xxh3_128\":\"{}\"}}\n", checksum_text(expected.as_bytes())));
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let bytes = sample(id()).encode();
        for index in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[index] ^= 1 << (index % 8);
            assert!(Manifest::decode(&flipped).is_err(), "bit flipped in byte {index}");
            assert!(Manifest::decode(&bytes[..index]).is_err(), "cut at {index}");
        }
    }

    #[test]
    fn another_format_is_named() {
        let mut bytes = br#"{"format":2,"content":{"else":true}}"#.to_vec();
        let seal = checksum_text(&bytes);
        bytes.extend_from_slice(format!("\n{{\"xxh3_128\":\"{seal}\"}}\n").as_bytes());
        let error = Manifest::decode(&bytes).expect_err("another format");
        assert_eq!(
            error.to_string(),
            "it has format 2, this program reads format 1; use the version of kappa that wrote it"
        );
    }
}
