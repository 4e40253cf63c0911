"""One store: items go in once, whoever sends them, and come out as they were."""

from __future__ import annotations

import contextlib
import datetime
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast

import sqlalchemy as sql
from sqlalchemy.dialects import postgresql, sqlite

from llmsizer.errors import InputError
from llmsizer.facts.records import ProfileRecord, QualityRecord
from llmsizer.profile.store import read_line, without_replaced
from llmsizer.store.content import TYPES, Item, Kind, columns_of, content_id, document_of
from llmsizer.store.location import EXAMPLE, Location, hidden
from llmsizer.store.tables import NEWEST, STEPS, TABLES, schema_version

BUSY_SECONDS = 30.0  # how long a writer waits for another
BUSY_STEP_SECONDS = 0.01
CONNECT_SECONDS = 5
BATCH = 500
ADVICE = {  # by what SQLite says
    "locked": "another program holds it: try again when that is done",
    "readonly": "it may not be written here: copy it to a folder of your own",
    "not a database": "it is damaged or no store: give a copy of it, or another path",
    "malformed": "it is damaged or was cut: give a copy of it, or another path",
    "unable to open": "its folder is not there or may not be written: copy it to a folder of your own",
    "full": "free some room on the disk",
}
MIGRATION_LOCK = 0x6C6C6D73  # of PostgreSQL's advisory locks: "llms"


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """How many items were new, and how many the store held already."""

    new: int
    known: int


