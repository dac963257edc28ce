//! Queries of several layers: what they give for the one window of [`records`](super::records), and what is refused.

use super::plans::run;
use super::{definition, plan, refused};
use crate::job::plan::{Insert, Kept};
use crate::windows::WindowEdge;

fn rows(sql: &str) -> Vec<String> {
    let mut rows = run(&plan(sql));
    rows.sort_unstable();
    rows.into_iter().map(|row| row.replace("1970-01-01T01:00:00Z|1970-01-01T01:01:00Z|", "")).collect()
}

fn one(sql: &str) -> String {
    let mut problems = refused(&definition(sql));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems.remove(0)
}

fn key_names(insert: &Insert) -> Vec<&str> {
    insert.legs[0].keys().iter().map(|key| key.name.as_str()).collect()
}

const COUNTS: &str = "SELECT window_start, window_end, host, count(*) AS hits, sum(bytes) AS bytes
                      FROM s GROUP BY window_start, window_end, host";

#[test]
fn rows_without_aggregates_keep_the_columns_that_are_used() {
    let insert = plan("SELECT window_start, window_end, upper(host) AS name FROM s WHERE bytes >= 0");
    assert_eq!(insert.legs[0].kept, Kept::Rows);
    assert_eq!(key_names(&insert), ["host"]);
    assert!(insert.above.is_none(), "expressions need no operators");
    assert_eq!(
        rows("SELECT window_start, window_end, upper(host) AS name FROM s WHERE bytes >= 0"),
        ["12", "A.EXAMPLE", "B.EXAMPLE"]
    );
}

#[test]
fn equal_rows_stay_as_many_as_they_are_and_values_as_they_came() {
    assert_eq!(rows("SELECT window_start, window_end, status FROM s"), ["200", "200", "404", "500", "null"]);
    assert_eq!(rows("SELECT window_start, window_end, score FROM s WHERE bytes = 0"), ["-0.0"]);
}

#[test]
fn a_star_is_the_streams_columns() {
    let insert = plan("SELECT *, window_start, window_end FROM s");
    let names: Vec<&str> = insert.columns.iter().map(|column| column.name.as_str()).collect();
    assert_eq!(
        names,
        ["host", "bytes", "status", "score", "price", "t", "day", "tags", "place", "window_start", "window_end"]
    );
}

#[test]
fn the_first_rows_of_each_window_by_row_number() {
    let top = |over: &str| {
        format!(
            "SELECT window_start, window_end, host, hits FROM (
               SELECT *, ROW_NUMBER() OVER ({over}) AS place FROM ({COUNTS})
             ) WHERE place <= 2"
        )
    };
    let sql = top("PARTITION BY window_start, window_end ORDER BY hits DESC");
    let insert = plan(&sql);
    assert_eq!((insert.legs[0].kept, insert.legs[0].aggregates().len()), (Kept::Groups, 1), "sum(bytes) isn't used");
    assert!(insert.above.is_some());
    // Ties fall by all columns: `12` goes before `b.example`.
    assert_eq!(rows(&sql), ["12|1", "a.example|2"]);
    assert_eq!(
        one(&top("ORDER BY hits DESC")),
        "1:1-7 row_number OVER: PARTITION BY must hold window_start and window_end: without the window its groups never \
         end (add window_start and window_end, and select them in the query below)"
    );
}

#[test]
fn rank_counts_ties_and_qualify_reads_it() {
    let sql = format!(
        "SELECT window_start, window_end, host, RANK() OVER (PARTITION BY window_start, window_end ORDER BY hits) AS place
         FROM ({COUNTS}) QUALIFY place = 1"
    );
    assert_eq!(rows(&sql), ["12|1", "b.example|1", "null|1"]);
}

#[test]
fn a_second_aggregate_over_a_window() {
    let sql = format!(
        "WITH hosts AS ({COUNTS})
         SELECT window_start, window_end, max(hits) AS most, count(host) AS hosts, first_value(host ORDER BY hits DESC) AS top
         FROM hosts GROUP BY window_start, window_end"
    );
    assert_eq!(rows(&sql), ["2|3|a.example"]);
    let without = format!("SELECT window_start, max(hits) AS most FROM ({COUNTS}) GROUP BY window_start");
    assert!(one(&without).contains("GROUP BY above a window must hold window_start and window_end"));
}

#[test]
fn distinct_and_limit_are_per_window() {
    assert_eq!(rows("SELECT DISTINCT window_start, window_end, status FROM s"), ["200", "404", "500", "null"]);
    assert_eq!(rows(&format!("{COUNTS} ORDER BY hits DESC LIMIT 1")), ["a.example|2|3"]);
    assert_eq!(rows(&format!("{COUNTS} ORDER BY hits DESC LIMIT 1 OFFSET 1")), ["12|1|4"]);
    assert!(one("SELECT DISTINCT window_start, status FROM s").contains("DISTINCT above a window must hold"));
}

#[test]
fn a_condition_on_a_subquery_becomes_having() {
    let insert = plan(&format!("SELECT * FROM ({COUNTS}) WHERE hits > 1"));
    assert!(insert.above.is_none());
    assert!(insert.having.is_some());
    assert_eq!(rows(&format!("SELECT * FROM ({COUNTS}) WHERE hits > 1")), ["a.example|2|3"]);
}

