//! Random messages: mostly good ones, with everything that producers get wrong.

use base64::Engine;
use rand::prelude::*;

use crate::event::{ColumnType, Origin, Stream};

/// Makes messages for a stream from a seed.
pub(super) struct Messages {
    random: StdRng,
    /// Paths and types that the stream declares.
    wanted: Vec<(Vec<String>, ColumnType)>,
}

impl Messages {
    pub(super) fn new(seed: u64, stream: &Stream) -> Messages {
        let wanted = stream.columns.iter().filter_map(|column| match &column.origin {
            Origin::Path(path) => Some((path.clone(), column.column_type.clone())),
            _ => None,
        });
        Messages { random: StdRng::seed_from_u64(seed), wanted: wanted.collect() }
    }

    pub(super) fn next_message(&mut self) -> Vec<u8> {
        let wanted = self.wanted.clone();
        let mut message = self.object(&wanted).into_bytes();
        if self.chance(8) {
            self.damage(&mut message);
        }
        message
    }

    fn chance(&mut self, one_in: u32) -> bool {
        self.random.random_ratio(1, one_in)
    }

    fn pick<'a, T: ?Sized>(&mut self, values: &[&'a T]) -> &'a T {
        values[self.random.random_range(0..values.len())]
    }

    fn damage(&mut self, message: &mut Vec<u8>) {
        for _ in 0..self.random.random_range(1..3) {
            let at = self.random.random_range(0..=message.len());
            match self.random.random_range(0..4) {
                0 => message.truncate(at),
                1 if at < message.len() => {
                    message.remove(at);
                }
                2 if at < message.len() => message[at] = self.random.random(),
                _ => {
                    let byte =
                        *self.pick(&[&b'"', &b'{', &b'}', &b',', &b'\\', &b'0', &b'e', &b' ', &b'[', &0xc3, &0x01]);
                    message.insert(at, byte);
                }
            }
        }
    }

    fn space(&mut self) -> &'static str {
        if self.chance(20) { self.pick(&[" ", "\n", "\t\r", "   "]) } else { "" }
    }

    /// An object with the fields at `wanted`, in their order as a rule.
    fn object(&mut self, wanted: &[(Vec<String>, ColumnType)]) -> String {
        let mut names: Vec<&String> = wanted.iter().filter_map(|(path, _)| path.first()).collect();
        names.dedup();
        if self.chance(6) {
            names.shuffle(&mut self.random);
        }
        let mut fields = Vec::new();
        for name in names {
            if self.chance(8) {
                continue;
            }
            let times = if self.chance(40) { 2 } else { 1 };
            for _ in 0..times {
                let value = self.field(name, wanted);
                fields.push(self.pair(name, &value));
            }
            if self.chance(10) {
                let junk = self.junk(3);
                let name = self.pick(&["x", "unknown", "ключ", "a b"]).to_owned();
                fields.push(self.pair(&name, &junk));
            }
        }
        format!("{}{{{}}}{}", self.space(), fields.join(","), self.space())
    }

    fn pair(&mut self, name: &str, value: &str) -> String {
        let name = self.quoted(name);
        let (before, behind, end) = (self.space(), self.space(), self.space());
        let first = self.space();
        format!("{first}{name}{before}:{behind}{value}{end}")
    }

    fn field(&mut self, name: &str, wanted: &[(Vec<String>, ColumnType)]) -> String {
        let inside: Vec<(Vec<String>, ColumnType)> = wanted
            .iter()
            .filter(|(path, _)| path[0] == *name && path.len() > 1)
            .map(|(path, column_type)| (path[1..].to_vec(), column_type.clone()))
            .collect();
        if self.chance(40) {
            return self.junk(3);
        }
        if self.chance(15) {
            return "null".to_owned();
        }
        if !inside.is_empty() {
            return self.object(&inside);
        }
        let column_type =
            wanted.iter().find(|(path, _)| path.len() == 1 && path[0] == *name).map(|(_, found)| found.clone());
        column_type.map_or_else(|| "{}".to_owned(), |column_type| self.value(&column_type))
    }

    fn value(&mut self, column_type: &ColumnType) -> String {
        if self.chance(30) {
            return "null".to_owned();
        }
        match column_type {
            ColumnType::Boolean => self.pick(&["true", "false"]).to_owned(),
            ColumnType::Int => match self.random.random_range(0..30) {
                0 => self
                    .pick(&["2147483647", "-2147483648", "2147483648", "1.0", "1e3", "-0", "1.5", "5e-1"])
                    .to_owned(),
                _ => self.random.random_range(-100_000..100_000).to_string(),
            },
            ColumnType::BigInt => self.integer(),
            ColumnType::Float | ColumnType::Double => self.real(),
            ColumnType::Decimal { .. } => match self.random.random_range(0..30) {
                0 => self.pick(&["1.0000", "1.0001", "999999999.999", "1000000000", "1e8", "12e-3", "-0.0"]).to_owned(),
                _ => format!("{}.{:03}", self.random.random_range(-1000..1000), self.random.random_range(0..1000)),
            },
            ColumnType::Text => self.text(),
            ColumnType::Bytes => {
                let bytes: Vec<u8> = (0..self.random.random_range(0..8)).map(|_| self.random.random()).collect();
                self.quoted(&base64::engine::general_purpose::STANDARD.encode(bytes))
            }
            ColumnType::Date => self
                .pick(&["\"2024-02-29\"", "\"1969-12-31\"", "\"2023-02-29\"", "\"9999-12-31\"", "\"2024-06-01\""])
                .to_owned(),
            ColumnType::Timestamp => self.instant(),
            ColumnType::Uuid => {
                let id = uuid::Uuid::from_u128(self.random.random()).to_string();
                if self.chance(2) { format!("\"{}\"", id.to_uppercase()) } else { format!("\"{id}\"") }
            }
            ColumnType::Array(item) => {
                let items: Vec<String> = (0..self.random.random_range(0..4)).map(|_| self.value(item)).collect();
                format!("[{}{}]", self.space(), items.join(","))
            }
            ColumnType::Struct(fields) => {
                let wanted: Vec<_> =
                    fields.iter().map(|field| (vec![field.name.clone()], field.column_type.clone())).collect();
                self.object(&wanted).trim().to_owned()
            }
        }
    }

    fn integer(&mut self) -> String {
        match self.random.random_range(0..10) {
            0 => self
                .pick(&[
                    "9223372036854775807",
                    "-9223372036854775808",
                    "9223372036854775808",
                    "123456789012345678",
                    "1234567890123456789",
                    "10e18",
                    "92233720368547758070e-1",
                    "0",
                    "00",
                ])
                .to_owned(),
            1 => format!("{}e{}", self.random.random_range(-100..100), self.random.random_range(-3..20)),
            _ => {
                let bits = self.random.random_range(0..63);
                (self.random.random::<i64>() >> bits).to_string()
            }
        }
    }

    fn real(&mut self) -> String {
        match self.random.random_range(0..8) {
            0 => self
                .pick(&[
                    "1e-300",
                    "-1.7976931348623157e308",
                    "1e309",
                    "5e-324",
                    "0.1",
                    "-0.0",
                    "-0",
                    "3.4028235e38",
                    "3.5e38",
                    "9007199254740993",
                    "0.30000000000000004",
                ])
                .to_owned(),
            1 => format!("{:e}", f64::from_bits(self.random.random())),
            2 => self.random.random::<f64>().to_string(),
            3 => (self.random.random::<f64>() * 1e6).to_string(),
            _ => format!("{:.3}", self.random.random_range(-1000.0..1000.0)),
        }
        .replace("NaN", "0")
        .replace("inf", "1")
    }

    fn instant(&mut self) -> String {
        let micros: i64 = self.random.random_range(-70_000_000_000_000_000..260_000_000_000_000_000);
        let Some(time) = chrono::DateTime::from_timestamp_micros(micros) else { return "1".to_owned() };
        match self.random.random_range(0..7) {
            0 => format!("\"{}\"", time.to_rfc3339()),
            1 => {
                let minutes = self.random.random_range(-1439..1440) * 60;
                let zone = chrono::FixedOffset::east_opt(minutes).expect("less than a day from UTC");
                format!("\"{}\"", time.with_timezone(&zone).to_rfc3339())
            }
            2 => format!("\"{}\"", time.format("%Y-%m-%d %H:%M:%S%.f")),
            3 => format!("\"{}\"", time.format("%Y-%m-%dT%H:%M:%S%.9fz")),
            4 => (micros / 1_000_000).to_string(),
            5 => micros.to_string(),
            _ => format!("{}", 1_700_000_000_000i64 + micros.rem_euclid(1_000_000_000)),
        }
    }

    fn text(&mut self) -> String {
        let length = self.random.random_range(0..30);
        let text: String = (0..length)
            .map(|_| match self.random.random_range(0..20) {
                0 => *self.pick(&[&'"', &'\\', &'/', &'\n', &'\u{1}', &'\u{7f}']),
                1 => *self.pick(&[&'ä', &'字', &'😀', &'\u{ffff}', &'\u{e000}']),
                _ => char::from(self.random.random_range(b' '..b'~')),
            })
            .collect();
        self.quoted(&text)
    }

    /// A JSON string, now and then with needless escapes.
    fn quoted(&mut self, text: &str) -> String {
        if !self.chance(12) {
            return serde_json::to_string(text).expect("text can be written");
        }
        let mut escaped = String::from("\"");
        for unit in text.encode_utf16() {
            escaped.push_str(&format!("\\u{unit:04X}"));
        }
        if self.chance(10) {
            escaped.push_str(self.pick(&["\\ud800", "\\udc00x", "\\uD83D\\uDE00", "\\/", "\\x", "\\u12"]));
        }
        escaped + "\""
    }

    fn junk(&mut self, depth: u32) -> String {
        match self.random.random_range(0..if depth == 0 { 6 } else { 8 }) {
            0 => "null".to_owned(),
            1 => "true".to_owned(),
            2 => self.integer(),
            3 => self.real(),
            4 | 5 => self.text(),
            6 => {
                let items: Vec<String> = (0..self.random.random_range(0..3)).map(|_| self.junk(depth - 1)).collect();
                format!("[{}]", items.join(","))
            }
            _ => {
                let fields: Vec<String> = (0..self.random.random_range(0..3))
                    .map(|_| {
                        let value = self.junk(depth - 1);
                        self.pair("k", &value)
                    })
                    .collect();
                format!("{{{}}}", fields.join(","))
            }
        }
    }
}
