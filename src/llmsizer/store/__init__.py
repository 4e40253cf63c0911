"""Where a person or a team keeps what was measured and decided: SQLite by default, PostgreSQL by its address.

Needs the extra ``store`` (SQLAlchemy, pyarrow), for PostgreSQL the extra ``postgres`` too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llmsizer.installed import optional
from llmsizer.store.location import Location, default_location, location_of

if TYPE_CHECKING:
    from llmsizer.store.database import Store

__all__ = ["Location", "default_location", "location_of", "open_store"]


def open_store(where: str | None = None, *, create: bool = True) -> Store:
    """The store at a path or address; None: that of ``LLMSIZER_STORE``, else one file in the platform's data folder.

    Brings an older store's tables up to date. Raises InputError where it cannot be reached or is newer than this
    program, and, without ``create``, where there is none yet; MissingExtraError where a part is not installed.
    """
    location = default_location() if where is None else location_of(where)
    optional("sqlalchemy", what="the store", extra="store")
    if location.is_postgres:
        optional("psycopg", what="a store in PostgreSQL", extra="postgres")
    from llmsizer.store.database import Store

    return Store(location, create=create)
