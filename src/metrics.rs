//! Metrics: how runs and archives stand, as Prometheus reads it. Names by its conventions: base units, `_total` on what
//! only grows, the unit at the end.
//!
//! One table says what there is; everything in it is taken from a [`Standing`] when somebody scrapes. Invariant: a scrape
//! costs a run nothing but a copy of its numbers. Labels are bounded: streams and tables by the job, partitions by
//! [`PARTITIONS_MAX`].

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Registry;

use crate::event::EventTime;
use crate::standing::{PartitionStanding, Phase, Standing, TableStanding};
use crate::vitals::Outside;

/// Partitions of a stream that have series of their own; those above share one, with `partition="rest"`.
pub const PARTITIONS_MAX: usize = 1_000;

/// Media type of what [`text`] gives.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A metric: what it is called, what it means, and what it is.
struct Family {
    /// Without `_total`, which counters get.
    name: &'static str,
    help: &'static str,
    kind: MetricType,
    samples: fn(&Standing) -> Vec<Sample>,
}

/// One number with its labels.
struct Sample {
    labels: Vec<(&'static str, String)>,
    value: f64,
}

/// How partitions without series of their own share one.
#[derive(Clone, Copy)]
enum Fold {
    Sum,
    Most,
    Least,
}

const fn counter(name: &'static str, help: &'static str, samples: fn(&Standing) -> Vec<Sample>) -> Family {
    Family { name, help, kind: MetricType::Counter, samples }
}

const fn gauge(name: &'static str, help: &'static str, samples: fn(&Standing) -> Vec<Sample>) -> Family {
    Family { name, help, kind: MetricType::Gauge, samples }
}

/// All there are.
const FAMILIES: &[Family] = &[
    // What comes in.
    counter("kappa_records_taken", "Records taken from the log, rejected ones included", |standing| {
        partitions(standing, Fold::Sum, |at, _| Some(at.taken as f64))
    }),
    counter("kappa_records_rejected", "Records that can't be read as declared", |standing| {
        partitions(standing, Fold::Sum, |at, _| Some(at.rejected as f64))
    }),
    counter("kappa_read_bytes", "Bytes of messages read", |standing| {
        let streams = standing.streams.iter();
        streams.map(|stream| sample(standing, &[("stream", stream.name.clone())], stream.bytes as f64)).collect()
    }),
    gauge("kappa_position_offset", "First offset not yet taken", |standing| {
        partitions(standing, Fold::Least, |at, _| Some(at.position.0 as f64))
    }),
    gauge("kappa_lag_records", "Offsets between position and end of the log", |standing| {
        partitions(standing, Fold::Sum, |at, _| Some(at.lag_records()? as f64))
    }),
    gauge("kappa_lag_seconds", "Age of the newest event taken; 0 when all is taken", |standing| {
        partitions(standing, Fold::Most, |at, now| Some(at.lag(now)?.as_secs_f64()))
    }),
    gauge("kappa_seen_timestamp_seconds", "Greatest event time taken", |standing| {
        partitions(standing, Fold::Least, |at, _| seconds(at.seen?))
    }),
    gauge("kappa_log_headroom_records", "Offsets between the log's low end and the position", |standing| {
        partitions(standing, Fold::Least, |at, _| Some(at.headroom_records()? as f64))
    }),
    gauge("kappa_log_headroom_ratio", "Headroom as a share of the log; 1 when all is taken", |standing| {
        partitions(standing, Fold::Least, |at, _| at.headroom_share())
    }),
    gauge(
        "kappa_log_headroom_seconds",
        "How long the log still keeps what is not taken yet, by retention.ms",
        |standing| partitions(standing, Fold::Least, |at, now| Some(at.headroom(now)?.as_secs_f64())),
    ),
    gauge("kappa_log_retention_seconds", "How long the log keeps a record, by retention.ms", |standing| {
        partitions(standing, Fold::Least, |at, _| Some(at.retention?.as_secs_f64()))
    }),
    // How far time is.
    gauge("kappa_watermark_timestamp_seconds", "Event time before which no more records are expected", |standing| {
        one(standing, seconds(standing.watermark))
    }),
    gauge("kappa_watermark_lag_seconds", "How far the watermark is behind the clock", |standing| {
        one(standing, seconds(standing.watermark).and_then(|at| Some((seconds(standing.now)? - at).max(0.0))))
    }),
    gauge("kappa_watermark_holder", "1 for the partition that holds the watermark back", |standing| {
        let holder = standing.holder.iter();
        let labels =
            |(stream, partition): &(String, i32)| [("stream", stream.clone()), ("partition", partition.to_string())];
        holder.map(|holder| sample(standing, &labels(holder), 1.0)).collect()
    }),
    gauge(
        "kappa_frontier_timestamp_seconds",
        "Watermark of the newest checkpoint: windows below it are published",
        |standing| one(standing, seconds(standing.frontier)),
    ),
    gauge("kappa_sealed_edge_timestamp_seconds", "Event time below which no window can change", |standing| {
        tables(standing, |table| seconds(table.sealed_edge))
    }),
    // What comes out.
    counter("kappa_records_accepted", "Records accepted, as of the newest checkpoint", |standing| {
        tables(standing, |table| Some(table.accepted as f64))
    }),
    counter("kappa_records_late", "Late records, as of the newest checkpoint", |standing| {
        tables(standing, |table| Some(table.late as f64))
    }),
    counter("kappa_rows_published", "Rows published, as of the newest checkpoint", |standing| {
        tables(standing, |table| Some(table.rows as f64))
    }),
    // State and memory.
    gauge("kappa_open_windows", "Windows that are open", |standing| held(standing, |windows, _| windows)),
    gauge("kappa_state_bytes", "Bytes of open windows, about", |standing| held(standing, |_, bytes| bytes)),
    gauge("kappa_pending_bytes", "Bytes of rows that wait for a checkpoint, about", |standing| {
        one(standing, Some((standing.held.pending_bytes + standing.held.rejects_bytes) as f64))
    }),
    gauge("kappa_epochs_in_flight", "Epochs that the engine is at", |standing| {
        one(standing, Some(standing.epochs_in_flight as f64))
    }),
    gauge("kappa_memory_used_bytes", "Memory of the whole process", |standing| {
        one(standing, Some(standing.memory.used_bytes as f64))
    }),
    gauge("kappa_memory_limit_bytes", "Memory that the process may use", |standing| {
        one(standing, standing.memory.limit_bytes.map(|bytes| bytes as f64))
    }),
    // Checkpoints and commits.
    counter("kappa_checkpoints", "Checkpoints committed", |standing| {
        one(standing, Some(standing.checkpoints.count as f64))
    }),
    counter("kappa_checkpoint_write_seconds", "Time spent on writing and committing checkpoints", |standing| {
        one(standing, Some(standing.checkpoints.spent.as_secs_f64()))
    }),
    counter("kappa_checkpoint_write_bytes", "Bytes of the files of checkpoints, results included", |standing| {
        one(standing, Some(standing.checkpoints.bytes as f64))
    }),
    gauge("kappa_checkpoint_age_seconds", "Time since the newest checkpoint of this process", |standing| {
        one(standing, standing.checkpoints.last.map(|last| last.ago.as_secs_f64()))
    }),
    gauge("kappa_checkpoint_last_seconds", "Time that the newest checkpoint took", |standing| {
        one(standing, standing.checkpoints.last.map(|last| last.took.as_secs_f64()))
    }),
    gauge("kappa_checkpoint_last_bytes", "Bytes of the files of the newest checkpoint", |standing| {
        one(standing, standing.checkpoints.last.map(|last| last.bytes as f64))
    }),
    gauge("kappa_checkpoint_under_way_seconds", "How long the one being written has been; 0 if none is", |standing| {
        one(standing, Some(standing.checkpoints.under_way.unwrap_or_default().as_secs_f64()))
    }),
    counter("kappa_commits", "Commits to tables that landed", |standing| {
        one(standing, Some(standing.commits.landed as f64))
    }),
    counter("kappa_commits_repeated", "Commits that had to be tried again", |standing| {
        one(standing, Some(standing.commits.repeated as f64))
    }),
    // The process and what is around it.
    gauge(
        "kappa_outage_seconds",
        "How long calls to tables, checkpoints or the log have been failing; 0 if none is",
        outages,
    ),
    counter("kappa_restarts", "Attempts that died by a fault of kappa and were followed by another", |standing| {
        one(standing, Some(standing.restarts as f64))
    }),
    gauge("kappa_generation", "Number of the run; a newer one fences it", |standing| {
        one(standing, (standing.generation > 0).then_some(standing.generation as f64))
    }),
    gauge("kappa_ready", "1 while it reads", |standing| {
        one(standing, Some(f64::from(u8::from(standing.phase == Phase::Reading))))
    }),
];

/// Names of all metrics as they are scraped.
pub fn names() -> Vec<String> {
    let name = |family: &Family| match family.kind {
        MetricType::Counter => format!("{}_total", family.name),
        _ => family.name.to_owned(),
    };
    FAMILIES.iter().map(name).collect()
}

/// How these drivers stand, in the text format of OpenMetrics, which Prometheus asks for.
pub fn text(standings: Vec<Standing>) -> String {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Scrape { standings: Arc::new(standings) }));
    let mut text = String::new();
    encode(&mut text, &registry).expect("a string takes every text");
    text
}

