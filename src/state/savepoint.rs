//! The bytes of a savepoint's state file: the rows of a checkpoint's state file ([`super::bytes`]) as Parquet, with names that
//! people know for windows and keys. `README.md` in this folder is the description for them.
//!
//! Invariant: what [`from_parquet`] gives back is, to the bit, what [`to_parquet`] was given: the names that the program knows are
//! in the file's metadata, and it is checked before the bytes are given out.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;

use super::bytes::{PANE, StateError};
use crate::event::{EventTime, TIMESTAMP_ZONE, timestamp_type};
use crate::windows::{ASIDE, ByData, FROM, Window};

/// Key of the file's metadata under which the program's own names of the columns are: a JSON list, null for a column that
/// is there for people only.
const OWN_NAMES: &str = "kappa.state_columns";

/// What people call the columns of one leg's state.
#[derive(Clone, Debug)]
pub struct LegColumns {
    /// What its rows are of.
    pub window: Window,
    /// Names of the group keys beside the window, in order.
    pub keys: Vec<String>,
}

/// The Parquet file of some panes, which all have the same schema; without `columns`, by the program's own names.
///
/// # Errors
/// When Parquet can't hold them to the bit.
pub fn to_parquet(panes: &[(EventTime, RecordBatch)], columns: Option<&LegColumns>) -> Result<Vec<u8>, StateError> {
    let Some((_, first)) = panes.first() else { return Ok(Vec::new()) };
    let own = first.schema();
    let shown = Shown::of(&own, columns);
    let schema = shown.schema(&own);
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_key_value_metadata(Some(vec![KeyValue::new(OWN_NAMES.to_owned(), shown.own_names(&own))]))
        .build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema.clone(), Some(properties))?;
    for (start, rows) in panes {
        writer.write(&RecordBatch::try_new(schema.clone(), shown.columns(*start, rows)?)?)?;
    }
    writer.close()?;
    let bytes = Bytes::from(bytes);
    match from_parquet(bytes.clone())?.as_slice() == panes {
        true => Ok(bytes.into()),
        false => Err(StateError::NotFaithful),
    }
}

/// The panes in the bytes of a Parquet file, in its order; those of the same window that stand together are put together.
///
/// # Errors
/// When it isn't one of [`to_parquet`].
pub fn from_parquet(bytes: Bytes) -> Result<Vec<(EventTime, RecordBatch)>, StateError> {
    if bytes.is_empty() {
        return Ok(Vec::new());
    }
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let metadata = reader.metadata().file_metadata().key_value_metadata();
    let names = metadata.into_iter().flatten().find(|entry| entry.key == OWN_NAMES);
    let names = names.and_then(|entry| entry.value.as_deref()).ok_or(StateError::Layout)?;
    let names: Vec<Option<OwnName>> = serde_json::from_str(names).map_err(|_| StateError::Layout)?;
    if names.len() != reader.schema().fields().len() || names.first() != Some(&Some(OwnName(PANE.to_owned(), false))) {
        return Err(StateError::Layout);
    }
    let mut panes: Vec<(EventTime, Vec<RecordBatch>)> = Vec::new();
    for batch in reader.build()? {
        let batch = batch?;
        let starts = batch.column(0).as_primitive_opt::<TimestampMicrosecondType>().ok_or(StateError::Layout)?.clone();
        let start_of = |row| if starts.is_null(row) { ASIDE } else { starts.value(row) };
        let rows = with_own_names(&batch, &names)?;
        let mut from = 0;
        while from < rows.num_rows() {
            let start = start_of(from);
            let length = (from..rows.num_rows()).take_while(|&row| start_of(row) == start).count();
            let part = rows.slice(from, length);
            match panes.last_mut() {
                Some((last, parts)) if last.0 == start => parts.push(part),
                _ => panes.push((EventTime(start), vec![part])),
            }
            from += length;
        }
    }
    let together = |(start, parts): (EventTime, Vec<RecordBatch>)| {
        let schema = parts[0].schema();
        Ok((start, concat_batches(&schema, &parts)?))
    };
    panes.into_iter().map(together).collect()
}

/// The program's name of a column, and whether it is a number there that stands in the file as a time.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
struct OwnName(String, bool);

/// How state is shown.
struct Shown<'a> {
    pane: &'static str,
    /// The window, where a pane is one.
    window: Option<&'a Window>,
    /// By the program's name, that for people, and whether it is a time.
    names: BTreeMap<String, (String, bool)>,
}

