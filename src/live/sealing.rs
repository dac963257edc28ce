//! Sealing: partitions of results that can't change any more are rewritten into few large files, behind the back of the
//! run.
//! Invariants: one partition at a time, and never one at or above the sealed edge of the newest published checkpoint;
//! rows stay the same; nothing waits for it but the end of a run that ended by itself.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio_util::task::AbortOnDropHandle;

use crate::event::EventTime;
use crate::job::Plan;
use crate::sinks::{Publisher, Tidy};

/// The result tables of a run, and what is to be rewritten in them.
#[derive(Debug)]
pub(super) struct Sealing {
    publisher: Publisher,
    /// For each INSERT.
    tables: Vec<Tidy>,
    /// INSERTs whose tables were not yet looked at for what earlier runs have left.
    unseen: BTreeSet<usize>,
    edge_of: Vec<EventTime>,
    work: Option<AbortOnDropHandle<Done>>,
}

/// What a piece of work has brought: partitions of an INSERT's table that it found.
#[derive(Debug, Default)]
struct Done {
    insert: usize,
    found: BTreeSet<EventTime>,
}

impl Sealing {
    /// For a run that goes on where each INSERT's result is sealed below an edge.
    pub(super) fn new(plan: &Arc<Plan>, publisher: &Publisher, edge_of: Vec<EventTime>) -> Sealing {
        let inserts = &plan.inserts;
        Sealing {
            tables: inserts.iter().map(Tidy::of_result).collect(),
            unseen: (0..inserts.len()).collect(),
            edge_of,
            publisher: publisher.clone(),
            work: None,
        }
    }

    /// A checkpoint is published: rows came into these partitions of each INSERT's table, which is sealed below these edges.
    pub(super) fn published(&mut self, touched: Vec<BTreeSet<EventTime>>, sealed: Vec<EventTime>) {
        for (table, touched) in self.tables.iter_mut().zip(touched) {
            table.saw(touched);
        }
        self.edge_of = sealed;
        self.go_on();
    }

    /// Whether something is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.work.is_some()
    }

    /// Waits until the piece of work that is under way is done, and begins the next. Cancel-safe.
    pub(super) async fn step(&mut self) {
        let Some(work) = &mut self.work else { return std::future::pending().await };
        let done = work.await;
        self.work = None;
        match done {
            Ok(done) => self.tables[done.insert].saw(done.found),
            Err(error) => tracing::error!(%error, "rewriting a partition failed; a later run does it"),
        }
        self.go_on();
    }

    fn go_on(&mut self) {
        if self.work.is_some() {
            return;
        }
        let publisher = self.publisher.clone();
        if let Some(insert) = self.unseen.pop_first() {
            let (table, edge) = (self.tables[insert].clone(), self.edge_of[insert]);
            self.work = Some(AbortOnDropHandle::new(tokio::spawn(async move {
                let found = table.find(publisher.catalog(), edge).await.unwrap_or_else(|error| {
                    tracing::warn!(%error, "small files of earlier runs were not looked for");
                    BTreeSet::new()
                });
                Done { insert, found }
            })));
            return;
        }
        let next = self.tables.iter_mut().zip(&self.edge_of).find_map(|(table, &edge)| table.next(edge));
        if let Some(rewrite) = next {
            self.work = Some(AbortOnDropHandle::new(tokio::spawn(async move {
                rewrite.run(&publisher).await;
                Done::default()
            })));
        }
    }
}
