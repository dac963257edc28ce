//! How two declarations differ, and what a history that was archived under one of them can be to the other.

use super::{Declaration, DeclaredColumn, DeclaredOrigin, Log};
use crate::event::{ColumnType, Format, Metadata, Micros};

/// How two declarations differ, in words: `bound: 15 s here, 30 s there`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// What changes only how far behind a record may be: jobs over one history may differ in it.
    pub bound: Vec<String>,
    /// What changes only what history keeps beside the columns: jobs over one history may differ in it.
    pub rest: Vec<String>,
    /// Columns declared here only that may be null: where history keeps the rest of messages, they are read from that.
    pub added: Vec<String>,
    /// What changes only the time of records: a job then computes `seen` anew from all rows.
    pub time: Vec<String>,
    /// What changes which records are accepted, or what is in them: the history can't be read under it.
    pub records: Vec<String>,
}

impl Difference {
    /// Whether the declarations are the same.
    pub fn is_empty(&self) -> bool {
        self.all().is_empty()
    }

    /// All differences, the most important ones first.
    pub fn all(&self) -> Vec<String> {
        [&self.records, &self.added, &self.time, &self.rest, &self.bound].into_iter().flatten().cloned().collect()
    }

    /// Those in which a job may not differ from a history, whatever it keeps.
    pub fn of_records(&self) -> Vec<String> {
        [&self.records, &self.added, &self.time].into_iter().flatten().cloned().collect()
    }
}

impl Declaration {
    /// Why a column that is declared elsewhere can't be told from a history that was archived under this declaration; `None`
    /// if it can: from the rest of the messages, from positions, or from other columns.
    pub fn cant_tell(&self, column: &DeclaredColumn) -> Option<String> {
        match &column.origin {
            DeclaredOrigin::Computed(_)
            | DeclaredOrigin::Metadata(Metadata::Timestamp | Metadata::Partition | Metadata::Offset) => None,
            DeclaredOrigin::Metadata(metadata) => {
                Some(format!("history doesn't keep METADATA '{}'", metadata_words(metadata)))
            }
            DeclaredOrigin::Path(_) if !self.format.keep_rest => {
                Some("history doesn't keep undeclared fields".to_owned())
            }
            DeclaredOrigin::Path(path) => {
                let overlaps = |other: &&DeclaredColumn| match &other.origin {
                    DeclaredOrigin::Path(other) => path.starts_with(other) || other.starts_with(path),
                    DeclaredOrigin::Metadata(_) | DeclaredOrigin::Computed(_) => false,
                };
                let other = self.columns.iter().find(overlaps)?;
                Some(format!("history keeps that field as its column `{}` only", other.name))
            }
        }
    }

    /// How a history that was archived under `archived` becomes one of this declaration, in words. The error is what can't
    /// be: history holds no more than was archived.
    pub fn widens(&self, archived: &Declaration) -> Result<Vec<String>, Vec<String>> {
        let (mut changes, mut against) = (Vec::new(), Vec::new());
        for column in &self.columns {
            let name = &column.name;
            match archived.columns.iter().find(|there| there.name == *name) {
                None if column.required => {
                    against.push(format!("column `{name}`: NOT NULL, and the rows that are there have no value"));
                }
                None => changes.push(format!("column `{name}` added")),
                Some(there) if there == column => {}
                Some(there) => {
                    let same = DeclaredColumn { column_type: column.column_type.clone(), ..there.clone() } == *column;
                    let words = format!("column `{name}`: {} becomes {}", there.words(), column.words());
                    match same && widens(&there.column_type, &column.column_type) {
                        true => changes.push(words),
                        false => {
                            against.push(format!("column `{name}`: {} there, {} here", there.words(), column.words()))
                        }
                    }
                }
            }
        }
        for gone in archived.columns.iter().filter(|there| !self.columns.iter().any(|here| here.name == there.name)) {
            against.push(format!("column `{}`: declared there, not here", gone.name));
        }
        match (archived.format.keep_rest, self.format.keep_rest) {
            (false, true) => changes.push("undeclared fields are kept from now on".to_owned()),
            (true, false) => against.push("undeclared fields: kept there, not here".to_owned()),
            _ => {}
        }
        // Nothing of a column is left in here.
        let without_columns = |of: &Declaration| Declaration { columns: Vec::new(), ..of.clone() };
        let others = without_columns(self).difference(&without_columns(archived));
        against.extend(others.records.into_iter().chain(others.time));
        if against.is_empty() { Ok(changes) } else { Err(against) }
    }

