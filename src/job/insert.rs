//! `INSERT INTO ICEBERG 'ns.table' [PARTITIONED BY (…)] SELECT … [ALLOW LATENESS i] [LATE INTO ICEBERG '…'] [PUBLISH …]`.
//! The clauses behind the query are ours: they are found among the tokens, outside brackets, and sqlparser gets the rest.

use datafusion_sql::sqlparser::tokenizer::{Span, Token, TokenWithSpan};

use super::definition::{InsertDefinition, Spanned};
use super::interval;
use super::names::{parse_iceberg_table, unknown_word};
use super::plan::Publish;
use super::problem::{Problem, Problems};
use super::query_text::{Names, comes_before_a_value, parse_query};
use super::suggest::nearest;
use super::tokens::{Cursor, Parsed, StatementTokens, is_word};
use super::view::{View, with_views};
use super::window_call;
use crate::event::{Micros, PartitionField, TableName, Transform};

const INSERT_HELP: &str = "write INSERT INTO ICEBERG 'namespace.table' PARTITIONED BY (day(window_start)) SELECT …";
const PARTITIONS_HELP: &str =
    "write a column, or hour(column), day(column), month(column), truncate(width, column), bucket(count, column)";
const PUBLISH_HELP: &str = "write PUBLISH EACH WINDOW (the default) or PUBLISH WHOLE PARTITIONS";

/// Parses one INSERT over streams with columns of these `names`, and over `views`; `None` if anything in it is wrong.
pub(super) fn parse(
    statement: &StatementTokens,
    names: &Names,
    views: &[View],
    problems: &mut Problems,
) -> Option<InsertDefinition> {
    let wrong_before = problems.len();
    let mut cursor = Cursor::new(&statement.tokens, statement.end);
    cursor.advance();
    let table = parse_target(&mut cursor);
    let table = problems.keep(table)?;
    let mut partitioned_by = None;
    if cursor.eat_words(&["PARTITIONED", "BY"]) || cursor.eat_words(&["PARTITION", "BY"]) {
        let fields = cursor.parenthesized(PARTITIONS_HELP);
        let mut fields = problems.keep(fields)?.value;
        partitioned_by = problems.keep(parse_partitions(&mut fields));
    }
    if !(cursor.at_words(&["SELECT"]) || cursor.at_words(&["WITH"]) || cursor.peek() == Some(&Token::LParen)) {
        problems.push(cursor.unexpected("`SELECT`", INSERT_HELP));
        return None;
    }
    let query_tokens = cursor.take_until(begins_tail);
    let end = cursor.span().start;
    // What is wrong with a view was said with the view.
    let query_tokens = with_views(query_tokens, views)?;
    let extracted = window_call::extract(&query_tokens, end, names, problems);
    let query = problems.keep(parse_query(&extracted.tokens, end, names));
    let tail = parse_tail(&mut cursor, query.is_some(), problems);
    if problems.len() > wrong_before {
        return None;
    }
    Some(InsertDefinition {
        table,
        partitioned_by,
        query: query?,
        windows: extracted.windows,
        allow_lateness: tail.allow_lateness,
        late_into: tail.late_into,
        publish: tail.publish,
    })
}

/// `INTO ICEBERG 'ns.table'`.
fn parse_target(cursor: &mut Cursor<'_>) -> Parsed<Spanned<TableName>> {
    if cursor.at_words(&["OVERWRITE"]) {
        let help = "write INSERT INTO; what a run or a backfill replaces follows from the windows";
        return Err(Problem::new(cursor.span(), "INSERT OVERWRITE isn't part of a job", help));
    }
    cursor.expect_word("INTO", INSERT_HELP)?;
    let sinks = [("KAFKA", "results go to ICEBERG tables"), ("FILE", "results go to ICEBERG tables")];
    if !cursor.at_words(&["ICEBERG"]) {
        if cursor.at_words(&["TABLE"]) || !matches!(cursor.peek_at(1), Some(Token::SingleQuotedString(_))) {
            return Err(cursor.unexpected("`ICEBERG`", INSERT_HELP));
        }
        return Err(unknown_word(cursor, "`ICEBERG`", &["ICEBERG"], &sinks));
    }
    let table = parse_iceberg_table(cursor, "INSERT INTO")?;
    if cursor.peek() == Some(&Token::LParen) && !matches!(cursor.peek_at(1), Some(token) if is_word(token, "SELECT")) {
        let help = "name the columns in the SELECT: SELECT expression AS name";
        return Err(Problem::new(cursor.span(), "an INSERT has no list of columns here", help));
    }
    Ok(table)
}

