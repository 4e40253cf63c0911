"""The store, in SQLite and, where a server is installed, in PostgreSQL: the same promises in both."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

import postgres_server
from llmsizer.errors import InputError
from llmsizer.facts.record_parts import Energy, Load
from llmsizer.facts.records import DeviceRecord, ProfileRecord, QualityRecord
from llmsizer.profile import append_record, read_records
from llmsizer.store import default_location, location_of, open_store
from llmsizer.store.content import TYPES, Document, content_id, document_of
from llmsizer.store.exchange import export_items, read_items, table_rows
from llmsizer.store.location import hidden, is_store
from tiny_models import needs

sql = pytest.importorskip("sqlalchemy")
tables = pytest.importorskip("llmsizer.store.tables")
database = pytest.importorskip("llmsizer.store.database")
pytestmark = needs("pyarrow")
EXAMPLE = Path(__file__).parent.parent / "dashboards" / "example"
DEVICE = DeviceRecord(name="cpu", kind="cpu", cores=2, memory_bytes=1e9)
PLAN = Document(name="eu-chat", model="m", content={"plans": [], "scenario": "eu-chat", "model": "m"})


def record(batch: int = 1, **changes: object) -> ProfileRecord:
    values: dict[str, object] = {
        "record_id": f"id{batch}",
        "model": "m",
        "variant": "int4",
        "precision": "int4",
        "engine": "openvino",
        "engine_version": "1",
        "device": DEVICE,
        "batch": batch,
        "prompt_tokens": 8,
        "output_tokens": 4,
        "measured_at": f"2026-11-21T00:00:{batch:02d}+00:00",
        "tpot_seconds": 0.1,
    }
    return ProfileRecord.model_validate(values | changes)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    try:
        with postgres_server.running() as address:
            yield address
    except postgres_server.NotHere as reason:
        pytest.skip(str(reason))


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty store's address in each of the two databases."""
    if request.param == "sqlite":
        yield str(tmp_path / "store.sqlite")
        return
    needs_driver = pytest.importorskip("psycopg")
    server: str = request.getfixturevalue("server")
    with needs_driver.connect(server, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
    yield server


def test_what_goes_in_comes_out_and_a_second_import_changes_nothing(address: str) -> None:
    records, _ = read_records(EXAMPLE / "profiles.jsonl", ProfileRecord)
    quality, _ = read_records(EXAMPLE / "quality.jsonl", QualityRecord)
    with open_store(address) as store:
        first = store.add("records", records)
        assert (first.new, first.known) == (18, 0)
        again = store.add("records", records[:5])
        assert (again.new, again.known) == (0, 5)
        assert store.add("quality", quality).new == 3
        assert sorted(store.profiles(), key=lambda r: r.record_id) == sorted(records, key=lambda r: r.record_id)
        assert {r.variant for r in store.profiles(batch=1, precision="int4")} == {"int4"}
        assert len(store.quality(variant="int8")) == 1
    with open_store(address) as store:
        assert [len(store.items(kind)) for kind in TYPES] == [18, 3, 0, 0]


def test_every_field_of_the_schema_survives(address: str) -> None:
    full = record(load=Load(pattern="poisson", rate_per_second=2.5), energy=Energy(joules=3.0), unknown={"x": "why"})
    with open_store(address) as store:
        store.add("records", [full])
        assert store.profiles(pattern="poisson") == [full]
        assert store.profiles(pattern="batch") == []


def test_what_no_database_keeps_is_refused_in_one_line(address: str) -> None:
    with open_store(address) as store:
        for odd in (record(seed=10**30, record_id="\ud800"), record(model="half a \ud800 character")):
            with pytest.raises(InputError, match=r"no database keeps|cannot be used"):
                store.add("records", [odd])
        assert store.profiles() == []


@pytest.mark.parametrize(
    "wrong", [{"ttft_seconds": float("nan")}, {"tpot_seconds": -1.0}, {"batch": 10**20}, {"load_seconds": float("inf")}]
)
def test_a_figure_that_cannot_have_been_measured_makes_no_record(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        record(**{"batch": 1} | wrong)  # type: ignore[arg-type]


def test_scenarios_and_plans_are_held_too(address: str) -> None:
    with open_store(address) as store:
        assert store.add("plans", [PLAN, PLAN]).new == 1
        assert [item for _, item in store.items("plans", {"name": "eu-chat"})] == [PLAN]
        assert store.items("scenarios") == []


def _write(address: str, first: int) -> int:
    with open_store(address) as store:
        return sum(store.add("records", [record(batch)]).new for batch in range(first, first + 20))


def test_writers_at_the_same_time_lose_and_double_nothing(address: str) -> None:
    # four writers with connections of their own, 20 records each, every one of them written by two
    with ThreadPoolExecutor(4) as pool:
        new = list(pool.map(_write, [address] * 4, (1, 1, 21, 21)))
    assert sum(new) == 40
    with open_store(address) as store:
        assert [r.batch for r in store.profiles()] == list(range(1, 41))


@pytest.fixture
def read_lock(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """Somebody reads a store that is not yet written ahead, and nobody can make it so."""
    reader = sqlite3.connect(tmp_path / "s.sqlite", isolation_level=None)
    reader.execute("CREATE TABLE t (n)")
    reader.execute("DROP TABLE t")
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM sqlite_master").fetchall()
    yield reader
    reader.close()


class _RefusesAtOnce:
    """A connection that SQLite refuses without its own wait, as it does where two switch at once."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals

    def execute(self, _: str) -> None:
        if self.refusals:
            self.refusals -= 1
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = sqlite3.SQLITE_BUSY
            raise error


def test_two_that_make_a_store_write_ahead_at_once_wait_for_one_another(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr("llmsizer.store.database.time.sleep", waits.append)
    connection = _RefusesAtOnce(3)
    database._write_ahead(connection)
    assert connection.refusals == 0 and len(waits) == 3
    monkeypatch.setattr("llmsizer.store.database.BUSY_SECONDS", -1)
    with pytest.raises(sqlite3.OperationalError):
        database._write_ahead(_RefusesAtOnce(1))


def test_a_store_that_stays_locked_is_one_line(
    read_lock: sqlite3.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmsizer.store.database.BUSY_SECONDS", 0)
    with pytest.raises(InputError, match="database is locked"):
        open_store(str(tmp_path / "s.sqlite"))


def test_an_older_store_is_brought_forward_with_what_it_holds(address: str) -> None:
    old = record()
    url = location_of(address).url
    engine = sql.create_engine(url)
    with engine.begin() as connection:
        tables.schema_version.create(connection)
        tables.STEPS[0](connection)
        connection.execute(tables.schema_version.insert().values(version=1))
        row = {name: getattr(old, name) for name in (*tables.RECORD_COLUMNS, *tables.RECORD_NUMBERS)}
        row |= {"device": old.device.name, "measured_at": ""}
        row |= {"content_id": content_id(old), "document": document_of(old), "added_at": ""}
        names = ", ".join(row)
        connection.execute(sql.text(f"INSERT INTO records ({names}) VALUES (:{', :'.join(row)})"), row)
    engine.dispose()
    with open_store(address) as store:
        assert store.profiles(pattern="batch") == [old]
        assert store.add("records", [old]).known == 1
        assert store.add("plans", [PLAN]).new == 1


def test_a_newer_store_is_refused_in_one_line(address: str) -> None:
    open_store(address).close()
    engine = sql.create_engine(location_of(address).url)
    with engine.begin() as connection:
        connection.execute(tables.schema_version.update().values(version=tables.NEWEST + 1))
    engine.dispose()
    with pytest.raises(InputError, match=f"version {tables.NEWEST + 1}.*upgrade llmsizer"):
        open_store(address)


def test_a_record_of_a_newer_schema_is_skipped_with_a_line(address: str) -> None:
    with open_store(address) as store:
        store.add("records", [record(1), record(2, schema_version=99)])
        assert [r.batch for r in store.profiles()] == [1]
        assert len(store.problems) == 1 and "its schema is 99" in store.problems[0]


def test_tables_of_somebody_else_are_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "theirs.sqlite"
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE records (name TEXT)")
    connection.close()
    with pytest.raises(InputError, match="not llmsizer's"):
        open_store(str(file))


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("mysql://ann:secret@db/x", "no store can lie in 'mysql'"),
        ("postgresql://ann:secret@127.0.0.1:1/x", "cannot be used"),
        ("postgresql://ann:sec@ret@h:port/x", "no address of a database"),
        ("postgresql://", "no host"),
        ("", "no address"),
        (str(Path(__file__).parent), "is a folder"),
        (__file__, "not a database"),
    ],
)
def test_a_bad_address_is_one_line_without_its_password(address: str, words: str) -> None:
    if "127.0.0.1" in address:
        pytest.importorskip("psycopg")
    with pytest.raises(InputError, match=words) as error:
        open_store(address)
    assert "secret" not in str(error.value) and "sec@ret" not in str(error.value) and "\n" not in str(error.value)


def test_no_text_of_an_address_shows_its_password() -> None:
    location = location_of("postgresql://ann:secret@db:5432/team?sslmode=require&password=secret")
    assert "secret" not in f"{location} {location!r}" and "ann" in str(location)
    assert hidden("no address here: a@b") == "no address here: a@b"


def test_the_default_store_lies_where_the_variable_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LLMSIZER_STORE", str(tmp_path / "team.sqlite"))
    assert default_location().path == tmp_path / "team.sqlite"
    monkeypatch.delenv("LLMSIZER_STORE")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert (default_location().path or Path()).name == "store.sqlite"


def test_reading_makes_no_store(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no store at"):
        open_store(str(tmp_path / "none.sqlite"), create=False)
    assert not list(tmp_path.iterdir())


def test_a_content_id_does_not_change_with_the_schemas_version() -> None:
    assert content_id(record(schema_version=1)) == content_id(record(schema_version=2))
    assert content_id(record()) != content_id(record(tpot_seconds=0.2))


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_exported_files_come_back_as_they_were(tmp_path: Path, format: str) -> None:
    records, _ = read_records(EXAMPLE / "profiles.jsonl", ProfileRecord)
    quality, _ = read_records(EXAMPLE / "quality.jsonl", QualityRecord)
    export_items([*records, *quality], tmp_path / f"out.{format}", format)
    found, problems = read_items(tmp_path / f"out.{format}")
    assert (found["records"], found["quality"], problems) == (records, quality, [])


def test_a_csv_has_a_column_for_each_field_that_anything_fills(tmp_path: Path) -> None:
    items = [record(1), record(2, energy=Energy(joules=3.0))]
    rows = table_rows(items)
    assert [row["energy.joules"] for row in rows] == [None, 3.0]
    assert "energy.idle_watts" not in rows[0] and rows[0]["device.name"] == "cpu"
    export_items(items, tmp_path / "out.csv", "csv")
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert len(lines) == 3 and lines[0].startswith("content_id,")


def test_files_of_records_scenarios_and_plans_are_told_apart(tmp_path: Path) -> None:
    scenario = Path(__file__).parent.parent / "profiles" / "scenarios" / "eu-chat.toml"
    assert [item.name for item in read_items(scenario)[0]["scenarios"]] == ["eu-chat"]  # type: ignore[union-attr]
    (tmp_path / "plan.json").write_text(json.dumps(PLAN.content))
    assert read_items(tmp_path / "plan.json")[0]["plans"] == [PLAN]
    append_record(tmp_path / "one.jsonl", record())
    assert list(read_items(tmp_path / "one.jsonl")[0]) == ["records"]


@pytest.mark.parametrize("content", [b"", b"{}\n", b"\xff\xfe", b"[1, 2]\n", b"PAR1 no\n"])
def test_a_file_that_holds_nothing_of_this_is_one_line(tmp_path: Path, content: bytes) -> None:
    for name in ("a.jsonl", "a.parquet"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError) as error:
            read_items(tmp_path / name)
        assert "\n" not in str(error.value)


def test_a_store_is_told_from_a_file_of_records(tmp_path: Path) -> None:
    open_store(str(tmp_path / "a")).close()
    (tmp_path / "b").write_text("{}")
    assert is_store(str(tmp_path / "a")) and is_store("postgresql://h/d")
    assert not is_store(str(tmp_path / "b")) and not is_store(str(tmp_path / "none"))