impl<'a> Shown<'a> {
    fn of(own: &Schema, columns: Option<&'a LegColumns>) -> Shown<'a> {
        let Some(columns) = columns else { return Shown { pane: "pane_start", window: None, names: BTreeMap::new() } };
        let mut shown = Shown { pane: "pane_start", window: None, names: BTreeMap::new() };
        let of_kind = |letter: char| {
            let is_of = move |name: &&str| {
                name.strip_prefix(letter).is_some_and(|rest| rest.starts_with(|digit: char| digit.is_ascii_digit()))
            };
            own.fields().iter().map(|field| field.name().as_str()).filter(is_of).collect::<Vec<_>>()
        };
        let mut times: Vec<(&str, &str)> = Vec::new();
        match &columns.window {
            Window::Tumbling(_) | Window::Calendar(_) => {
                shown.pane = "window_start";
                shown.window = Some(&columns.window);
            }
            Window::ByData(ByData::Session(_)) => {
                times.extend(of_kind('a').into_iter().rev().take(2).zip(["last_time", "first_time"]));
            }
            Window::ByData(ByData::Sliding(_)) => times.extend(of_kind('k').last().map(|own| (*own, "time"))),
            Window::ByData(ByData::Counting(_)) => times.extend([("_first", "first_time"), ("_last", "last_time")]),
            Window::Hopping(_) | Window::Cumulating(_) | Window::EachRecord => {}
        }
        let mut used: Vec<String> = own.fields().iter().map(|field| field.name().clone()).collect();
        used.extend([shown.pane.to_owned(), "window_end".to_owned()]);
        let others =
            [("_count", "records"), (FROM, "from_window")].map(|(own, name)| (own.to_owned(), name.to_owned(), false));
        let times = times.into_iter().map(|(own, name)| (own.to_owned(), name.to_owned(), true));
        let keys = columns.keys.iter().enumerate().map(|(index, name)| (format!("k{index}"), name.clone(), false));
        for (name, wanted, is_time) in times.chain(others).chain(keys) {
            let Ok(field) = own.field_with_name(&name) else { continue };
            let is_time = is_time && *field.data_type() == DataType::Int64;
            // What is called like another column keeps the program's name.
            if !shown.names.contains_key(&name) && !used.contains(&wanted) {
                used.push(wanted.clone());
                shown.names.insert(name, (wanted, is_time));
            }
        }
        shown
    }

    fn schema(&self, own: &Schema) -> SchemaRef {
        let mut fields = vec![Arc::new(Field::new(self.pane, timestamp_type(), true))];
        fields.extend(self.window.map(|_| Arc::new(Field::new("window_end", timestamp_type(), false))));
        fields.extend(own.fields().iter().map(|field| match self.names.get(field.name()) {
            Some((name, true)) => Arc::new(Field::new(name, timestamp_type(), field.is_nullable())),
            Some((name, false)) => Arc::new(field.as_ref().clone().with_name(name)),
            None => field.clone(),
        }));
        Arc::new(Schema::new(fields))
    }

    fn own_names(&self, own: &Schema) -> String {
        let mut names = vec![Some(OwnName(PANE.to_owned(), false))];
        names.extend(self.window.map(|_| None));
        names.extend(own.fields().iter().map(|field| {
            let is_time = self.names.get(field.name()).is_some_and(|(_, is_time)| *is_time);
            Some(OwnName(field.name().clone(), is_time))
        }));
        serde_json::to_string(&names).expect("a list of texts always becomes JSON")
    }

    fn columns(&self, start: EventTime, rows: &RecordBatch) -> Result<Vec<ArrayRef>, StateError> {
        let always = |time: Option<EventTime>| -> ArrayRef {
            let times = TimestampMicrosecondArray::from(vec![time.map(|time| time.0); rows.num_rows()]);
            Arc::new(times.with_timezone(TIMESTAMP_ZONE))
        };
        // What is set aside is of no pane.
        let pane = Some(start).filter(|start| start.0 != ASIDE);
        let end = self.window.and_then(|window| match window {
            Window::Tumbling(window) => Some(window.end(start)),
            Window::Calendar(window) => Some(window.end(start)),
            _ => None,
        });
        let mut columns: Vec<ArrayRef> = [always(pane)].into_iter().chain(end.map(|end| always(Some(end)))).collect();
        for (field, column) in rows.schema().fields().iter().zip(rows.columns()) {
            let is_time = self.names.get(field.name()).is_some_and(|(_, is_time)| *is_time);
            columns.push(if is_time { cast(column, &timestamp_type())? } else { column.clone() });
        }
        Ok(columns)
    }
}

/// The rows as the program knows them.
fn with_own_names(batch: &RecordBatch, names: &[Option<OwnName>]) -> Result<RecordBatch, StateError> {
    let (mut fields, mut columns) = (Vec::new(), Vec::new());
    let shown = batch.schema();
    for ((field, column), name) in shown.fields().iter().zip(batch.columns()).zip(names).skip(1) {
        let Some(OwnName(name, is_time)) = name else { continue };
        let (data_type, column) = match is_time {
            true => (DataType::Int64, cast(column, &DataType::Int64)?),
            false => (field.data_type().clone(), column.clone()),
        };
        fields.push(Field::new(name, data_type, field.is_nullable()).with_metadata(field.metadata().clone()));
        columns.push(column);
    }
    debug_assert!(columns.iter().all(|column| column.len() == batch.num_rows()), "columns of one batch");
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), columns)?)
}

