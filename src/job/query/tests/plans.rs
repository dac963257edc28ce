//! The structure of plans, and what they make of records.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BooleanArray, Int64Array, RecordBatch, TimestampMicrosecondArray, UInt32Array,
    new_null_array,
};
use arrow::compute::{concat, filter_record_batch, take_record_batch};
use arrow::datatypes::DataType;
use datafusion_physical_expr::PhysicalExpr;

use super::{definition, partition, plan, plan_of, records, spanned, texts};
use crate::event::{Micros, TIMESTAMP_ZONE, TableName, Transform, timestamp_type};
use crate::job::plan::{GroupingSet, Insert, Kept, Publish, RangeColumn};
use crate::windows::{Tumbling, Window, WindowEdge};

pub(super) fn shown(expression: &Arc<dyn PhysicalExpr>) -> String {
    expression.to_string()
}

fn column_names(insert: &Insert) -> Vec<&str> {
    insert.columns.iter().map(|column| column.name.as_str()).collect()
}

fn closed_names(insert: &Insert) -> Vec<&str> {
    insert.legs[0].closed_schema.fields().iter().map(|field| field.name().as_str()).collect()
}

/// The rows of the one window of [`records`], as text, sorted by key: what an engine does, in the plainest way.
pub(super) fn run(insert: &Insert) -> Vec<String> {
    let mut batch = records();
    if let Some(filter) = &insert.legs[0].inputs[0].filter {
        batch = filtered(&batch, filter);
    }
    let keys: Vec<ArrayRef> = insert.legs[0].keys().iter().map(|key| values(&key.expression, &batch)).collect();
    let mut closed: Vec<RecordBatch> = Vec::new();
    for keys in of_sets(insert, keys) {
        let mut groups: BTreeMap<Vec<String>, Vec<u32>> = BTreeMap::new();
        for row in 0..batch.num_rows() {
            let mut key: Vec<String> = keys.iter().map(|key| texts(key).swap_remove(row)).collect();
            if insert.legs[0].kept == Kept::Rows {
                key.push(row.to_string());
            }
            groups.entry(key).or_default().push(u32::try_from(row).expect("few rows"));
        }
        closed.extend(groups.values().map(|rows| closed_group(insert, &batch, &keys, rows)));
    }
    let mut rows = Vec::new();
    let closed = match &insert.above {
        None => closed,
        Some(above) => vec![above.start().and_then(|mut above| above.run(&[closed])).expect("it was planned")],
    };
    for mut closed in closed {
        if let Some(having) = &insert.having {
            closed = filtered(&closed, having);
        }
        let columns: Vec<ArrayRef> = insert.columns.iter().map(|column| values(&column.expression, &closed)).collect();
        let result = RecordBatch::try_new(Arc::clone(&insert.result_schema), columns).expect("types are as declared");
        for row in 0..result.num_rows() {
            let texts: Vec<String> = result.columns().iter().map(|column| texts(column).swap_remove(row)).collect();
            rows.push(texts.join("|"));
        }
    }
    rows
}

fn values(expression: &Arc<dyn PhysicalExpr>, batch: &RecordBatch) -> ArrayRef {
    expression.evaluate(batch).and_then(|values| values.into_array(batch.num_rows())).expect("it evaluates")
}

fn filtered(batch: &RecordBatch, condition: &Arc<dyn PhysicalExpr>) -> RecordBatch {
    let keep: BooleanArray = values(condition, batch).as_boolean().clone();
    filter_record_batch(batch, &keep).expect("as long as the batch")
}

/// The keys of each grouping set.
fn of_sets(insert: &Insert, keys: Vec<ArrayRef>) -> Vec<Vec<ArrayRef>> {
    let sets = &insert.legs[0].sets;
    if sets.is_empty() {
        return vec![keys];
    }
    let of_set = |set: &GroupingSet| {
        let nulls = |(key, holds): (&ArrayRef, &bool)| {
            if *holds { Arc::clone(key) } else { new_null_array(key.data_type(), key.len()) }
        };
        let mut keys: Vec<ArrayRef> = keys.iter().zip(&set.holds).map(nulls).collect();
        keys.push(Arc::new(Int64Array::from(vec![set.id; 5])));
        keys
    };
    sets.iter().map(of_set).collect()
}

