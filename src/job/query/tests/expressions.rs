//! What expressions give for records.

use arrow::array::RecordBatch;
use datafusion_sql::sqlparser::dialect::GenericDialect;
use datafusion_sql::sqlparser::parser::Parser;

use super::{columns, records, span, texts};
use crate::event::{Column, Computed, Origin};
use crate::job::definition::Spanned;
use crate::job::query::plan_computed;
use crate::job::{Problem, Problems};

fn computed_over(sql: &str, columns: &[Column]) -> Result<Computed, Vec<Problem>> {
    let expression = Parser::new(&GenericDialect {})
        .try_with_sql(sql)
        .and_then(|mut parser| parser.parse_expr())
        .expect("the test's SQL is well formed");
    let mut problems = Problems::default();
    let computed = plan_computed(&Spanned { value: expression, span: span() }, columns, &mut problems);
    computed.ok_or_else(|| problems.into_sorted())
}

fn computed(sql: &str) -> Result<Computed, Vec<Problem>> {
    computed_over(sql, &columns())
}

fn declared() -> RecordBatch {
    let indices: Vec<usize> = (0..columns().len()).collect();
    records().project(&indices).expect("declared columns come first")
}

/// The expression's values for the five records.
fn values(sql: &str) -> Vec<String> {
    let computed = computed(sql).unwrap_or_else(|problems| panic!("{sql}: {problems:#?}"));
    let values = computed.expression.evaluate(&declared()).unwrap_or_else(|error| panic!("{sql}: {error}"));
    texts(&values.into_array(5).expect("five values"))
}

fn first(sql: &str) -> String {
    values(sql).swap_remove(0)
}

fn refused(sql: &str) -> String {
    let problems = computed(sql).map(|computed| computed.sql).expect_err("the expression is refused");
    let problem = problems.into_iter().next().expect("it says why");
    format!("{} ({})", problem.message, problem.help.unwrap_or_default())
}

#[test]
fn integers_divided_by_zero_are_null() {
    assert_eq!(values("100 / bytes"), ["10", "null", "-14", "25", "null"]);
    assert_eq!(values("100 % bytes"), ["0", "null", "2", "0", "null"]);
    assert_eq!(values("bytes / (status - 200)"), ["null", "0", "null", "0", "null"]);
    assert_eq!(first("1 / 0"), "null");
    assert_eq!(first("bytes % 0"), "null");
}

#[test]
fn decimals_divided_by_zero_are_null() {
    assert_eq!(values("CAST(1 AS DECIMAL(10, 2)) / price")[1], "null");
    assert!(values("CAST(3 AS DECIMAL(10, 2)) / price")[0].starts_with("2.0"));
}

#[test]
fn floats_divided_by_zero_are_infinite() {
    assert_eq!(values("bytes / score")[0], "inf");
    assert_eq!(values("1.0 / 0.0")[0], "inf");
}

#[test]
fn floats_are_compared_as_numbers_with_nan_greatest() {
    assert_eq!(values("score = 0"), ["true", "true", "false", "false", "null"]);
    assert_eq!(values("score < 0.0"), ["false", "false", "false", "false", "null"]);
    assert_eq!(values("score >= -0.0"), ["true", "true", "true", "true", "null"]);
    assert_eq!(values("score IN (0.0, 1.5)"), ["true", "true", "false", "true", "null"]);
    assert_eq!(values("score BETWEEN 0 AND 1"), ["true", "true", "false", "false", "null"]);
    assert_eq!(values("score IS DISTINCT FROM 0.0")[1], "false");
    // On x86 this NaN has the sign bit.
    assert_eq!(values("0.0 / score > 1"), ["true", "true", "true", "false", "null"]);
    assert_eq!(values("0.0 / score = score"), ["false", "false", "true", "false", "null"]);
    assert_eq!(first("0.0 / 0.0 = 0.0 / 0.0"), "true");
    assert_eq!(computed("score > 1.5").expect("fine").expression.to_string(), "float_key(score@3) > 1.5");
}

#[test]
fn casts_that_fail_are_null() {
    assert_eq!(values("CAST(host AS INT)"), ["null", "null", "null", "12", "null"]);
    assert_eq!(values("host::BIGINT + 1"), ["null", "null", "null", "13", "null"]);
    assert_eq!(first("CAST('x' AS INT)"), "null");
    assert_eq!(first("CAST(3000000000 AS INT)"), "null");
    assert_eq!(values("CAST(host AS TIMESTAMP)")[0], "null");
    assert_eq!(values("TRY_CAST(host AS INT)")[3], "12");
    assert_eq!(values("CAST(host AS DATE)")[0], "null");
    assert_eq!(values("arrow_cast(host, 'Int64')"), ["null", "null", "null", "12", "null"]);
}

