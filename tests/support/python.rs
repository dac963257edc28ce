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
    /// Data files that any of the snapshots has added; only of [`sound_history`].
    #[serde(default)]
    pub added: Vec<String>,
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

    /// A number from the summary of the newest snapshot that has it.
    pub fn newest(&self, key: &str) -> Option<i64> {
        let text = self.snapshots.iter().rev().find_map(|snapshot| snapshot.summary.get(key))?;
        Some(text.parse().expect("summary holds a number"))
    }

    /// Positions of the records in a late, rejects or history table.
    pub fn positions(&self) -> Vec<(i32, i64)> {
        let (partition, offset) = (self.index("_partition"), self.index("_offset"));
        let position = |row: Vec<Value>| match (&row[partition], &row[offset]) {
            (Value::Integer(partition), Value::Integer(offset)) => {
                (i32::try_from(*partition).expect("an INT"), *offset)
            }
            other => panic!("{other:?} is no position"),
        };
        self.rows().into_iter().map(position).collect()
    }
}

/// Reads tables with pyiceberg, which also checks files, statistics and partitions. `None` for one that isn't there.
#[track_caller]
pub fn pyiceberg<const N: usize>(project: &Project, tables: [&str; N]) -> [Option<Table>; N] {
    let read: Vec<Option<Table>> = read(project, "pyiceberg_read.py", &tables);
    read.try_into().expect("a document for each table")
}

/// As [`pyiceberg`] of tables that must be there and sound.
#[track_caller]
pub fn sound_tables<const N: usize>(project: &Project, tables: [&str; N]) -> [Table; N] {
    let mut names = tables.iter();
    pyiceberg(project, tables).map(|table| {
        let name = names.next().expect("as many names as tables");
        let table = table.unwrap_or_else(|| panic!("there is no table {name}"));
        assert!(table.problems.is_empty(), "{name}: {:#?}", table.problems);
        table
    })
}

/// As [`pyiceberg`] of tables that are sound, if they are there, in all their snapshots: these are one line, and have added
/// each data file once, which can be read.
#[track_caller]
pub fn sound_history(project: &Project, tables: &[String]) -> Vec<Option<Table>> {
    let arguments: Vec<&str> = ["--history"].into_iter().chain(tables.iter().map(String::as_str)).collect();
    let read: Vec<Option<Table>> = read(project, "pyiceberg_read.py", &arguments);
    for (name, table) in tables.iter().zip(&read) {
        let problems = table.as_ref().map(|table| &table.problems[..]).unwrap_or_default();
        assert!(problems.is_empty(), "{name}: {problems:#?}");
    }
    read
}

/// Rows as a script prints them, and what its columns are.
#[derive(Deserialize)]
struct Answer {
    columns: Vec<Column>,
    rows: Vec<Vec<serde_json::Value>>,
}

impl Answer {
    fn rows(&self) -> Vec<Vec<Value>> {
        self.rows.iter().map(|row| typed(&self.columns, row)).collect()
    }
}

/// Runs a query in DuckDB; `{ns.table}` in it stands for a scan of that table. Values come in the order of the SELECT list.
#[track_caller]
pub fn duckdb(project: &Project, query: &str) -> Vec<Vec<Value>> {
    read::<Answer>(project, "duckdb_read.py", &[query]).rows()
}

/// The rows that a script prints, as `tests/readers/duckdb_read.py` does.
#[track_caller]
pub fn script_rows(script: &str, arguments: &[&str]) -> Vec<Vec<Value>> {
    let output = script_output(script, arguments);
    let answer: Answer = serde_json::from_slice(&output).unwrap_or_else(|error| panic!("{script}: {error}"));
    answer.rows()
}

#[track_caller]
fn read<T: serde::de::DeserializeOwned>(project: &Project, script: &str, arguments: &[&str]) -> T {
    let catalog = project.reader_catalog();
    let arguments: Vec<&str> = [catalog.as_str()].into_iter().chain(arguments.iter().copied()).collect();
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
