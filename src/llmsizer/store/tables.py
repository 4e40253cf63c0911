"""The tables, and the steps from each version of them to the next; steps are added, never changed.

Documents are kept whole as JSON text, so a new field of a record needs no step; a step is for what is looked up by.
"""

from __future__ import annotations

from collections.abc import Callable

import sqlalchemy as sql

metadata = sql.MetaData()
Text, Integer = sql.Text, sql.Integer

schema_version = sql.Table("llmsizer_schema", metadata, sql.Column("version", Integer, nullable=False))

RECORD_COLUMNS = ("record_id", "status", "model", "variant", "precision", "engine", "device")
RECORD_NUMBERS = ("batch", "prompt_tokens", "output_tokens")


def _item_columns() -> list[sql.Column[str]]:
    return [
        sql.Column("content_id", Text, primary_key=True),
        sql.Column("document", Text, nullable=False),
        sql.Column("added_at", Text, nullable=False),
    ]


records = sql.Table(
    "records",
    metadata,
    *_item_columns(),
    *(sql.Column(name, Text, nullable=False) for name in RECORD_COLUMNS),
    *(sql.Column(name, Integer, nullable=False) for name in RECORD_NUMBERS),
    sql.Column("measured_at", Text, nullable=False),
    sql.Column("pattern", Text, nullable=False, server_default="batch"),  # since version 2
)
quality = sql.Table(
    "quality",
    metadata,
    *_item_columns(),
    *(sql.Column(n, Text, nullable=False) for n in ("model", "variant", "precision", "method", "dataset")),
    sql.Column("measured_at", Text, nullable=False),
)


def _documents(name: str) -> sql.Table:
    named = (sql.Column(n, Text, nullable=False) for n in ("name", "model", "created_at"))
    return sql.Table(name, metadata, *_item_columns(), *named)


scenarios = _documents("scenarios")  # since version 2
plans = _documents("plans")
TABLES = {"records": records, "quality": quality, "scenarios": scenarios, "plans": plans}


def _first(connection: sql.Connection) -> None:
    """Records and quality, as they were before records knew of load."""
    old = sql.MetaData()
    columns = [column._copy() for column in records.columns if column.name != "pattern"]
    sql.Table("records", old, *columns)
    sql.Table("quality", old, *(column._copy() for column in quality.columns))
    old.create_all(connection)
    for table, column in (("records", "model"), ("records", "record_id"), ("quality", "model")):
        connection.execute(sql.text(f"CREATE INDEX {table}_by_{column} ON {table} ({column})"))


def _second(connection: sql.Connection) -> None:
    """The pattern of the load beside each record; scenarios and plans."""
    connection.execute(sql.text("ALTER TABLE records ADD COLUMN pattern TEXT NOT NULL DEFAULT 'batch'"))
    metadata.create_all(connection, tables=[scenarios, plans])


STEPS: tuple[Callable[[sql.Connection], None], ...] = (_first, _second)
NEWEST = len(STEPS)
