//! Reads rows of one data file, in the layout that the rest of the program works with.
//! Columns are found by field id, so renamed and added ones are right in old files; row groups are left out by their
//! statistics. Invariant: with a time range exactly the rows inside it come out, in the file's order.

use std::ops::Range;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::buffer::BooleanBuffer;
use arrow::compute::filter_record_batch;
use arrow::datatypes::{Field, FieldRef, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::error::ArrowError;
use futures::stream::{BoxStream, StreamExt};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::arrow::async_reader::ParquetObjectReader;
use parquet::arrow::{ParquetRecordBatchStreamBuilder, ProjectionMask};
use parquet::basic::{LogicalType, TimeUnit};
use parquet::file::metadata::RowGroupMetaData;
use parquet::file::statistics::Statistics;

use super::types::{MatchBy, Zoneless, conform, field_id, field_to_arrow, plain_field};
use super::{IcebergError, ScanFile, Table};
use crate::event::EventTime;

/// Rows of a batch, as everywhere in the program.
const BATCH_ROWS: usize = 8_192;
/// Bytes read from the end of a file at first: the footer of most files, in one request.
const FOOTER_BYTES: usize = 64 << 10;

/// Rows of a data file.
pub type RowStream = BoxStream<'static, Result<RecordBatch, IcebergError>>;

/// Reads the given columns of a file, named as the table names them now, in that order, all nullable, in the Arrow types
/// of [`crate::event`]; columns that the file lacks are null. With `time` only rows whose value of that column is in the
/// half-open range, unless it is the range of everything. Batches have at most 8,192 rows; they may be empty.
pub async fn read_file(
    table: &Table,
    file: &ScanFile,
    columns: &[String],
    time: Option<&(String, Range<EventTime>)>,
) -> Result<RowStream, IcebergError> {
    let time = time.filter(|(_, range)| *range != (EventTime::MIN..EventTime::MAX));
    let open = IcebergError::data_file(&file.path, "open it");
    let located = table.stores.locate(&file.path)?;
    let reader = ParquetObjectReader::new(located.store, located.path)
        .with_file_size(file.bytes)
        .with_footer_size_hint(FOOTER_BYTES.min(usize::try_from(file.bytes).unwrap_or(FOOTER_BYTES)));
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let builder = ParquetRecordBatchStreamBuilder::new_with_options(reader, options).await.map_err(open)?;
    let reading = Reading::new(table, columns, time, builder.schema())?;

    let groups = builder.metadata().row_groups().iter().enumerate();
    let groups = groups.filter(|(_, group)| reading.may_hold(group)).map(|(index, _)| index).collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), reading.roots.iter().copied());
    let stream = builder
        .with_batch_size(BATCH_ROWS)
        .with_row_groups(groups)
        .with_projection(mask)
        .build()
        .map_err(IcebergError::data_file(&file.path, "read it"))?;
    let (path, name) = (file.path.clone(), table.name().clone());
    Ok(stream
        .map(move |batch| {
            let batch = batch.map_err(IcebergError::data_file(&path, "read it"))?;
            reading.finish(&batch).map_err(IcebergError::rows(&name, "bring rows of a file to its columns"))
        })
        .boxed())
}

/// Where the wanted columns stand in a file.
struct Reading {
    /// Fields with ids, for files, and plain, for the outside.
    columns: Vec<(FieldRef, Arc<Field>)>,
    schema: SchemaRef,
    /// For every column its place in a projected batch.
    sources: Vec<Option<usize>>,
    /// Top-level columns of the file to read, ascending.
    roots: Vec<usize>,
    time: Option<TimeRange>,
}

struct TimeRange {
    field: FieldRef,
    /// Place in a projected batch; `None`: the file lacks the column, so no row is in the range.
    source: Option<usize>,
    /// Place among the file's top-level columns.
    root: Option<usize>,
    range: Range<i64>,
}

