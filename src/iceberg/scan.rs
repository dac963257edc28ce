//! Which files of a snapshot may hold the rows asked for: by partition summaries of manifests, partition values, and
//! column bounds. Invariant: a file is left out only if it certainly holds no such row.

use std::collections::BTreeMap;
use std::ops::Range;

use futures::stream::{StreamExt, TryStreamExt};
use iceberg::spec::{
    DataFile, DataFileFormat, Datum, ManifestFile, PartitionSpec, PrimitiveLiteral, PrimitiveType, Schema,
};
use iceberg::transform::create_transform_function;

use super::{IcebergError, Table, partition};
use crate::event::EventTime;

/// Manifests read at a time: enough to hide a store's latency.
const MANIFESTS_PARALLEL_MAX: usize = 8;

/// Which rows are wanted. Files are left out by it; rows only by [`super::read_file`], and only by time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanFilter {
    /// A timestamp column and the half-open range of its values. Rows without a time are in no range but the one from
    /// [`EventTime::MIN`] to [`EventTime::MAX`], which means no filter.
    pub time: Option<(String, Range<EventTime>)>,
    /// TEXT columns and the value that they must have.
    pub equals: Vec<(String, String)>,
}

/// A data file of a snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct ScanFile {
    /// Its location.
    pub path: String,
    /// Rows in it.
    pub records: u64,
    /// Its size.
    pub bytes: u64,
    /// Least value of the filter's time column; `None` without one, or if the file doesn't tell.
    pub lower: Option<EventTime>,
    /// Greatest value of the filter's time column.
    pub upper: Option<EventTime>,
    /// Least and greatest value of every top-level timestamp column that the file tells them for.
    pub times: BTreeMap<String, (EventTime, EventTime)>,
    /// Its partition: names of the fields and values as people read them, `None` for null.
    pub partition: Vec<(String, Option<String>)>,
}

/// Files of a snapshot (`None`: the newest) that may hold rows of the filter, by least time, then path. Refuses tables
/// with delete files, files that aren't Parquet, and format 3.
pub async fn plan_files(
    table: &Table,
    snapshot: Option<i64>,
    filter: &ScanFilter,
) -> Result<Vec<ScanFile>, IcebergError> {
    table.check_format()?;
    let metadata = table.metadata();
    let snapshot = match snapshot {
        None => metadata.current_snapshot(),
        Some(id) => Some(metadata.snapshot_by_id(id).ok_or_else(|| IcebergError::Unsupported {
            table: table.name().clone(),
            detail: format!("has no snapshot {id}: it may have expired; plan the read again"),
        })?),
    };
    let Some(snapshot) = snapshot else { return Ok(Vec::new()) };
    let pruner = Pruner::new(table, filter)?;
    let manifests = table.manifests(snapshot).await?;
    let wanted = manifests.into_iter().filter(|manifest| pruner.may_hold_manifest(manifest));
    let found = futures::stream::iter(wanted.map(|manifest| files_of(table, &pruner, manifest)));
    let found: Vec<Vec<ScanFile>> = found.buffered(MANIFESTS_PARALLEL_MAX).try_collect().await?;
    let mut files: Vec<ScanFile> = found.into_iter().flatten().collect();
    files.sort_by(|a, b| (a.lower, &a.path).cmp(&(b.lower, &b.path)));
    Ok(files)
}

async fn files_of(table: &Table, pruner: &Pruner<'_>, manifest: ManifestFile) -> Result<Vec<ScanFile>, IcebergError> {
    let loaded = manifest.load_manifest(table.inner.file_io()).await;
    let loaded = loaded.map_err(IcebergError::metadata(table.name(), "read a manifest"))?;
    let Some(spec) = table.metadata().partition_spec_by_id(manifest.partition_spec_id) else {
        return Err(IcebergError::Unsupported {
            table: table.name().clone(),
            detail: format!("has no partition spec {}: its metadata is damaged", manifest.partition_spec_id),
        });
    };
    let live = loaded.entries().iter().filter(|entry| entry.is_alive()).map(|entry| entry.data_file());
    let wanted = live.filter(|file| pruner.may_hold_file(file, spec));
    wanted.map(|file| pruner.scan_file(file, spec)).collect()
}

