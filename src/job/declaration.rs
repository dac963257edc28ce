//! The canonical declaration of a stream: what decides which records it accepts, and which time they have.
//! It is the `kappa.stream` property of a history table. On disk: fields are never renamed or reused.

mod difference;

use serde::{Deserialize, Serialize};

use crate::event::{Column, ColumnType, Format, LiveFace, Metadata, Origin, Stream};

pub use difference::Difference;

/// A stream as its history remembers it. Two streams with equal declarations read the same log in the same way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Declaration {
    /// Declared columns, in their order.
    pub columns: Vec<DeclaredColumn>,
    /// Name of the event-time column.
    pub event_time: String,
    /// How far behind `seen` a record may be, in microseconds.
    pub bound_us: i64,
    /// WHEN: what marker records are told by, in canonical SQL; none: every record is one. Left out then, as it was before
    /// there was such a thing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub marker: Option<String>,
    /// MAX FUTURE in microseconds; none: any event time is taken.
    pub max_future_us: Option<i64>,
    /// The log.
    pub log: Log,
    /// How it is written.
    pub format: Format,
}

/// One declared column.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeclaredColumn {
    /// Name in queries and tables.
    pub name: String,
    /// Declared type.
    #[serde(rename = "type")]
    pub column_type: ColumnType,
    /// NOT NULL.
    pub required: bool,
    /// Where its value comes from.
    pub origin: DeclaredOrigin,
}

/// Where a column's value comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DeclaredOrigin {
    /// A path in the message.
    Path(Vec<String>),
    /// What the log keeps beside the message.
    Metadata(Metadata),
    /// An expression, in canonical SQL.
    Computed(String),
}

/// The log that a history is a copy of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Log {
    /// A Kafka topic.
    Topic {
        /// Its name.
        name: String,
        /// The broker's id of it, where it gives one: a topic that was deleted and made anew has another one.
        id: Option<String>,
    },
    /// A file, by the path of the job file.
    File {
        /// Path as written.
        path: String,
    },
}

/// A `kappa.stream` property that can't be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "the declaration in the table's property kappa.stream can't be read: it was written by another version of kappa, or changed by hand"
)]
pub struct DeclarationError {
    #[from]
    source: serde_json::Error,
}

impl Declaration {
    /// The declaration of a validated stream, its topic by name only.
    pub fn of(stream: &Stream) -> Declaration {
        let (log, format) = match &stream.live {
            LiveFace::Kafka { topic, format } => (Log::Topic { name: topic.clone(), id: None }, format.clone()),
            LiveFace::File { path, format } => (Log::File { path: path.clone() }, format.clone()),
        };
        Declaration {
            columns: stream.columns.iter().filter_map(declared).collect(),
            event_time: stream.columns[stream.event_time].name.clone(),
            bound_us: stream.bound.0,
            marker: stream.marker.as_ref().map(|marker| marker.sql.clone()),
            max_future_us: stream.max_future.map(|max| max.0),
            log,
            format,
        }
    }

    /// The same with the broker's id of the topic; without effect for a file.
    #[must_use]
    pub fn with_topic_id(mut self, topic_id: Option<String>) -> Declaration {
        if let Log::Topic { id, .. } = &mut self.log {
            *id = topic_id;
        }
        self
    }

    /// One line of JSON; equal declarations give equal text.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("names, numbers and enums always serialise")
    }

    /// Reads what [`Declaration::to_json`] wrote.
    ///
    /// # Errors
    /// The text is not such JSON.
    pub fn parse(json: &str) -> Result<Declaration, DeclarationError> {
        Ok(serde_json::from_str(json)?)
    }
}

/// A column as declared; none for what history adds.
fn declared(column: &Column) -> Option<DeclaredColumn> {
    let origin = match &column.origin {
        Origin::Path(path) => DeclaredOrigin::Path(path.clone()),
        Origin::Metadata(metadata) => DeclaredOrigin::Metadata(metadata.clone()),
        Origin::Computed(computed) => DeclaredOrigin::Computed(computed.sql.clone()),
        Origin::Rest => return None,
    };
    let column_type = column.column_type.clone();
    Some(DeclaredColumn { name: column.name.clone(), column_type, required: column.required, origin })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::job::compile_streams;

    pub(super) const BASE: &str = "CREATE STREAM s (a TEXT, t TIMESTAMP NOT NULL AS coalesce(sent, got), sent TIMESTAMP FROM 'x.sent', got TIMESTAMP FROM METADATA 'timestamp',
        WATERMARK FOR t AS t - INTERVAL '15 seconds') LIVE FROM KAFKA 'topic' FORMAT JSON";

    pub(super) fn of(text: &str) -> Declaration {
        let streams = compile_streams("job", text).unwrap_or_else(|errors| panic!("{errors}"));
        Declaration::of(&streams[0])
    }

    #[test]
    fn a_declaration_comes_back_from_its_json() {
        let declaration = of(BASE).with_topic_id(Some("q1".into()));
        let json = declaration.to_json();
        assert_eq!(Declaration::parse(&json).expect("its own text"), declaration);
        assert!(Declaration::parse("{}").is_err());
        assert!(Declaration::parse(&json.replacen("bound_us", "bound", 1)).is_err());
        assert!(!json.contains('\n'));
        // What no stream had before there was such a thing isn't said of those that don't have it.
        assert!(!json.contains("marker"));
        let with_markers = of(&BASE.replacen("'15 seconds'", "'15 seconds' WHEN a = 'x'", 1));
        assert_eq!(Declaration::parse(&with_markers.to_json()).expect("its own text"), with_markers);
        assert_eq!(with_markers.marker.as_deref(), Some("a = 'x'"));
    }
}