fn parse_partitions(cursor: &mut Cursor<'_>) -> Parsed<Vec<Spanned<PartitionField>>> {
    let mut fields: Vec<Spanned<PartitionField>> = Vec::new();
    loop {
        let field = parse_partition(cursor)?;
        if fields.iter().any(|other| other.value == field.value) {
            let message = format!("`{}` stands in PARTITIONED BY twice", field.value);
            return Err(Problem::new(field.span, message, "leave out one of them"));
        }
        fields.push(field);
        if !cursor.eat(&Token::Comma) {
            break;
        }
    }
    if cursor.is_at_end() { Ok(fields) } else { Err(cursor.unexpected("`,` or `)`", PARTITIONS_HELP)) }
}

fn parse_partition(cursor: &mut Cursor<'_>) -> Parsed<Spanned<PartitionField>> {
    let start = cursor.span();
    let name = cursor.name("a column or a transform", PARTITIONS_HELP)?;
    if cursor.peek() != Some(&Token::LParen) {
        let field = PartitionField { column: name.value, transform: Transform::Identity };
        return Ok(Spanned { value: field, span: name.span });
    }
    let arguments = cursor.parenthesized(PARTITIONS_HELP)?;
    let mut arguments = arguments.value;
    let transform = match name.value.to_ascii_lowercase().as_str() {
        "hour" | "hours" => Transform::Hour,
        "day" | "days" => Transform::Day,
        "month" | "months" => Transform::Month,
        "truncate" => Transform::Truncate(width(&mut arguments, "the width", "truncate(10, column)")?),
        "bucket" => Transform::Bucket(width(&mut arguments, "the number of buckets", "bucket(16, column)")?),
        "year" | "years" => {
            let message = "partitions of a year are not supported";
            return Err(Problem::new(name.span, message, "write month(column): backfills replace whole partitions"));
        }
        other => {
            let known = ["hour", "day", "month", "truncate", "bucket"];
            let guess = nearest(other, known).map(|known| format!("did you mean {known}(…)?"));
            let help = guess.unwrap_or_else(|| PARTITIONS_HELP.to_owned());
            return Err(Problem::new(name.span, format!("unknown partition transform `{}`", name.value), help));
        }
    };
    let column = arguments.name("the name of a column of the result", PARTITIONS_HELP)?;
    if !arguments.is_at_end() {
        let help = "name a column of the SELECT; give an expression a name there, with AS";
        return Err(arguments.unexpected("`)`", help));
    }
    let field = PartitionField { column: column.value, transform };
    Ok(Spanned { value: field, span: cursor.span_since(start) })
}

fn width(arguments: &mut Cursor<'_>, what: &str, example: &str) -> Parsed<u32> {
    let help = format!("write {example}");
    let width = arguments.whole_number(what, &help)?;
    if width.value == 0 {
        return Err(Problem::new(width.span, format!("{what} must be at least 1"), help));
    }
    arguments.expect(&Token::Comma, &help)?;
    Ok(width.value)
}

/// The clauses behind the query.
#[derive(Debug, Default)]
struct Tail {
    allow_lateness: Option<Spanned<Micros>>,
    late_into: Option<Spanned<TableName>>,
    publish: Option<Spanned<Publish>>,
}

