//! Partitions: what a table's spec makes of a row, and which partitions a range of time covers.
//! Time transforms are computed here, with floor division throughout: the ones of the `iceberg` crate are a day too
//! late for times before 1970 with a fraction of a second.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Date32Array, Int32Array};
use arrow::datatypes::{DataType, Decimal128Type, DecimalType, TimeUnit, TimestampMicrosecondType};
use iceberg::spec::{
    DataFile, FieldSummary, Literal, PartitionSpec, PrimitiveLiteral, PrimitiveType, Schema, Struct,
    UnboundPartitionSpec,
};
use iceberg::transform::create_transform_function;

use crate::event::{EventTime, PartitionField, Transform};

const HOUR_MICROS: i64 = 3_600_000_000;
const DAY_MICROS: i64 = 24 * HOUR_MICROS;

/// All partitions whose time, by one field of the table's partitioning, lies in `[from, to)`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct PartitionRange {
    /// The field; its transform is a time transform.
    pub field: PartitionField,
    /// Inclusive; on an edge of the transform, or [`EventTime::MIN`].
    pub from: EventTime,
    /// Exclusive; on an edge of the transform, or [`EventTime::MAX`].
    pub to: EventTime,
}

/// How a data file lies to a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lies {
    /// All of its rows are in the range.
    Inside,
    /// None of its rows is.
    Outside,
    /// Some may be in it and some not: its partitioning is another one.
    Across,
}

/// The transform as Iceberg names it.
pub(crate) fn to_iceberg(transform: Transform) -> iceberg::spec::Transform {
    match transform {
        Transform::Identity => iceberg::spec::Transform::Identity,
        Transform::Hour => iceberg::spec::Transform::Hour,
        Transform::Day => iceberg::spec::Transform::Day,
        Transform::Month => iceberg::spec::Transform::Month,
        Transform::Truncate(width) => iceberg::spec::Transform::Truncate(width),
        Transform::Bucket(count) => iceberg::spec::Transform::Bucket(count),
    }
}

/// The transform as a job file names it; `None` for those that no job can name (year, void).
pub(crate) fn from_iceberg(transform: iceberg::spec::Transform) -> Option<Transform> {
    Some(match transform {
        iceberg::spec::Transform::Identity => Transform::Identity,
        iceberg::spec::Transform::Hour => Transform::Hour,
        iceberg::spec::Transform::Day => Transform::Day,
        iceberg::spec::Transform::Month => Transform::Month,
        iceberg::spec::Transform::Truncate(width) => Transform::Truncate(width),
        iceberg::spec::Transform::Bucket(count) => Transform::Bucket(count),
        _ => return None,
    })
}

/// The partition spec of a new table, its fields named as Iceberg for Java names them.
/// The error names the column that is missing or can't be partitioned so.
pub(crate) fn spec_of(fields: &[PartitionField], schema: &Schema) -> Result<UnboundPartitionSpec, String> {
    // Iceberg for Java doesn't read a spec without an id.
    let mut builder = UnboundPartitionSpec::builder().with_spec_id(0);
    for field in fields {
        let source = schema
            .field_by_name(&field.column)
            .ok_or_else(|| format!("partitioned by {field}, but there is no column `{}`", field.column))?;
        let transform = to_iceberg(field.transform);
        transform
            .result_type(&source.field_type)
            .map_err(|_| format!("partitioned by {field}, but `{}` has type {}", field.column, source.field_type))?;
        let name = match field.transform {
            Transform::Identity => field.column.clone(),
            Transform::Hour => format!("{}_hour", field.column),
            Transform::Day => format!("{}_day", field.column),
            Transform::Month => format!("{}_month", field.column),
            Transform::Truncate(_) => format!("{}_trunc", field.column),
            Transform::Bucket(_) => format!("{}_bucket", field.column),
        };
        builder = builder.add_partition_field(source.id, name, transform).map_err(|error| error.to_string())?;
    }
    Ok(builder.build())
}

