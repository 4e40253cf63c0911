"""Prices from others' files: read as they are, shown as a difference, written into the user's file and nowhere else."""

from __future__ import annotations

import datetime
import json
from pathlib import Path

import pytest

from llmsizer.cli import main
from llmsizer.errors import CatalogError, InputError
from llmsizer.facts.catalog import default_catalog, load_catalog
from llmsizer.facts.catalog.check import check_catalog
from llmsizer.facts.catalog.price_files import read_price_file, zone_of
from llmsizer.facts.catalog.refresh import BEGIN, refresh_from, write_refresh

CATALOG = default_catalog()
TODAY = datetime.date(2026, 11, 21)
MODELS_DEV = {
    "mistral": {
        "id": "mistral",
        "models": {
            "mistral-small-2603": {
                "name": "Mistral Small 4",
                "cost": {"input": 0.2, "output": 0.6, "cache_read": 0.02},
                "limit": {"context": 256000, "output": 256000},
            },
            "brand-new": {"name": "New", "cost": {"input": 1, "output": 2}},
            "gratis": {"name": "Free", "cost": {"input": 0, "output": 0}},
        },
    },
    "anthropic": {
        "models": {
            "claude-sonnet-4-5": {
                "cost": {
                    "input": 3,
                    "output": 15,
                    "cache_read": 0.3,
                    "cache_write": 3.75,
                    "context_over_200k": {"input": 6, "output": 22.5},
                }
            }
        }
    },
}
LITELLM = {
    "sample_spec": {"max_tokens": "a text", "input_cost_per_token": 0.0},
    "gpt-4o": {
        "litellm_provider": "openai",
        "mode": "chat",
        "input_cost_per_token": 2.5e-06,
        "output_cost_per_token": 1e-05,
        "input_cost_per_token_batches": 1.25e-06,
        "output_cost_per_token_batches": 5e-06,
    },
    "gemini/gemini-2.5-pro": {
        "litellm_provider": "gemini",
        "mode": "chat",
        "input_cost_per_token": 1.25e-06,
        "output_cost_per_token": 1e-05,
        "input_cost_per_token_above_200k_tokens": 2.5e-06,
        "output_cost_per_token_above_200k_tokens": 1.5e-05,
        "tpm": 8000000,
    },
    "dall-e-3": {"litellm_provider": "openai", "mode": "image_generation", "input_cost_per_image": 0.04},
}
SKYPILOT = """InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Price,Region,GpuInfo,SpotPrice
gpu_8x_h100_sxm5,H100-SXM,8.0,208,1800,32.0,us-west-3,,
gpu_8x_h100_sxm5,H100-SXM,8.0,208,1800,24.0,us-east-1,,12
gpu_1x_a10,A10,1.0,30,200,0.75,europe-central-1,"{'Gpus': [{'Name': 'A10'}]}",
cpu_4x,,,4,16,0.2,us-east-1,,
gpu_1x_foo,FOO9000,1,1,1,1.0,us-east-1,,
"""


def saved(folder: Path, name: str, content: object) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path


def test_models_dev_is_read_in_dollars_a_million(tmp_path: Path) -> None:
    prices = read_price_file(saved(tmp_path, "api.json", MODELS_DEV))
    rows = {row["model"]: row for row in prices.rows}
    assert (prices.format, prices.unpriced) == ("models.dev", 1)  # what is listed at 0 is no price
    small = rows["mistral-small-2603"]
    assert (small["input_usd_per_mtok"], small["cached_input_usd_per_mtok"], small["context_tokens"]) == (
        0.2,
        0.02,
        256000,
    )
    assert (rows["claude-sonnet-4-5"]["long_above_tokens"], rows["claude-sonnet-4-5"]["long_output_usd_per_mtok"]) == (
        200_000,
        22.5,
    )


def test_litellm_is_read_in_dollars_a_token(tmp_path: Path) -> None:
    prices = read_price_file(saved(tmp_path, "model_prices.json", LITELLM))
    rows = {f"{row['provider']}/{row['model']}": row for row in prices.rows}
    assert set(rows) == {"openai/gpt-4o", "google/gemini-2.5-pro"}
    assert rows["openai/gpt-4o"]["batch_output_usd_per_mtok"] == 5.0
    gemini = rows["google/gemini-2.5-pro"]
    assert (gemini["long_above_tokens"], gemini["long_input_usd_per_mtok"]) == (200_000, 2.5)
    assert gemini["tokens_per_minute_limit"] == 8_000_000