#[derive(Debug)]
struct Scrape {
    standings: Arc<Vec<Standing>>,
}

impl Collector for Scrape {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in FAMILIES {
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, family.kind)?;
            for sample in self.standings.iter().flat_map(|standing| (family.samples)(standing)) {
                let mut labelled = metric.encode_family(&sample.labels)?;
                match family.kind {
                    MetricType::Counter => {
                        labelled
                            .encode_counter::<prometheus_client::encoding::NoLabelSet, _, f64>(&sample.value, None)?;
                    }
                    _ => labelled.encode_gauge(&sample.value)?,
                }
            }
        }
        Ok(())
    }
}

fn sample(standing: &Standing, labels: &[(&'static str, String)], value: f64) -> Sample {
    let owner = ("owner", standing.owner.clone());
    Sample { labels: std::iter::once(owner).chain(labels.iter().cloned()).collect(), value }
}

fn one(standing: &Standing, value: Option<f64>) -> Vec<Sample> {
    value.map(|value| sample(standing, &[], value)).into_iter().collect()
}

fn tables(standing: &Standing, of: fn(&TableStanding) -> Option<f64>) -> Vec<Sample> {
    let values = standing.tables.iter().filter_map(|table| Some((table.table.to_string(), of(table)?)));
    values.map(|(table, value)| sample(standing, &[("table", table)], value)).collect()
}

fn held(standing: &Standing, of: fn(f64, f64) -> f64) -> Vec<Sample> {
    let operators = standing.held.operators.iter();
    let value = |operator: &crate::memory::HeldByOperator| of(operator.windows as f64, operator.bytes as f64);
    operators.map(|operator| sample(standing, &[("table", operator.table.to_string())], value(operator))).collect()
}

fn partitions(standing: &Standing, fold: Fold, of: fn(&PartitionStanding, EventTime) -> Option<f64>) -> Vec<Sample> {
    let mut samples = Vec::new();
    for stream in &standing.streams {
        let mut add = |partition: String, value: f64| {
            samples.push(sample(standing, &[("stream", stream.name.clone()), ("partition", partition)], value));
        };
        for (partition, at) in stream.partitions.iter().take(PARTITIONS_MAX) {
            if let Some(value) = of(at, standing.now) {
                add(partition.to_string(), value);
            }
        }
        let rest = stream.partitions.values().skip(PARTITIONS_MAX).filter_map(|at| of(at, standing.now));
        let rest = match fold {
            Fold::Sum => rest.reduce(|a, b| a + b),
            Fold::Most => rest.reduce(f64::max),
            Fold::Least => rest.reduce(f64::min),
        };
        if let Some(value) = rest {
            add("rest".to_owned(), value);
        }
    }
    samples
}

fn outages(standing: &Standing) -> Vec<Sample> {
    let mut longest: BTreeMap<Outside, Duration> = Outside::ALL.map(|of| (of, Duration::ZERO)).into();
    for outage in &standing.outages {
        let lasts = longest.entry(outage.of).or_default();
        *lasts = outage.lasts.max(*lasts);
    }
    let labels = |of: Outside| [("of", of.name().to_owned())];
    longest.into_iter().map(|(of, lasts)| sample(standing, &labels(of), lasts.as_secs_f64())).collect()
}

/// Seconds since the epoch; `None` for the two ends of time, which are no numbers.
fn seconds(time: EventTime) -> Option<f64> {
    (time != EventTime::MIN && time != EventTime::MAX).then(|| time.0 as f64 / 1e6)
}

#[cfg(test)]
mod tests;
