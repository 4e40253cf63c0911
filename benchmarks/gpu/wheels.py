"""Bring packages to a machine without a network, a part at a time.

``split WHEEL --into FOLDER``: a wheel without what a run does not need, in parts of at most 40 MB, with checksums.
``join FOLDER --into FOLDER``: the wheel again, checked; install it with ``pip install --no-deps --no-index``.
A stripped wheel's RECORD is written anew, as installers check it.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import sys
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

PART_BYTES = 40 * 10**6


def strip(wheel: Path, target: Path, *, drop: Iterable[str]) -> Path:
    """A copy without the files that match a pattern (``vllm/_flashmla*``), its RECORD made to fit."""
    patterns, rows = tuple(drop), []
    made = target / wheel.name
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as out:
        record = next(name for name in source.namelist() if name.endswith(".dist-info/RECORD"))
        for info in source.infolist():
            if info.filename == record or any(PurePosixPath(info.filename).match(p) for p in patterns):
                continue
            content = source.read(info)
            digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
            rows.append(f"{info.filename},sha256={digest},{len(content)}")
            out.writestr(info, content)
        out.writestr(record, "\n".join([*rows, f"{record},,"]) + "\n")
    return made


def split(file: Path, folder: Path, *, part_bytes: int = PART_BYTES) -> list[Path]:
    """The file in parts, and a list of them with the checksum of the whole."""
    folder.mkdir(parents=True, exist_ok=True)
    content, parts = file.read_bytes(), []
    for number, start in enumerate(range(0, len(content), part_bytes)):
        parts.append(folder / f"{file.name}.{number:03d}")
        parts[-1].write_bytes(content[start : start + part_bytes])
    whole = {"name": file.name, "sha256": hashlib.sha256(content).hexdigest(), "parts": [p.name for p in parts]}
    (folder / f"{file.name}.json").write_text(json.dumps(whole))
    return parts


def join(folder: Path, target: Path) -> list[Path]:
    """All wheels whose parts lie in a folder. Raises SystemExit where a part is missing or the whole is not right."""
    target.mkdir(parents=True, exist_ok=True)
    made = []
    for listing in sorted(folder.glob("*.json")):
        whole = json.loads(listing.read_text())
        if any(name != Path(name).name for name in (whole["name"], *whole["parts"])):
            sys.exit(f"{listing}: names a file in another folder; make the parts with 'wheels.py split'")
        missing = [name for name in whole["parts"] if not (folder / name).exists()]
        if missing:
            sys.exit(f"{listing}: parts are missing: {', '.join(missing)}")
        content = b"".join((folder / name).read_bytes() for name in whole["parts"])
        if hashlib.sha256(content).hexdigest() != whole["sha256"]:
            sys.exit(f"{listing}: the parts do not make the file they were; bring them again")
        made.append(target / whole["name"])
        made[-1].write_bytes(content)
    return made


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("split", "join"))
    parser.add_argument("path", type=Path)
    parser.add_argument("--into", type=Path, required=True)
    parser.add_argument("--drop", action="append", default=[], help="pattern of files inside the wheel to leave out")
    asked = parser.parse_args(arguments)
    if asked.action == "join":
        files = join(asked.path, asked.into)
    else:
        asked.into.mkdir(parents=True, exist_ok=True)
        wheel = strip(asked.path, asked.into, drop=asked.drop) if asked.drop else asked.path
        files = split(wheel, asked.into)
        if asked.drop:
            wheel.unlink()
    sys.stdout.write("\n".join(str(file) for file in files) + "\n")


if __name__ == "__main__":
    main()
