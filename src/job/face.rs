//! `LIVE FROM KAFKA 'topic' | FILE 'path' [FORMAT JSON | CSV | PARQUET] [WITH (option = 'value')]`.

use datafusion_sql::sqlparser::tokenizer::{Span, Token};

use super::definition::Spanned;
use super::names::{parse_topic, unknown_word};
use super::problem::Problem;
use super::suggest::nearest;
use super::tokens::{Cursor, Parsed};
use crate::event::{Format, FormatKind, LiveFace, TimestampUnit};

const LIVE_HELP: &str = "write LIVE FROM KAFKA 'topic' FORMAT JSON, or LIVE FROM FILE 'path.jsonl'";
const REST_HELP: &str =
    "write WITH (keep_rest = true): history then keeps undeclared fields, for columns declared later";
const UNIT_HELP: &str = "write WITH (timestamp_unit = 's'), 'ms' or 'us'";
const COMPACTED_HELP: &str = "write WITH (compacted = 'accept'), or leave it out";

/// A live face as written.
pub(super) struct Live {
    pub(super) face: LiveFace,
    /// `WITH (compacted = 'accept')`.
    pub(super) accepts_compacted: bool,
}

/// What stands in `WITH (…)`.
struct Options {
    format: Format,
    /// Where it stands, if it does.
    compacted: Option<Span>,
}

/// Takes what stands behind `LIVE`.
pub(super) fn parse_live(cursor: &mut Cursor<'_>) -> Parsed<Live> {
    cursor.expect_word("FROM", LIVE_HELP)?;
    if cursor.eat_words(&["KAFKA"]) {
        let topic = parse_topic(cursor)?;
        let missing = cursor.span();
        let Some((kind, span)) = parse_format(cursor)? else {
            return Err(Problem::new(missing, "the format of the messages is missing", "write FORMAT JSON"));
        };
        if kind != FormatKind::Json {
            let message = "messages in Kafka are read as JSON; CSV and PARQUET are for FILE";
            return Err(Problem::new(span, message, "write FORMAT JSON"));
        }
        let Options { format, compacted } = parse_options(cursor, kind)?;
        let face = LiveFace::Kafka { topic, format };
        return Ok(Live { face, accepts_compacted: compacted.is_some() });
    }
    if cursor.eat_words(&["FILE"]) {
        let path = cursor.text("the path of a file", LIVE_HELP)?;
        let kind = match parse_format(cursor)? {
            Some((kind, _)) => kind,
            None => format_by_extension(&path)?,
        };
        let Options { format, compacted } = parse_options(cursor, kind)?;
        if let Some(span) = compacted {
            return Err(Problem::new(span, "a file is never compacted", "leave the option out"));
        }
        let face = LiveFace::File { path: path.value, format };
        return Ok(Live { face, accepts_compacted: false });
    }
    if cursor.at_words(&["ICEBERG"]) {
        return Err(Problem::new(cursor.span(), "a table is not a live face", "write HISTORY FROM ICEBERG '…'"));
    }
    let later = [("RABBITMQ", "LIVE FROM takes KAFKA or FILE")];
    Err(unknown_word(cursor, "`KAFKA` or `FILE`", &["KAFKA", "FILE"], &later))
}

/// Takes `FORMAT …` if it stands here.
fn parse_format(cursor: &mut Cursor<'_>) -> Parsed<Option<(FormatKind, Span)>> {
    if !cursor.eat_words(&["FORMAT"]) {
        return Ok(None);
    }
    let span = cursor.span();
    for (word, kind) in [("JSON", FormatKind::Json), ("CSV", FormatKind::Csv), ("PARQUET", FormatKind::Parquet)] {
        if cursor.eat_words(&[word]) {
            return Ok(Some((kind, span)));
        }
    }
    let later = [("AVRO", "messages are read as FORMAT JSON"), ("PROTOBUF", "messages are read as FORMAT JSON")];
    Err(unknown_word(cursor, "a format", &["JSON", "CSV", "PARQUET"], &later))
}

fn format_by_extension(path: &Spanned<String>) -> Parsed<FormatKind> {
    let extension = path.value.rsplit(['/', '.']).next().unwrap_or_default().to_ascii_lowercase();
    match extension.as_str() {
        "json" | "jsonl" | "ndjson" => Ok(FormatKind::Json),
        "csv" => Ok(FormatKind::Csv),
        "parquet" => Ok(FormatKind::Parquet),
        _ => {
            let message = format!("the name `{}` doesn't say how the file is written", path.value);
            Err(Problem::new(path.span, message, "write FORMAT JSON, FORMAT CSV or FORMAT PARQUET behind it"))
        }
    }
}

