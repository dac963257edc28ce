//! Numbers, times and tables as people read them; always the same text for the same values.

use std::time::Duration;

use comfy_table::{CellAlignment, ContentArrangement, Table as Grid, presets};

use crate::event::EventTime;

/// `1,234,567`
pub fn number(value: impl TryInto<i128>) -> String {
    let Ok(value) = value.try_into() else { return "?".to_owned() };
    let digits = value.unsigned_abs().to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3 + 1);
    if value < 0 {
        text.push('-');
    }
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `512 B`, `1.5 MiB`
pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if value < 1024 {
        return format!("{value} B");
    }
    let mut scaled = value as f64 / 1024.0;
    let mut unit = 0;
    // What would be printed as 1024.0 belongs to the next unit.
    while scaled >= 1023.95 && unit + 1 < UNITS.len() {
        scaled /= 1024.0;
        unit += 1;
    }
    format!("{scaled:.1} {}", UNITS[unit])
}

/// A measured duration by its two largest units: `850ms`, `4.2s`, `3m 20s`, `2d 4h`.
pub fn duration(value: Duration) -> String {
    let seconds = value.as_secs();
    match seconds {
        0 => format!("{}ms", value.as_millis()),
        1..60 => format!("{}.{}s", seconds, value.subsec_millis() / 100),
        60..3_600 => format!("{}m {}s", seconds / 60, seconds % 60),
        3_600..86_400 => format!("{}h {}m", seconds / 3_600, seconds % 3_600 / 60),
        _ => format!("{}d {}h", seconds / 86_400, seconds % 86_400 / 3_600),
    }
}

/// `3 jobs`, `1 job`
pub fn count(value: impl TryInto<u64>, one: &str, many: &str) -> String {
    let value = value.try_into().unwrap_or(u64::MAX);
    format!("{} {}", number(value), if value == 1 { one } else { many })
}

/// A half-open range of time.
pub fn range(range: &std::ops::Range<EventTime>) -> String {
    format!("[{}, {})", range.start, range.end)
}

/// A time for JSON: RFC 3339; nothing for the two ends, which are no times.
pub fn time(time: EventTime) -> Option<String> {
    (time != EventTime::MIN && time != EventTime::MAX).then(|| time.to_string())
}

/// A column of a [`Table`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    /// Aligned to the left.
    Text(&'static str),
    /// Aligned to the right.
    Number(&'static str),
}

/// A table without borders: columns two spaces apart under their names, easy to read and to cut.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these columns and no rows.
    pub fn new(columns: &[Column]) -> Table {
        Table { columns: columns.to_vec(), rows: Vec::new() }
    }

    /// Adds a row; it has as many cells as there are columns.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().map(|cell| one_line(&cell)).collect();
        assert_eq!(cells.len(), self.columns.len(), "a row has a cell for each column");
        self.rows.push(cells);
    }

    /// Whether there are no rows.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

impl std::fmt::Display for Table {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut grid = Grid::new();
        grid.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        let name = |column: &Column| match column {
            Column::Text(name) | Column::Number(name) => (*name).to_owned(),
        };
        grid.set_header(self.columns.iter().map(name));
        for (index, column) in self.columns.iter().enumerate() {
            let column_style = grid.column_mut(index).expect("the header made every column");
            column_style.set_padding((0, 2));
            if matches!(column, Column::Number(_)) {
                column_style.set_cell_alignment(CellAlignment::Right);
            }
        }
        for row in &self.rows {
            grid.add_row(row);
        }
        for line in grid.lines() {
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

/// Control characters of data must not reach a terminal, and a row is one line.
fn one_line(cell: &str) -> String {
    match cell.contains(char::is_control) {
        false => cell.to_owned(),
        true => {
            cell.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_three() {
        let shown = [0i64, 7, 999, 1_000, 1_234_567, -1_000, i64::MIN].map(number);
        assert_eq!(shown, ["0", "7", "999", "1,000", "1,234,567", "-1,000", "-9,223,372,036,854,775,808"]);
    }

    #[test]
    fn sizes_take_the_unit_that_fits() {
        let shown = [0, 1023, 1024, 1_572_864, (1 << 20) - 1, u64::MAX].map(bytes);
        assert_eq!(shown, ["0 B", "1023 B", "1.0 KiB", "1.5 MiB", "1.0 MiB", "16384.0 PiB"]);
    }

    #[test]
    fn measured_durations_show_two_units() {
        let shown = [0, 850, 4_250, 59_999, 200_000, 7_260_000, 187_200_000].map(Duration::from_millis).map(duration);
        assert_eq!(shown, ["0ms", "850ms", "4.2s", "59.9s", "3m 20s", "2h 1m", "2d 4h"]);
    }

    #[test]
    fn tables_align_without_borders_or_trailing_spaces() {
        let mut table = Table::new(&[Column::Text("partition"), Column::Number("lag"), Column::Text("why")]);
        table.row(["clicks/0".to_owned(), "1,000".to_owned(), "behind".to_owned()]);
        table.row(["clicks/10".to_owned(), "7".to_owned(), "a\nb\u{1b}[2J".to_owned()]);
        let expected = "partition    lag  why\nclicks/0   1,000  behind\nclicks/10      7  a\\nb\\u{1b}[2J\n";
        assert_eq!(table.to_string(), expected);
    }
}