def test_skypilot_is_read_by_the_gpu_hour_and_zone(tmp_path: Path) -> None:
    prices = read_price_file(saved(tmp_path, "lambda/vms.csv", SKYPILOT))
    rows = {(row["zone"], row["listed"], row["term"]): row for row in prices.rows}
    h100 = rows["US", "H100-SXM", "on-demand"]
    assert (h100["usd_per_gpu_hour"], h100["median_usd_per_gpu_hour"], h100["max_usd_per_gpu_hour"]) == (3.0, 3.5, 4.0)
    assert (h100["provider"], h100["region"], h100["gpus_per_instance"]) == ("lambda", "us-east-1", 8)
    assert rows["US", "H100-SXM", "spot"]["usd_per_gpu_hour"] == 1.5
    assert rows["EU", "A10", "on-demand"]["usd_per_gpu_hour"] == 0.75


@pytest.mark.parametrize(
    ("region", "zone"),
    [("eu-west-1", "EU"), ("eu-west-2", "GB"), ("europe-west6", "CH"), ("germanywestcentral", "EU"), ("eastus2", "US"),
     ("us-central1", "US"), ("norwayeast", "NO"), ("ap-south-1", "unspecified"), ("", "unspecified")],
)  # fmt: skip
def test_a_region_lies_in_its_zone_or_in_none_that_is_known(region: str, zone: str) -> None:
    assert zone_of(region) == zone


def test_the_difference_is_shown_and_the_package_left_alone(tmp_path: Path) -> None:
    path = saved(tmp_path, "api.json", MODELS_DEV)
    refresh = refresh_from(CATALOG, read_price_file(path), path, "2026-11-20")
    changes = {(c.id, c.key): (c.was, c.now) for c in refresh.changes}
    assert changes["mistral/mistral-small-2603", "input_usd_per_mtok"] == (0.15, 0.2)
    assert ("mistral/mistral-small-2603", "output_usd_per_mtok") not in changes  # it is the same
    assert (refresh.new, len(refresh.rows)) == (1, 2)


def test_what_is_written_counts_and_keeps_what_the_catalogue_knows(tmp_path: Path) -> None:
    path, own = (
        saved(tmp_path, "api.json", MODELS_DEV),
        saved(tmp_path, "own.toml", "# mine\n[gpus.l4]\ntdp_watts = 70\n"),
    )
    refresh = refresh_from(CATALOG, read_price_file(path), path, "2026-11-20")
    assert write_refresh(refresh, own) == 2
    api = next(a for a in load_catalog(overrides=own).apis() if a.id == "mistral/mistral-small-2603")
    assert (api.input_usd_per_mtok, api.serves) == (0.2, "mistral-small-4-119b-2603")
    assert (api.provenance.as_of, api.provenance.basis) == ("2026-11-20", "price list")
    assert not api.provenance.is_stale(TODAY) and "api.json" in api.provenance.source
    assert own.read_text().startswith("# mine\n[gpus.l4]")


