//! An explanation as text for people.

use std::fmt::{Display, Formatter, Result};
use std::time::Duration;

use super::{AggregateExplanation, AlsoReads, Explanation, InsertExplanation, NamedExpression, StreamExplanation};
use crate::event::Micros;

/// Width of the column of labels.
const LABEL: usize = 12;

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "job {}", self.job)?;
        writeln!(f, "version {}", self.fingerprint)?;
        for stream in &self.streams {
            writeln!(f)?;
            write_stream(f, stream)?;
        }
        for insert in &self.inserts {
            let stream = self.streams.iter().find(|stream| stream.name == insert.stream);
            let bound = stream.map_or(Micros(0), |stream| Micros(stream.bound_us));
            writeln!(f)?;
            write_insert(f, insert, bound)?;
        }
        Ok(())
    }
}

fn line(f: &mut Formatter<'_>, label: &str, text: impl Display) -> Result {
    writeln!(f, "  {label:<LABEL$} {text}")
}

fn write_stream(f: &mut Formatter<'_>, stream: &StreamExplanation) -> Result {
    writeln!(f, "stream {}", stream.name)?;
    line(f, "live", &stream.live)?;
    match &stream.history {
        Some(table) => line(f, "history", format!("ICEBERG '{table}'"))?,
        None => line(f, "history", "none: it can't be archived, backfilled or compared")?,
    }
    line(
        f,
        "event time",
        format!(
            "{}, up to {} behind the greatest before it in its partition",
            stream.event_time,
            Micros(stream.bound_us)
        ),
    )?;
    if let Some(marker) = &stream.marker {
        line(f, "markers", format!("only records with {marker} count for that and move the watermark"))?;
    }
    match stream.max_future_us {
        Some(future) => {
            line(f, "future", format!("rejected when more than {} ahead of the log's timestamp", Micros(future)))?
        }
        None => line(f, "future", "any event time is taken")?,
    }
    match stream.idle_after_ms.map(Duration::from_millis) {
        Some(idle) => {
            let idle = Micros(i64::try_from(idle.as_micros()).unwrap_or(i64::MAX));
            line(f, "idle", format!("a partition at its end for {idle} doesn't hold back the watermark"))?;
        }
        None => line(f, "idle", "never: a partition without new records holds back the watermark")?,
    }
    line(f, "rejects", format!("go to {}", stream.rejects))?;
    let rows = stream.columns.iter().map(|column| {
        let required = if column.required { " NOT NULL" } else { "" };
        (column.name.as_str(), format!("{}{required}", column.column_type), column.from.as_deref().unwrap_or(""))
    });
    write_columns(f, &rows.collect::<Vec<_>>())
}

fn write_insert(f: &mut Formatter<'_>, insert: &InsertExplanation, bound: Micros) -> Result {
    let allowed = Micros(insert.allowed_lateness_us);
    writeln!(f, "insert into {}", insert.result)?;
    line(f, "from", &insert.stream)?;
    if let Some(filter) = &insert.filter {
        line(f, "where", filter)?;
    }
    if let Some(unnest) = &insert.unnest {
        line(f, "unnest", &unnest.list)?;
        if let Some(filter) = &unnest.filter {
            line(f, "", format!("where {filter}"))?;
        }
    }
    line(f, "window", &insert.window)?;
    line(f, "late", late(insert, bound))?;
    // Without a window the columns say it.
    if !insert.window.is_none() {
        write_kept(f, insert.keeps_records, &insert.keys, &insert.aggregates)?;
    }
    for also in &insert.also_reads {
        write_also(f, also)?;
    }
    if let Some(within) = &insert.within {
        line(f, "within", within)?;
    }
    if let Some(having) = &insert.having {
        line(f, "having", having)?;
    }
    for (index, operator) in insert.above.iter().enumerate() {
        line(f, if index == 0 { "then" } else { "" }, operator)?;
    }
    line(f, "partitions", insert.partitions.join(", "))?;
    line(f, "sorted by", insert.sorted_by.join(", "))?;
    match insert.publish {
        _ if insert.window.is_none() => line(f, "published", "each record, at the next checkpoint")?,
        "whole_partitions" => line(f, "published", "whole partitions, when no window in them can change any more")?,
        _ => {
            let again = if allowed.0 > 0 { ", and again when late records have changed it" } else { "" };
            let each = "each window, at the first checkpoint after the watermark has passed its end";
            line(f, "published", format!("{each}{again}"))?;
        }
    }
    let end = if insert.state.per.iter().any(|part| part == "pane") { "the end of its last window" } else { "its end" };
    let state = format!(
        "{} for each {}, from its first record until the watermark passes {end}{}: {}{} of event time",
        plural(insert.state.accumulators, "accumulator", "accumulators"),
        insert.state.per.join(", "),
        if allowed.0 > 0 { format!(" by {allowed}") } else { String::new() },
        if insert.window.gap_us.is_some() { "as long as records come, and then " } else { "" },
        Micros(insert.state.held_us),
    );
    line(f, "state", if insert.window.is_none() { "none".to_owned() } else { state })?;
    line(f, "backfill", backfill(insert))?;
    let rows = insert.columns.iter().map(|column| {
        let from = if column.expression == column.name { "" } else { column.expression.as_str() };
        (column.name.as_str(), column.column_type.clone(), from)
    });
    write_columns(f, &rows.collect::<Vec<_>>())
}