#[test]
fn integers_that_do_not_fit_fail_instead_of_wrapping_around() {
    for sql in
        ["bytes + 9223372036854775807", "bytes * 9223372036854775807", "status - (bytes - 9223372036854775807) * 3"]
    {
        let error = computed(sql).expect("it can be planned").expression.evaluate(&declared()).expect_err("too large");
        assert!(error.to_string().contains("verflow"), "{error}");
    }
    assert_eq!(values("bytes * 2 + 1"), ["21", "1", "-13", "9", "null"]);
}

#[test]
fn times_are_instants_in_microseconds() {
    assert_eq!(first("date_trunc('hour', t)"), "1970-01-01T01:00:00Z");
    assert_eq!(first("t + INTERVAL '90 seconds'"), "1970-01-01T01:01:30Z");
    assert_eq!(first("CAST('2013-06-01 10:00:00' AS TIMESTAMP)"), "2013-06-01T10:00:00Z");
    assert_eq!(first("TIMESTAMP '2013-06-01T10:00:00.5Z'"), "2013-06-01T10:00:00.500Z");
    assert_eq!(first("extract(hour FROM t)"), "1");
    assert_eq!(values("t > TIMESTAMP '1970-01-01 01:00:02'"), ["false", "false", "false", "true", "true"]);
    assert_eq!(values("t BETWEEN '1970-01-01T01:00:01Z' AND '1970-01-01T01:00:02Z'")[1], "true");
    assert_eq!(first("date_bin(INTERVAL '15 minutes', t)"), "1970-01-01T01:00:00Z");
    assert_eq!(first("DATE '2013-06-01'"), "2013-06-01");
}

#[test]
fn functions_and_operators_of_sql_work() {
    assert_eq!(first("CASE WHEN status < 400 THEN 'ok' ELSE 'bad' END"), "ok");
    assert_eq!(values("coalesce(host, 'none')")[4], "none");
    assert_eq!(values("nullif(bytes, 0)")[1], "null");
    assert_eq!(first("upper(host) || '!'"), "A.EXAMPLE!");
    assert_eq!(first("host LIKE 'a%'"), "true");
    assert_eq!(first("host ~ '^a'"), "true");
    assert_eq!(first("regexp_replace(host, '[.].*', '')"), "a");
    assert_eq!(first("regexp_like(host, 'exam')"), "true");
    assert_eq!(first("split_part(host, '.', 2)"), "example");
    assert_eq!(first("substring(host FROM 1 FOR 1)"), "a");
    assert_eq!(first("position('e' IN host)"), "3");
    assert_eq!(first("trim('  x ')"), "x");
    assert_eq!(first("abs(-3)"), "3");
    assert_eq!(first("round(2.5)"), "3.0");
    assert_eq!(first("status IN (200, 201)"), "true");
    assert_eq!(values("host IS NULL")[4], "true");
    assert_eq!(values("greatest(bytes, 5)")[1], "5");
    assert_eq!(first("length(host)"), "9");
    assert_eq!(values("place['city']")[0], "null");
    assert_eq!(values("place.city")[0], "null");
    assert_eq!(values("tags[1]")[0], "null");
    assert_eq!(first("array_length([1, 2])"), "2");
}

#[test]
fn names_are_lower_case_without_quotes() {
    assert_eq!(first("HOST"), "a.example");
    assert!(refused("\"HOST\"").starts_with("unknown column `HOST`"));
}

#[test]
fn canonical_sql_does_not_depend_on_spacing_and_case() {
    let one = computed("Upper( HOST )||'X'").expect("fine").sql;
    assert_eq!(one, computed("upper(host) /* same */ || 'X'").expect("fine").sql);
    assert_ne!(one, computed("upper(host) || 'x'").expect("fine").sql);
}

#[test]
fn what_depends_on_more_than_the_log_is_refused() {
    for call in [
        "now()",
        "random()",
        "uuid()",
        "current_date",
        "current_time",
        "current_timestamp",
        "current_date()",
        "version()",
    ] {
        let message = refused(&format!("CASE WHEN {call} IS NULL THEN 1 ELSE 2 END"));
        assert!(message.contains("depends on more than the log"), "{call}: {message}");
    }
}

#[test]
fn computed_columns_see_columns_of_the_message_only() {
    assert_eq!(refused("hots"), "unknown column `hots` (did you mean `host`?)");
    assert!(refused("count(*)").starts_with("the aggregate `count` can't be used in a computed column"));
    assert!(refused("window_start").starts_with("unknown column `window_start`"));
    assert!(refused("uper(host)").contains("did you mean `upper`?"));
    assert_eq!(refused("host + t"), "`TEXT + TIMESTAMP` isn't possible (cast one side to the type that you mean)");
    let mut columns = columns();
    columns[0].origin = Origin::Computed(computed("status").expect("fine"));
    let problems = computed_over("host", &columns).map(|computed| computed.sql).expect_err("host is computed");
    assert_eq!(problems[0].message, "unknown column `host`");
    // The computed column keeps its place, so that indices are those of the declaration.
    let status = computed_over("status", &columns).expect("fine").expression;
    assert_eq!(status.to_string(), "status@2");
}
