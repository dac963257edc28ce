//! Names that job files give to things outside them: tables, topics, the job itself.

use super::definition::Spanned;
use super::problem::Problem;
use super::suggest::nearest;
use super::tokens::{Cursor, Parsed};
use crate::event::TableName;

/// Longest name of a job, in bytes: it is part of Kafka groups and of table properties.
const JOB_NAME_BYTES_MAX: usize = 64;

/// Longest name of a Kafka topic.
const TOPIC_BYTES_MAX: usize = 249;

/// Why `name` can't be the name of a job, if it can't.
pub(super) fn job_name_problem(name: &str) -> Option<Problem> {
    let first_is_letter = name.starts_with(|first: char| first.is_ascii_lowercase());
    let plain = name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    if first_is_letter && plain && name.len() <= JOB_NAME_BYTES_MAX {
        return None;
    }
    let better: String = name
        .trim_start_matches(|first: char| !first.is_ascii_alphabetic())
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() { character.to_ascii_lowercase() } else { '_' })
        .take(JOB_NAME_BYTES_MAX)
        .collect();
    let rule = "small letters, digits and `_`, a letter first, 64 at most";
    let help = if better.is_empty() { rule.to_owned() } else { format!("rename the file to `{better}.sql`: {rule}") };
    Some(Problem::of_file(format!("the file's name gives the job its name, and `{name}` can't be one"), help))
}

/// Takes `ICEBERG 'ns.table'`; `clause` stands before it in the message.
pub(super) fn parse_iceberg_table(cursor: &mut Cursor<'_>, clause: &str) -> Parsed<Spanned<TableName>> {
    let help = format!("write {clause} ICEBERG 'namespace.table'");
    if !cursor.eat_words(&["ICEBERG"]) {
        return Err(cursor.unexpected("`ICEBERG`", &help));
    }
    let text = cursor.text("the name of a table", &help)?;
    let Some(table) = TableName::parse(&text.value) else {
        let message = match text.value.contains('.') {
            true => format!("`{}` has an empty part", text.value),
            false => format!("the table `{}` has no namespace", text.value),
        };
        return Err(Problem::new(text.span, message, help));
    };
    let plain = |part: &String| part.chars().all(|character| character.is_alphanumeric() || "_-".contains(character));
    if !table.namespace.iter().all(plain) || !plain(&table.name) {
        let message = format!("`{}` can't be the name of a table", text.value);
        return Err(Problem::new(
            text.span,
            message,
            "names of namespaces and tables are letters, digits, `_` and `-`",
        ));
    }
    Ok(Spanned { value: table, span: text.span })
}

/// Takes `'topic'`.
pub(super) fn parse_topic(cursor: &mut Cursor<'_>) -> Parsed<String> {
    let text = cursor.text("the name of a topic", "write LIVE FROM KAFKA 'topic'")?;
    let name = &text.value;
    let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if name.is_empty() || name == "." || name == ".." || name.len() > TOPIC_BYTES_MAX || !plain {
        let help = "names of topics are letters, digits, `.`, `_` and `-`, 249 at most";
        return Err(Problem::new(text.span, format!("`{name}` can't be the name of a Kafka topic"), help));
    }
    Ok(text.value)
}

/// The problem that the next word isn't one of `known`; `reasons` has the words that are known but refused.
pub(super) fn unknown_word(cursor: &Cursor<'_>, what: &str, known: &[&str], reasons: &[(&str, &str)]) -> Problem {
    for (word, reason) in reasons {
        if cursor.at_words(&[word]) {
            return Problem::new(cursor.span(), format!("{word} is not supported yet"), *reason);
        }
    }
    let found = cursor.peek().map(ToString::to_string).unwrap_or_default();
    let help = match nearest(&found, known.iter().copied()) {
        Some(name) => format!("did you mean {name}?"),
        None => format!("write {}", known.join(" or ")),
    };
    cursor.unexpected(what, &help)
}
