//! Who holds how much memory, as far as it is known: for the message of a process that has too little.

use crate::event::{EventTime, TableName};

/// What is known of the memory of a run or a recomputation: who holds how much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// For each INSERT.
    pub operators: Vec<HeldByOperator>,
    /// Rows that wait for a checkpoint.
    pub pending_bytes: u64,
    /// Rejected messages that wait for a checkpoint.
    pub rejects_bytes: u64,
    /// What a recomputation keeps.
    pub kept: Kept,
}

/// Rows that a recomputation keeps until they are written or compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// What they are, for a message; empty if there are never any.
    pub what: &'static str,
    /// Their bytes.
    pub bytes: u64,
}

/// What the open windows of one INSERT hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldByOperator {
    /// Its result.
    pub table: TableName,
    /// Bytes of its open windows, about.
    pub bytes: u64,
    /// How many windows are open.
    pub windows: u64,
    /// The one that holds most: its start and its bytes.
    pub largest: Option<(EventTime, u64)>,
}

impl std::fmt::Display for Held {
    /// Who holds how much, the largest first, as a part of a sentence.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut parts: Vec<(u64, String)> = Vec::new();
        for operator in self.operators.iter().filter(|operator| operator.bytes > 0) {
            let windows = if operator.windows == 1 { "window" } else { "windows" };
            let mut text =
                format!("{} open {windows} of {} hold {}", operator.windows, operator.table, Bytes(operator.bytes));
            if let Some((start, bytes)) = operator.largest {
                text += &format!(" (the one that starts at {start}: {})", Bytes(bytes));
            }
            parts.push((operator.bytes, text));
        }
        for (bytes, what) in [
            (self.pending_bytes, "rows that wait for a checkpoint"),
            (self.rejects_bytes, "rejected messages"),
            (self.kept.bytes, self.kept.what),
        ] {
            if bytes > 0 {
                parts.push((bytes, format!("{what} {}", Bytes(bytes))));
            }
        }
        parts.sort_by_key(|&(bytes, _)| std::cmp::Reverse(bytes));
        let texts: Vec<String> = parts.into_iter().map(|(_, text)| text).collect();
        match texts.is_empty() {
            true => f.write_str("no open window holds any; the program itself and its queues do"),
            false => f.write_str(&texts.join(", ")),
        }
    }
}

/// Bytes for people: `1.5 GB`, in powers of 1024 as limits are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bytes(pub u64);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let units = [("GB", 1_u64 << 30), ("MB", 1 << 20), ("KB", 1 << 10)];
        match units.into_iter().find(|(_, factor)| self.0 >= *factor) {
            Some((unit, factor)) => write!(f, "{:.1} {unit}", self.0 as f64 / factor as f64),
            None => write!(f, "{} bytes", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_holder_is_named_first() {
        let operator = |table: &str, bytes, largest| HeldByOperator {
            table: TableName::parse(table).expect("a name"),
            bytes,
            windows: 2,
            largest,
        };
        let largest = Some((EventTime(0), 3 << 20));
        let held = Held {
            operators: vec![operator("marts.a", 1 << 10, None), operator("marts.b", 4 << 20, largest)],
            pending_bytes: 2 << 20,
            ..Held::default()
        };
        assert_eq!(
            held.to_string(),
            "2 open windows of marts.b hold 4.0 MB (the one that starts at 1970-01-01T00:00:00Z: 3.0 MB), rows that wait for \
             a checkpoint 2.0 MB, 2 open windows of marts.a hold 1.0 KB"
        );
        assert_eq!(Held::default().to_string(), "no open window holds any; the program itself and its queues do");
    }
}
