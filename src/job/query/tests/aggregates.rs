//! Aggregates as they are planned: what reaches the function, what it gives, and what is said of those that a job can't have.

use std::fmt::Write as _;

use arrow::datatypes::{DataType, Field};

use super::plans::{run, shown};
use super::{definition, plan, refused};

/// The columns of the one row that `items` give over the test's records.
fn row(items: &str) -> Vec<String> {
    let rows = run(&plan(&format!("SELECT window_start, {items} FROM s GROUP BY window_start")));
    assert_eq!(rows.len(), 1, "{rows:?}");
    rows[0].split('|').skip(1).map(str::to_owned).collect()
}

#[test]
fn arrays_and_texts_go_by_the_canonical_order() {
    assert_eq!(
        row("array_agg(host) AS all_hosts, array_agg(host) IGNORE NULLS AS named, array_agg(DISTINCT host) AS different,
             array_agg(host ORDER BY bytes DESC) AS by_size, array_agg(host) FILTER (WHERE bytes > 100) AS large"),
        [
            "[a.example, b.example, a.example, 12, null]",
            "[a.example, b.example, a.example, 12]",
            "[a.example, b.example, 12, null]",
            "[null, a.example, 12, b.example, a.example]",
            "null",
        ]
    );
    assert_eq!(
        row("string_agg(host, ', ') AS hosts, string_agg(DISTINCT host, '' ORDER BY host DESC) AS different,
             string_agg(host, NULL) FILTER (WHERE status = 200) AS good, string_agg(host, '-') FILTER (WHERE status = 1) AS none"),
        ["a.example, b.example, a.example, 12", "b.examplea.example12", "a.examplea.example", "null"]
    );
    assert_eq!(
        row("nth_value(host, 2) AS second, nth_value(host, -2) AS last_but_one, nth_value(host, 6) AS none,
             nth_value(host, -1) IGNORE NULLS AS last, nth_value(host, 1 ORDER BY bytes DESC NULLS LAST) AS largest"),
        ["b.example", "12", "null", "12", "a.example"]
    );
}

#[test]
fn order_columns_are_passed_behind_the_arguments() {
    let insert = plan(
        "SELECT window_start, array_agg(host) AS a, nth_value(host, 2 ORDER BY status) AS b,
                percentile_cont(0.5) WITHIN GROUP (ORDER BY bytes DESC) AS c, median(bytes ORDER BY host) AS d
         FROM s GROUP BY window_start",
    );
    let arguments: Vec<Vec<String>> =
        insert.legs[0].aggregates().iter().map(|aggregate| aggregate.arguments.iter().map(shown).collect()).collect();
    assert_eq!(arguments[0], ["host@0", "t@5", "_partition@9", "_offset@10"]);
    assert_eq!(arguments[1], ["host@0", "2", "status@2", "t@5", "_partition@9", "_offset@10"]);
    assert_eq!(arguments[2].len(), 2, "the order says only from which end to count: {:?}", arguments[2]);
    assert!(insert.legs[0].aggregates()[2].function.order_bys()[0].options.descending);
    assert_eq!(arguments[3].len(), 1);
    assert_eq!(
        insert.result_schema.field(1).data_type(),
        &DataType::List(Field::new("element", DataType::Utf8, true).into()),
        "as a stream's arrays are"
    );
}

#[test]
fn percentiles_count_from_the_end_that_is_asked_for() {
    assert_eq!(
        row("median(bytes) AS a, median(price) AS b, median(DISTINCT status) AS c,
             percentile_cont(bytes, 0.25) AS d, percentile_cont(0.25) WITHIN GROUP (ORDER BY bytes) AS e,
             quantile_cont(0.25) WITHIN GROUP (ORDER BY bytes DESC) AS f, median(score) AS g"),
        ["2.0", "0.005000", "404.0", "-1.75", "-1.75", "5.5", "0.75"]
    );
    assert_eq!(
        row("approx_quantile(bytes, 0.5) AS a, approx_quantile(bytes, 1) AS b,
             approx_percentile_cont(0) WITHIN GROUP (ORDER BY bytes DESC) AS c, approx_percentile_cont(price, 0) AS d,
             approx_quantile(score, 1.0) AS e, approx_quantile(bytes, 0.5) FILTER (WHERE status = 1) AS f"),
        ["0.0", "10.0", "10.0", "-2.5", "NaN", "null"]
    );
}

#[test]
fn pairs_with_a_null_count_as_none() {
    assert_eq!(
        row("covar_pop(bytes, status) AS a, covar(bytes, status) AS b, covar_samp(status, bytes) AS c,
             corr(bytes, bytes) AS d, corr(bytes, -bytes) AS e, corr(bytes, 1) AS f, regr_slope(bytes * 2 + 1, bytes) AS g,
             regr_intercept(bytes * 2 + 1, bytes) AS h, regr_r2(1, bytes) AS i, regr_count(bytes, score) AS j,
             regr_avgy(bytes, status) AS k, regr_avgx(bytes, status) AS l, regr_sxx(1, bytes) AS m, regr_syy(bytes, 1) AS n,
             regr_sxy(bytes, status) AS o, covar(score, bytes) AS p, covar(bytes, bytes) FILTER (WHERE status = 404) AS q"),
        [
            "79.5", "106.0", "106.0", "1.0", "-1.0", "null", "2.0", "1.0", "1.0", "4", "1.75", "326.0", "152.75", "152.75",
            "318.0", "NaN", "null"
        ]
    );
}

#[test]
fn distinct_values_are_counted_by_sqls_equality() {
    assert_eq!(
        row("approx_distinct(host) AS a, approx_distinct(score) AS b, approx_distinct(DISTINCT tags) AS c,
             approx_distinct(t) AS d, bit_or(status) AS e, bit_xor(bytes) AS f, bit_and(bytes) FILTER (WHERE bytes > 0) AS g"),
        ["3", "3", "0", "5", "508", "-9", "0"]
    );
}

#[test]
fn clocks_are_corrected_in_queries() {
    assert_eq!(
        row("max(CORRECT_CLOCK(t, t + INTERVAL '1 hour', TIMESTAMP '1970-01-01 00:30:00')) AS a,
             max(correct_clock(t, NULL, t)) AS b, min(correct_clock(t, t, t)) AS c"),
        ["1969-12-31T23:30:00Z", "null", "1970-01-01T01:00:00Z"]
    );
}

#[test]
fn refusals_name_the_reason_and_the_alternative() {
    let items = [
        "any_value(host)",
        "approx_count_distinct(host)",
        "approx_median(bytes)",
        "approx_percentile(bytes, 0.5)",
        "approx_percentile_cont_with_weight(bytes, 2, 0.5)",
        "group_concat(host)",
        "listagg(host, ',')",
        "mode(host)",
        "percentile(bytes, 0.5)",
        "percentile_approx(bytes, 0.5)",
        "percentile_disc(0.5) WITHIN GROUP (ORDER BY bytes)",
        "quantile(bytes, 0.5)",
        "quantile_disc(bytes, 0.5)",
        "grouping(host)",
        "array_agg(host, bytes)",
        "array_agg(NULL)",
        "array_agg(t - t)",
        "string_agg(bytes, ',')",
        "string_agg(host)",
        "string_agg(host, host)",
        "string_agg(host, ',') IGNORE NULLS",
        "nth_value(host)",
        "nth_value(host, 0)",
        "nth_value(host, 100000)",
        "nth_value(host, bytes)",
        "nth_value(DISTINCT host, 1)",
        "median(host)",
        "median(bytes, 2)",
        "percentile_cont(bytes)",
        "percentile_cont(bytes, 1.5)",
        "percentile_cont(bytes, 0.5 ORDER BY status)",
        "approx_quantile(bytes, status)",
        "approx_quantile(bytes, NULL)",
        "approx_quantile(bytes, host)",
        "approx_quantile(DISTINCT bytes, 0.5)",
        "approx_percentile_cont(bytes, 0.5, 100)",
        "median(0.5) WITHIN GROUP (ORDER BY bytes)",
        "covar(bytes)",
        "corr(bytes, host)",
        "corr(DISTINCT bytes, status)",
        "approx_distinct(host, bytes)",
        "max(correct_clock(t, t))",
        "max(correct_clock(t, t, bytes))",
        "max(correct_clock(t, t, '2026-01-01'))",
    ];
    let mut out = String::new();
    for item in items {
        writeln!(out, "{item}").expect("a String takes it");
        for problem in refused(&definition(&format!("SELECT window_start, {item} AS x FROM s GROUP BY window_start"))) {
            writeln!(out, "  {problem}").expect("a String takes it");
        }
    }
    insta::assert_snapshot!(out);
}
