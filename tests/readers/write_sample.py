"""Writes a small table with pyiceberg, to show that both readers read what is there.

Usage: write_sample.py CATALOG NAMESPACE.TABLE
"""

import datetime
import json
import os
import sys
import urllib.parse
import warnings

warnings.filterwarnings("ignore")

import pyarrow
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.transforms import HourTransform, IdentityTransform
from pyiceberg.types import DoubleType, LongType, NestedField, StringType, TimestamptzType

import catalog as reader


def main():
    catalog, name = sys.argv[1:]
    warehouse = json.loads(catalog).get("warehouse", "")
    if warehouse.startswith("file:"):
        os.makedirs(urllib.parse.urlparse(warehouse).path)
    catalog = reader.open_catalog(catalog)
    catalog.create_namespace(name.split(".")[0])
    schema = Schema(
        NestedField(1, "id", LongType()),
        NestedField(2, "ts", TimestamptzType()),
        NestedField(3, "name", StringType()),
        NestedField(4, "value", DoubleType()),
    )
    spec = PartitionSpec(
        PartitionField(2, 1000, HourTransform(), "ts_hour"), PartitionField(3, 1001, IdentityTransform(), "name")
    )
    table = catalog.create_table(name, schema=schema, partition_spec=spec)
    first = datetime.datetime(1969, 12, 31, 23, 30, tzinfo=datetime.timezone.utc)
    later = first + datetime.timedelta(hours=1)
    times = [first, later, later + datetime.timedelta(microseconds=7)]
    table.append(pyarrow.table({
        "id": pyarrow.array([1, 2, None], pyarrow.int64()),
        "ts": pyarrow.array(times, pyarrow.timestamp("us", "UTC")),
        "name": ["x", None, "y"],
        "value": [1.5, None, -0.0],
    }))


main()