class Store:
    """An open store; use it in a ``with`` block. Several processes may read and write at once."""

    def __init__(self, location: Location, *, create: bool = True) -> None:
        self.location = location
        if location.path is not None:
            if not create and not location.path.is_file():
                raise InputError(f"no store at {location}; make one with: llmsizer records import FILE")
            try:
                location.path.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(f"{location}: no store can be made here ({error.strerror})") from None
        self.problems: list[str] = []  # what was skipped while reading, a line each
        self._engine = _engine(location)
        self._writer = self._engine.execution_options(writes=True)
        try:
            with self._said():
                self._migrate()
        except BaseException:
            self.close()
            raise

    def add(self, kind: Kind, items: Iterable[Item]) -> Added:
        """Keep items that are not there yet, by their content; all of them or, on an error, none."""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        rows = {
            content_id(item): {**columns_of(kind, item), "document": document_of(item), "added_at": now}
            for item in items
        }
        values = [{"content_id": name, **row} for name, row in sorted(rows.items())]  # sorted: no two writers deadlock
        insert = postgresql.insert if self.location.is_postgres else sqlite.insert
        statement = insert(TABLES[kind]).on_conflict_do_nothing(index_elements=["content_id"])
        new = 0
        with self._said(), self._writer.begin() as connection:
            for start in range(0, len(values), BATCH):
                chunk = values[start : start + BATCH]
                result = connection.execute(statement.values(chunk).returning(TABLES[kind].c.content_id))
                new += len(result.all())
        return Added(new=new, known=len(values) - new)

    def items(self, kind: Kind, where: Mapping[str, object] | None = None) -> list[tuple[str, Item]]:
        """Content id and item of everything that matches, oldest first. Unknown columns are an error of ours.

        Of a point that was cut short and measured on, the fullest record alone.
        """
        table = TABLES[kind]
        query = sql.select(table.c.content_id, table.c.document)
        for name, value in (where or {}).items():
            query = query.where(table.c[name] == value)
        moment = "created_at" if kind in ("scenarios", "plans") else "measured_at"
        with self._said(), self._engine.connect() as connection:
            rows = connection.execute(query.order_by(table.c[moment], table.c.content_id)).all()
        found: list[tuple[str, Item]] = []
        for name, document in rows:
            item = read_line(str(document), TYPES[kind])
            if isinstance(item, str):
                self.problems.append(f"{self.location}: {kind} {str(name)[:12]} skipped, {item}")
            else:
                found.append((str(name), item))
        current = {id(item) for item in without_replaced([item for _, item in found])}
        return [(name, item) for name, item in found if id(item) in current]

    def profiles(self, **where: object) -> list[ProfileRecord]:
        """Profile records with these values, e.g. ``profiles(model="m", batch=1)``."""
        return [cast(ProfileRecord, item) for _, item in self.items("records", where)]

    def quality(self, **where: object) -> list[QualityRecord]:
        return [cast(QualityRecord, item) for _, item in self.items("quality", where)]

    def count(self, kind: Kind) -> int:
        """How many there are: items are never taken out, so the same number means the same items."""
        with self._said(), self._engine.connect() as connection:
            query = sql.select(sql.func.count()).select_from(TABLES[kind])
            return int(connection.execute(query).scalar_one())

    def close(self) -> None:
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _migrate(self) -> None:
        """Bring the tables up to date, one process at a time; nothing happens where they are."""
        with self._engine.connect() as connection:
            if sql.inspect(connection).has_table(schema_version.name) and self._version(connection) == NEWEST:
                return
        with self._writer.begin() as connection:
            if self.location.is_postgres:
                connection.execute(sql.text(f"SELECT pg_advisory_xact_lock({MIGRATION_LOCK})"))
            schema_version.create(connection, checkfirst=True)
            version = self._version(connection)
            if version is None and self._is_of_others(connection):
                raise InputError(f"{self.location}: holds tables that are not llmsizer's; give another database")
            if version is not None and version > NEWEST:
                raise InputError(
                    f"{self.location}: a newer llmsizer made this store (version {version}, this one knows {NEWEST}); "
                    "upgrade llmsizer"
                )
            for step in STEPS[version or 0 :]:
                step(connection)
            if version is None:
                connection.execute(schema_version.insert().values(version=NEWEST))
            elif version < NEWEST:
                connection.execute(schema_version.update().values(version=NEWEST))

    def _is_of_others(self, connection: sql.Connection) -> bool:
        """Whether tables stand there that are not ours: of a file any, of a server's database one of our names."""
        there = set(sql.inspect(connection).get_table_names()) - {schema_version.name}
        return bool(there & set(TABLES) if self.location.is_postgres else there)

    @staticmethod
    def _version(connection: sql.Connection) -> int | None:
        return connection.execute(sql.select(schema_version.c.version)).scalar()

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        """A database's errors in one line, without the password that their text may hold."""
        try:
            yield
        except sql.exc.SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            reason = hidden(next((line.strip() for line in str(cause).splitlines() if line.strip()), "no reason given"))
            password = sql.make_url(self.location.url).password
            if password:
                reason = reason.replace(str(password), "***")
            advice = next((what for sign, what in ADVICE.items() if sign in reason), EXAMPLE)
            raise InputError(f"{self.location}: the store cannot be used ({reason[:200]}); {advice}") from None
        except (OverflowError, UnicodeError) as error:  # half a character, a number of more than 64 bits
            raise InputError(f"{self.location}: no database keeps such a text or number ({error})") from None


def _engine(location: Location) -> sql.Engine:
    try:
        if location.is_postgres:
            return sql.create_engine(location.url, connect_args={"connect_timeout": CONNECT_SECONDS})
        engine = sql.create_engine(location.url, connect_args={"timeout": BUSY_SECONDS})
    except (sql.exc.ArgumentError, ValueError):
        raise InputError(f"{location}: no address of a database; {EXAMPLE}") from None
    sql.event.listen(engine, "connect", _prepare_sqlite)
    sql.event.listen(engine, "begin", _begin)
    return engine


def _prepare_sqlite(connection: Any, _: object) -> None:
    connection.isolation_level = None  # SQLAlchemy's "begin" below begins, not sqlite3 at the first write
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not tables or schema_version.name in tables:  # a database of others is looked at, and left as it is
        _write_ahead(connection)
    connection.execute("PRAGMA synchronous = FULL")  # a commit survives a power cut


def _write_ahead(connection: Any) -> None:
    """Readers do not wait for a writer. Of processes that make this switch at once, SQLite refuses all but one
    without the wait it grants everywhere else, so the wait is here."""
    until = time.monotonic() + BUSY_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > until:
                raise
        time.sleep(BUSY_STEP_SECONDS)


def _begin(connection: sql.Connection) -> None:
    """A writer takes its lock at once: two that both read first and then write would refuse one another."""
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