    /// How `other` (there) differs from this declaration (here).
    pub fn difference(&self, other: &Declaration) -> Difference {
        let mut difference = Difference::default();
        self.compare_columns(other, &mut difference);
        if self.event_time != other.event_time {
            let words = format!("event time: `{}` here, `{}` there", self.event_time, other.event_time);
            difference.time.push(words);
        }
        if self.max_future_us != other.max_future_us {
            let words = |max: Option<i64>| max.map_or_else(|| "NONE".to_owned(), |max| span_words(Micros(max)));
            let (here, there) = (words(self.max_future_us), words(other.max_future_us));
            difference.time.push(format!("MAX FUTURE: {here} here, {there} there"));
        }
        if self.marker != other.marker {
            let words = |marker: &Option<String>| {
                marker.as_ref().map_or_else(|| "every record".to_owned(), |sql| format!("records with {sql}"))
            };
            let (here, there) = (words(&self.marker), words(&other.marker));
            difference.time.push(format!("what moves the watermark: {here} here, {there} there"));
        }
        if self.bound_us != other.bound_us {
            let (here, there) = (span_words(Micros(self.bound_us)), span_words(Micros(other.bound_us)));
            difference.bound.push(format!("bound of the watermark: {here} here, {there} there"));
        }
        if self.format.keep_rest != other.format.keep_rest {
            let words = |format: &Format| if format.keep_rest { "kept" } else { "not kept" };
            let words = format!("undeclared fields: {} here, {} there", words(&self.format), words(&other.format));
            difference.rest.push(words);
        }
        if (self.format.kind, self.format.timestamp_unit) != (other.format.kind, other.format.timestamp_unit) {
            let (here, there) = (format_words(&self.format), format_words(&other.format));
            difference.records.push(format!("format: {here} here, {there} there"));
        }
        if !self.log.is_same(&other.log) {
            difference.records.push(format!("log: {} here, {} there", self.log.words(), other.log.words()));
        }
        difference
    }

    fn compare_columns(&self, other: &Declaration, difference: &mut Difference) {
        for here in &self.columns {
            let Some(there) = other.columns.iter().find(|there| there.name == here.name) else {
                let words = format!("column `{}`: declared here, not there", here.name);
                match here.required {
                    true => difference.records.push(words),
                    false => difference.added.push(words),
                }
                continue;
            };
            if here == there {
                continue;
            }
            // Of an event time too: records that the old expression makes null are not in history.
            let words = format!("column `{}`: {} here, {} there", here.name, here.words(), there.words());
            difference.records.push(words);
        }
        for there in &other.columns {
            if !self.columns.iter().any(|here| here.name == there.name) {
                difference.records.push(format!("column `{}`: declared there, not here", there.name));
            }
        }
        let order = |of: &Declaration, with: &Declaration| -> Vec<String> {
            let common = of.columns.iter().filter(|column| with.columns.iter().any(|other| other.name == column.name));
            common.map(|column| column.name.clone()).collect()
        };
        let (here, there) = (order(self, other), order(other, self));
        if here != there && here.len() == self.columns.len() && there.len() == other.columns.len() {
            let words = format!("order of the columns: {} here, {} there", here.join(", "), there.join(", "));
            difference.records.push(words);
        }
    }
}

impl Log {
    /// By the broker's id where both have one, else by name.
    fn is_same(&self, other: &Log) -> bool {
        match (self, other) {
            (Log::Topic { id: Some(here), .. }, Log::Topic { id: Some(there), .. }) => here == there,
            (Log::Topic { name: here, .. }, Log::Topic { name: there, .. }) => here == there,
            (Log::File { path: here }, Log::File { path: there }) => here == there,
            _ => false,
        }
    }

    fn words(&self) -> String {
        match self {
            Log::Topic { name, id: Some(id) } => format!("topic `{name}` (id {id})"),
            Log::Topic { name, id: None } => format!("topic `{name}`"),
            Log::File { path } => format!("file `{path}`"),
        }
    }
}

impl DeclaredColumn {
    fn words(&self) -> String {
        let not_null = if self.required { " NOT NULL" } else { "" };
        let origin = match &self.origin {
            DeclaredOrigin::Path(path) if path.len() == 1 && path[0] == self.name => String::new(),
            DeclaredOrigin::Path(path) => format!(" FROM '{}'", path.join(".")),
            DeclaredOrigin::Metadata(metadata) => format!(" FROM METADATA '{}'", metadata_words(metadata)),
            DeclaredOrigin::Computed(sql) => format!(" AS {sql}"),
        };
        format!("{}{not_null}{origin}", self.column_type)
    }
}