def test_a_second_refresh_replaces_the_first_and_keeps_other_kinds(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    for name, content in (("api.json", MODELS_DEV), ("lambda/vms.csv", SKYPILOT), ("api.json", MODELS_DEV)):
        path = saved(tmp_path, name, content)
        catalog = load_catalog(overrides=own if own.exists() else None)
        write_refresh(refresh_from(catalog, read_price_file(path), path, "2026-11-20", with_new=True), own)
    text = own.read_text()
    assert text.count(BEGIN) == 1 and text.count('model = "mistral-small-2603"') == 1
    assert text.count("[[offers]]") == 3 and "FOO9000" not in text
    whole = load_catalog(overrides=own)
    assert any(o.usd_per_gpu_hour == 3.0 and o.provider == "lambda" for o in whole.offers("h100"))
    assert any(api.id == "mistral/brand-new" for api in whole.apis())


def test_a_price_the_user_wrote_by_hand_is_not_overwritten(tmp_path: Path) -> None:
    mine = '[[apis]]\nprovider = "mistral"\nmodel = "mistral-small-2603"\ninput_usd_per_mtok = 0.1\n'
    path, own = saved(tmp_path, "api.json", MODELS_DEV), saved(tmp_path, "own.toml", mine)
    write_refresh(refresh_from(load_catalog(overrides=own), read_price_file(path), path, "2026-11-20"), own)
    api = next(a for a in load_catalog(overrides=own).apis() if a.id == "mistral/mistral-small-2603")
    assert api.input_usd_per_mtok == 0.1


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", '{"a":', "not readable as JSON"),
        ("a.json", "[1]", "no price list that is known"),
        ("a.json", '{"x":{"models":{"m":{"cost":{"input":"cheap","output":1}}}}}', "x.m.cost.input = 'cheap'"),
        ("a.json", '{"x":{"models":{"m":{"cost":{"input":NaN,"output":1}}}}}', "not a price"),
        ("a.json", '{"x":{"models":{"m":{"cost":{"input":-1,"output":1}}}}}', "not a price"),
        ("a.json", '{"x":{"models":{"m":{"cost":[1]}}}}', "tables"),
        ("a.json", '{"x":{"models":{}}}', "no entry with a price"),
        ("a.json", '{"m":{"litellm_provider":"x","mode":"chat","input_cost_per_token":true}}', "not a price"),
        ("aws/vms.csv", "AcceleratorName,Region\nA,b\n", "no column AcceleratorCount, Price"),
        ("aws/vms.csv", "AcceleratorName,AcceleratorCount,Price,Region\nH100,8,dear,us-east-1\n", "line 2: Price"),
        ("v8/other.csv", "AcceleratorName,AcceleratorCount,Price,Region\nH100,8,1,us-east-1\n", "--provider"),
    ],
)
def test_a_file_that_is_no_price_list_gets_one_line(tmp_path: Path, name: str, content: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        read_price_file(saved(tmp_path, name, content))
    assert says in str(caught.value) and "\n" not in str(caught.value)


def test_a_broken_overrides_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = saved(tmp_path, "api.json", MODELS_DEV)
    refresh = refresh_from(CATALOG, read_price_file(path), path, "2026-11-20")
    for text, error in ((f"{BEGIN}\n", InputError), ("apis = 3\n", CatalogError), ("not toml", CatalogError)):
        own = saved(tmp_path, "own.toml", text)
        with pytest.raises(error):
            write_refresh(refresh, own)
        assert own.read_text() == text


def test_the_shipped_catalogue_has_no_problem_and_says_how_much_is_old() -> None:
    found = check_catalog(CATALOG, TODAY)
    assert found.problems == ()
    counts = {kind.kind: kind for kind in found.kinds}
    assert counts["apis"].facts == 559 and counts["apis"].stale == 559
    assert "capital_charge_per_year" in found.without_source and "pue" not in found.without_source


def test_the_check_finds_what_is_wrong(tmp_path: Path) -> None:
    own = saved(
        tmp_path,
        "own.toml",
        '[[apis]]\nprovider = "p"\nmodel = "m"\ninput_usd_per_mtok = 1\n'
        'cached_input_usd_per_mtok = 2\nserves = "nothing"\n'
        '[apis.provenance]\nas_of = "2031-01-01"\n'
        '[[offers]]\ngpu = "h100-sxm-80"\nusd_per_gpu_hour = 900\nmedian_usd_per_gpu_hour = 1\n',
    )
    problems = "\n".join(check_catalog(load_catalog(overrides=own), TODAY).problems)
    for says in ("yet to come", "cached input at 2 costs more", "no model 'nothing'", "beyond belief", "not in order"):
        assert says in problems


def test_the_command_exits_with_one_on_problems(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["catalog", "check", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["problems"] == []
    own = saved(tmp_path, "own.toml", '[[offers]]\ngpu = "h100-sxm-80"\nusd_per_gpu_hour = 900\n')
    assert main(["catalog", "check", "--overrides", str(own)]) == 1
    assert "beyond belief" in capsys.readouterr().out


def test_refresh_writes_only_where_it_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, own = saved(tmp_path, "api.json", MODELS_DEV), tmp_path / "own.toml"
    assert main(["catalog", "refresh", str(path)]) == 0
    assert "nothing written" in capsys.readouterr().out and not own.exists()
    assert main(["catalog", "refresh", str(path), "--write", "--overrides", str(own), "--as-of", "2026-11-20"]) == 0
    assert own.exists()
