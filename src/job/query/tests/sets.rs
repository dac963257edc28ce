//! GROUPING SETS, ROLLUP and CUBE: each set gives the rows of a query of its own.

use super::plans::run;
use super::{definition, plan, refused};

const WINDOW: &str = "window_start, window_end";

fn rows(sql: &str) -> Vec<String> {
    let mut rows = run(&plan(sql));
    rows.sort_unstable();
    rows
}

fn one(sql: &str) -> String {
    let mut problems = refused(&definition(sql));
    assert_eq!(problems.len(), 1, "{problems:#?}");
    problems.remove(0)
}

/// The rows of one set: a query that groups by its keys, and has NULL for the others.
fn of_one_set(keys: &[&str], calls: &str) -> Vec<String> {
    let column = |key: &str, kind: &str| match keys.contains(&key) {
        true => key.to_owned(),
        false => format!("CAST(NULL AS {kind}) AS {key}"),
    };
    let group: String = keys.iter().map(|key| format!(", {key}")).collect();
    let (host, status) = (column("host", "TEXT"), column("status", "INT"));
    rows(&format!("SELECT {WINDOW}, {host}, {status}, {calls} FROM s GROUP BY {WINDOW}{group}"))
}

/// Aggregates whose results can't be made of those of finer groups.
const CALLS: &str = "count(DISTINCT score) AS scores, avg(bytes) AS mean, median(bytes) AS median, \
                     first_value(bytes) FILTER (WHERE bytes > 0) AS first";

#[test]
fn each_set_gives_the_rows_of_a_query_of_its_own() {
    let both = ["host", "status"];
    let cases: [(&str, Vec<&[&str]>); 5] = [
        ("window_start, window_end, ROLLUP (host, status)", vec![&both, &both[..1], &[]]),
        ("window_start, CUBE (host, status)", vec![&both, &both[..1], &both[1..], &[]]),
        ("GROUPING SETS ((window_start, window_end, status), (window_start, window_end))", vec![&both[1..], &[]]),
        ("GROUPING SETS ((window_start, status), (status, window_start, host))", vec![&both, &both[1..]]),
        // The same set twice gives its rows twice.
        ("window_start, GROUPING SETS ((host), (status), (host))", vec![&both[..1], &both[1..], &both[..1]]),
    ];
    for (group, sets) in cases {
        let shown = ["host", "status"].map(|key| match sets.iter().any(|set| set.contains(&key)) {
            true => key.to_owned(),
            false => format!("CAST(NULL AS TEXT) AS {key}"),
        });
        let sql = format!("SELECT {WINDOW}, {}, {CALLS} FROM s GROUP BY {group}", shown.join(", "));
        let mut expected: Vec<String> = sets.iter().flat_map(|set| of_one_set(set, CALLS)).collect();
        expected.sort_unstable();
        assert!(expected.len() > 4, "{group}");
        assert_eq!(rows(&sql).len(), expected.len(), "{group}");
        let bare = |row: &String| row.split('|').skip(2).map(str::to_owned).collect::<Vec<_>>();
        let (actual, expected): (Vec<_>, Vec<_>) =
            (rows(&sql).iter().map(bare).collect(), expected.iter().map(bare).collect());
        assert_eq!(actual, expected, "{group}");
    }
}

#[test]
fn sets_above_a_window_do_the_same() {
    let below = format!("SELECT {WINDOW}, host, status, bytes FROM s");
    let sql = |group: &str, columns: &str| {
        format!("SELECT {WINDOW}, {columns}, max(bytes) AS most, count(*) AS n FROM ({below}) GROUP BY {group}")
    };
    let mut expected = rows(&sql(&format!("{WINDOW}, host"), "host"));
    expected.extend(rows(&sql(WINDOW, "CAST(NULL AS TEXT) AS host")));
    expected.sort_unstable();
    assert_eq!(rows(&sql(&format!("{WINDOW}, ROLLUP (host)"), "host")), expected);
    assert_eq!(expected.len(), 5);
}

#[test]
fn grouping_tells_a_key_that_is_left_out_from_one_that_is_null() {
    let query = |above: &str| format!("SELECT {WINDOW}, host, grouping(host) AS g, {above}count(*) AS n FROM s");
    let sql = format!("{} GROUP BY {WINDOW}, ROLLUP (host)", query(""));
    let bare: Vec<String> = rows(&sql).iter().map(|row| row.split('|').skip(2).collect::<Vec<_>>().join("|")).collect();
    assert_eq!(bare, ["12|0|1", "a.example|0|2", "b.example|0|1", "null|0|1", "null|1|5"]);
    let twice = format!(
        "{} GROUP BY {WINDOW}, GROUPING SETS ((host, status), (host), (host))",
        query("grouping(host, status) AS gs, ")
    );
    let told: std::collections::BTreeSet<String> =
        rows(&twice).iter().map(|row| row.split('|').skip(3).take(2).collect::<Vec<_>>().join("|")).collect();
    assert_eq!(told.into_iter().collect::<Vec<_>>(), ["0|0", "0|1"], "how often a set stands there isn't seen");
}

#[test]
fn every_set_holds_the_window() {
    let told = "must hold window_start and window_end";
    let count = |group: &str| one(&format!("SELECT window_start, count(*) AS n FROM s GROUP BY {group}"));
    for group in [
        "ROLLUP (window_start, host)",
        "CUBE (window_start, window_end)",
        "GROUPING SETS ((window_start, host), (host))",
        "GROUPING SETS ((window_start), (window_end))",
    ] {
        assert!(count(group).contains(&format!("every grouping set over a window {told}")), "{}", count(group));
    }
    let above = format!(
        "SELECT window_start, max(n) AS n FROM (SELECT {WINDOW}, host, count(*) AS n FROM s GROUP BY {WINDOW}, host)
                         GROUP BY GROUPING SETS ((window_start, window_end), (window_start, host))"
    );
    assert!(one(&above).contains(&format!("every grouping set over a window {told}")), "{}", one(&above));
    // A set's own window is no window of all rows.
    let some = format!(
        "SELECT window_start, window_time, max(n) AS n FROM
                        (SELECT {WINDOW}, window_time, count(*) AS n FROM s GROUP BY {WINDOW}, window_time)
                        GROUP BY GROUPING SETS ((window_start, window_end), (window_start, window_time))"
    );
    let insert = plan(&some);
    assert_eq!(insert.identity, 1, "window_time is null in one of the sets");
}

#[test]
fn keys_do_not_tell_rows_of_several_sets_apart() {
    let insert = plan(&format!("SELECT {WINDOW}, host, count(*) AS n FROM s GROUP BY {WINDOW}, ROLLUP (host)"));
    assert_eq!(insert.identity, 2);
    assert_eq!(insert.legs[0].keys().last().map(|key| key.name.as_str()), Some("grouping set"));
}
