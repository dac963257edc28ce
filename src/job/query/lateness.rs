//! ALLOW LATENESS: rows that are published are found again by their window, so it must show in the result which one that is.

use super::output::Parts;
use super::partitions::Named;
use crate::event::Micros;
use crate::job::Problems;
use crate::job::definition::InsertDefinition;
use crate::job::plan::Kept;
use crate::job::told::holding;
use crate::windows::{Window, WindowEdge};

/// ALLOW LATENESS; zero without it.
pub(super) fn allowed(insert: &InsertDefinition, columns: &[Named], problems: &mut Problems) -> Micros {
    let Some(allowed) = &insert.allow_lateness else { return Micros::default() };
    for (edge, name) in [(WindowEdge::Start, "window_start"), (WindowEdge::End, "window_end")] {
        if allowed.value.0 > 0 && !columns.iter().any(|column| column.edge == Some(edge)) {
            let message = format!("ALLOW LATENESS revises rows by window, and the result has no {name}");
            problems.add(allowed.span, message, format!("select {name}"));
        }
    }
    allowed.value
}

/// Where keys have windows of their own, of which there are `partition_keys`, these must be in the result too.
pub(super) fn check_keys(insert: &InsertDefinition, parts: &Parts, partition_keys: usize, problems: &mut Problems) {
    let Some(allowed) = insert.allow_lateness.as_ref().filter(|allowed| allowed.value.0 > 0) else { return };
    let leg = &parts.legs[0];
    let keys = leg.window_columns().len();
    for (index, key) in leg.keys()[..partition_keys].iter().enumerate() {
        if holding(&parts.columns, &leg.closed_schema, keys + index).is_none() {
            let message =
                format!("ALLOW LATENESS revises rows by window and key, and the result has no column `{}`", key.name);
            problems.add(allowed.span, message, format!("select {}, as it stands in PARTITION BY", key.name));
        }
    }
}

/// Of queries of several layers: whether what a late record changes can be found in the result.
pub(super) fn check_layers(insert: &InsertDefinition, parts: &Parts, problems: &mut Problems) {
    let Some(clause) = &insert.allow_lateness else { return };
    let help = "leave it out, and let the watermark wait longer instead: WATERMARK FOR t AS t - INTERVAL '…'";
    if parts.legs.iter().any(|leg| leg.within.is_some()) {
        let message = "ALLOW LATENESS isn't supported for windows over windowed results yet";
        return problems.add(clause.span, message, help);
    }
    let leg = &parts.legs[0];
    let Window::ByData(window) = &leg.window else { return };
    if parts.above.is_some() || leg.kept == Kept::Counted {
        let message = format!(
            "ALLOW LATENESS isn't supported for layers above {}: a late record may join windows, and which rows above came of \
             them isn't known",
            window.name()
        );
        return problems.add(clause.span, message, help);
    }
    check_keys(insert, parts, leg.partition_keys(), problems);
}
