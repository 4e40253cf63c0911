"""The user's store and the records folder: what lies in them, and records put into either."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from cached.measurements import Records, records
from llmsizer.facts.records import ProfileRecord, QualityRecord
from llmsizer.profile.store import append_record
from llmsizer.store import default_location, open_store
from llmsizer.store.content import content_id

IMPORTED = "imported"


def has_store() -> bool:
    """Whether the user has a store already: a file that is there, or an address that was set."""
    location = default_location()
    return location.path is None or location.path.is_file()


@st.cache_data(ttl=5, max_entries=2, show_spinner=False)
def stored() -> Records:
    """What the user's store holds. Raises LlmSizerError."""
    with open_store(create=False) as store:
        profiles, quality = tuple(store.profiles()), tuple(store.quality())
        return Records(profiles=profiles, quality=quality, problems=tuple(store.problems))


def in_folder(output: Path, items: Sequence[ProfileRecord | QualityRecord]) -> tuple[int, str]:
    """Append what the output folder does not hold yet, each kind to its file of imported records.

    Returns how many were new, and where they are. Raises InputError.
    """
    kept, target = records(output), output / IMPORTED
    known = {content_id(item) for item in (*kept.profiles, *kept.quality)}
    new = {name: item for item in items if (name := content_id(item)) not in known}
    for item in new.values():
        append_record(target / ("profiles.jsonl" if isinstance(item, ProfileRecord) else "quality.jsonl"), item)
    return len(new), str(target)


def in_store(items: Sequence[ProfileRecord | QualityRecord]) -> tuple[int, str]:
    """Into the user's store, made where there is none. Returns how many were new, and where they are.

    Raises LlmSizerError.
    """
    with open_store() as store:
        new = store.add("records", [item for item in items if isinstance(item, ProfileRecord)]).new
        new += store.add("quality", [item for item in items if isinstance(item, QualityRecord)]).new
        stored.clear()
        return new, str(store.location)
