//! Random messages: JSON in all its spellings, and everything that a stream can't read.

use std::collections::BTreeMap;

use chrono::{DateTime, FixedOffset};

use super::random::Random;
use crate::model::{Body, SECOND, Value};

/// The columns of every generated stream, beside its event time `t`: name, type, whether NOT NULL.
pub const COLUMNS: [(&str, &str, bool); 7] = [
    ("r", "TEXT", true),
    ("k", "TEXT", false),
    ("g", "INT", false),
    ("n", "BIGINT", false),
    ("b", "BOOLEAN", false),
    ("x", "DOUBLE", false),
    ("m", "DOUBLE", false),
];

const TEXTS: [&str; 6] = ["a", "b", "", "Zürich", "\"quoted\" \\ back", "😀"];

/// Random fields of one record at `time`.
pub fn fields(random: &mut Random, time: i64) -> BTreeMap<String, Value> {
    let mut fields = BTreeMap::from([("t".to_owned(), Value::Timestamp(time))]);
    for (name, _, required) in COLUMNS {
        let value = match name {
            _ if !required && random.percent(15) => Value::Null,
            "r" | "k" => random.pick(&TEXTS).into(),
            "g" => random.pick(&[0, 1, 2, i64::from(i32::MIN), i64::from(i32::MAX)]).into(),
            "n" => random.between(-1_000_000_000_000, 1_000_000_000_000).into(),
            "b" => random.percent(50).into(),
            "x" => extreme_double(random).into(),
            _ => (1e6 + random.between(-1_000_000, 1_000_000) as f64 / 1024.0).into(),
        };
        fields.insert(name.to_owned(), value);
    }
    fields
}

/// Doubles of every size, so that sums that depend on order show it.
fn extreme_double(random: &mut Random) -> f64 {
    let mantissa = 1.0 + random.between(0, 1 << 52) as f64 / 4_503_599_627_370_496.0;
    let exponent = match random.below(4) {
        0 => random.between(-996, 997),
        1 => random.pick(&[-996, 996]),
        _ => random.between(-30, 31),
    };
    let magnitude = mantissa * 2_f64.powi(i32::try_from(exponent).expect("is small"));
    match random.below(20) {
        0 => 0.0,
        1 => -0.0,
        _ if random.percent(50) => -magnitude,
        _ => magnitude,
    }
}

/// A message that says these fields, in one of the ways that JSON has for it.
pub fn write(random: &mut Random, fields: &BTreeMap<String, Value>) -> Vec<u8> {
    let mut members: Vec<String> = Vec::new();
    let mut names: Vec<&String> = fields.keys().collect();
    while !names.is_empty() {
        let name = names.swap_remove(random.below(names.len()));
        let value = &fields[name];
        if value.is_null() && random.percent(50) {
            continue;
        }
        if random.percent(3) {
            // Of equal keys the last counts.
            members.push(format!("\"{name}\":null"));
        }
        members.push(format!("\"{name}\":{}", value_text(random, value)));
    }
    if random.percent(30) {
        members.push(r#""unknown":{"nested":[1,2,{"t":"x"}],"k":null}"#.to_owned());
    }
    let (comma, open) = if random.percent(20) { (" ,\n ", "{ ") } else { (",", "{") };
    format!("{open}{}}}", members.join(comma)).into_bytes()
}

fn value_text(random: &mut Random, value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Boolean(truth) => truth.to_string(),
        Value::Integer(number) => number.to_string(),
        Value::Double(number) => double_text(random, *number),
        Value::Timestamp(time) => time_text(random, *time),
        Value::Text(text) => text_text(random, text),
        Value::Bytes(_) => unreachable!("no generated stream has bytes"),
    }
}

fn double_text(random: &mut Random, number: f64) -> String {
    match random.below(3) {
        0 => format!("{number:e}"),
        1 => format!("{number:E}"),
        _ => serde_json::to_string(&number).expect("is finite"),
    }
}

fn text_text(random: &mut Random, text: &str) -> String {
    if random.percent(70) {
        return serde_json::to_string(text).expect("is text");
    }
    let units = text.encode_utf16().map(|unit| format!("\\u{unit:04x}"));
    format!("\"{}\"", units.collect::<String>())
}

/// A time as text or as an integer; integers only where their size tells the unit.
fn time_text(random: &mut Random, time: i64) -> String {
    let instant = DateTime::from_timestamp_micros(time).expect("is a year of four digits");
    let zone = FixedOffset::east_opt(random.pick(&[7_200, -34_200])).expect("is less than a day");
    match random.below(5) {
        0 => format!("\"{}\"", instant.format("%Y-%m-%d %H:%M:%S%.f")),
        1 => format!("\"{}\"", instant.with_timezone(&zone).to_rfc3339()),
        2 if (100_000_000_000_000..100_000_000_000_000_000).contains(&time.abs()) => time.to_string(),
        3 if time % 1_000 == 0 && (100_000_000_000_000..100_000_000_000_000_000).contains(&time.abs()) => {
            (time / 1_000).to_string()
        }
        4 if time % SECOND == 0 => (time / SECOND).to_string(),
        _ => format!("\"{}\"", instant.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true)),
    }
}

/// A message that the stream can't read: no value, no JSON, or a value that doesn't fit its column.
pub fn broken(random: &mut Random, time: i64) -> (Option<Vec<u8>>, Body) {
    let fields = fields(random, time);
    let whole = write(random, &fields);
    let raw = match random.below(8) {
        0 => return (None, Body::Broken),
        1 => Vec::new(),
        2 => whole[..random.below(whole.len() - 1) + 1].to_vec(),
        3 => {
            random.pick(&[&b"null"[..], b"[]", b"[{}]", b"7", b"\"text\"", b"{", b"nonsense", b"\xff\xfe\x00"]).to_vec()
        }
        4 => [whole, random.pick(&[&b"}"[..], b"x", b"{}"]).to_vec()].concat(),
        5 => with_member(&whole, b"\"k\":\"\xc3\x28\""),
        6 => return null_in_required(random, time),
        _ => with_member(&whole, wrong_value(random).as_bytes()),
    };
    (Some(raw), Body::Broken)
}

/// A member behind all others, so that it is the one that counts.
fn with_member(message: &[u8], member: &[u8]) -> Vec<u8> {
    [&message[..message.len() - 1], b",", member, b"}"].concat()
}

fn null_in_required(random: &mut Random, time: i64) -> (Option<Vec<u8>>, Body) {
    let mut fields = fields(random, time);
    let column = random.pick(&["t", "r"]);
    fields.insert(column.to_owned(), Value::Null);
    (Some(write(random, &fields)), Body::Fields(fields))
}

/// A member whose value has another type, or is out of its type's range.
fn wrong_value(random: &mut Random) -> &'static str {
    random.pick(&[
        r#""t":"yesterday""#,
        r#""t":true"#,
        r#""t":"2013-02-30T00:00:00Z""#,
        r#""t":{}"#,
        r#""k":5"#,
        r#""k":["a"]"#,
        r#""k":false"#,
        r#""g":2147483648"#,
        r#""g":1.5"#,
        r#""g":"1""#,
        r#""n":9223372036854775808"#,
        r#""n":0.5"#,
        r#""n":[]"#,
        r#""b":"true""#,
        r#""b":1"#,
        r#""x":"1.5""#,
        r#""x":true"#,
        r#""m":{}"#,
    ])
}
