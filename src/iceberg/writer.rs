//! Writes rows into the data files of a table: one open Parquet file a partition, rolled at a target size.
//! Invariant: rows stand in their file in the order they were given, and a file that `finish` returns is durable.
//! Never sorts, never commits.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, UInt32Array, new_null_array};
use arrow::compute::{partition, take, take_record_batch};
use arrow::datatypes::{DataType, Schema, SchemaRef};
use arrow::row::{RowConverter, SortField};
use iceberg::arrow::arrow_primitive_to_literal;
use iceberg::spec::{PartitionSpecRef, PrimitiveType, Struct, Type};
use parquet::arrow::arrow_writer::ArrowWriterOptions;
use parquet::arrow::async_writer::ParquetObjectWriter;
use parquet::arrow::{ArrowSchemaConverter, AsyncArrowWriter};
use parquet::basic::{Compression, LogicalType, ZstdLevel};
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::{ColumnPath, SchemaDescriptor, TypePtr};
use uuid::Uuid;

use super::partition::{folder, transform_column};
use super::statistics::{self, Written};
use super::types::{MatchBy, conform};
use super::{IcebergError, StagedFile, Table};
use crate::kill_point::KillPoint;

/// Rows of a row group: small enough that a range of time at the edge of a file skips most of it.
const ROW_GROUP_ROWS: usize = 256 * 1024;
/// Shorter runs of one partition than this, on average, are gathered instead of written piece by piece.
const RUN_ROWS_MIN: usize = 64;

/// How to write.
#[derive(Clone, Debug)]
pub struct WriteOptions {
    /// A file is closed when it has about this many bytes.
    pub target_bytes: u64,
    /// Files open at a time; beyond it the one not written to for longest is closed.
    pub open_files_max: usize,
    /// ZSTD level, 1 to 22.
    pub compression_level: i32,
}

impl Default for WriteOptions {
    fn default() -> WriteOptions {
        WriteOptions { target_bytes: 128 << 20, open_files_max: 64, compression_level: 1 }
    }
}

/// Writes data files for one state of a table. Dropped unfinished, it leaves the files closed so far behind: see
/// [`FileWriter::abort`].
pub struct FileWriter {
    table: Table,
    options: WriteOptions,
    layout: Layout,
    spec: PartitionSpecRef,
    /// For every partition field: the column it is made of, its transform, and the type of its values.
    sources: Vec<(usize, iceberg::spec::Transform, Type)>,
    parquet: ArrowWriterOptions,
    keys: Option<RowConverter>,
    open: HashMap<Vec<u8>, OpenFile>,
    finished: Vec<StagedFile>,
    /// Counts writes, to tell which file was written to last.
    tick: u64,
}

struct OpenFile {
    writer: AsyncArrowWriter<ParquetObjectWriter>,
    location: String,
    partition: Struct,
    last_tick: u64,
}

/// Rows of one partition.
struct Piece {
    key: Vec<u8>,
    /// A row of the batch that has the partition's values.
    example: usize,
    batch: RecordBatch,
}

impl FileWriter {
    /// A writer for the table's current schema and partitioning. Fails for tables of a format that is not supported.
    pub fn new(table: &Table, options: WriteOptions) -> Result<FileWriter, IcebergError> {
        table.check_format()?;
        let name = table.name();
        let (schema, metadata) = (table.file_schema()?, table.metadata());
        let spec = metadata.default_partition_spec().clone();
        let mut sources = Vec::new();
        for field in spec.fields() {
            let source = metadata.current_schema().field_by_id(field.source_id);
            let index = source.and_then(|source| schema.index_of(&source.name).ok());
            let (Some(source), Some(index)) = (source, index) else {
                return Err(IcebergError::Unsupported {
                    table: name.clone(),
                    detail: format!("is partitioned by `{}`, which is no top-level column", field.name),
                });
            };
            let result = field.transform.result_type(&source.field_type);
            sources.push((index, field.transform, result.map_err(IcebergError::metadata(name, "partition its rows"))?));
        }
        let parquet = parquet_options(table, &schema, &options)?;
        let layout = Layout { table: table.clone(), schema, source: None };
        let (open, finished) = (HashMap::new(), Vec::new());
        Ok(FileWriter {
            table: table.clone(),
            options,
            layout,
            spec,
            sources,
            parquet,
            keys: None,
            open,
            finished,
            tick: 0,
        })
    }