fn closed_group(insert: &Insert, batch: &RecordBatch, keys: &[ArrayRef], rows: &[u32]) -> RecordBatch {
    let window = |micros: i64| -> ArrayRef {
        Arc::new(TimestampMicrosecondArray::from(vec![micros]).with_timezone(TIMESTAMP_ZONE))
    };
    let mut columns = vec![window(3_600_000_000), window(3_660_000_000), window(3_659_999_999)];
    columns.extend(keys.iter().map(|key| key.slice(rows[0] as usize, 1)));
    let group = take_record_batch(batch, &UInt32Array::from(rows.to_vec())).expect("rows are inside");
    for aggregate in insert.legs[0].aggregates() {
        let group = aggregate.filter.as_ref().map_or_else(|| group.clone(), |filter| filtered(&group, filter));
        let arguments: Vec<ArrayRef> = aggregate.arguments.iter().map(|argument| values(argument, &group)).collect();
        let mut accumulator = aggregate.function.create_accumulator().expect("it was made when planned");
        // One record at a time, last first: no aggregate may depend on it.
        for row in (0..group.num_rows()).rev() {
            let one: Vec<ArrayRef> = arguments.iter().map(|argument| argument.slice(row, 1)).collect();
            accumulator.update_batch(&one).expect("types fit");
        }
        columns.push(accumulator.evaluate().and_then(|value| value.to_array()).expect("a value"));
    }
    let columns: Vec<ArrayRef> = columns.iter().map(|column| concat(&[column.as_ref()]).expect("one")).collect();
    RecordBatch::try_new(Arc::clone(&insert.legs[0].closed_schema), columns).expect("as the closed schema says")
}

#[test]
fn a_windowed_count_has_filter_key_aggregate_and_result() {
    let insert = plan(
        "SELECT window_start, window_end, host, count(*) AS hits, count(DISTINCT status) AS codes
         FROM s WHERE bytes >= 0 GROUP BY window_start, window_end, host HAVING count(*) > 0",
    );
    assert_eq!(insert.legs[0].inputs[0].stream, 0);
    assert_eq!(shown(insert.legs[0].inputs[0].filter.as_ref().expect("WHERE")), "bytes@1 >= 0");
    assert_eq!(insert.legs[0].keys().len(), 1);
    assert_eq!(
        (insert.legs[0].keys()[0].name.as_str(), shown(&insert.legs[0].keys()[0].expression)),
        ("host", "host@0".to_owned())
    );
    assert_eq!(
        closed_names(&insert),
        ["window_start", "window_end", "window_time", "host", "count(*)", "count(DISTINCT status)"]
    );
    assert_eq!(insert.legs[0].aggregates().len(), 2, "count(DISTINCT) stays one aggregate");
    assert!(insert.legs[0].aggregates()[1].function.is_distinct());
    assert_eq!(shown(insert.having.as_ref().expect("HAVING")), "count(*)@4 > 0");
    assert_eq!(column_names(&insert), ["window_start", "window_end", "host", "hits", "codes"]);
    assert_eq!(insert.result_schema.field(0).data_type(), &timestamp_type());
    assert_eq!(insert.result_schema.field(3).data_type(), &DataType::Int64);
    assert_eq!(insert.sort, [0, 1, 2, 3, 4]);
    assert_eq!(insert.partitions[0].to_string(), "day(window_start)");
    assert_eq!(insert.range, RangeColumn { partition: 0, edge: WindowEdge::Start });
    assert_eq!(insert.late[0].table.to_string(), "marts.result_late");
    assert_eq!(insert.publish, Publish::EachWindow);
    assert_eq!(insert.window, Window::Tumbling(Tumbling { size: Micros(60_000_000), offset: Micros(0) }));
    assert_eq!(
        run(&insert),
        [
            "1970-01-01T01:00:00Z|1970-01-01T01:01:00Z|12|1|1",
            "1970-01-01T01:00:00Z|1970-01-01T01:01:00Z|a.example|1|1",
            "1970-01-01T01:00:00Z|1970-01-01T01:01:00Z|b.example|1|1",
        ]
    );
}