impl Reading {
    fn new(
        table: &Table,
        columns: &[String],
        time: Option<&(String, Range<EventTime>)>,
        file: &SchemaRef,
    ) -> Result<Reading, IcebergError> {
        let find = |column: &String| {
            let field = table.metadata().current_schema().as_struct().field_by_name(column);
            let field = field.ok_or_else(|| IcebergError::Column {
                table: table.name().clone(),
                column: column.clone(),
                detail: "there is no such column".to_owned(),
            })?;
            let field = field_to_arrow(field, Zoneless::AsUtc);
            field.map_err(IcebergError::metadata(table.name(), "read its schema"))
        };
        // Files written by others before the table was one of Iceberg's may have no ids.
        let has_ids = file.fields().iter().any(|field| field_id(field).is_some());
        let root_of = |field: &FieldRef| {
            file.fields().iter().position(|candidate| match has_ids {
                true => field_id(candidate).is_some() && field_id(candidate) == field_id(field),
                false => candidate.name() == field.name(),
            })
        };
        let fields = columns.iter().map(find).collect::<Result<Vec<FieldRef>, IcebergError>>()?;
        let found: Vec<Option<usize>> = fields.iter().map(root_of).collect();
        let time = match time {
            Some((column, range)) => Some((find(column)?, range.start.0..range.end.0)),
            None => None,
        };
        let time_root = time.as_ref().and_then(|(field, _)| root_of(field));
        let mut roots: Vec<usize> = found.iter().flatten().copied().chain(time_root).collect();
        roots.sort_unstable();
        roots.dedup();
        // The order of a projection is the file's.
        let place = |root: usize| roots.binary_search(&root).ok();
        let columns = fields.into_iter().map(|field| {
            let plain = Arc::new(plain_field(&field));
            (field, plain)
        });
        let columns: Vec<(FieldRef, Arc<Field>)> = columns.collect();
        let plain: Vec<FieldRef> = columns.iter().map(|(_, plain)| plain.clone()).collect();
        Ok(Reading {
            schema: Arc::new(Schema::new(plain)),
            sources: found.into_iter().map(|root| root.and_then(place)).collect(),
            columns,
            time: time.map(|(field, range)| TimeRange {
                field,
                source: time_root.and_then(place),
                root: time_root,
                range,
            }),
            roots,
        })
    }

    /// Whether a row group may hold a row of the time range.
    fn may_hold(&self, group: &RowGroupMetaData) -> bool {
        let Some(time) = &self.time else { return true };
        let Some(root) = time.root else { return false };
        let schema = group.schema_descr();
        let leaf = (0..schema.num_columns()).find(|leaf| schema.get_column_root_idx(*leaf) == root);
        let Some(chunk) = leaf.map(|leaf| group.column(leaf)) else { return true };
        let micros = match chunk.column_descr().logical_type_ref() {
            Some(LogicalType::Timestamp { unit, .. }) => *unit == TimeUnit::MICROS,
            _ => chunk.column_descr().converted_type() == parquet::basic::ConvertedType::TIMESTAMP_MICROS,
        };
        match chunk.statistics() {
            Some(Statistics::Int64(values)) if micros => {
                if values.null_count_opt() == Some(group.num_rows().unsigned_abs()) {
                    return false;
                }
                values.min_opt().is_none_or(|least| *least < time.range.end)
                    && values.max_opt().is_none_or(|greatest| *greatest >= time.range.start)
            }
            _ => true,
        }
    }

    fn finish(&self, batch: &RecordBatch) -> Result<RecordBatch, ArrowError> {
        let columns = self.columns.iter().zip(&self.sources).map(|((field, plain), source)| match source {
            None => Ok(new_null_array(plain.data_type(), batch.num_rows())),
            Some(source) => conform(&conform(batch.column(*source), field, MatchBy::Id)?, plain, MatchBy::Name),
        });
        let columns = columns.collect::<Result<Vec<ArrayRef>, ArrowError>>()?;
        let rows = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let finished = RecordBatch::try_new_with_options(self.schema.clone(), columns, &rows)?;
        match &self.time {
            None => Ok(finished),
            Some(time) => time.keep(batch, finished),
        }
    }
}

impl TimeRange {
    /// The rows of `finished` whose time, in `batch`, is in the range.
    fn keep(&self, batch: &RecordBatch, finished: RecordBatch) -> Result<RecordBatch, ArrowError> {
        let Some(source) = self.source else { return Ok(finished.slice(0, 0)) };
        let times = conform(batch.column(source), &self.field, MatchBy::Id)?;
        let times = times.as_primitive::<TimestampMicrosecondType>();
        let values = times.values();
        let (start, end) = (self.range.start, self.range.end);
        let inside = BooleanBuffer::collect_bool(values.len(), |row| (start..end).contains(&values[row]));
        let inside = match times.nulls() {
            Some(nulls) => &inside & nulls.inner(),
            None => inside,
        };
        match inside.count_set_bits() {
            all if all == finished.num_rows() => Ok(finished),
            0 => Ok(finished.slice(0, 0)),
            _ => filter_record_batch(&finished, &BooleanArray::new(inside, None)),
        }
    }
}