struct Pruner<'a> {
    table: &'a Table,
    schema: &'a Schema,
    /// Column, its field id, and the range in microseconds.
    time: Option<(&'a str, i32, Range<i64>)>,
    /// Field id and value.
    equals: Vec<(i32, &'a str)>,
    times: Vec<(i32, &'a str)>,
}

impl<'a> Pruner<'a> {
    fn new(table: &'a Table, filter: &'a ScanFilter) -> Result<Pruner<'a>, IcebergError> {
        let schema = table.metadata().current_schema();
        let is_time =
            |primitive: &PrimitiveType| matches!(primitive, PrimitiveType::Timestamp | PrimitiveType::Timestamptz);
        let find = |column: &str, fits: fn(&PrimitiveType) -> bool, wanted: &str| {
            let field = schema.field_by_name(column);
            let fits = field.and_then(|field| field.field_type.as_primitive_type()).is_some_and(fits);
            let detail = match field {
                None => "there is no such column".to_owned(),
                Some(field) => format!("it has type {}, not {wanted}", field.field_type),
            };
            let (table, column) = (table.name().clone(), column.to_owned());
            field.map(|field| field.id).filter(|_| fits).ok_or(IcebergError::Column { table, column, detail })
        };
        let time = match &filter.time {
            Some((column, range)) => {
                let id = find(column, is_time, "timestamp")?;
                Some((column.as_str(), id, range.start.0..range.end.0))
            }
            None => None,
        };
        let equals = filter.equals.iter().map(|(column, value)| {
            Ok((find(column, |primitive| *primitive == PrimitiveType::String, "string")?, value.as_str()))
        });
        let fields = schema.as_struct().fields().iter();
        let times = fields.filter(|field| field.field_type.as_primitive_type().is_some_and(is_time));
        Ok(Pruner {
            table,
            schema,
            time,
            equals: equals.collect::<Result<_, IcebergError>>()?,
            times: times.map(|field| (field.id, field.name.as_str())).collect(),
        })
    }

    /// The time filter, unless it lets everything pass.
    fn time_filter(&self) -> Option<(&'a str, i32, Range<i64>)> {
        self.time.clone().filter(|(_, _, range)| *range != (i64::MIN..i64::MAX))
    }

    fn may_hold_manifest(&self, manifest: &ManifestFile) -> bool {
        let live = manifest.has_added_files() || manifest.has_existing_files();
        let spec = self.table.metadata().partition_spec_by_id(manifest.partition_spec_id);
        let (Some(spec), true) = (spec, live) else { return live };
        let summaries = manifest.partitions.as_ref();
        let in_time = self.time_filter().is_none_or(|(column, _, range)| {
            partition::time_may_overlap(column, range.start, range.end, summaries, spec, self.schema)
        });
        in_time && self.equals.iter().all(|(id, value)| self.summaries_may_hold(*id, value, manifest, spec))
    }

    fn summaries_may_hold(&self, id: i32, value: &str, manifest: &ManifestFile, spec: &PartitionSpec) -> bool {
        let Some(summaries) = &manifest.partitions else { return true };
        spec.fields().iter().zip(summaries).filter(|(field, _)| field.source_id == id).all(|(field, summary)| {
            let Some(wanted) = transformed(&field.transform, value) else { return true };
            let (Some(lower), Some(upper)) = (&summary.lower_bound, &summary.upper_bound) else { return true };
            match wanted {
                // Bounds in manifests are whole values, as UTF-8.
                PrimitiveLiteral::String(wanted) => {
                    lower.as_slice() <= wanted.as_bytes() && wanted.as_bytes() <= upper.as_slice()
                }
                PrimitiveLiteral::Int(wanted) => {
                    let int = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).ok().map(i32::from_le_bytes);
                    int(lower).is_none_or(|lower| lower <= wanted) && int(upper).is_none_or(|upper| wanted <= upper)
                }
                _ => true,
            }
        })
    }

    fn may_hold_file(&self, file: &DataFile, spec: &PartitionSpec) -> bool {
        self.time_filter().is_none_or(|(_, id, range)| time_may_be_in(file, spec, id, &range))
            && self.equals.iter().all(|(id, value)| value_may_be_in(file, spec, *id, value))
    }

    fn scan_file(&self, file: &DataFile, spec: &PartitionSpec) -> Result<ScanFile, IcebergError> {
        if file.file_format() != DataFileFormat::Parquet {
            return Err(IcebergError::Unsupported {
                table: self.table.name().clone(),
                detail: format!("holds {}, which is not Parquet: rewrite it", file.file_path()),
            });
        }
        let bounds =
            |id: i32| partition::time_bounds(file, id).map(|(lower, upper)| (EventTime(lower), EventTime(upper)));
        let of_filter = self.time.as_ref().and_then(|(_, id, _)| bounds(*id));
        let times = self.times.iter().filter_map(|(id, name)| Some(((*name).to_owned(), bounds(*id)?)));
        Ok(ScanFile {
            path: file.file_path().to_owned(),
            records: file.record_count(),
            bytes: file.file_size_in_bytes(),
            lower: of_filter.map(|(lower, _)| lower),
            upper: of_filter.map(|(_, upper)| upper),
            times: times.collect(),
            partition: partition::describe(spec, self.schema, file.partition()),
        })
    }
}