#[test]
fn aliases_ordinals_and_qualifiers_work_as_in_datafusion() {
    let insert = plan(
        "SELECT r.window_start AS w, upper(r.host) AS name, count(*) AS n, avg(bytes) + 1 AS mean
         FROM s AS r GROUP BY w, 2 HAVING n > 0",
    );
    assert_eq!(closed_names(&insert)[3..], ["upper(host)", "count(*)", "avg(bytes)"]);
    assert_eq!(shown(&insert.columns[1].expression), "upper(host)@3");
    assert_eq!(insert.partitions[0].to_string(), "day(w)");
    assert_eq!(run(&insert)[1..3], ["1970-01-01T01:00:00Z|A.EXAMPLE|2|2.5", "1970-01-01T01:00:00Z|B.EXAMPLE|1|1.0"]);
}

#[test]
fn one_window_column_in_group_by_decides_the_others() {
    for group in ["window_start", "window_end", "s.window_end", "window_time, window_start"] {
        let insert =
            plan(&format!("SELECT window_start, window_end, window_time, max(bytes) AS m FROM s GROUP BY {group}"));
        assert!(insert.legs[0].keys().is_empty());
        assert_eq!(
            run(&insert),
            ["1970-01-01T01:00:00Z|1970-01-01T01:01:00Z|1970-01-01T01:00:59.999999Z|10"],
            "{group}"
        );
    }
}

#[test]
fn group_expressions_over_the_window_are_computed_when_it_closes() {
    let insert = plan(
        "SELECT window_start, date_trunc('hour', window_start) AS hour, date_part('hour', window_end) AS h, sum(bytes) AS b
         FROM s GROUP BY window_end, date_trunc('hour', window_start)",
    );
    assert!(insert.legs[0].keys().is_empty());
    assert_eq!(run(&insert), ["1970-01-01T01:00:00Z|1970-01-01T01:00:00Z|1|7"]);
}

#[test]
fn keys_of_floats_are_normalised() {
    let insert = plan("SELECT window_start, score, count(*) AS n FROM s GROUP BY window_start, score");
    assert_eq!(shown(&insert.legs[0].keys()[0].expression), "float_key(score@3)");
    assert_eq!(
        run(&insert),
        [
            "1970-01-01T01:00:00Z|0.0|2",
            "1970-01-01T01:00:00Z|1.5|1",
            "1970-01-01T01:00:00Z|NaN|1",
            "1970-01-01T01:00:00Z|null|1"
        ]
    );
}

#[test]
fn filters_of_aggregates_are_bound_to_records() {
    let insert = plan(
        "SELECT window_start, count(*) FILTER (WHERE status >= 400) AS errors, count(host) AS named,
                sum(CASE WHEN bytes > 0 THEN bytes ELSE 0 END) AS up, bool_or(host LIKE 'a%') AS a, min(price) AS cheap
         FROM s GROUP BY window_start",
    );
    assert_eq!(shown(insert.legs[0].aggregates()[0].filter.as_ref().expect("FILTER")), "status@2 >= 400");
    assert_eq!(run(&insert), ["1970-01-01T01:00:00Z|2|4|14|true|-2.50"]);
}

#[test]
fn first_and_last_value_go_by_the_canonical_order() {
    let insert = plan(
        "SELECT window_start, first_value(host) AS first, last_value(host) AS last, last_value(host ORDER BY status) AS worst,
                first_value(host ORDER BY status DESC NULLS LAST) AS worst_too, last_value(host) IGNORE NULLS AS named
         FROM s GROUP BY window_start",
    );
    let arguments: Vec<Vec<String>> =
        insert.legs[0].aggregates().iter().map(|aggregate| aggregate.arguments.iter().map(shown).collect()).collect();
    assert_eq!(arguments[0], ["host@0", "t@5", "_partition@9", "_offset@10"]);
    assert_eq!(arguments[2], ["host@0", "status@2", "t@5", "_partition@9", "_offset@10"]);
    let last = insert.legs[0].aggregates()[2].function.order_bys();
    assert!(last.iter().all(|sort| !sort.options.descending && !sort.options.nulls_first));
    assert_eq!(run(&insert), ["1970-01-01T01:00:00Z|a.example|null|null|12|12"]);
}

