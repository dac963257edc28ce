//! Log lines as JSON: one object a line, with the same names in every line.
//!
//! `time` (RFC 3339, UTC), `level` (`error`, `warn`, `info`, `debug`, `trace`), `job`, `generation` (once claimed),
//! `target` and `message` stand in every line in this order; behind them what the event itself tells. A field of an event
//! never takes one of these names away.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::time::clock::{Clock, SystemClock};

/// Names that every line has, as far as they are known.
const OURS: [&str; 6] = ["time", "level", "job", "generation", "target", "message"];

/// Whether lines are JSON in this process.
static IS_ON: AtomicBool = AtomicBool::new(false);

/// Who writes: the job of this process, and the generation that it has claimed.
static WRITER: Mutex<(Option<String>, Option<u64>)> = Mutex::new((None, None));

/// Says from now on everything as JSON.
pub(super) fn turn_on() {
    IS_ON.store(true, Ordering::Relaxed);
}

/// Whether everything on stderr is JSON.
pub(super) fn is_on() -> bool {
    IS_ON.load(Ordering::Relaxed)
}

/// The job whose lines follow, and its generation once it is known.
pub fn set_writer(job: &str, generation: Option<u64>) {
    let mut writer = WRITER.lock().unwrap_or_else(PoisonError::into_inner);
    if writer.1 != generation || writer.0.as_deref() != Some(job) {
        *writer = (Some(job.to_owned()), generation);
    }
}

/// A line that is no event: a note, or the error that ends the command.
pub(super) fn line(level: &str, message: &str) -> String {
    put_together(level, "kappa", message.to_owned(), Map::new())
}

fn put_together(level: &str, target: &str, message: String, fields: Map<String, Value>) -> String {
    let mut line = format!("{{\"time\":{}", json!(SystemClock::start().now().to_string()));
    let mut add = |name: &str, value: Value| line.push_str(&format!(",{}:{value}", json!(name)));
    add("level", json!(level));
    let (job, generation) = WRITER.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let Some(job) = job {
        add("job", json!(job));
    }
    if let Some(generation) = generation {
        add("generation", json!(generation));
    }
    add("target", json!(target));
    add("message", json!(message));
    for (name, value) in fields.into_iter().filter(|(name, _)| !OURS.contains(&name.as_str())) {
        add(&name, value);
    }
    line.push('}');
    line
}

/// Writes events as such lines.
pub(super) struct JsonLines;

impl<S, N> FormatEvent<S, N> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let metadata = event.metadata();
        let level = metadata.level().as_str().to_ascii_lowercase();
        writeln!(writer, "{}", put_together(&level, metadata.target(), fields.message, fields.others))
    }
}

/// What an event tells.
#[derive(Default)]
struct Fields {
    message: String,
    others: Map<String, Value>,
}

impl Fields {
    fn add(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::String(text)) => self.message = text,
            (name, value) => {
                self.others.insert(name.to_owned(), value);
            }
        }
    }
}

impl Visit for Fields {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.add(field, json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.add(field, json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.add(field, json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.add(field, json!(value));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, json!(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.add(field, json!(value.to_string()));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.add(field, json!(format!("{value:?}")));
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::Arc;

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    /// Keeps what is written.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().expect("no test panics with it").extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Kept {
        type Writer = Kept;

        fn make_writer(&'a self) -> Kept {
            self.clone()
        }
    }

    #[test]
    fn every_line_is_an_object_that_says_who_and_what() {
        let kept = Kept::default();
        let subscriber = tracing_subscriber::fmt().event_format(JsonLines).with_writer(kept.clone()).finish();
        set_writer("page_hits", Some(7));
        tracing::subscriber::with_default(subscriber, || {
            let error = std::io::Error::other("no \"route\"\nto host");
            tracing::warn!(%error, partition = 3, share = 0.5, level = "mine", "couldn't {}; trying again", "load a table");
            tracing::error!("two\nlines");
        });
        let text = String::from_utf8(kept.0.lock().expect("ours").clone()).expect("text");
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines.len(), 2, "{text}");
        let (time, rest) = lines[0].split_once("\",").expect("the time comes first");
        assert!(time.starts_with("{\"time\":\"20") && time.ends_with('Z'), "{time}");
        assert_eq!(
            rest,
            "\"level\":\"warn\",\"job\":\"page_hits\",\"generation\":7,\"target\":\"kappa::cli::log_json::tests\",\
             \"message\":\"couldn't load a table; trying again\",\"error\":\"no \\\"route\\\"\\nto host\",\"partition\":3,\
             \"share\":0.5}"
        );
        let parsed: Value = serde_json::from_str(lines[1]).expect("JSON");
        assert_eq!(parsed["message"], "two\nlines");
        let note: Value = serde_json::from_str(&line("info", "a note")).expect("JSON");
        assert_eq!(
            (&note["level"], &note["message"], &note["job"]),
            (&json!("info"), &json!("a note"), &json!("page_hits"))
        );
    }
}