/// Takes `WITH (…)` if it stands here.
fn parse_options(cursor: &mut Cursor<'_>, kind: FormatKind) -> Parsed<Options> {
    let (mut format, mut compacted) = (Format { kind, timestamp_unit: None, keep_rest: false }, None);
    if !cursor.eat_words(&["WITH"]) {
        return Ok(Options { format, compacted });
    }
    let mut options = cursor.parenthesized(UNIT_HELP)?.value;
    let mut given: Vec<String> = Vec::new();
    loop {
        let name = match options.peek() {
            Some(Token::SingleQuotedString(_)) => options.text("an option", UNIT_HELP)?,
            _ => options.name("an option", UNIT_HELP)?,
        };
        let option = name.value.to_ascii_lowercase();
        options.expect(&Token::Eq, if option == "keep_rest" { REST_HELP } else { UNIT_HELP })?;
        match option.as_str() {
            "timestamp_unit" => {
                let value = options.text("a unit", UNIT_HELP)?;
                format.timestamp_unit = Some(timestamp_unit(&value)?);
            }
            "keep_rest" => {
                format.keep_rest = keep_rest(&mut options)?;
                if format.keep_rest && kind != FormatKind::Json {
                    let message = "keep_rest is for FORMAT JSON";
                    return Err(Problem::new(name.span, message, "leave it out: declare the file's columns"));
                }
            }
            "compacted" => {
                let value = options.text("`'accept'`", COMPACTED_HELP)?;
                if !value.value.eq_ignore_ascii_case("accept") {
                    let message = format!("unknown value '{}' of compacted", value.value);
                    return Err(Problem::new(value.span, message, COMPACTED_HELP));
                }
                compacted = Some(name.span);
            }
            other => return Err(unknown_option(other, name.span)),
        }
        if given.contains(&option) {
            return Err(Problem::new(name.span, format!("a second {option}"), "leave out one of them"));
        }
        given.push(option);
        if !options.eat(&Token::Comma) {
            break;
        }
    }
    if options.is_at_end() {
        Ok(Options { format, compacted })
    } else {
        Err(options.unexpected("`,` or `)`", UNIT_HELP))
    }
}

/// `true` or `false`, in quotes or not.
fn keep_rest(options: &mut Cursor<'_>) -> Parsed<bool> {
    let span = options.span();
    let value = match options.peek() {
        Some(Token::SingleQuotedString(text)) => text.to_ascii_lowercase(),
        Some(Token::Word(word)) => word.value.to_ascii_lowercase(),
        _ => return Err(options.unexpected("`true` or `false`", REST_HELP)),
    };
    options.advance();
    match value.as_str() {
        "true" => Ok(true),
        "false" => Ok(false),
        _ => Err(Problem::new(span, format!("keep_rest is true or false, not `{value}`"), REST_HELP)),
    }
}

fn unknown_option(name: &str, span: Span) -> Problem {
    let help = if name == "connector" || name.contains("bootstrap") || name.contains("group") || name == "topic" {
        "brokers, groups and credentials stand in kappa.toml; the topic stands behind LIVE FROM KAFKA".to_owned()
    } else if name.starts_with("scan.") {
        "where a run begins is said on the command line: kappa run JOB --start earliest".to_owned()
    } else {
        match nearest(name, ["timestamp_unit", "keep_rest", "compacted"]) {
            Some(known) => format!("did you mean `{known}`?"),
            None => "known here: `timestamp_unit`, `keep_rest`, `compacted`".to_owned(),
        }
    };
    Problem::new(span, format!("unknown option `{name}`"), help)
}

fn timestamp_unit(value: &Spanned<String>) -> Parsed<TimestampUnit> {
    match value.value.as_str() {
        "s" => Ok(TimestampUnit::Seconds),
        "ms" => Ok(TimestampUnit::Milliseconds),
        "us" => Ok(TimestampUnit::Microseconds),
        other => Err(Problem::new(value.span, format!("unknown unit of timestamps '{other}'"), UNIT_HELP)),
    }
}

/// The problem that neither face of a stream stands here.
pub(super) fn unexpected(cursor: &Cursor<'_>) -> Problem {
    let is = |words: &[&str]| words.iter().any(|word| cursor.at_words(&[word]));
    if is(&["SELECT", "INCLUDE", "INSERT", "CREATE"]) {
        let message = "the statement before this has no end";
        return Problem::new(cursor.span(), message, "write `;` behind CREATE STREAM");
    }
    if is(&["WITH"]) {
        let help = "write LIVE FROM KAFKA 'topic' FORMAT JSON; brokers and credentials stand in kappa.toml";
        return Problem::new(cursor.span(), "WITH belongs behind the format of LIVE FROM", help);
    }
    if is(&["FORMAT"]) {
        return Problem::new(cursor.span(), "FORMAT belongs to LIVE FROM", LIVE_HELP);
    }
    if is(&["WATERMARK"]) {
        let help = "write it as the last entry inside the brackets, behind the columns";
        return Problem::new(cursor.span(), "WATERMARK FOR belongs into the brackets", help);
    }
    if is(&["FROM", "KAFKA", "FILE"]) {
        return Problem::new(cursor.span(), "LIVE is missing", LIVE_HELP);
    }
    let found = cursor.peek().map(ToString::to_string).unwrap_or_default();
    match nearest(&found, ["LIVE", "HISTORY"]) {
        Some(word) => cursor.unexpected("`LIVE FROM` or `HISTORY FROM`", &format!("did you mean {word} FROM?")),
        None => cursor.unexpected("`LIVE FROM` or `HISTORY FROM`", LIVE_HELP),
    }
}
