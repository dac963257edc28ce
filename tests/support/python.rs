//! Independent readers: pyiceberg and DuckDB look at the tables, in Python.

use std::path::PathBuf;
use std::process::Command;

use serde::Deserialize;

use super::project::Project;
use super::{Value, python_interpreter};

/// A table as pyiceberg sees it.
#[derive(Clone, Debug, Deserialize)]
pub struct Table {
    /// Columns, in order.
    pub columns: Vec<Column>,
    rows: Vec<Vec<serde_json::Value>>,
    /// Partition fields, as `hour(window_start)`.
    pub partitioning: Vec<String>,
    /// Snapshots, oldest first.
    pub snapshots: Vec<Snapshot>,
    /// Live data files.
    pub files: Vec<DataFile>,
    /// Table properties.
    pub properties: std::collections::BTreeMap<String, String>,
    /// Everything that a table of ours must not have; see `tests/readers/pyiceberg_read.py`.
    pub problems: Vec<String>,
}

/// A column of a table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Column {
    /// Name.
    pub name: String,
    /// Iceberg's name of the type.
    #[serde(rename = "type")]
    pub column_type: String,
}

/// A snapshot of a table.
#[derive(Clone, Debug, Deserialize)]
pub struct Snapshot {
    /// Its id.
    pub id: i64,
    /// `append`, `overwrite`, `replace`, `delete`.
    pub operation: String,
    /// The rest of its summary.
    pub summary: std::collections::BTreeMap<String, String>,
}

/// A live data file.
#[derive(Clone, Debug, Deserialize)]
pub struct DataFile {
    /// Location.
    pub path: String,
    /// Partition values by field name, as text.
    pub partition: std::collections::BTreeMap<String, Option<String>>,
    /// Rows in it.
    pub records: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Table {
    /// The rows, sorted, with values in the order of the columns.
    pub fn rows(&self) -> Vec<Vec<Value>> {
        let mut rows: Vec<Vec<Value>> = self.rows.iter().map(|row| typed(&self.columns, row)).collect();
        rows.sort();
        rows
    }

    /// Index of a column.
    #[track_caller]
    pub fn index(&self, name: &str) -> usize {
        let found = self.columns.iter().position(|column| column.name == name);
        found.unwrap_or_else(|| panic!("no column {name} in {:?}", self.columns))
    }

    /// Sum of a number in the summaries of all snapshots that have it.
    pub fn summed(&self, key: &str) -> i64 {
        let numbers = self.snapshots.iter().filter_map(|snapshot| snapshot.summary.get(key));
        numbers.map(|text| text.parse::<i64>().expect("summary holds a number")).sum()
    }
}

/// Reads a table with pyiceberg, which also checks files, statistics and partitions. `None` when there is no such table.
#[track_caller]
pub fn pyiceberg(project: &Project, table: &str) -> Option<Table> {
    read(project, "pyiceberg_read.py", &[table])
}

/// As [`pyiceberg`] of a table that must be there and sound.
#[track_caller]
pub fn sound_table(project: &Project, table: &str) -> Table {
    let read = pyiceberg(project, table).unwrap_or_else(|| panic!("there is no table {table}"));
    assert!(read.problems.is_empty(), "{table}: {:#?}", read.problems);
    read
}

/// Runs a query in DuckDB; `{ns.table}` in it stands for a scan of that table. Values come in the order of the SELECT list.
#[track_caller]
pub fn duckdb(project: &Project, query: &str) -> Vec<Vec<Value>> {
    #[derive(Deserialize)]
    struct Answer {
        columns: Vec<Column>,
        rows: Vec<Vec<serde_json::Value>>,
    }
    let answer: Answer = read(project, "duckdb_read.py", &[query]);
    answer.rows.iter().map(|row| typed(&answer.columns, row)).collect()
}

#[track_caller]
fn read<T: serde::de::DeserializeOwned>(project: &Project, script: &str, arguments: &[&str]) -> T {
    let catalog = project.reader_arguments();
    let arguments: Vec<&str> = catalog.iter().map(String::as_str).chain(arguments.iter().copied()).collect();
    let output = script_output(&format!("tests/readers/{script}"), &arguments);
    serde_json::from_slice(&output).unwrap_or_else(|error| panic!("{script}: {error}"))
}

/// What a Python script of ours (a path from the repository's root) prints.
#[track_caller]
pub fn script_output(script: &str, arguments: &[&str]) -> Vec<u8> {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), script].iter().collect();
    let output = Command::new(python_interpreter()).arg(path).args(arguments).output().expect("Python can be started");
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script} {arguments:?}: {}\n{stderr}", output.status);
    output.stdout
}

fn typed(columns: &[Column], row: &[serde_json::Value]) -> Vec<Value> {
    assert_eq!(columns.len(), row.len(), "a value for each column");
    columns.iter().zip(row).map(|(column, value)| typed_value(&column.column_type, value)).collect()
}

/// The scripts write times as microseconds, doubles as the hexadecimal digits of their bits and bytes as such digits.
fn typed_value(column_type: &str, value: &serde_json::Value) -> Value {
    let integer = || value.as_i64().expect("an integer");
    let text = || value.as_str().expect("a text");
    match column_type {
        _ if value.is_null() => Value::Null,
        "boolean" => Value::Boolean(value.as_bool().expect("a boolean")),
        "int" | "long" | "date" => Value::Integer(integer()),
        "timestamp" | "timestamptz" => Value::Timestamp(integer()),
        "float" | "double" => {
            Value::Double(f64::from_bits(u64::from_str_radix(text(), 16).expect("hexadecimal digits")))
        }
        "binary" => Value::Bytes(bytes(text())),
        _ => Value::Text(text().to_owned()),
    }
}

fn bytes(digits: &str) -> Vec<u8> {
    let pair = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal digits");
    (0..digits.len()).step_by(2).map(pair).collect()
}
