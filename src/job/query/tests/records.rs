//! Queries without a window.

use arrow::array::AsArray;
use arrow::datatypes::DataType;

use super::*;
use crate::event::timestamp_type;
use crate::job::plan::{Kept, Publish, RangeColumn};
use crate::windows::{Window, WindowEdge};

fn without_window(sql: &str) -> InsertDefinition {
    InsertDefinition { windows: Vec::new(), ..definition(sql) }
}

fn planned(sql: &str) -> Insert {
    plan_of(&without_window(sql)).unwrap_or_else(|problems| panic!("{sql}: {problems:#?}"))
}

/// The texts of the result's columns for the records that WHERE leaves.
fn results(insert: &Insert) -> Vec<Vec<String>> {
    let records = records();
    let input = &insert.legs[0].inputs[0];
    let records = match &input.filter {
        None => records,
        Some(filter) => {
            let mask = filter.evaluate(&records).and_then(|mask| mask.into_array(records.num_rows()));
            let mask = mask.expect("a condition");
            arrow::compute::filter_record_batch(&records, mask.as_boolean()).expect("as long as the batch")
        }
    };
    let columns = input.keys.iter().map(|key| {
        let values = key.expression.evaluate(&records).and_then(|values| values.into_array(records.num_rows()));
        texts(&values.expect("it can be computed"))
    });
    columns.collect()
}

#[test]
fn each_record_is_a_result_partitioned_by_its_time() {
    let insert = planned("SELECT upper(host) AS host, t AS at, bytes + 1 AS more FROM s WHERE status = 200");
    assert_eq!(
        (insert.window, insert.legs[0].kept, insert.publish),
        (Window::EachRecord, Kept::Rows, Publish::EachWindow)
    );
    assert_eq!(results(&insert)[0], ["A.EXAMPLE", "A.EXAMPLE"]);
    assert_eq!(results(&insert)[2], ["11", "-6"]);
    assert_eq!(insert.partitions, [PartitionField { column: "at".into(), transform: Transform::Day }]);
    assert_eq!(insert.range, RangeColumn { partition: 0, edge: WindowEdge::Start });
    assert_eq!((insert.sort.as_slice(), insert.identity), ([1, 0, 2].as_slice(), 1), "by time first");
    assert_eq!(insert.legs[0].window_columns(), []);
    let types: Vec<&DataType> = insert.result_schema.fields().iter().map(|field| field.data_type()).collect();
    assert_eq!(types, [&DataType::Utf8, &timestamp_type(), &DataType::Int64]);
}

#[test]
fn layers_are_put_together_and_fields_keep_their_names() {
    let insert = planned(
        "WITH big AS (SELECT *, bytes * 2 AS twice FROM s WHERE bytes > 0)
         SELECT t, b.twice, place.city, b.host FROM (SELECT * FROM big WHERE twice > 10) AS b",
    );
    let names: Vec<&str> = insert.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(names, ["t", "twice", "city", "host"]);
    assert_eq!(results(&insert)[1], ["20"], "10 is the only one of more than 5 bytes");
    assert_eq!(planned("SELECT * FROM s").columns.len(), columns().len());
}

#[test]
fn unnest_is_one_list_and_conditions_on_its_elements_come_behind_it() {
    let sql = "SELECT t, tag, nth FROM s CROSS JOIN UNNEST(tags) WITH ORDINALITY AS u(tag, nth)
               WHERE tag <> '' AND host LIKE 'a%' AND nth < 3";
    let insert = planned(sql);
    let input = &insert.legs[0].inputs[0];
    let unnest = input.unnest.as_ref().expect("it has one");
    assert!(unnest.with_ordinality && unnest.filter.is_some() && input.filter.is_some());
    assert_eq!(unnest.schema.fields().len(), stream().record_schema().fields().len() + 2);
    for same in [
        "SELECT t, unnest(string_to_array(host, '.')) AS part FROM s",
        "SELECT t, part FROM s, UNNEST(string_to_array(s.host, '.')) AS part",
        "SELECT x.t, u.part FROM s AS x CROSS JOIN UNNEST(string_to_array(x.host, '.')) AS u(part)",
    ] {
        let insert = planned(same);
        let input = &insert.legs[0].inputs[0];
        let unnest = input.unnest.as_ref().expect("it has one");
        assert!(!unnest.with_ordinality && unnest.filter.is_none() && input.filter.is_none(), "{same}");
        assert_eq!(insert.columns[1].name, "part");
        let list = unnest.list.evaluate(&records()).and_then(|list| list.into_array(5)).expect("a list");
        assert_eq!(list.as_list::<i32>().value_length(0), 2, "{same}");
    }
    let by_ordinal = planned("SELECT t, nth + 1 AS n FROM s CROSS JOIN UNNEST(tags) WITH ORDINALITY AS u(tag, nth)");
    assert_eq!(by_ordinal.result_schema.field(1).data_type(), &DataType::Int64);
}

#[test]
fn all_that_looks_at_several_records_is_refused() {
    for (sql, what) in [
        ("SELECT host, count(*) AS n FROM s GROUP BY host", "GROUP BY"),
        ("SELECT max(t) AS t FROM s", "an aggregate"),
        ("SELECT t FROM s HAVING true", "HAVING"),
        ("SELECT DISTINCT t FROM s", "DISTINCT"),
        ("SELECT t, row_number() OVER () AS n FROM s", "OVER"),
        ("SELECT t FROM s LIMIT 1", "LIMIT"),
        ("SELECT t FROM (SELECT DISTINCT t FROM s)", "DISTINCT"),
        ("SELECT a.t FROM s AS a JOIN s AS b ON a.host = b.host", "a join"),
        ("SELECT t FROM s WHERE host IN (SELECT host FROM s)", "a join"),
    ] {
        let problems = refused(&without_window(sql));
        let expected = format!("{what} needs state outside a window, which would never end");
        assert!(problems.len() == 1 && problems[0].contains(&expected), "{sql}: {problems:?}");
        assert!(problems[0].contains("FROM TUMBLE(s, time, INTERVAL '1 minute')"), "{problems:?}");
    }
    let windows = refused(&without_window("SELECT window_start, count(*) AS n FROM s GROUP BY window_start"));
    assert!(windows.len() == 1 && windows[0].contains("a column of a window, and the query has none"), "{windows:?}");
}

#[test]
fn the_event_time_must_be_in_the_result_as_it_is() {
    for sql in
        ["SELECT host FROM s", "SELECT t + INTERVAL '1 hour' AS t FROM s", "SELECT date_trunc('day', t) AS t FROM s"]
    {
        let problems = refused(&without_window(sql));
        assert!(problems[0].contains("`t` isn't in it unchanged (select t"), "{problems:?}");
    }
    let by_host = InsertDefinition {
        partitioned_by: Some(vec![partition("host", Transform::Identity), partition("day", Transform::Month)]),
        ..without_window("SELECT t, host, day FROM s")
    };
    let problems = refused(&by_host);
    assert!(problems[0].contains("needs a time transform of the event time"), "{problems:?}");
}
