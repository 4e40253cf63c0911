"""The user's own values: they change the catalogue, say so, are refused where they are wrong, and can be taken back."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from llmsizer.errors import InputError
from llmsizer.facts.catalog import load_catalog, own_values
from llmsizer.facts.catalog.own_values import Own, ValueChange

TODAY = datetime.date(2026, 11, 22)
SHIPPED = load_catalog()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "own.toml"


def change(kind: str, name: str, key: str, now: float | None) -> ValueChange:
    row = next(row for row in own_values.rows(SHIPPED, kind) if row.name == name)
    return ValueChange(kind=kind, name=name, key=key, was=row.values[key], now=now, was_from=row.origins[key])


def first(kind: str) -> str:
    return own_values.rows(SHIPPED, kind)[0].name


def with_change(file: Path, kind: str, name: str, key: str, now: float | None) -> Own:
    return own_values.with_changes(own_values.own_values(file), SHIPPED, [change(kind, name, key, now)], TODAY)


def kept(file: Path, kind: str, name: str, key: str, now: float | None) -> None:
    own = with_change(file, kind, name, key, now)
    own_values.keep(file, own, TODAY, expected=own_values.version(file))


CHANGED = {
    "gpus": ("tdp_watts", 123.0),
    "offers": ("usd_per_gpu_hour", 1.25),
    "apis": ("output_usd_per_mtok", 7.5),
    "purchase": ("usd", 9_999.0),
    "energy": ("low", 0.011),
}


def test_kept_values_stand_in_the_catalogue_in_place_of_the_old_ones_and_leave_the_others(file: Path) -> None:
    changes = [change(kind, first(kind), key, now) for kind, (key, now) in CHANGED.items()]
    own = own_values.with_changes({}, SHIPPED, changes, TODAY)
    own_values.keep(file, own, TODAY, expected=own_values.version(file))
    catalog = load_catalog(overrides=file)
    for kind, (changed, now) in CHANGED.items():
        before, after = own_values.rows(SHIPPED, kind), own_values.rows(catalog, kind)
        assert len(after) == len({row.name for row in before})
        (row,) = [row for row in after if row.name == first(kind)]
        assert row.values[changed] == now
        assert row.origins[changed].source == str(file)
        assert row.origins[changed].basis == "assumed"
        untouched = next(r for r in before if r.name == row.name).values
        assert all(row.values[other] == untouched[other] for other in untouched if other != changed)


def test_an_own_price_is_dated_and_remembers_what_it_replaced(file: Path) -> None:
    name = first("offers")
    was = next(o for o in SHIPPED.offers() if o.id == name)
    kept(file, "offers", name, "usd_per_gpu_hour", 1.25)
    offer = next(o for o in load_catalog(overrides=file).offers() if o.id == name)
    assert offer.provenance.as_of == "2026-11-22"
    assert f"was {was.usd_per_gpu_hour:g} ({was.provenance.as_of}" in offer.provenance.note
    assert offer.median_usd_per_gpu_hour is None  # was said of the old price


def test_an_api_price_can_be_made_unknown_but_a_gpu_keeps_a_number(file: Path) -> None:
    name = next(r.name for r in own_values.rows(SHIPPED, "apis") if r.values["output_usd_per_mtok"])
    kept(file, "apis", name, "output_usd_per_mtok", None)
    api = next(a for a in load_catalog(overrides=file).apis() if a.id == name)
    assert api.output_usd_per_mtok is None
    with pytest.raises(InputError, match="tdp_watts is empty; give a number"):
        with_change(file, "gpus", "h100-sxm-80", "tdp_watts", None)
    with pytest.raises(InputError, match="give a number"):
        with_change(file, "gpus", "h100-sxm-80", "tdp_watts", float("inf"))


WRONG = (
    ("gpus", "memory_bytes", -1.0, "greater than 0"),
    ("offers", "usd_per_gpu_hour", 40_000.0, "beyond belief"),
    ("offers", "usd_per_gpu_hour", None, "usd_per_gpu_hour"),
    ("apis", "input_usd_per_mtok", -3.0, "greater than or equal to 0"),
    ("purchase", "usd", 0.0, "greater than 0"),
)


def test_a_wrong_value_is_a_sentence_and_the_file_stays_as_it_was(file: Path) -> None:
    file.write_text("# mine\n")
    for kind, key, now, said in WRONG:
        own = with_change(file, kind, first(kind), key, now)
        found = own_values.complaints(file, own, TODAY)
        assert any(said in sentence for sentence in found), found
        assert not any("\n" in sentence for sentence in found)
    with pytest.raises(InputError, match="greater than 0"):
        own_values.keep(file, own, TODAY, expected=own_values.version(file))
    assert file.read_text() == "# mine\n"


def test_what_the_user_wrote_by_hand_stays_and_is_not_written_over(file: Path) -> None:
    by_hand = '# mine\n[gpus.h100-sxm-80]\ntdp_watts = 600.0  # capped\n\n[[purchase]]\nitem = "l4"\nkind = "quote"\nunit = "GPU"\nusd = 2000.0\n'  # noqa: E501
    file.write_text(by_hand)
    kept(file, "gpus", "l4", "tdp_watts", 70.0)
    kept(file, "purchase", first("purchase"), "usd", 1234.0)
    assert file.read_text().startswith(by_hand.rstrip())
    catalog = load_catalog(overrides=file)
    assert (catalog.gpu("h100-sxm-80").tdp_watts, catalog.gpu("l4").tdp_watts) == (600.0, 70.0)
    own = with_change(file, "gpus", "h100-sxm-80", "tdp_watts", 650.0)
    assert own_values.complaints(file, own, TODAY) == [
        f"{file}: gpus.h100-sxm-80 is changed there by hand; change it there, or take it out there first"
    ]


def test_each_change_can_be_taken_back_the_last_first(file: Path) -> None:
    kept(file, "gpus", "l4", "tdp_watts", 70.0)
    once = file.read_text()
    kept(file, "gpus", "l4", "tdp_watts", 60.0)
    assert own_values.changes_to_undo(file) == 2
    own_values.undo(file)
    assert file.read_text() == once
    own_values.undo(file)
    assert own_values.own_values(file) == {}
    assert file.read_text() == ""
    with pytest.raises(InputError, match="no change to take back"):
        own_values.undo(file)


def test_one_own_value_is_taken_out_and_the_others_stay(file: Path) -> None:
    kept(file, "gpus", "l4", "tdp_watts", 70.0)
    kept(file, "purchase", first("purchase"), "usd", 1234.0)
    own = own_values.without(own_values.own_values(file), "gpus", "l4")
    own_values.keep(file, own, TODAY, expected=own_values.version(file))
    assert list(own_values.own_values(file)) == ["purchase"]


def test_of_two_who_look_at_the_same_values_the_second_is_told_to_look_again(file: Path) -> None:
    seen = own_values.version(file)
    mine = with_change(file, "gpus", "l4", "tdp_watts", 70.0)
    kept(file, "gpus", "l4", "tdp_watts", 65.0)
    with pytest.raises(InputError, match="somebody changed it meanwhile"):
        own_values.keep(file, mine, TODAY, expected=seen)
    assert load_catalog(overrides=file).gpu("l4").tdp_watts == 65.0


def test_a_negotiated_offer_is_a_row_of_its_own_and_one_without_a_provider_is_a_sentence(file: Path) -> None:
    row = {"provider": "our host", "gpu": "l40s", "zone": "EU", "usd_per_gpu_hour": 0.42}
    own = own_values.with_row({}, "offers", row, TODAY)
    own_values.keep(file, own, TODAY, expected=own_values.version(file))
    (offer,) = load_catalog(overrides=file).offers(provider="our host")
    assert (offer.gpu, offer.zone, offer.usd_per_gpu_hour, offer.provenance.as_of) == ("l40s", "EU", 0.42, "2026-11-22")
    assert own_values.own_values(file)["offers"].keys() == {offer.id}
    with pytest.raises(InputError, match="needs provider"):
        own_values.with_row({}, "apis", {"model": "x"}, TODAY)
    unknown = own_values.with_row({}, "offers", row | {"gpu": "no-such-gpu"}, TODAY)
    assert "no-such-gpu" in own_values.complaints(file, unknown, TODAY)[0]


def test_a_file_that_cannot_be_read_or_lost_its_end_mark_is_a_sentence(file: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not readable as UTF-8"):
        own_values.own_values(file)
    file.write_text(own_values.BEGIN + "\n[gpus.x]\n")
    with pytest.raises(InputError, match="end mark"):
        own_values.own_values(file)
    assert "end mark" in own_values.complaints(file, {}, TODAY)[0]


def test_a_price_of_the_users_own_replaces_those_of_the_same_kind_instead_of_joining_their_median(file: Path) -> None:
    name = first("purchase")
    item, kind, unit = name.split(" · ")
    file.write_text(f'[[purchase]]\nitem = "{item}"\nkind = "{kind}"\nunit = "{unit}"\nusd = 1.0\n')
    prices = load_catalog(overrides=file).purchase_prices(item)
    assert [price.usd for price in prices if price.name == name] == [1.0]
    assert len(load_catalog(overrides=file).purchase_prices()) <= len(SHIPPED.purchase_prices())
