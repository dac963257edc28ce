//! DataFusion's errors as problems of a job file: short, in SQL's words, with a place.

use datafusion_common::{DataFusionError, SchemaError};
use datafusion_sql::sqlparser::tokenizer::{Location, Span};

use super::types::sql_words;
use crate::job::Problem;
use crate::job::suggest::nearest;

/// The problem that `error` is; at `fallback` where DataFusion doesn't say where.
pub(super) fn problem(error: &DataFusionError, fallback: Span) -> Problem {
    let diagnostic = error.diagnostic();
    let span = diagnostic.and_then(|diagnostic| diagnostic.span).map_or(fallback, |span| {
        Span::new(Location::new(span.start.line, span.start.column), Location::new(span.end.line, span.end.column))
    });
    let (message, help) = words(error);
    Problem { file: 0, span: Some(span), message, help }
}

fn words(error: &DataFusionError) -> (String, Option<String>) {
    match error.find_root() {
        DataFusionError::SchemaError(schema, _) => match schema.as_ref() {
            SchemaError::FieldNotFound { field, valid_fields } => {
                let names: Vec<&str> = valid_fields.iter().map(|field| field.name.as_str()).collect();
                let known = || format!("columns here: {}", names.join(", "));
                let help = nearest(&field.name, names.iter().copied());
                let help = help.map_or_else(known, |name| format!("did you mean `{name}`?"));
                (format!("unknown column `{}`", field.name), (!names.is_empty()).then_some(help))
            }
            SchemaError::AmbiguousReference { field } => (
                format!("column `{}` could be one of several", field.name),
                Some("put the stream's name or alias and a dot before it".to_owned()),
            ),
            SchemaError::DuplicateUnqualifiedField { name } => (
                format!(
                    "two expressions that differ only by a cast can't stand in one query: both are `{}`",
                    sql_words(name)
                ),
                Some("write one of them over another expression, such as max(column + 0)".to_owned()),
            ),
            other => (lower_first(&other.to_string()), None),
        },
        DataFusionError::Diagnostic(_, inner) => words(inner),
        DataFusionError::Context(_, inner) => words(inner),
        DataFusionError::Collection(errors) => {
            errors.first().map_or_else(|| ("the query can't be planned".to_owned(), None), words)
        }
        DataFusionError::NotImplemented(text) if text.starts_with("Unsupported") => (shorten(text), None),
        DataFusionError::NotImplemented(text) => (format!("not supported: {}", shorten(text)), None),
        DataFusionError::Plan(text) if text.contains("must appear in the GROUP BY clause") => ungrouped(text),
        DataFusionError::Plan(text) if text.starts_with("Projections require unique expression names") => (
            "two columns of one SELECT list have the same name".to_owned(),
            Some("give one of them another name with AS".to_owned()),
        ),
        DataFusionError::Plan(text) if text.starts_with("UNION queries have different") => (
            "the branches of UNION ALL have different numbers of columns".to_owned(),
            Some("select as many in each, in the same order".to_owned()),
        ),
        DataFusionError::Plan(text)
        | DataFusionError::Execution(text)
        | DataFusionError::Configuration(text)
        | DataFusionError::Internal(text) => {
            refused_arguments(text).or_else(|| signature(text)).unwrap_or_else(|| (shorten(text), None))
        }
        other => signature(&other.message()).unwrap_or_else(|| (shorten(&other.message()), None)),
    }
}

/// What one of our functions says of its arguments; `None` for other errors.
fn refused_arguments(text: &str) -> Option<(String, Option<String>)> {
    let (_, said) = text.split_once("user-defined coercion failed with: ")?;
    let said = shorten(said);
    let help = said.contains(" needs ").then(|| "cast the argument to a type that it takes".to_owned());
    Some((said, help))
}

