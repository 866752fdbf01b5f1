"""The one `MetaData` that all tables belong to, and how it is made complete.

A domain puts its tables into a module of its own, `tables_<domain>.py`, in this package: `complete()` imports all
of them, and the first migration creates whatever is there.
"""

from __future__ import annotations

import importlib
import pkgutil

from sqlalchemy import MetaData

import wherry.control.db as package

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def complete() -> MetaData:
    """`metadata` with the tables of every `tables_*` module in it."""
    for module in pkgutil.iter_modules(package.__path__):
        if module.name.startswith("tables_"):
            importlib.import_module(f"{package.__name__}.{module.name}")
    return metadata