#[cfg(test)]
mod tests {
    use arrow::array::{Float64Array, Int64Array, StringArray};

    use super::*;
    use crate::event::Micros;
    use crate::windows::Tumbling;

    fn rows(keys: &[Option<&str>], sums: &[f64], counts: &[i64]) -> RecordBatch {
        let fields = [("k0", DataType::Utf8), ("a0_0", DataType::Float64), ("_first", DataType::Int64)];
        let fields: Vec<Field> = fields.map(|(name, data_type)| Field::new(name, data_type, true)).to_vec();
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(keys.to_vec())),
            Arc::new(Float64Array::from(sums.to_vec())),
            Arc::new(Int64Array::from(counts.to_vec())),
        ];
        RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns fit the schema")
    }

    fn tumbling(keys: &[&str]) -> LegColumns {
        let window = Window::Tumbling(Tumbling { size: Micros(60), offset: Micros(0) });
        LegColumns { window, keys: keys.iter().map(|&key| key.to_owned()).collect() }
    }

    fn names(bytes: &[u8]) -> Vec<String> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(Bytes::copy_from_slice(bytes)).expect("Parquet");
        reader.schema().fields().iter().map(|field| field.name().clone()).collect()
    }

    #[test]
    fn what_was_kept_is_read_back_to_the_bit_under_any_names() {
        let odd = f64::from_bits(0x7ff8_0000_0000_1234);
        let panes = vec![
            (EventTime(-60), rows(&[Some("a"), None], &[-0.0, odd], &[i64::MIN, 7])),
            (EventTime(0), rows(&[Some("")], &[0.1], &[i64::MAX])),
        ];
        let by_count = LegColumns { window: counting(), ..tumbling(&["host"]) };
        for (columns, expected) in [
            (None, ["pane_start", "k0", "a0_0", "_first"].as_slice()),
            (Some(tumbling(&["host"])), &["window_start", "window_end", "host", "a0_0", "_first"]),
            (Some(by_count), &["pane_start", "host", "a0_0", "first_time"]),
            // A key of such a name would be there twice.
            (Some(tumbling(&["window_end"])), &["window_start", "window_end", "k0", "a0_0", "_first"]),
        ] {
            let bytes = to_parquet(&panes, columns.as_ref()).expect("Parquet holds it");
            assert_eq!(names(&bytes), expected);
            let back = from_parquet(bytes.into()).expect("just written");
            assert_eq!(back, panes);
            let bits = back[0].1.column(1).as_primitive::<arrow::datatypes::Float64Type>().values().to_vec();
            assert_eq!(
                bits.iter().map(|value| value.to_bits()).collect::<Vec<_>>(),
                [(-0.0f64).to_bits(), odd.to_bits()]
            );
        }
    }

    fn counting() -> Window {
        Window::ByData(ByData::Counting(crate::windows::Counting { size: 7, timeout: Micros(60), partition_keys: 1 }))
    }

    #[test]
    fn another_parquet_file_is_refused() {
        let mut bytes = Vec::new();
        let batch = rows(&[Some("a")], &[1.0], &[1]);
        let mut writer = ArrowWriter::try_new(&mut bytes, batch.schema(), None).expect("memory takes it");
        writer.write(&batch).expect("memory takes it");
        writer.close().expect("memory takes it");
        assert!(matches!(from_parquet(bytes.into()), Err(StateError::Layout)));
        assert!(from_parquet(Bytes::from_static(b"PAR1")).is_err());
    }
}
