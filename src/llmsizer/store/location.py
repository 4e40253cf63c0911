"""The address of a store, and how it is shown: never with its password."""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from llmsizer.errors import InputError
from llmsizer.files import path_of

VARIABLE = "LLMSIZER_STORE"
FILE = "store.sqlite"
EXAMPLE = "give a path such as records.sqlite, or postgresql://user@host/database"
SQLITE_MAGIC = b"SQLite format 3\x00"


@dataclass(frozen=True, slots=True)
class Location:
    """A store's address as SQLAlchemy takes it. Its text hides the password."""

    url: str

    @property
    def is_postgres(self) -> bool:
        return self.url.startswith("postgresql")

    @property
    def path(self) -> Path | None:
        """The file of a SQLite store."""
        return None if self.is_postgres else Path(self.url.removeprefix("sqlite:///"))

    def __str__(self) -> str:
        return str(self.path) if self.path is not None else hidden(self.url.replace("postgresql+psycopg", "postgresql"))

    def __repr__(self) -> str:
        return f"Location({str(self)!r})"


def hidden(text: str) -> str:
    """Any address in a text without its password, be it before the host or behind the question mark.

    >>> hidden("postgresql://ann:secret@db/team?sslmode=require&password=secret")
    'postgresql://ann:***@db/team?sslmode=require&password=***'
    """
    text = re.sub(r"(://[^\s:/@]*):[^\s]*@", r"\1:***@", text)
    return re.sub(r"((?:password|passwd|pwd|sslpassword)=)[^&\s]*", r"\1***", text, flags=re.IGNORECASE)


def default_location() -> Location:
    """``LLMSIZER_STORE`` where it is set, else a file in the data folder of this platform."""
    named = os.environ.get(VARIABLE, "").strip()
    return location_of(named) if named else _of_path(data_folder() / FILE)


def data_folder() -> Path:
    """``~/.local/share/llmsizer`` (XDG), ``~/Library/Application Support/llmsizer``, ``%LOCALAPPDATA%\\llmsizer``."""
    home = Path.home()
    if sys.platform == "darwin":
        base = home / "Library" / "Application Support"
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or home / "AppData" / "Local")
    else:
        base = Path(os.environ.get("XDG_DATA_HOME") or home / ".local" / "share")
    return base / "llmsizer"


def location_of(text: str) -> Location:
    """A path, ``sqlite:///path`` or ``postgresql://…``. Raises InputError for any other database."""
    scheme, separator, rest = text.partition("://")
    if not text.strip() or "\0" in text:
        raise InputError(f"the store has no address; {EXAMPLE}")
    if not separator:
        return _of_path(path_of(text))
    if scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        if not rest:
            raise InputError(f"{hidden(text)}: no host and no database; {EXAMPLE}")
        return Location(f"postgresql+psycopg://{rest}")
    if scheme == "sqlite":
        return _of_path(path_of(rest.removeprefix("/")))
    raise InputError(f"{hidden(text)}: no store can lie in {scheme!r}; {EXAMPLE}")


def _of_path(path: Path) -> Location:
    if path.is_dir():
        raise InputError(f"{path} is a folder; {EXAMPLE}")
    return Location(f"sqlite:///{path}")


def is_store(text: str) -> bool:
    """Whether this names a store rather than a file of records: an address, or a file that SQLite wrote."""
    if "://" in text:
        return True
    try:
        with path_of(text).open("rb") as stream:
            return stream.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC
    except (OSError, ValueError):
        return False