#[test]
fn conditions_and_expressions_below_a_group_belong_to_the_record() {
    let sql = "SELECT window_start, window_end, name, count(*) AS hits
               FROM (SELECT window_start, window_end, upper(host) AS name FROM s WHERE status = 200) AS x
               WHERE name IS NOT NULL GROUP BY window_start, window_end, name";
    let insert = plan(sql);
    assert!(insert.above.is_none());
    assert_eq!(
        insert.legs[0].inputs[0].filter.as_ref().map(ToString::to_string).as_deref(),
        Some("status@2 = 200 AND upper(host@0) IS NOT NULL")
    );
    assert_eq!(rows(sql), ["A.EXAMPLE|2"]);
}

#[test]
fn an_aggregate_over_a_window_of_rows_goes_from_the_first() {
    let sql = format!(
        "SELECT window_start, window_end, host, sum(hits) OVER (PARTITION BY window_start, window_end ORDER BY host
           ROWS UNBOUNDED PRECEDING) AS so_far FROM ({COUNTS})"
    );
    assert_eq!(rows(&sql), ["12|1", "a.example|3", "b.example|4", "null|5"]);
    let moving = sql.replace("ROWS UNBOUNDED PRECEDING", "ROWS 1 PRECEDING");
    assert!(one(&moving).contains("begin the frame at UNBOUNDED PRECEDING"), "{}", one(&moving));
}

#[test]
fn functions_of_an_order_above_a_window_go_by_all_columns() {
    let sql = format!(
        "SELECT window_start, window_end, array_agg(host) AS hosts, string_agg(host, '+' ORDER BY hits DESC) AS by_hits,
                nth_value(host, 2) AS second, percentile_cont(0.25) WITHIN GROUP (ORDER BY hits DESC) AS quarter,
                median(hits) AS mid, approx_quantile(hits, 1.0) AS most, approx_distinct(host) AS about
         FROM ({COUNTS}) GROUP BY window_start, window_end"
    );
    assert_eq!(rows(&sql), ["[12, a.example, b.example, null]|a.example+12+b.example|a.example|1.25|1.0|2.0|3"]);
}

#[test]
fn the_range_column_is_found_through_the_layers() {
    let insert = plan(&format!("SELECT window_end AS e, window_start AS b, hits FROM ({COUNTS})"));
    assert_eq!(insert.partitions[0].to_string(), "day(b)");
    assert_eq!(insert.range.edge, WindowEdge::Start);
}

#[test]
fn what_is_wrong_in_a_layer_is_said_with_its_place() {
    let cases = [
        (format!("SELECT window_start, window_end, nothing FROM ({COUNTS})"), "unknown column `nothing`"),
        (format!("SELECT window_start, window_end, now() AS n FROM ({COUNTS})"), "`now` depends on more than the log"),
        (format!("SELECT window_start, window_end, hits + 1 FROM ({COUNTS})"), "`hits + 1` needs a name"),
        (format!("SELECT * FROM ({COUNTS}) ORDER BY hits"), "ORDER BY isn't possible in an INSERT"),
        (
            "SELECT DISTINCT window_start, window_end, host FROM s WHERE bytes > (SELECT 1)".to_owned(),
            "a subquery in an expression must be over the same window",
        ),
        (
            "WITH a AS (SELECT window_start, window_end, host FROM s) SELECT a.* FROM a JOIN a AS b ON a.host = b.host"
                .to_owned(),
            "a join must make the windows of both sides equal",
        ),
        (
            format!(
                "SELECT a.window_start, a.window_end, a.hits FROM ({COUNTS}) AS a FULL JOIN ({COUNTS}) AS b USING (window_start, window_end)"
            ),
            "the columns of USING would be null where only the right side has a row",
        ),
        (
            format!("SELECT window_start, window_end, hits, host AS hits FROM ({COUNTS})"),
            "two columns of one SELECT list have the same name",
        ),
    ];
    for (sql, message) in cases {
        let problem = one(&sql);
        assert!(problem.contains(message), "{sql}: {problem}");
    }
}

#[test]
fn what_is_read_twice_is_kept_once_whatever_it_is_called() {
    let insert = plan(
        "WITH r AS (SELECT window_start, window_end, host FROM s)
         SELECT a.window_start, a.window_end, a.host FROM r AS a
         JOIN r AS b ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.host = b.host",
    );
    assert_eq!(insert.legs.len(), 1);
}

#[test]
fn of_a_full_join_an_edge_is_of_either_side() {
    let edges = |start: &str| {
        format!(
            "SELECT window_start, window_end, count(*) AS hosts
             FROM (SELECT {start} AS window_start, coalesce(a.window_end, b.window_end) AS window_end
                   FROM ({COUNTS}) AS a FULL JOIN ({COUNTS}) AS b
                   ON a.window_start = b.window_start AND a.window_end = b.window_end AND a.host = b.host)
             GROUP BY window_start, window_end"
        )
    };
    // Three hosts of both sides, and NULL, which equals nothing, of each.
    assert_eq!(rows(&edges("coalesce(b.window_start, a.window_start)")), ["5"]);
    let told = one(&edges("coalesce(a.window_start, a.window_start)"));
    assert!(told.contains("must hold window_start and window_end"), "{told}");
}
