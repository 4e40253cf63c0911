"""Imported records calibrate as one's own do, at a trust of their own."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from llmsizer.exchange.columns import ColumnMap, read_map
from llmsizer.exchange.importing import import_file
from llmsizer.exchange.point import NOT_EXTRAPOLATABLE
from llmsizer.facts.record_parts import Origin
from llmsizer.facts.records import DeviceRecord, ProfileRecord
from llmsizer.physics.calibration.own_records import LEAST_BAND, LEAST_IMPORTED_BAND, calibrate, log_residuals

MAP = """
[columns]
batch = "users"
prompt_tokens = "in"
output_tokens = "out"
ttft_seconds = { column = "ttft", unit = "ms" }
tpot_seconds = { column = "tpot", unit = "ms" }
[given]
model = "llama-3.1-8b"
device = "h100-sxm"
engine = "vllm"
engine_version = "0.19.0"
precision = "fp16"
[load]
pattern = "batch"
"""
TABLE = "users,in,out,ttft,tpot\n1,512,128,60,14\n4,512,128,120,15\n8,512,128,200,16\n16,512,128,390,18\n"


def imported(folder: Path) -> list[ProfileRecord]:
    (folder / "map.toml").write_text(MAP)
    (folder / "table.csv").write_text(TABLE)
    return import_file(folder / "table.csv", mapping=read_map(folder / "map.toml"))


def own(records: list[ProfileRecord]) -> list[ProfileRecord]:
    return [record.model_copy(update={"origin": None}) for record in records]


def distance(records: list[ProfileRecord], *, given: list[ProfileRecord]) -> float:
    calibration, _ = calibrate(given)
    return sum(abs(residual) for record in records for _, residual in log_residuals(record, calibration))


def test_imported_records_move_the_prediction_towards_them_and_own_ones_move_it_further(tmp_path: Path) -> None:
    records = imported(tmp_path)
    assert all(record.carries_step_times and record.is_imported for record in records)
    other = own([record.model_copy(update={"tpot_seconds": 0.9 * (record.tpot_seconds or 0)}) for record in records])
    alone = distance(records, given=other)
    with_imported = distance(records, given=[*other, *records])
    with_own = distance(records, given=[*other, *own(records)])
    assert with_own < with_imported < alone


def test_a_lone_imported_record_counts_a_quarter_of_an_own_one() -> None:
    from llmsizer.physics.calibration.own_records import IMPORTED_NOISE
    from llmsizer.physics.steps.own_rates import RECORD_NOISE

    assert pytest.approx(0.25) == (RECORD_NOISE / IMPORTED_NOISE) ** 2


def test_imported_records_alone_leave_a_wider_band(tmp_path: Path) -> None:
    records = imported(tmp_path)
    foreign, mine = calibrate(records)[0].bands.bands, calibrate(own(records))[0].bands.bands
    assert foreign["ttft|own"].high >= LEAST_IMPORTED_BAND > LEAST_BAND
    # 1.645 × √(0.20² − 0.10²): what all rows of one foreign run have in common does not show in their scatter
    assert pytest.approx(1.645 * math.sqrt(0.03)) == LEAST_IMPORTED_BAND
    assert mine["ttft|own"].high < foreign["ttft|own"].high


def test_what_nobody_knows_the_machine_of_calibrates_nothing(tmp_path: Path) -> None:
    text = MAP.replace('device = "h100-sxm"\n', "")
    (tmp_path / "map.toml").write_text(text)
    (tmp_path / "table.csv").write_text(TABLE)
    [*records] = import_file(tmp_path / "table.csv", mapping=read_map(tmp_path / "map.toml"))
    assert all(not record.carries_step_times and NOT_EXTRAPOLATABLE in record.flags for record in records)
    assert records[0].unknown["calibration"] == "the file does not say device: --given device=…"


def test_several_accelerators_together_teach_no_step_time_of_one(tmp_path: Path) -> None:
    (tmp_path / "map.toml").write_text(MAP.replace("[load]", "accelerators = 4\n[load]"))
    (tmp_path / "table.csv").write_text(TABLE)
    records = import_file(tmp_path / "table.csv", mapping=read_map(tmp_path / "map.toml"))
    assert "4 accelerators" in records[0].unknown["calibration"]


def test_a_record_without_an_origin_is_ones_own() -> None:
    device = DeviceRecord(name="x", kind="cpu")
    record = ProfileRecord(record_id="a", model="m", variant="fp16", precision="fp16", engine="e", engine_version="1",
                           device=device, batch=1, prompt_tokens=1, output_tokens=1)  # fmt: skip
    assert not record.is_imported
    assert record.model_copy(update={"origin": Origin(format="aiperf")}).is_imported
    assert ColumnMap().pattern == "closed"