/// Whether every value of `from` is one of `to`, and Iceberg tables can go from one to the other.
fn widens(from: &ColumnType, to: &ColumnType) -> bool {
    match (from, to) {
        (ColumnType::Int, ColumnType::BigInt) | (ColumnType::Float, ColumnType::Double) => true,
        (ColumnType::Decimal { precision, scale }, ColumnType::Decimal { precision: wider, scale: same }) => {
            scale == same && precision < wider
        }
        _ => false,
    }
}

fn metadata_words(metadata: &Metadata) -> String {
    match metadata {
        Metadata::Timestamp => "timestamp".into(),
        Metadata::Key => "key".into(),
        Metadata::Partition => "partition".into(),
        Metadata::Offset => "offset".into(),
        Metadata::Header(name) => format!("header:{name}"),
    }
}

fn format_words(format: &Format) -> String {
    let kind = format!("{:?}", format.kind).to_uppercase();
    match format.timestamp_unit {
        Some(unit) => format!("{kind} with timestamps in {}", format!("{unit:?}").to_lowercase()),
        None => kind,
    }
}

fn span_words(span: Micros) -> String {
    match span.0 {
        0 => "0 s".to_owned(),
        us if us % 86_400_000_000 == 0 => format!("{} d", us / 86_400_000_000),
        us if us % 3_600_000_000 == 0 => format!("{} h", us / 3_600_000_000),
        us if us % 60_000_000 == 0 => format!("{} min", us / 60_000_000),
        us if us % 1_000_000 == 0 => format!("{} s", us / 1_000_000),
        us if us % 1_000 == 0 => format!("{} ms", us / 1_000),
        us => format!("{us} us"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::declaration::tests::{BASE, of};

    fn difference(from: &str, to: &str) -> Difference {
        assert!(BASE.contains(from), "{from}");
        of(BASE).difference(&of(&BASE.replacen(from, to, 1)))
    }

    #[test]
    fn the_same_stream_has_no_difference_whatever_it_is_called() {
        let renamed = of(&BASE.replacen("STREAM s", "STREAM other", 1));
        assert!(of(BASE).difference(&renamed).is_empty());
    }

    #[test]
    fn the_bound_is_the_only_free_difference() {
        let bound = difference("'15 seconds'", "'1 day'");
        assert_eq!(bound.all(), ["bound of the watermark: 15 s here, 1 d there"]);
        assert_eq!(bound.bound.len(), 1);
    }

    #[test]
    fn another_event_time_greatest_future_or_when_changes_time_only() {
        let max = difference("'15 seconds'", "'15 seconds' MAX FUTURE NONE");
        assert_eq!((max.time.clone(), max.all().len()), (vec!["MAX FUTURE: 1 h here, NONE there".to_owned()], 1));
        let when = difference("'15 seconds'", "'15 seconds' WHEN a = 'x'");
        assert_eq!(when.time, ["what moves the watermark: every record here, records with a = 'x' there"]);
        assert_eq!(when.all().len(), 1);
        let nullable = "sent TIMESTAMP FROM";
        let column = of(&BASE.replacen(nullable, "sent TIMESTAMP NOT NULL FROM", 1));
        let other = of(&BASE.replacen(nullable, "sent TIMESTAMP NOT NULL FROM", 1).replacen(
            "FOR t AS t",
            "FOR sent AS sent",
            1,
        ));
        let event_time = column.difference(&other);
        assert_eq!((event_time.time.len(), event_time.all().len()), (1, 1), "{event_time:?}");
    }

    #[test]
    fn everything_else_changes_which_records_are_accepted() {
        for (from, to, words) in [
            ("a TEXT", "a BIGINT", "column `a`: TEXT here, BIGINT there"),
            ("a TEXT", "a TEXT NOT NULL", "column `a`: TEXT here, TEXT NOT NULL there"),
            ("a TEXT", "a TEXT FROM 'b'", "column `a`: TEXT here, TEXT FROM 'b' there"),
            ("a TEXT, ", "a TEXT, b TEXT, ", "column `b`: declared there, not here"),
            (
                "coalesce(sent, got)",
                "coalesce(got, sent)",
                "column `t`: TIMESTAMP NOT NULL AS coalesce(sent, got) here, TIMESTAMP NOT NULL AS coalesce(got, sent) there",
            ),
            (
                "FORMAT JSON",
                "FORMAT JSON WITH (timestamp_unit = 'ms')",
                "format: JSON here, JSON with timestamps in milliseconds there",
            ),
            ("'topic'", "'other'", "log: topic `topic` here, topic `other` there"),
        ] {
            let found = difference(from, to);
            assert_eq!((found.records.clone(), found.all().len()), (vec![words.to_owned()], 1), "{to}");
        }
        let topic = |id: &str| of(BASE).with_topic_id(Some(id.into()));
        assert_eq!(topic("q1").difference(&topic("q2")).records.len(), 1);
        assert!(topic("q1").difference(&of(BASE)).is_empty());
    }

    #[test]
    fn a_column_more_may_be_read_from_the_rest_if_it_may_be_null() {
        let missing = difference("a TEXT, ", "");
        assert_eq!(missing.added, ["column `a`: declared here, not there"]);
        assert_eq!(missing.all().len(), 1);
        let required =
            of(&BASE.replacen("a TEXT", "a TEXT NOT NULL", 1)).difference(&of(&BASE.replacen("a TEXT, ", "", 1)));
        assert_eq!((required.records.len(), required.all().len()), (1, 1));
    }

    #[test]
    fn keeping_the_rest_decides_nothing_about_records() {
        let kept = difference("FORMAT JSON", "FORMAT JSON WITH (keep_rest = true)");
        assert_eq!(kept.rest, ["undeclared fields: not kept here, kept there"]);
        assert_eq!(kept.all().len(), 1);
        assert!(!of(BASE).to_json().contains("keep_rest"));
    }

    #[test]
    fn a_history_is_widened_by_columns_and_types_and_nothing_else() {
        let widened = |from: &str, to: &str| of(&BASE.replacen(from, to, 1)).widens(&of(BASE));
        let changes = |from: &str, to: &str| widened(from, to).expect("history can be widened").join("; ");
        assert_eq!(changes("a TEXT, ", "a TEXT, b BIGINT, "), "column `b` added");
        assert_eq!(
            changes("FORMAT JSON", "FORMAT JSON WITH (keep_rest = true)"),
            "undeclared fields are kept from now on"
        );
        assert_eq!(changes("'15 seconds'", "'1 day'"), "");
        for (from, to, why) in [
            (
                "a TEXT, ",
                "a TEXT, b BIGINT NOT NULL, ",
                "column `b`: NOT NULL, and the rows that are there have no value",
            ),
            ("a TEXT, ", "", "column `a`: declared there, not here"),
            ("a TEXT", "a BIGINT", "column `a`: TEXT there, BIGINT here"),
            ("'15 seconds'", "'15 seconds' MAX FUTURE NONE", "MAX FUTURE: NONE here, 1 h there"),
            (
                "'15 seconds'",
                "'15 seconds' WHEN a = 'x'",
                "what moves the watermark: records with a = 'x' here, every record there",
            ),
            ("'topic'", "'other'", "log: topic `other` here, topic `topic` there"),
        ] {
            assert_eq!(widened(from, to).expect_err(to), [why]);
        }
        let typed = |a: &str| of(&BASE.replacen("a TEXT", &format!("a {a}"), 1));
        for (from, to) in [("INT", "BIGINT"), ("FLOAT", "DOUBLE"), ("DECIMAL(9, 2)", "DECIMAL(18, 2)")] {
            let changes = typed(to).widens(&typed(from)).expect("wider");
            assert_eq!(changes, [format!("column `a`: {from} becomes {to}")]);
            assert!(typed(from).widens(&typed(to)).is_err());
        }
        assert!(typed("DECIMAL(18, 3)").widens(&typed("DECIMAL(9, 2)")).is_err());
    }

    #[test]
    fn another_order_of_columns_is_seen() {
        let here = of("CREATE STREAM s (a INT, t TIMESTAMP NOT NULL, WATERMARK FOR t) LIVE FROM FILE 'a.json'");
        let there = of("CREATE STREAM s (t TIMESTAMP NOT NULL, a INT, WATERMARK FOR t) LIVE FROM FILE 'a.json'");
        assert_eq!(here.difference(&there).records, ["order of the columns: a, t here, t, a there"]);
    }
}