fn time_may_be_in(file: &DataFile, spec: &PartitionSpec, id: i32, range: &Range<i64>) -> bool {
    for (field, value) in spec.fields().iter().zip(file.partition().fields()) {
        let transform = partition::from_iceberg(field.transform).filter(|transform| transform.is_time());
        let (Some(transform), true) = (transform, field.source_id == id) else { continue };
        // A partition of null holds rows without a time only.
        let Some(value) = value else { return false };
        let Some(value) = partition::int_value(Some(value)) else { continue };
        let end = value.checked_add(1).map_or(i64::MAX, |next| partition::time_start(transform, next));
        if partition::time_start(transform, value) >= range.end || end <= range.start {
            return false;
        }
    }
    match partition::time_bounds(file, id) {
        Some((lower, upper)) => lower < range.end && upper >= range.start,
        None => file.null_value_counts().get(&id) != Some(&file.record_count()),
    }
}

fn value_may_be_in(file: &DataFile, spec: &PartitionSpec, id: i32, value: &str) -> bool {
    for (field, held) in spec.fields().iter().zip(file.partition().fields()) {
        if field.source_id != id {
            continue;
        }
        let held = match held {
            None => return false,
            Some(held) => held.as_primitive_literal(),
        };
        if let (Some(held), Some(wanted)) = (held, transformed(&field.transform, value))
            && held != wanted
        {
            return false;
        }
    }
    let text = |datum: Option<&Datum>| match datum.map(Datum::literal) {
        Some(PrimitiveLiteral::String(text)) => Some(text.clone()),
        _ => None,
    };
    let above_lower = text(file.lower_bounds().get(&id)).is_none_or(|lower| lower.as_str() <= value);
    above_lower && text(file.upper_bounds().get(&id)).is_none_or(|upper| value <= upper.as_str())
}

/// The partition value that a text gets; `None` if that can't be told.
fn transformed(transform: &iceberg::spec::Transform, value: &str) -> Option<PrimitiveLiteral> {
    let function = create_transform_function(transform).ok()?;
    let datum = function.transform_literal(&Datum::string(value)).ok()??;
    Some(datum.literal().clone())
}
