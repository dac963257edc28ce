"""Runs a query over Nexmark's events in DuckDB, all at once.

Usage: duckdb_batch.py FOLDER QUERY: the folder holds person.jsonl, auction.jsonl and bid.jsonl, which the query finds as tables
of these names; the query is a file. Prints one JSON document with columns and rows, as tests/readers write values.
"""

import json
import pathlib
import sys

import duckdb

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "readers"))
import catalog as reader

TABLES = {
    "person": {
        "id": "BIGINT", "name": "VARCHAR", "emailAddress": "VARCHAR", "creditCard": "VARCHAR", "city": "VARCHAR",
        "state": "VARCHAR", "dateTime": "BIGINT", "extra": "VARCHAR",
    },
    "auction": {
        "id": "BIGINT", "itemName": "VARCHAR", "description": "VARCHAR", "initialBid": "BIGINT", "reserve": "BIGINT",
        "dateTime": "BIGINT", "expires": "BIGINT", "seller": "BIGINT", "category": "BIGINT", "extra": "VARCHAR",
    },
    "bid": {
        "auction": "BIGINT", "bidder": "BIGINT", "price": "BIGINT", "channel": "VARCHAR", "url": "VARCHAR",
        "dateTime": "BIGINT", "extra": "VARCHAR",
    },
}
TIMES = ("dateTime", "expires")
TYPES = {"bool": "boolean", "int32": "int", "int64": "long", "date32[day]": "date", "double": "double", "timestamp[us]": "timestamp"}


def main():
    folder, query = map(pathlib.Path, sys.argv[1:])
    connection = duckdb.connect()
    for table, columns in TABLES.items():
        instants = ", ".join(f"epoch_ms({time}) AS {time}" for time in TIMES if time in columns)
        connection.execute(
            f"CREATE TABLE {table} AS SELECT * REPLACE ({instants}) "
            f"FROM read_json('{folder / table}.jsonl', format = 'newline_delimited', columns = {columns})"
        )
    result = connection.execute(query.read_text()).to_arrow_table()
    columns = [{"name": field.name, "type": TYPES.get(str(field.type), "string")} for field in result.schema]
    values = [column.to_pylist() for column in result.columns]
    json.dump({"columns": columns, "rows": [[reader.plain(value) for value in row] for row in zip(*values)]}, sys.stdout)


main()