    /// Writes rows. Columns are found by name; a column that the rows lack becomes null, one that the table lacks is an
    /// error, and so is a value that doesn't fit the table's type.
    pub async fn write(&mut self, batch: &RecordBatch) -> Result<(), IcebergError> {
        if batch.num_rows() == 0 {
            return Ok(());
        }
        let batch = self.layout.conform(batch)?;
        let values = self.partition_values(&batch)?;
        for piece in self.split(&batch, &values)? {
            self.write_piece(piece, &values).await?;
        }
        Ok(())
    }

    /// Closes all files and returns what was written since the writer was made.
    pub async fn finish(mut self) -> Result<Vec<StagedFile>, IcebergError> {
        let mut open: Vec<OpenFile> = self.open.drain().map(|(_, file)| file).collect();
        // In a fixed order: a map's would differ from run to run.
        open.sort_by_key(|file| file.last_tick);
        for file in open {
            self.close(file).await?;
        }
        Ok(self.finished)
    }

    /// Deletes what was written so far.
    pub async fn abort(mut self) -> Result<(), IcebergError> {
        self.open.clear();
        for file in &self.finished {
            let deleted = self.table.inner.file_io().delete(&file.path).await;
            deleted.map_err(IcebergError::metadata(self.table.name(), "delete a data file that isn't needed"))?;
        }
        Ok(())
    }

    fn partition_values(&self, batch: &RecordBatch) -> Result<Vec<ArrayRef>, IcebergError> {
        let values = self.sources.iter().map(|(index, transform, _)| transform_column(transform, batch.column(*index)));
        let values: Result<Vec<ArrayRef>, iceberg::Error> = values.collect();
        values.map_err(IcebergError::metadata(self.table.name(), "partition its rows"))
    }

    /// Splits rows by partition; within one they keep their order.
    fn split(&mut self, batch: &RecordBatch, values: &[ArrayRef]) -> Result<Vec<Piece>, IcebergError> {
        if values.is_empty() {
            return Ok(vec![Piece { key: Vec::new(), example: 0, batch: batch.clone() }]);
        }
        let cant = IcebergError::rows(self.table.name(), "split rows by partition");
        let mut split = || {
            let runs = partition(values)?.ranges();
            let keys = match &mut self.keys {
                Some(keys) => keys,
                none => {
                    let fields = values.iter().map(|value| SortField::new(value.data_type().clone()));
                    none.insert(RowConverter::new(fields.collect())?)
                }
            };
            // Keys are made for one row of each run only: rows of one partition mostly stand together.
            let firsts: UInt32Array = runs.iter().map(|run| run.start as u32).collect();
            let firsts = values.iter().map(|value| take(value, &firsts, None)).collect::<Result<Vec<_>, _>>()?;
            let rows = keys.convert_columns(&firsts)?;
            let mut pieces: Vec<(Vec<u8>, Vec<std::ops::Range<usize>>)> = Vec::new();
            let mut index_of: HashMap<Vec<u8>, usize> = HashMap::new();
            for (run, row) in runs.into_iter().zip(rows.iter()) {
                match index_of.get(row.as_ref()) {
                    Some(index) => pieces[*index].1.push(run),
                    None => {
                        index_of.insert(row.as_ref().to_vec(), pieces.len());
                        pieces.push((row.as_ref().to_vec(), vec![run]));
                    }
                }
            }
            pieces.into_iter().map(|(key, runs)| piece(batch, key, &runs)).collect::<Result<Vec<_>, _>>()
        };
        let pieces: Result<Vec<Vec<Piece>>, arrow::error::ArrowError> = split();
        Ok(pieces.map_err(cant)?.into_iter().flatten().collect())
    }

    async fn write_piece(&mut self, piece: Piece, values: &[ArrayRef]) -> Result<(), IcebergError> {
        self.tick += 1;
        if !self.open.contains_key(&piece.key) {
            if self.open.len() >= self.options.open_files_max.max(1) {
                self.close_oldest().await?;
            }
            let file = self.open_file(piece.example, values)?;
            self.open.insert(piece.key.clone(), file);
        }
        let file = self.open.get_mut(&piece.key).expect("it was there, or just put there");
        file.last_tick = self.tick;
        file.writer.write(&piece.batch).await.map_err(IcebergError::data_file(&file.location, "write it"))?;
        let bytes = file.writer.bytes_written() + file.writer.in_progress_size();
        if bytes as u64 >= self.options.target_bytes
            && let Some(file) = self.open.remove(&piece.key)
        {
            self.close(file).await?;
        }
        Ok(())
    }