#[test]
fn result_types_are_those_of_iceberg() {
    let insert = plan(
        "SELECT window_start, arrow_cast(status, 'Int16') AS small, arrow_cast(status, 'UInt32') AS wide,
                arrow_cast(host, 'Utf8View') AS view, to_timestamp(max(bytes)) AS nanos, sum(price) AS total, count(*) AS n
         FROM s GROUP BY window_start, status, host",
    );
    let types: Vec<&DataType> = insert.result_schema.fields().iter().map(|field| field.data_type()).collect();
    assert_eq!(types[..4], [&timestamp_type(), &DataType::Int32, &DataType::Int64, &DataType::Utf8]);
    assert_eq!(types[4], &timestamp_type());
    assert_eq!(types[5], &DataType::Decimal128(20, 2));
    assert_eq!(run(&insert)[0], "1970-01-01T01:00:00Z|200|200|a.example|1970-01-01T00:00:10Z|-1.00|2");
}

#[test]
fn keys_of_view_types_are_kept_as_plain_text() {
    let insert = plan("SELECT window_start, arrow_cast(host, 'Utf8View') AS view, count(*) AS n FROM s GROUP BY 1, 2");
    assert_eq!(insert.legs[0].closed_schema.field(3).data_type(), &DataType::Utf8);
    assert_eq!(insert.result_schema.field(1).data_type(), &DataType::Utf8);
    assert_eq!(run(&insert)[1], "1970-01-01T01:00:00Z|a.example|2");
}

#[test]
fn equal_names_in_the_closed_schema_get_a_number() {
    let insert = plan(
        "SELECT window_start, count(*) FILTER (WHERE status > 0) AS a, count(*) FILTER (WHERE status > 1) AS b, count(*) AS c
         FROM s GROUP BY window_start",
    );
    let names = closed_names(&insert);
    let distinct: std::collections::BTreeSet<_> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "{names:?}");
}

#[test]
fn local_names_do_not_reach_the_plan_of_records_and_windows() {
    let one = plan("SELECT window_start, host, sum(bytes) AS a FROM s GROUP BY 1, 2 HAVING sum(bytes) > 0");
    let two =
        plan("SELECT r.window_start, r.host, sum(r.bytes) AS b FROM s r GROUP BY r.window_start, r.host HAVING b > 0");
    assert_eq!(one.legs[0].closed_schema, two.legs[0].closed_schema);
    assert_eq!(one.having.as_ref().map(shown), two.having.as_ref().map(shown));
}

#[test]
fn partitions_are_taken_by_alias_and_beside_others() {
    let mut insert = definition("SELECT host, window_end AS w, count(*) AS n FROM s GROUP BY w, host");
    insert.partitioned_by = Some(vec![
        partition("host", Transform::Bucket(8)),
        partition("w", Transform::Hour),
        partition("host", Transform::Identity),
    ]);
    let insert = plan_of(&insert).expect("fine");
    assert_eq!(insert.range, RangeColumn { partition: 1, edge: WindowEdge::End });
    assert_eq!(insert.sort, [1, 0, 2]);
}

#[test]
fn clauses_behind_the_query_are_taken_over() {
    let mut insert = definition("SELECT window_start, window_end, count(*) AS n FROM s GROUP BY 1, 2");
    insert.allow_lateness = Some(spanned(Micros(5)));
    insert.late_into = Some(spanned(TableName::parse("late.all").expect("two parts")));
    insert.publish = Some(spanned(Publish::WholePartitions));
    let crate::job::definition::WindowFunction::Tumble { offset, .. } = &mut insert.windows[0].function else {
        panic!("the tests' window is a TUMBLE")
    };
    *offset = Some(spanned(Micros(-1)));
    let insert = plan_of(&insert).expect("fine");
    assert_eq!(insert.allowed, Micros(5));
    assert_eq!(insert.late[0].table.to_string(), "late.all");
    assert_eq!(insert.publish, Publish::WholePartitions);
    assert_eq!(insert.window, Window::Tumbling(Tumbling { size: Micros(60_000_000), offset: Micros(59_999_999) }));
}