/// The number of the time partition that holds `time`, counted from 1970, floored.
pub(crate) fn time_value(transform: Transform, time: i64) -> i32 {
    let value = match transform {
        Transform::Hour => time.div_euclid(HOUR_MICROS),
        Transform::Day => time.div_euclid(DAY_MICROS),
        Transform::Month => month_of_day(time.div_euclid(DAY_MICROS)),
        Transform::Identity | Transform::Truncate(_) | Transform::Bucket(_) => {
            unreachable!("only asked for time transforms, not for {transform:?}")
        }
    };
    // i64 microseconds are at most 2.6 milliard hours: the ends of the range saturate.
    i32::try_from(value).unwrap_or(if value < 0 { i32::MIN } else { i32::MAX })
}

/// When the time partition `value` begins, in microseconds; saturates.
pub(crate) fn time_start(transform: Transform, value: i32) -> i64 {
    let value = i64::from(value);
    match transform {
        Transform::Hour => value.saturating_mul(HOUR_MICROS),
        Transform::Day => value.saturating_mul(DAY_MICROS),
        Transform::Month => first_day_of_month(value).saturating_mul(DAY_MICROS),
        Transform::Identity | Transform::Truncate(_) | Transform::Bucket(_) => {
            unreachable!("only asked for time transforms, not for {transform:?}")
        }
    }
}

/// Months since January 1970 of a day since 1970 (the civil calendar by eras of 400 years, March first).
fn month_of_day(day: i64) -> i64 {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    (era * 400 + year_of_era - 1970) * 12 + month_from_march + 2
}

