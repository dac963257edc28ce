"""Reads tables with pyiceberg and says everything that a table of kappa's must not have.

Usage: pyiceberg_read.py CATALOG [--history] NAMESPACE.TABLE...; prints a JSON list, `null` in it for a table that isn't
there. With --history it looks at all snapshots, not only at the newest.
"""

import collections
import json
import sys
import warnings

warnings.filterwarnings("ignore")

import pyarrow.parquet
from pyiceberg.conversions import from_bytes
from pyiceberg.manifest import ManifestEntryStatus
from pyiceberg.types import BinaryType, FixedType, PrimitiveType, UUIDType

import catalog as reader


def live_entries(table):
    """Manifest entries of the current snapshot that aren't deleted."""
    snapshot = table.current_snapshot()
    if snapshot is None:
        return
    for manifest in snapshot.manifests(table.io):
        for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False):
            if entry.status != ManifestEntryStatus.DELETED:
                yield manifest, entry.data_file


def check_column(name, field, data_file, column, problems):
    """Bounds and counts of one column of one file against the values in it."""
    path = data_file.file_path
    nulls = column.null_count
    if data_file.value_counts.get(field.field_id) != len(column):
        problems.append(f"{path}: {name}: value count {data_file.value_counts.get(field.field_id)}, not {len(column)}")
    if data_file.null_value_counts.get(field.field_id) != nulls:
        problems.append(f"{path}: {name}: null count {data_file.null_value_counts.get(field.field_id)}, not {nulls}")
    lower = data_file.lower_bounds.get(field.field_id)
    upper = data_file.upper_bounds.get(field.field_id)
    values = [value for value in column.to_pylist() if value is not None and value == value]
    # Engines order bytes and UUIDs differently, so bounds of them would be wrong for some.
    if not values or isinstance(field.field_type, (BinaryType, FixedType, UUIDType)):
        return
    if lower is None or upper is None:
        problems.append(f"{path}: {name}: no bounds")
        return
    # Texts and bytes may be cut: the lower bound to a prefix, the upper one to a prefix that is raised.
    comparable = (lambda value: value) if isinstance(values[0], float) else reader.plain
    lower, upper = (comparable(from_bytes(field.field_type, bound)) for bound in (lower, upper))
    values = [comparable(value) for value in values]
    if lower > min(values) or upper < max(values):
        problems.append(f"{path}: {name}: bounds {lower} to {upper}, but values {min(values)} to {max(values)}")


def check_file(table, data_file, problems):
    """One file: codec, count, statistics, field ids, and that its rows belong into its partition. Answers its rows."""
    with table.io.new_input(data_file.file_path).open() as stream:
        parquet = pyarrow.parquet.ParquetFile(stream)
        for group in range(parquet.metadata.num_row_groups):
            for column in range(parquet.metadata.row_group(group).num_columns):
                chunk = parquet.metadata.row_group(group).column(column)
                if chunk.compression != "ZSTD":
                    problems.append(f"{data_file.file_path}: {chunk.path_in_schema} is {chunk.compression}, not ZSTD")
        rows = parquet.read()
    if rows.num_rows != data_file.record_count:
        problems.append(f"{data_file.file_path}: {rows.num_rows} rows, manifest says {data_file.record_count}")
    ids = {field.name: (field.metadata or {}).get(b"PARQUET:field_id") for field in rows.schema}
    for field in table.schema().fields:
        if field.name not in rows.column_names:
            continue
        if ids[field.name] != str(field.field_id).encode():
            problems.append(f"{data_file.file_path}: {field.name} has field id {ids[field.name]}, not {field.field_id}")
        if isinstance(field.field_type, PrimitiveType):
            check_column(field.name, field, data_file, rows.column(field.name), problems)
    check_partition(table, data_file, rows, problems)


def check_partition(table, data_file, rows, problems):
    """Every row's partition value, computed anew with pyiceberg's own transform."""
    spec = table.specs()[data_file.spec_id]
    for position, field in enumerate(spec.fields):
        source = table.schema().find_field(field.source_id)
        transform = field.transform.pyarrow_transform(source.field_type)
        found = set(transform(rows.column(source.name)).to_pylist()) if rows.num_rows else set()
        stated = data_file.partition[position]
        plain = {number(value) for value in found}
        if plain - {number(stated)}:
            problems.append(f"{data_file.file_path}: partition {field.name} is {stated}, but rows have {sorted(map(str, plain))[:3]}")


def number(value):
    """Partition values as numbers where they are days or times, so that both ways to say one are equal."""
    return value if value is None or isinstance(value, str) else reader.plain(value)


