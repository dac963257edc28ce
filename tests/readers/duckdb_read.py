"""Runs a query over tables in DuckDB, whose Iceberg reader shares no code with pyiceberg or with us.

Usage: duckdb_read.py CATALOG QUERY; `{ns.table}` in the query becomes a scan of that table. The catalog is asked only
for the table's metadata file. Prints one JSON document with columns and rows.
"""

import importlib.resources
import json
import re
import sys
import warnings

warnings.filterwarnings("ignore")

import duckdb

import catalog as reader

TYPES = {
    "bool": "boolean", "int32": "int", "int64": "long", "date32[day]": "date", "float": "float", "double": "double",
    "timestamp[us]": "timestamp", "timestamp[us, tz=UTC]": "timestamptz", "binary": "binary",
}


def connect(properties):
    """A connection that reads Iceberg; the extensions come as wheels, nothing is fetched or installed."""
    connection = duckdb.connect(config={"allow_unsigned_extensions": "true"})
    for name in ("avro", "httpfs", "iceberg"):
        folder = importlib.resources.files(f"duckdb_extension_{name}") / "extensions"
        (version,) = folder.iterdir()
        connection.execute(f"LOAD '{version / f'{name}.duckdb_extension'}'")
    connection.execute("SET TimeZone = 'UTC'")
    if "s3.endpoint" in properties:
        endpoint = properties["s3.endpoint"].removeprefix("http://")
        connection.execute(
            f"CREATE SECRET (TYPE s3, ENDPOINT '{endpoint}', URL_STYLE 'path', USE_SSL false, REGION 'us-east-1', "
            f"KEY_ID '{properties['s3.access-key-id']}', SECRET '{properties['s3.secret-access-key']}')"
        )
    return connection


def main():
    catalog, query = sys.argv[1:]
    catalog = reader.open_catalog(catalog)
    scan = lambda match: f"iceberg_scan('{catalog.load_table(match.group(1)).metadata_location}')"
    # By way of Arrow: as Python objects, instants would need another package.
    result = connect(catalog.properties).execute(re.sub(r"\{([\w.]+)\}", scan, query)).to_arrow_table()
    columns = [{"name": field.name, "type": TYPES.get(str(field.type), "string")} for field in result.schema]
    values = [column.to_pylist() for column in result.columns]
    rows = [[reader.plain(value) for value in row] for row in zip(*values)]
    json.dump({"columns": columns, "rows": rows}, sys.stdout)


main()