/// What is read beside the first records.
fn write_also(f: &mut Formatter<'_>, also: &AlsoReads) -> Result {
    line(f, "and from", &also.stream)?;
    if let Some(filter) = &also.filter {
        line(f, "where", filter)?;
    }
    if let Some(window) = &also.window {
        line(f, "window", window)?;
    }
    line(f, "late", format!("as above, by its own bound; goes to {}", also.late))?;
    write_kept(f, also.keeps_records, &also.keys, &also.aggregates)
}

/// What a window keeps of its records.
fn write_kept(
    f: &mut Formatter<'_>,
    keeps_records: bool,
    keys: &[NamedExpression],
    aggregates: &[AggregateExplanation],
) -> Result {
    if keeps_records {
        let columns: Vec<&str> = keys.iter().map(|key| key.name.as_str()).collect();
        line(f, "records", format!("each by itself, of {}", columns.join(", ")))?;
    } else if !keys.is_empty() {
        let shown = keys.iter().map(|key| match key.name == key.expression {
            true => key.name.clone(),
            false => format!("{} = {}", key.name, key.expression),
        });
        line(f, "keys", shown.collect::<Vec<_>>().join(", "))?;
    }
    for (index, aggregate) in aggregates.iter().enumerate() {
        let label = if index == 0 { "aggregates" } else { "" };
        // A display that carries its FILTER already doesn't need it twice.
        let filter = aggregate.filter.as_ref().filter(|_| !aggregate.expression.contains("FILTER"));
        match filter {
            Some(filter) => line(f, label, format!("{} FILTER (WHERE {filter})", aggregate.expression))?,
            None => line(f, label, &aggregate.expression)?,
        }
    }
    Ok(())
}

/// By `end + allowed <= seen - bound`, as a distance of `seen` from the window's end.
fn late(insert: &InsertExplanation, bound: Micros) -> String {
    if insert.window.is_none() {
        return format!("never; records on which an expression fails go to {}", insert.late);
    }
    let behind = Micros(bound.0.saturating_add(insert.allowed_lateness_us));
    match insert.window.is_by_data() {
        true => format!("once its partition has shown a time more than {behind} ahead of it; goes to {}", insert.late),
        false => format!("once its partition has shown a time {behind} past the window's end; goes to {}", insert.late),
    }
}

fn backfill(insert: &InsertExplanation) -> String {
    let (around, range_column) = (&insert.backfill, insert.range_column.as_str());
    if insert.window.is_none() {
        return format!("ranges of {range_column}; what a live job has published since stays");
    }
    if insert.within.is_none() && insert.window.gap_us.is_some() && range_column == "window_start" {
        return format!("ranges of {range_column}; history is read from the gap before the range to its end");
    }
    if insert.window.gap_us.is_some() || insert.window.timeout_us.is_some() {
        return format!("ranges of {range_column}; history is read as far before the range as its windows need");
    }
    let part = |us: i64, what: &str| match us {
        0 => format!("no {what}"),
        us => format!("{what} up to {}", Micros(us)),
    };
    format!(
        "ranges of {range_column}; history is read from the start of the first window to the end of the last: {}, {}",
        part(around.warm_up_us, "warm-up"),
        part(around.run_out_us, "run-out"),
    )
}

fn write_columns(f: &mut Formatter<'_>, rows: &[(&str, String, &str)]) -> Result {
    let names = rows.iter().map(|(name, _, _)| name.chars().count()).max().unwrap_or(0);
    let types = rows.iter().map(|(_, column_type, _)| column_type.chars().count()).max().unwrap_or(0);
    writeln!(f, "  columns")?;
    for (name, column_type, from) in rows {
        let row = format!("    {name:<names$}  {column_type:<types$}  {from}");
        writeln!(f, "{}", row.trim_end())?;
    }
    Ok(())
}

fn plural(count: usize, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}