/// Whether one of the clauses behind the query, or a misspelt one, begins at `index`.
fn begins_tail(tokens: &[TokenWithSpan], index: usize) -> bool {
    let follows_value = index > 0
        && !comes_before_a_value(&tokens[index - 1].token)
        && !is_word(&tokens[index - 1].token, "AS")
        && tokens[index - 1].token != Token::Period;
    let token = &tokens[index].token;
    let Some(next) = tokens.get(index + 1).map(|next| &next.token).filter(|_| follows_value) else { return false };
    let is = |token: &Token, words: &[&str]| words.iter().any(|word| is_word(token, word));
    (matches!(token, Token::Word(_)) && is_word(next, "LATENESS"))
        || (is_word(token, "LATE") && is(next, &["INTO", "TO", "ICEBERG"]))
        || (is_word(token, "PUBLISH")
            && is(next, &["EACH", "WHOLE", "WINDOW", "WINDOWS", "PARTITION", "PARTITIONS", "ALL"]))
}

fn parse_tail(cursor: &mut Cursor<'_>, query_is_good: bool, problems: &mut Problems) -> Tail {
    let mut tail = Tail::default();
    while !cursor.is_at_end() {
        let start = cursor.span();
        let wrong_before = problems.len();
        if cursor.eat_words(&["ALLOW", "LATENESS"]) {
            let parsed = interval::parse_not_negative(cursor, "the allowed lateness");
            once(&mut tail.allow_lateness, parsed, start, "ALLOW LATENESS", problems);
        } else if cursor.eat_words(&["LATE", "INTO"]) {
            let parsed = parse_iceberg_table(cursor, "LATE INTO");
            once(&mut tail.late_into, parsed, start, "LATE INTO", problems);
        } else if cursor.eat_words(&["PUBLISH"]) {
            let parsed = parse_publish(cursor, start);
            once(&mut tail.publish, parsed, start, "PUBLISH", problems);
        } else if cursor.peek_at(1).is_some_and(|next| is_word(next, "LATENESS")) {
            problems.push(cursor.unexpected("`ALLOW LATENESS`", "did you mean ALLOW LATENESS?"));
        } else if cursor.at_words(&["LATE"]) {
            problems.push(cursor.unexpected("`LATE INTO ICEBERG`", "write LATE INTO ICEBERG 'namespace.table'"));
        } else {
            // With a bad query, what is left over is most likely its own: one message is enough.
            if query_is_good {
                let help = "behind the query stand ALLOW LATENESS, LATE INTO and PUBLISH; statements end with `;`";
                problems.push(cursor.unexpected("the end of the INSERT", help));
            }
            return tail;
        }
        if problems.len() > wrong_before {
            cursor.advance();
            while !cursor.is_at_end() && !cursor.at_words(&["PUBLISH"]) && !cursor.at_words(&["LATE", "INTO"]) {
                cursor.advance();
            }
        }
    }
    tail
}

fn parse_publish(cursor: &mut Cursor<'_>, start: Span) -> Parsed<Spanned<Publish>> {
    let publish = if cursor.eat_words(&["EACH", "WINDOW"]) {
        Publish::EachWindow
    } else if cursor.eat_words(&["WHOLE", "PARTITIONS"]) {
        Publish::WholePartitions
    } else {
        return Err(cursor.unexpected("`EACH WINDOW` or `WHOLE PARTITIONS`", PUBLISH_HELP));
    };
    Ok(Spanned { value: publish, span: cursor.span_since(start) })
}

/// Keeps the value of a clause that may stand once.
fn once<T>(
    place: &mut Option<Spanned<T>>,
    parsed: Parsed<Spanned<T>>,
    start: Span,
    clause: &str,
    problems: &mut Problems,
) {
    let Some(parsed) = problems.keep(parsed) else { return };
    if place.is_some() {
        problems.add(start, format!("a second {clause}"), "leave out one of them");
    }
    *place = Some(parsed);
}
