"""What both readers share: the catalog, and how values are written as JSON."""

import datetime
import decimal
import json
import struct
import uuid

from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
MICROSECOND = datetime.timedelta(microseconds=1)


def open_catalog(text):
    """A catalog by its properties as JSON: `type`, `name`, and what pyiceberg takes."""
    properties = json.loads(text)
    kind, name = properties.pop("type"), properties.pop("name")
    return {"rest": RestCatalog, "sql": SqlCatalog}[kind](name, **properties)


def load(catalog, name):
    """The table, or None when there is none."""
    try:
        return catalog.load_table(name)
    except (NoSuchTableError, NoSuchNamespaceError):
        return None


def plain(value):
    """A value as JSON can carry it without loss: doubles as the digits of their bits, times as microseconds."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return struct.pack(">d", value).hex()
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            value = value.replace(tzinfo=datetime.timezone.utc)
        return (value - EPOCH) // MICROSECOND
    if isinstance(value, datetime.date):
        return (value - EPOCH.date()).days
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).hex()
    if isinstance(value, (str, decimal.Decimal, uuid.UUID)):
        return str(value)
    if isinstance(value, list) and all(item is None or isinstance(item, (int, str)) for item in value):
        return "[" + ", ".join("NULL" if item is None else str(item) for item in value) + "]"
    raise TypeError(f"a {type(value).__name__} has no plain form")