/// First day, since 1970, of a month counted from January 1970.
fn first_day_of_month(month: i64) -> i64 {
    let from_march = month - 2;
    let (year, month_from_march) = (1970 + from_march.div_euclid(12), from_march.rem_euclid(12));
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month_from_march + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// Applies a partition transform to a column of a batch.
pub(crate) fn transform_column(
    transform: &iceberg::spec::Transform,
    column: &ArrayRef,
) -> Result<ArrayRef, iceberg::Error> {
    let micros = matches!(column.data_type(), DataType::Timestamp(TimeUnit::Microsecond, _));
    match from_iceberg(*transform) {
        Some(time) if time.is_time() && micros => {
            let values = column.as_primitive::<TimestampMicrosecondType>();
            if time == Transform::Day {
                let days: Date32Array = values.unary(|value| time_value(time, value));
                return Ok(Arc::new(days));
            }
            let numbers: Int32Array = values.unary(|value| time_value(time, value));
            Ok(Arc::new(numbers))
        }
        _ => create_transform_function(transform)?.transform(column.clone()),
    }
}

/// The folder of a partition below a table's data folder, for people; names with other characters get `_` for them, so
/// that no reader decodes a path differently than another.
pub(crate) fn folder(spec: &PartitionSpec, schema: &Schema, values: &Struct) -> String {
    describe(spec, schema, values).iter().fold(String::new(), |mut folder, (name, value)| {
        if !folder.is_empty() {
            folder.push('/');
        }
        let value = value.as_deref().unwrap_or("null");
        let part = format!("{name}={value}");
        let safe = |letter: char| letter.is_ascii_alphanumeric() || "=-_.".contains(letter);
        folder.extend(part.chars().take(80).map(|letter| if safe(letter) { letter } else { '_' }));
        folder
    })
}

/// The fields of a partition and their values as people read them.
pub(crate) fn describe(spec: &PartitionSpec, schema: &Schema, values: &Struct) -> Vec<(String, Option<String>)> {
    let described = spec.fields().iter().zip(values.fields()).map(|(field, value)| {
        let source = schema.field_by_id(field.source_id).and_then(|source| source.field_type.as_primitive_type());
        let literal = value.as_ref().and_then(Literal::as_primitive_literal);
        (field.name.clone(), literal.map(|literal| text_of(&literal, from_iceberg(field.transform), source)))
    });
    described.collect()
}

fn text_of(literal: &PrimitiveLiteral, transform: Option<Transform>, source: Option<&PrimitiveType>) -> String {
    let day = |days: i64, format: &str| match chrono::DateTime::from_timestamp_micros(days.saturating_mul(DAY_MICROS)) {
        Some(day) => day.format(format).to_string(),
        None => days.to_string(),
    };
    match (literal, transform, source) {
        (PrimitiveLiteral::Int(hour), Some(Transform::Hour), _) => {
            format!("{}-{:02}", day(i64::from(*hour).div_euclid(24), "%Y-%m-%d"), hour.rem_euclid(24))
        }
        (PrimitiveLiteral::Int(days), Some(Transform::Day), _) => day(i64::from(*days), "%Y-%m-%d"),
        (PrimitiveLiteral::Int(month), Some(Transform::Month), _) => {
            day(first_day_of_month(i64::from(*month)), "%Y-%m")
        }
        (PrimitiveLiteral::Int(days), Some(Transform::Identity), Some(PrimitiveType::Date)) => {
            day(i64::from(*days), "%Y-%m-%d")
        }
        (
            PrimitiveLiteral::Long(micros),
            Some(Transform::Identity),
            Some(PrimitiveType::Timestamp | PrimitiveType::Timestamptz),
        ) => EventTime(*micros).to_string(),
        (PrimitiveLiteral::UInt128(value), _, Some(PrimitiveType::Uuid)) => uuid::Uuid::from_u128(*value).to_string(),
        (PrimitiveLiteral::Boolean(value), _, _) => value.to_string(),
        (PrimitiveLiteral::Int(value), _, _) => value.to_string(),
        (PrimitiveLiteral::Long(value), _, _) => value.to_string(),
        (PrimitiveLiteral::Float(value), _, _) => value.to_string(),
        (PrimitiveLiteral::Double(value), _, _) => value.to_string(),
        (PrimitiveLiteral::String(value), _, _) => value.clone(),
        (PrimitiveLiteral::Int128(unscaled), _, Some(PrimitiveType::Decimal { precision, scale })) => {
            let (precision, scale) = (u8::try_from(*precision).unwrap_or(38), i8::try_from(*scale).unwrap_or(0));
            Decimal128Type::format_decimal(*unscaled, precision, scale)
        }
        (other, _, _) => format!("{other:?}"),
    }
}

impl PartitionRange {
    /// Checks that both ends are on edges of the transform; the error names the nearest.
    pub(crate) fn check(&self) -> Result<(), String> {
        let transform = self.field.transform;
        if !transform.is_time() {
            return Err(format!("{} is no time transform, so it has no ranges", self.field));
        }
        for (end, open) in [(self.from, EventTime::MIN), (self.to, EventTime::MAX)] {
            let below = time_start(transform, time_value(transform, end.0));
            if end != open && below != end.0 {
                let above = time_start(transform, time_value(transform, end.0).saturating_add(1));
                let (below, above) = (EventTime(below), EventTime(above));
                return Err(format!("{end} is inside a partition of {}; use {below} or {above}", self.field));
            }
        }
        Ok(())
    }

    /// Whether `[start, end)` lies in the range.
    fn lies(&self, start: i64, end: i64) -> Lies {
        if start >= self.from.0 && end <= self.to.0 {
            Lies::Inside
        } else if end <= self.from.0 || start >= self.to.0 {
            Lies::Outside
        } else {
            Lies::Across
        }
    }

    /// How a data file of any partition spec lies to the range: by its partition if that has a time, else by the bounds
    /// of the column. Rows without a time are in no range.
    pub(crate) fn judge(&self, file: &DataFile, spec: &PartitionSpec, schema: &Schema) -> Lies {
        let Some(source_id) = schema.field_id_by_name(&self.field.column) else { return Lies::Outside };
        for (field, value) in spec.fields().iter().zip(file.partition().fields()) {
            let transform = from_iceberg(field.transform).filter(|transform| transform.is_time());
            if let (true, Some(transform)) = (field.source_id == source_id, transform) {
                let Some(value) = int_value(value.as_ref()) else { return Lies::Outside };
                let end = value.checked_add(1).map_or(i64::MAX, |next| time_start(transform, next));
                return self.lies(time_start(transform, value), end);
            }
        }
        match time_bounds(file, source_id) {
            Some((lower, upper)) => self.lies(lower, upper.saturating_add(1)),
            None if file.null_value_counts().get(&source_id) == Some(&file.record_count()) => Lies::Outside,
            None => Lies::Across,
        }
    }

    /// Whether a manifest with these partition summaries may hold a file in the range.
    pub(crate) fn may_hold(
        &self,
        summaries: Option<&Vec<FieldSummary>>,
        spec: &PartitionSpec,
        schema: &Schema,
    ) -> bool {
        time_may_overlap(&self.field.column, self.from.0, self.to.0, summaries, spec, schema)
    }
}

/// Whether a manifest with these partition summaries may hold rows whose `column` is in `[from, to)`.
pub(crate) fn time_may_overlap(
    column: &str,
    from: i64,
    to: i64,
    summaries: Option<&Vec<FieldSummary>>,
    spec: &PartitionSpec,
    schema: &Schema,
) -> bool {
    let (Some(summaries), Some(source_id)) = (summaries, schema.field_id_by_name(column)) else { return true };
    spec.fields().iter().zip(summaries).all(|(field, summary)| {
        let transform = from_iceberg(field.transform).filter(|transform| transform.is_time());
        let Some(transform) = transform.filter(|_| field.source_id == source_id) else { return true };
        let int = |bytes: &[u8]| <[u8; 4]>::try_from(bytes).ok().map(i32::from_le_bytes);
        let lower = summary.lower_bound.as_ref().and_then(|bytes| int(bytes.as_slice()));
        let upper = summary.upper_bound.as_ref().and_then(|bytes| int(bytes.as_slice()));
        match (lower, upper) {
            (Some(lower), Some(upper)) => {
                let end = upper.checked_add(1).map_or(i64::MAX, |next| time_start(transform, next));
                time_start(transform, lower) < to && end > from
            }
            _ => true,
        }
    })
}

/// The integer of a partition value.
pub(crate) fn int_value(value: Option<&Literal>) -> Option<i32> {
    match value?.as_primitive_literal()? {
        PrimitiveLiteral::Int(value) => Some(value),
        _ => None,
    }
}

/// Least and greatest value of a timestamp column in a file, in microseconds.
pub(crate) fn time_bounds(file: &DataFile, field_id: i32) -> Option<(i64, i64)> {
    let long = |literal: &PrimitiveLiteral| match literal {
        PrimitiveLiteral::Long(value) => Some(*value),
        _ => None,
    };
    let lower = long(file.lower_bounds().get(&field_id)?.literal())?;
    Some((lower, long(file.upper_bounds().get(&field_id)?.literal())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_partitions_floor_before_1970_too() {
        let micros = |text: &str| text.parse::<chrono::DateTime<chrono::Utc>>().expect("a time").timestamp_micros();
        for (text, hour, day, month) in [
            ("1970-01-01T00:00:00Z", 0, 0, 0),
            ("1969-12-31T23:59:59.999999Z", -1, -1, -1),
            ("1969-12-30T23:59:59.5Z", -25, -2, -1),
            ("1969-11-30T00:00:00Z", -32 * 24, -32, -2),
            ("2000-02-29T12:00:00Z", 264_396, 11_016, 361),
            ("0001-01-01T00:00:00Z", -719_162 * 24, -719_162, -1969 * 12),
        ] {
            let time = micros(text);
            assert_eq!(time_value(Transform::Hour, time), hour, "{text}");
            assert_eq!(time_value(Transform::Day, time), day, "{text}");
            assert_eq!(time_value(Transform::Month, time), month, "{text}");
        }
    }

    #[test]
    fn every_month_starts_where_the_one_before_ends() {
        for month in -30_000..120_000 {
            let start = time_start(Transform::Month, month);
            assert_eq!(time_value(Transform::Month, start), month);
            assert_eq!(time_value(Transform::Month, start - 1), month - 1);
        }
    }

    #[test]
    fn a_range_off_the_edges_is_refused_with_the_nearest() {
        let field = PartitionField { column: "t".into(), transform: Transform::Hour };
        let range = PartitionRange { field, from: EventTime(HOUR_MICROS + 1), to: EventTime::MAX };
        assert_eq!(
            range.check().expect_err("inside an hour"),
            "1970-01-01T01:00:00.000001Z is inside a partition of hour(t); use 1970-01-01T01:00:00Z or 1970-01-01T02:00:00Z"
        );
        assert_eq!(PartitionRange { from: EventTime::MIN, ..range }.check(), Ok(()));
    }
}