/// What is wrong with the arguments of a function or an operator, in one sentence; `None` for other errors.
fn signature(text: &str) -> Option<(String, Option<String>)> {
    let text = sql_words(text);
    let between = |start: &str, end: &str| {
        let rest = text.split_once(start)?.1;
        Some(rest.split_once(end)?.0.trim().to_owned())
    };
    if let Some(operands) = between("Cannot coerce arithmetic expression ", " to valid types") {
        return Some((
            format!("`{operands}` isn't possible"),
            Some("cast one side to the type that you mean".to_owned()),
        ));
    }
    let compared = "Cannot infer common argument type for comparison operation ";
    if let Some((_, operands)) = text.split_once(compared) {
        let operands = operands.lines().next().unwrap_or_default();
        return Some((
            format!("`{operands}` can't be compared"),
            Some("cast one side to the type of the other".to_owned()),
        ));
    }
    if text.starts_with("Substring without for/from") {
        return Some(("`substring` needs a start".to_owned(), Some("write substring(text, start, length)".to_owned())));
    }
    if let Some(function) = text.strip_prefix("[IGNORE | RESPECT] NULLS are not permitted for ") {
        return Some((
            format!("`{function}` takes neither IGNORE NULLS nor RESPECT NULLS"),
            Some("it leaves nulls out already: write it without".to_owned()),
        ));
    }
    if text.starts_with("WITHIN GROUP is only supported") {
        return Some((
            "WITHIN GROUP is for functions of a place in an order".to_owned(),
            Some(
                "those are percentile_cont and approx_quantile; others take ORDER BY inside their parentheses"
                    .to_owned(),
            ),
        ));
    }
    if text.starts_with("regex parse error") {
        let why = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
        return Some((format!("the regular expression can't be read: {why}"), None));
    }
    let function = between("unction '", "'").or_else(|| between("call to '", "'"))?;
    // Of several signatures some fail by count, others by type: the latter is what is meant.
    let help = Some("cast the argument to a type that it takes".to_owned());
    let received = between("coercion from ", " to the signature");
    if let Some(received) = received.or_else(|| between("(DataType: ", ").")).or_else(|| between("(DataType: ", ")")) {
        return Some((format!("`{function}` doesn't take {received}"), help));
    }
    let counts = [(" expects ", " arguments but received "), (" expected ", " arguments but received ")];
    for (start, end) in counts {
        let Some(expected) = between(start, end) else { continue };
        let received = text.split_once(end).map(|(_, rest)| rest).unwrap_or_default();
        let received: String = received.chars().take_while(char::is_ascii_digit).collect();
        let plural = if expected == "1" { "" } else { "s" };
        return Some((format!("`{function}` takes {expected} argument{plural}, and here are {received}"), None));
    }
    text.contains("match any signature").then(|| (format!("`{function}` doesn't take these arguments"), help))
}

fn ungrouped(text: &str) -> (String, Option<String>) {
    let column = text.split("column \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap_or("a column");
    let column = column.rsplit('.').next().unwrap_or(column);
    (
        format!("`{column}` is neither in GROUP BY nor inside an aggregate"),
        Some(format!("add it to GROUP BY, or take one of a window's values with an aggregate: max({column})")),
    )
}

/// The first sentence, without DataFusion's lists of candidates and its request for a bug report.
fn shorten(text: &str) -> String {
    let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or(text);
    let cut = [" You might need to add explicit", " Candidate functions", " This issue was likely caused by"]
        .iter()
        .filter_map(|mark| first.find(mark))
        .min()
        .unwrap_or(first.len());
    let mut short = first[..cut].trim();
    for prefix in ["Error during planning: ", "Execution error: ", "Internal error: "] {
        short = short.strip_prefix(prefix).unwrap_or(short);
    }
    lower_first(sql_words(short).trim_end_matches('.'))
}

fn lower_first(text: &str) -> String {
    let mut characters = text.chars();
    let second_upper = text.chars().nth(1).is_some_and(char::is_uppercase);
    match characters.next() {
        // A word in capitals is a keyword or a type.
        Some(first) if !second_upper => first.to_lowercase().chain(characters).collect(),
        _ => text.to_owned(),
    }
}
