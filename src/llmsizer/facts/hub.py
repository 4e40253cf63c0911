"""A model from wherever the user has it: the catalogue, a config.json, a folder, or a hub.

The only module of the facts that touches the network.
"""

from __future__ import annotations

import datetime
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from llmsizer.errors import InputError, NetworkError, UnknownNameError
from llmsizer.facts.architecture import model_from_config
from llmsizer.facts.catalog import Catalog
from llmsizer.facts.model import ModelSpec
from llmsizer.facts.provenance import Provenance

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")
_LARGEST_CONFIG_BYTES = 4 * 2**20
_TIMEOUT_SECONDS = 15.0

Fetch = Callable[[str], str]
"""From a hub id to the text of its config.json."""


def load_model(name: str, catalog: Catalog, *, fetch: Fetch | None = None) -> ModelSpec:
    """A model by catalogue name, path to a config.json, folder that holds one, or hub id ``org/name``.

    Raises UnknownNameError, InputError or NetworkError with one line that says what would work.
    """
    path = Path(name)
    try:
        if path.is_file() or (path.is_dir() and (path / "config.json").is_file()):
            return model_from_path(path)
    except (OSError, ValueError):  # a name that no file system takes is simply no path
        pass
    try:
        return catalog.model(name)
    except UnknownNameError:
        if path.suffix == ".json" or name.startswith((".", "/", "~")):
            raise InputError(
                f"{name}: no such file; give the path of a config.json or of a folder that holds one"
            ) from None
        if _HUB_ID.fullmatch(name.strip()) is None:
            raise
    return model_from_hub(name.strip(), fetch or fetch_config)


def model_from_path(path: Path) -> ModelSpec:
    """A model from a config.json, or from a folder that holds one."""
    file = path / "config.json" if path.is_dir() else path
    try:
        if file.stat().st_size > _LARGEST_CONFIG_BYTES:
            raise InputError(f"{file}: too large for a config.json (over 4 MiB); give the config, not the weights")
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise InputError(f"{file}: {error.strerror or error}; a readable config.json would work") from None
    except UnicodeDecodeError:
        raise InputError(f"{file}: not text; give the config.json, not the weights") from None
    name = file.parent.name if file.name == "config.json" else file.stem
    day = datetime.date.fromtimestamp(file.stat().st_mtime).isoformat()
    origin = Provenance(source=str(file), as_of=day, confidence="the config itself", basis="published")
    return model_from_config(parse_config(text, str(file)), name=name or "model", provenance=origin)


def model_from_hub(hub_id: str, fetch: Fetch) -> ModelSpec:
    """A model from a hub's config.json."""
    config = parse_config(fetch(hub_id), hub_id)
    origin = Provenance(
        source=f"{_endpoint()}/{hub_id}/blob/main/config.json",
        as_of=datetime.date.today().isoformat(),
        confidence="the maker's config.json",
        basis="published",
    )
    return model_from_config(config, name=hub_id.rsplit("/", 1)[-1], hf_repo=hub_id, provenance=origin)


def parse_config(text: str, where: str) -> dict[str, Any]:
    """JSON text as an object. Raises InputError with the place."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where}: no valid JSON ({' '.join(str(error).split())}); a config.json would work") from None
    if not isinstance(data, dict):
        raise InputError(f"{where}: not a JSON object; the config.json of a text decoder would work")
    return data


def fetch_config(hub_id: str) -> str:
    """config.json from the hub: by huggingface_hub (cache, token) where installed, else by HTTPS."""
    try:
        import huggingface_hub  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        return _fetch_by_https(hub_id)
    try:
        return Path(huggingface_hub.hf_hub_download(hub_id, "config.json")).read_text(encoding="utf-8")
    except Exception as error:  # its errors are many and change names between versions; all mean "not fetched"
        raise _not_fetched(hub_id, type(error).__name__) from None


def _fetch_by_https(hub_id: str) -> str:
    import urllib.error
    import urllib.request  # slow to import, and most models are in the catalogue

    if os.environ.get("HF_HUB_OFFLINE", "") not in ("", "0"):
        raise _not_fetched(hub_id, "HF_HUB_OFFLINE is set")
    request = urllib.request.Request(f"{_endpoint()}/{hub_id}/resolve/main/config.json")
    token = os.environ.get("HF_TOKEN")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
            body: bytes = response.read(_LARGEST_CONFIG_BYTES)
            return body.decode("utf-8", errors="replace")
    except urllib.error.HTTPError as error:
        error.close()  # it is the answer, with its socket
        reason = (
            "gated: accept its licence there and set HF_TOKEN" if error.code in (401, 403) else f"HTTP {error.code}"
        )
        raise _not_fetched(hub_id, reason) from None
    except (urllib.error.URLError, OSError, ValueError) as error:
        raise _not_fetched(hub_id, str(getattr(error, "reason", error)) or type(error).__name__) from None


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _not_fetched(hub_id: str, reason: str) -> NetworkError:
    return NetworkError(
        f"{hub_id} could not be read from {_endpoint()} ({reason}); "
        "a catalogue name (llmsizer catalog list) or the path of a config.json would work"
    )
