"""Broken files through the importers: how many were refused, how many taken, and whether any of them made a traceback.

    python benchmarks/import_fuzz.py [--files 10000] [--seed 1] [--json FILE]

Each is a real sample of another tool, cut, flipped, or with its values replaced (``tests/foreign_files.py``). A file is
refused in one line or taken whole: every record of it must be writable and readable as it is.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
import tempfile
import time
import traceback
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from foreign_files import broken, import_sample, samples
from llmsizer.errors import LlmSizerError
from llmsizer.facts.records import ProfileRecord

LONGEST_LINE = 600


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    contents = {path: path.read_bytes() for path in samples()}
    found: Counter[str] = Counter()
    faults: list[str] = []
    slowest = 0.0
    with tempfile.TemporaryDirectory() as folder:
        for number in range(arguments.files):
            sample = chance.choice(list(contents))
            file = Path(folder) / sample.name
            file.write_bytes(broken(contents[sample], chance))
            begun = time.perf_counter()
            try:
                outcome = examine(file)
            except Exception:
                outcome = "traceback"
                faults.append(f"{number} {sample.name}: {traceback.format_exc(limit=-3)}")
            slowest = max(slowest, time.perf_counter() - begun)
            found[outcome] += 1
    document = {
        "files": arguments.files,
        "seed": arguments.seed,
        "samples": len(contents),
        **{name: found[name] for name in ("refused", "taken whole", "half or unreadable", "traceback")},
        "slowest_s": round(slowest, 3),
        "measured_at": time.strftime("%Y-%m-%d"),
    }
    print(json.dumps(document, indent=1))
    for fault in faults[:5]:
        print(fault, file=sys.stderr)
    if arguments.json:
        arguments.json.write_text(json.dumps(document, indent=1) + "\n")
    return 1 if found["traceback"] or found["half or unreadable"] else 0


def examine(file: Path) -> str:
    """What became of a file."""
    try:
        records = import_sample(file)
    except LlmSizerError as error:
        line = str(error)
        return "refused" if "\n" not in line and len(line) < LONGEST_LINE else "half or unreadable"
    whole = all(ProfileRecord.model_validate_json(record.model_dump_json()) == record for record in records)
    return "taken whole" if records and whole else "half or unreadable"


if __name__ == "__main__":
    sys.exit(main())