def snapshots(table):
    for snapshot in sorted(table.metadata.snapshots, key=lambda snapshot: snapshot.sequence_number or 0):
        summary = snapshot.summary
        yield {
            "id": snapshot.snapshot_id,
            "operation": summary.operation.value,
            "summary": {key: str(value) for key, value in summary.additional_properties.items()},
        }


def check_line(table, problems):
    """Snapshots are one line, from the current one back to the first. Answers it, oldest first."""
    snapshots = {snapshot.snapshot_id: snapshot for snapshot in table.metadata.snapshots}
    line, snapshot = [], table.current_snapshot()
    while snapshot is not None:
        line.insert(0, snapshot)
        parent = snapshot.parent_snapshot_id
        snapshot = snapshots.get(parent)
        if parent is not None and snapshot is None:
            problems.append(f"snapshot {line[0].snapshot_id}: its parent {parent} isn't there")
    beside = set(snapshots) - {snapshot.snapshot_id for snapshot in line}
    if beside:
        problems.append(f"snapshots beside the line: {sorted(beside)}")
    numbers = [snapshot.sequence_number for snapshot in line]
    if any(later <= earlier for earlier, later in zip(numbers, numbers[1:])):
        problems.append(f"sequence numbers don't rise: {numbers}")
    return line


def check_history(table, problems):
    """Every data file is added by one snapshot, once, and can be read, also if a later one has removed it. Answers them."""
    added = collections.Counter()
    for snapshot in check_line(table, problems):
        for manifest in snapshot.manifests(table.io):
            if manifest.added_snapshot_id != snapshot.snapshot_id:
                continue
            for entry in manifest.fetch_manifest_entry(table.io, discard_deleted=False):
                if entry.status == ManifestEntryStatus.ADDED:
                    added[entry.data_file.file_path] += 1
                    check_readable(table, entry.data_file, problems)
    problems += [f"{path}: added {count} times" for path, count in added.items() if count > 1]
    problems += [f"{file.file_path}: no snapshot has added it" for _, file in live_entries(table) if not added[file.file_path]]
    return sorted(added)


def check_readable(table, data_file, problems):
    try:
        with table.io.new_input(data_file.file_path).open() as stream:
            rows = pyarrow.parquet.ParquetFile(stream).metadata.num_rows
    except (OSError, pyarrow.ArrowException) as error:
        problems.append(f"{data_file.file_path}: {error}")
        return
    if rows != data_file.record_count:
        problems.append(f"{data_file.file_path}: {rows} rows, manifest says {data_file.record_count}")


def describe(table, history):
    problems, files, paths = [], [], collections.Counter()
    added = check_history(table, problems) if history else []
    for manifest, data_file in live_entries(table):
        paths[data_file.file_path] += 1
        if data_file.content != 0:
            problems.append(f"{data_file.file_path}: is a delete file")
            continue
        check_file(table, data_file, problems)
        spec = table.specs()[data_file.spec_id]
        partition = {
            field.name: None if value is None else str(number(value))
            for field, value in zip(spec.fields, (data_file.partition[i] for i in range(len(spec.fields))))
        }
        files.append({
            "path": data_file.file_path,
            "partition": partition,
            "records": data_file.record_count,
            "bytes": data_file.file_size_in_bytes,
        })
    problems += [f"{path}: referenced {count} times" for path, count in paths.items() if count > 1]
    if table.metadata.format_version != 2:
        problems.append(f"format version {table.metadata.format_version}, not 2")
    rows = table.scan().to_arrow()
    snapshot = table.current_snapshot()
    stated = snapshot.summary.additional_properties.get("total-records") if snapshot else None
    if stated is not None and int(stated) != rows.num_rows:
        problems.append(f"summary says {stated} rows, there are {rows.num_rows}")
    columns = [{"name": field.name, "type": str(field.field_type).split("(")[0]} for field in table.schema().fields]
    values = [rows.column(column["name"]).to_pylist() for column in columns]
    return {
        "columns": columns,
        "rows": [[reader.plain(value) for value in row] for row in zip(*values)],
        "partitioning": [describe_field(table, field) for field in table.spec().fields],
        "snapshots": list(snapshots(table)),
        "files": files,
        "properties": dict(table.properties),
        "problems": problems,
        "added": added,
    }


def describe_field(table, field):
    source = table.schema().find_field(field.source_id).name
    return source if str(field.transform) == "identity" else f"{field.transform}({source})"


def main():
    catalog, *names = sys.argv[1:]
    catalog, history = reader.open_catalog(catalog), names[:1] == ["--history"]
    names = names[history:]
    tables = [reader.load(catalog, name) for name in names]
    json.dump([None if table is None else describe(table, history) for table in tables], sys.stdout)


main()
