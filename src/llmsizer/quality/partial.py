"""What is done of an evaluation, a document and variant a line, so that an interrupted one goes on from there."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from llmsizer.errors import InputError
from llmsizer.quality.losses import DocumentLoss


@dataclass(frozen=True, slots=True)
class Kept:
    """A file of finished documents by variant and place; without a path nothing is kept."""

    path: Path | None = None

    def read(self) -> dict[tuple[str, int], DocumentLoss]:
        """What was finished; a line that was cut off by the interruption is not."""
        if self.path is None or not self.path.is_file():
            return {}
        found = {}
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            entry = _entry(line)
            if entry is not None:
                found[entry[0]] = entry[1]
        return found

    def add(self, variant: str, document: int, loss: DocumentLoss) -> None:
        """Append one document. Raises InputError where it cannot be written."""
        if self.path is None:
            return
        line = json.dumps(
            {
                "variant": variant,
                "document": document,
                "nll": loss.nll,
                "reference_nll": loss.reference_nll,
                "agreed": loss.agreed,
                "seconds": loss.seconds,
                "kl": base64.b64encode(loss.kl_per_token.astype("<f8").tobytes()).decode(),
            }
        )
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                # A line that an interruption cut off must not swallow this one.
                file.write(line + "\n" if _ends_whole(self.path) else "\n" + line + "\n")
        except OSError as error:
            raise InputError(f"{self.path}: cannot be written ({error.strerror})") from None


def _ends_whole(path: Path) -> bool:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            return True
        file.seek(-1, os.SEEK_END)
        return file.read(1) == b"\n"


def _entry(line: str) -> tuple[tuple[str, int], DocumentLoss] | None:
    try:
        data = json.loads(line)
        kl = np.frombuffer(base64.b64decode(data["kl"], validate=True), dtype="<f8")
        loss = DocumentLoss(
            nll=float(data["nll"]),
            reference_nll=float(data["reference_nll"]),
            agreed=float(data["agreed"]),
            seconds=float(data["seconds"]),
            kl_per_token=kl,
        )
        return (str(data["variant"]), int(data["document"])), loss
    except (ValueError, KeyError, TypeError):
        return None