    fn open_file(&self, example: usize, values: &[ArrayRef]) -> Result<OpenFile, IcebergError> {
        let (name, metadata) = (self.table.name(), self.table.metadata());
        let literals = values.iter().zip(&self.sources).map(|(value, (_, _, value_type))| {
            let mut literal = arrow_primitive_to_literal(&value.slice(example, 1), value_type)?;
            Ok(literal.pop().flatten())
        });
        let partition: Result<Struct, iceberg::Error> = literals.collect();
        let partition = partition.map_err(IcebergError::metadata(name, "partition its rows"))?;
        let data = match metadata.properties().get("write.data.path") {
            Some(path) => path.trim_end_matches('/').to_owned(),
            None => format!("{}/data", metadata.location().trim_end_matches('/')),
        };
        let file = format!("{}.parquet", Uuid::new_v4());
        let location = match folder(&self.spec, metadata.current_schema(), &partition) {
            folder if folder.is_empty() => format!("{data}/{file}"),
            folder => format!("{data}/{folder}/{file}"),
        };
        let located = self.table.stores.locate(&location)?;
        let sink = ParquetObjectWriter::new(located.store, located.path);
        let writer = AsyncArrowWriter::try_new_with_options(sink, self.layout.schema.clone(), self.parquet.clone());
        let writer = writer.map_err(IcebergError::data_file(&location, "create it"))?;
        Ok(OpenFile { writer, location, partition, last_tick: self.tick })
    }

    async fn close_oldest(&mut self) -> Result<(), IcebergError> {
        let oldest = self.open.iter().min_by_key(|(_, file)| file.last_tick).map(|(key, _)| key.clone());
        if let Some(file) = oldest.and_then(|key| self.open.remove(&key)) {
            self.close(file).await?;
        }
        Ok(())
    }

    async fn close(&mut self, mut file: OpenFile) -> Result<(), IcebergError> {
        let footer = file.writer.finish().await.map_err(IcebergError::data_file(&file.location, "finish it"))?;
        KillPoint::ResultFilesUploading.reach();
        let located = self.table.stores.locate(&file.location)?;
        located.make_durable().await.map_err(|source| IcebergError::Storage {
            action: "make durable",
            location: file.location.clone(),
            source: source.into(),
        })?;
        let schema = self.table.metadata().current_schema();
        let bytes = file.writer.bytes_written() as u64;
        let written = Written { path: file.location, bytes, partition: file.partition };
        let entry = statistics::data_file(&footer, written, &self.spec, schema)
            .expect("all fields of the entry that have no default are given");
        self.finished.push(StagedFile::new(self.table.name(), entry, &self.spec, schema)?);
        Ok(())
    }
}

/// The rows of one partition in a batch: slices of it, or copied together where its runs are short.
fn piece(
    batch: &RecordBatch,
    key: Vec<u8>,
    runs: &[std::ops::Range<usize>],
) -> Result<Vec<Piece>, arrow::error::ArrowError> {
    let rows: usize = runs.iter().map(std::ops::Range::len).sum();
    let example = runs[0].start;
    if rows >= runs.len() * RUN_ROWS_MIN || runs.len() == 1 {
        let slices = runs.iter().map(|run| batch.slice(run.start, run.len()));
        return Ok(slices.map(|batch| Piece { key: key.clone(), example, batch }).collect());
    }
    let indices: UInt32Array = runs.iter().flat_map(|run| run.start as u32..run.end as u32).collect();
    Ok(vec![Piece { key, example, batch: take_record_batch(batch, &indices)? }])
}

/// Brings batches to the table's layout; remembers where the columns of the last layout stand.
struct Layout {
    table: Table,
    schema: SchemaRef,
    source: Option<(SchemaRef, Vec<Option<usize>>)>,
}

