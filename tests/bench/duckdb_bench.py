"""DuckDB's part of the benchmark: L2 by `read_json`, L5 over history, and the judgement of results.

Usage:
  duckdb_bench.py decode INPUT                         decodes the lines of INPUT
  duckdb_bench.py aggregate URI WAREHOUSE HISTORY OUT  the job over HISTORY's files, written as Parquet to OUT
  duckdb_bench.py compare URI WAREHOUSE RESULT INPUT   rows of RESULT, and how many differ from INPUT's
  duckdb_bench.py sum URI WAREHOUSE RESULT             the sum of RESULT's column `events`

Prints one JSON document. One thread: less processor time than with several, so the harder limit.
"""

import json
import pathlib
import resource
import sys
import time
import warnings

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "readers"))
warnings.filterwarnings("ignore")

import duckdb

import catalog as reader

EVENTS = "read_json('{}', format = 'newline_delimited', columns = {{ts: 'BIGINT', key: 'VARCHAR', value: 'BIGINT'}})"
RESULT = "SELECT time_bucket(INTERVAL '1 minute', {time}) AS window_start, key, count(*) AS events, sum(value)::BIGINT AS total, avg(value) AS mean FROM {source} GROUP BY ALL"


def measured(connection, query):
    before, started = resource.getrusage(resource.RUSAGE_SELF), time.monotonic()
    rows = connection.execute(query).fetchall()
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return rows, {"cpu": cpu, "wall": time.monotonic() - started}


def files(uri, warehouse, table):
    """The table's live data files, as DuckDB takes a list."""
    catalog = reader.open_catalog(json.dumps({"type": "sql", "name": "kappa", "uri": uri, "warehouse": warehouse}))
    tasks = catalog.load_table(table).scan().plan_files()
    return "[" + ", ".join(f"'{task.file.file_path.removeprefix('file://')}'" for task in tasks) + "]"


def decode(connection, input):
    rows, cost = measured(connection, f"SELECT count(ts), count(key), count(value) FROM {EVENTS.format(input)}")
    return {**cost, "rows": rows[0][2]}


def aggregate(connection, uri, warehouse, history, out):
    source = f"read_parquet({files(uri, warehouse, history)})"
    query = RESULT.format(time="ts", source=source)
    rows, cost = measured(connection, f"COPY ({query} ORDER BY window_start, key) TO '{out}' (FORMAT parquet, COMPRESSION zstd)")
    return {**cost, "rows": rows[0][0]}


def compare(connection, uri, warehouse, result, input):
    connection.execute("SET threads = 2")
    expected = RESULT.format(time="to_timestamp(ts / 1000.0)", source=EVENTS.format(input))
    connection.execute(f"CREATE TEMP TABLE expected AS {expected}")
    found = f"SELECT window_start, key, events, total, mean FROM read_parquet({files(uri, warehouse, result)})"
    connection.execute(f"CREATE TEMP TABLE found AS {found}")
    count = lambda query: connection.execute(f"SELECT count(*) FROM ({query})").fetchone()[0]
    return {
        "rows": count("FROM found"),
        "expected": count("FROM expected"),
        "missing": count("FROM expected EXCEPT ALL FROM found"),
        "extra": count("FROM found EXCEPT ALL FROM expected"),
    }


def sum(connection, uri, warehouse, result):
    rows = connection.execute(f"SELECT sum(events)::BIGINT, count(*) FROM read_parquet({files(uri, warehouse, result)})").fetchone()
    return {"events": rows[0], "rows": rows[1]}


connection = duckdb.connect(config={"threads": 1})
connection.execute("SET TimeZone = 'UTC'")
command = {"decode": decode, "aggregate": aggregate, "compare": compare, "sum": sum}[sys.argv[1]]
json.dump(command(connection, *sys.argv[2:]), sys.stdout)
