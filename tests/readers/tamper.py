"""What somebody else may do to a table of ours: set it to another snapshot, or drop it.

tamper.py CATALOG TABLE SNAPSHOT|drop
"""

import sys

from catalog import open_catalog
from pyiceberg.exceptions import CommitFailedException

catalog, name, what = sys.argv[1:]
catalog = open_catalog(catalog)
if what == "drop":
    catalog.drop_table(name)
else:
    # The run that is at work may commit in between.
    for attempt in range(20):
        try:
            catalog.load_table(name).manage_snapshots().set_current_snapshot(int(what)).commit()
            break
        except CommitFailedException:
            if attempt == 19:
                raise