impl Layout {
    fn conform(&mut self, batch: &RecordBatch) -> Result<RecordBatch, IcebergError> {
        let known = self.source.as_ref().filter(|(schema, _)| Arc::ptr_eq(schema, batch.schema_ref()));
        let indices = match known {
            Some((_, indices)) => indices.clone(),
            None => {
                let indices = self.find_columns(batch.schema_ref())?;
                self.source = Some((batch.schema(), indices.clone()));
                indices
            }
        };
        let columns = self.schema.fields().iter().zip(&indices).map(|(field, index)| match index {
            Some(index) => conform(batch.column(*index), field, MatchBy::Name),
            None => Ok(new_null_array(field.data_type(), batch.num_rows())),
        });
        let columns: Result<Vec<ArrayRef>, arrow::error::ArrowError> = columns.collect();
        columns
            .and_then(|columns| RecordBatch::try_new(self.schema.clone(), columns))
            .map_err(IcebergError::rows(self.table.name(), "bring rows to its columns"))
    }

    fn find_columns(&self, rows: &Schema) -> Result<Vec<Option<usize>>, IcebergError> {
        let refuse = |column: &str, detail: &str| IcebergError::Column {
            table: self.table.name().clone(),
            column: column.to_owned(),
            detail: detail.to_owned(),
        };
        if let Some(extra) = rows.fields().iter().find(|field| self.schema.field_with_name(field.name()).is_err()) {
            return Err(refuse(extra.name(), "the rows have it and the table doesn't; add it to the table"));
        }
        let find = |field: &Arc<arrow::datatypes::Field>| match rows.index_of(field.name()) {
            Ok(index) => Ok(Some(index)),
            Err(_) if field.is_nullable() => Ok(None),
            Err(_) => Err(refuse(field.name(), "it is required, and the rows don't have it")),
        };
        self.schema.fields().iter().map(find).collect()
    }
}

fn parquet_options(
    table: &Table,
    schema: &SchemaRef,
    options: &WriteOptions,
) -> Result<ArrowWriterOptions, IcebergError> {
    let cant = |source| IcebergError::DataFile { path: table.location().to_owned(), action: "lay files out", source };
    let level = ZstdLevel::try_new(options.compression_level).map_err(cant)?;
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(level))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        // Statistics of pages would cost a fifth of the time, and no reader of ours looks at them.
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_created_by(concat!("kappa ", env!("CARGO_PKG_VERSION")).to_owned());
    for field in schema.fields().iter().filter(|field| matches!(field.data_type(), DataType::Timestamp(..))) {
        // Times hardly repeat: a dictionary of them is built only to be given up.
        properties = properties.set_column_dictionary_enabled(ColumnPath::from(field.name().as_str()), false);
    }
    let properties = properties.build();
    let descriptor = ArrowSchemaConverter::new().convert(schema).map_err(cant)?;
    let root = with_uuids(&descriptor.root_schema_ptr(), table.metadata().current_schema()).map_err(cant)?;
    Ok(ArrowWriterOptions::new()
        .with_properties(properties)
        .with_parquet_schema(SchemaDescriptor::new(root))
        // Field ids say all there is to know; an Arrow schema in the file could only contradict them.
        .with_skip_arrow_metadata(true))
}

/// The Parquet schema with UUID columns annotated as such, which Arrow's own conversion leaves out.
fn with_uuids(node: &TypePtr, schema: &iceberg::spec::Schema) -> parquet::errors::Result<TypePtr> {
    let info = node.get_basic_info();
    let id = info.has_id().then(|| info.id());
    if node.is_primitive() {
        let field = id.and_then(|id| schema.field_by_id(id));
        let is_uuid = field.is_some_and(|field| *field.field_type == Type::Primitive(PrimitiveType::Uuid));
        if !is_uuid {
            return Ok(node.clone());
        }
        let annotated = parquet::schema::types::Type::primitive_type_builder(
            node.name(),
            parquet::basic::Type::FIXED_LEN_BYTE_ARRAY,
        );
        let annotated = annotated.with_length(16).with_repetition(info.repetition()).with_id(id);
        return Ok(Arc::new(annotated.with_logical_type(Some(LogicalType::Uuid)).build()?));
    }
    let fields = node.get_fields().iter().map(|field| with_uuids(field, schema));
    let fields = fields.collect::<parquet::errors::Result<Vec<_>>>()?;
    let mut group = parquet::schema::types::Type::group_type_builder(node.name())
        .with_fields(fields)
        .with_id(id)
        .with_converted_type(info.converted_type())
        .with_logical_type(info.logical_type_ref().cloned());
    if info.has_repetition() {
        group = group.with_repetition(info.repetition());
    }
    Ok(Arc::new(group.build()?))
}
