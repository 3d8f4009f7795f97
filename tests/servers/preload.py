"""Imports the program and what it needs, all of it: for a process that is to be forked, so that no fork imports.

The program imports late what few commands need (tests/test_startup.py); each fork would do that anew.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Final

import orchestrator

OTHERS: Final = (
    "httpcore",
    "httpcore._sync.connection_pool",
    "pandas",
    "psycopg",
    "pyarrow.csv",
    "pyarrow.dataset",
    "pyarrow.json",
    "pyarrow.parquet",
    "sqlalchemy.dialects.sqlite",
    "uvicorn",
)
LEFT_OUT: Final = "orchestrator.mcp"  # its SDK takes a second to import, and few tests need it
OWN: Final = [module.name for module in pkgutil.walk_packages(orchestrator.__path__, "orchestrator.")]

for name in (*OTHERS, *OWN):
    if not name.startswith(LEFT_OUT) and not name.endswith("__main__"):
        importlib.import_module(name)