#[test]
fn nested_values_are_keys_and_results() {
    let insert =
        plan("SELECT window_start, place, place['city'] AS city, tags, count(*) AS n FROM s GROUP BY 1, place, tags");
    assert_eq!(insert.legs[0].keys().len(), 2);
    assert!(matches!(insert.result_schema.field(1).data_type(), DataType::Struct(_)));
    assert_eq!(run(&insert).len(), 1);
}

#[test]
fn queries_that_look_odd_are_fine() {
    let queries = [
        "SELECT window_start, count(*) AS n FROM s WHERE host > t OR bytes = 4 GROUP BY window_start",
        "SELECT window_start, host, count(*) AS n FROM s GROUP BY window_start, host, host, s.host",
        "SELECT window_start AS host, count(*) AS n FROM s GROUP BY 1, s.host",
        "SELECT window_start, count(*) AS n FROM s WHERE true GROUP BY (window_start), host HAVING n IN (1, 2)",
        "SELECT window_start, count(bytes, host) AS n FROM s GROUP BY window_start",
        "SELECT window_start, count(DISTINCT tags) AS n, max(place) AS m FROM s GROUP BY window_start",
        "SELECT window_start, bytes + 1 AS b, count(*) AS n FROM s GROUP BY window_start, bytes",
        "SELECT window_start, count(DISTINCT (bytes, host)) AS n, count(DISTINCT bytes, host) AS m FROM s GROUP BY window_start",
        "SELECT window_start, sum(DISTINCT bytes) AS n, avg(DISTINCT score) AS m FROM s GROUP BY window_start",
        "SELECT window_start, upper(host) AS host, count(*) AS n FROM s GROUP BY window_start, host",
        "SELECT window_start, [score] AS scores, count(*) AS n FROM s GROUP BY window_start, [score]",
        "SELECT window_start, bytes + 1 AS b, count(*) AS n FROM s GROUP BY window_start, bytes + 1",
        "SELECT window_start, date_trunc('day', t AT TIME ZONE 'Europe/Berlin') AS b, count(*) AS n FROM s GROUP BY window_start, b",
        "SELECT window_start, 'web' AS source, 1 AS one, count(*) AS n FROM s GROUP BY window_start",
        "SELECT window_start, 'web' AS source, count(*) AS n FROM s GROUP BY window_start, 'web'",
        "SELECT window_start, max(DISTINCT bytes) AS n, sum(bytes ORDER BY t) AS m FROM s GROUP BY window_start",
        "SELECT window_start, count(*) * 100.0 / nullif(sum(bytes), 0) AS share FROM s GROUP BY window_start",
        "SELECT window_start, sum(bytes) / count(status) AS mean, sum(bytes) % count(nullif(status, status)) AS none FROM s GROUP BY 1",
        "SELECT window_start, array_sort(tags) AS t, count(*) AS n FROM s GROUP BY window_start, tags",
        "SELECT window_start, array_distinct([host]) AS hosts, count(*) AS n FROM s GROUP BY window_start, array_distinct([host])",
        "SELECT window_start, count(*) AS n FROM s WHERE _partition = 0 GROUP BY window_start",
        "SELECT \"window_start\", COUNT(*) AS \"N\" FROM \"s\" GROUP BY \"window_start\"",
        "SELECT window_start, arrow_cast(host, 'Dictionary(Int32, Utf8)') AS h, count(*) AS n FROM s GROUP BY 1, 2",
        "SELECT window_start, var_pop(score) AS a, stddev(score) AS b, var_samp(bytes) AS c, avg(price) AS d FROM s GROUP BY 1",
    ];
    for sql in queries {
        let insert = plan(sql);
        assert!(!run(&insert).is_empty(), "{sql}");
    }
}
