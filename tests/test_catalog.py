"""Every file under profiles/ parses, says where its numbers are from, and is found by the names people use."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from llmsizer.errors import CatalogError, UnknownNameError
from llmsizer.facts.catalog import Catalog, load_catalog
from llmsizer.facts.profile_files import read_toml, toml_files
from llmsizer.facts.provenance import Provenance, parse_date

CATALOG = load_catalog()
GIB = 2**30


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A small catalogue of its own that a test may break."""
    for folder, names in {"gpus": ["h100-sxm-80", "l4"], "models": ["llama-3.1-8b", "mistral-small-2409"]}.items():
        (tmp_path / folder).mkdir()
        for name in names:
            shutil.copy(CATALOG.root / folder / f"{name}.toml", tmp_path / folder)
    (tmp_path / "offers").mkdir()
    shutil.copy(CATALOG.root / "offers" / "lambda.toml", tmp_path / "offers")
    return tmp_path


def all_provenance(catalog: Catalog) -> list[tuple[str, Provenance]]:
    rows: list[tuple[str, Provenance]] = [(m.name, m.provenance) for m in catalog.models()]
    for gpu in catalog.gpus():
        rows += [(gpu.id, gpu.provenance), *((f"{gpu.id}.{k}", p) for k, p in gpu.provenance_by_field.items())]
    rows += [(o.id, o.provenance) for o in catalog.offers()] + [(a.id, a.provenance) for a in catalog.apis()]
    rows += [(p.item, p.provenance) for p in catalog.purchase_prices()]
    rows += [(e.metric, e.provenance) for e in catalog.energy()] + [(t.parameter, t.provenance) for t in catalog.tco()]
    return rows


def test_every_number_has_a_source_a_date_and_a_confidence():
    rows = all_provenance(CATALOG)
    assert len(rows) > 1200
    for name, origin in rows:
        assert origin.source and origin.confidence, name
        assert parse_date(origin.as_of) is not None, f"{name}: {origin.as_of}"


def test_the_whole_source_catalogue_is_there():
    assert len(CATALOG.gpu_names) >= 51
    assert len(CATALOG.model_names) >= 34
    assert len(CATALOG.offers()) == 265
    assert len(CATALOG.apis()) == 559
    assert len(CATALOG.purchase_prices()) == 60
    assert len(CATALOG.energy()) == 150
    assert len(CATALOG.tco()) == 35
    assert set(CATALOG.workload_names) == {"chat", "rag", "summarise", "code", "agent", "batch"}


def test_every_toml_file_parses():
    for folder in CATALOG.root.iterdir():
        if folder.is_dir():
            for path in toml_files(folder):
                assert read_toml(path), path


def test_ids_match_file_names_and_are_unique():
    assert [gpu.id for gpu in CATALOG.gpus()] == list(CATALOG.gpu_names)
    for rows in (CATALOG.offers(), CATALOG.apis()):
        ids = [row.id for row in rows]
        assert len(ids) == len(set(ids))


@pytest.mark.parametrize(
    ("written", "gpu"),
    [
        ("h100-sxm-80gb", "h100-sxm-80"),
        ("H100-80GB", "h100-sxm-80"),
        ("NVIDIA H100 80GB HBM3", "h100-sxm-80"),
        ("A100-40GB", "a100-sxm-40"),
        ("a100_80gb", "a100-sxm-80"),
        ("L40S", "l40s"),
        ("NVIDIA GeForce RTX 4090", "rtx-4090"),
        ("mi300x-192gb", "mi300x"),
        ("rtx-pro-6000-blackwell-server-96gb", "rtx-pro-6000-server"),
        ("gb200-192gb", "gb200-186"),
        ("V100", "v100-sxm2-16"),
    ],
)
def test_gpus_answer_to_the_names_people_write(written: str, gpu: str):
    assert CATALOG.gpu(written).id == gpu


def test_memory_is_what_the_driver_reports():
    assert CATALOG.gpu("h100").memory_bytes == 81559 * 2**20
    assert CATALOG.gpu("l40s").memory_bytes == pytest.approx(44.99 * GIB, rel=1e-3)
    assert CATALOG.gpu("a40").memory_bytes == 45 * GIB  # 48 GiB less inline ECC
    assert CATALOG.gpu("a40").provenance_by_field["memory_bytes"].basis == "assumed"


def test_rates_are_dense_and_grow_as_formats_shrink():
    for gpu in CATALOG.gpus():
        rates = gpu.flops_per_second
        assert all(rate > 1e12 for rate in rates.values()), gpu.id
        if "fp8" in rates and "bf16" in rates:
            assert rates["fp8"] <= rates["bf16"] * 2.1, f"{gpu.id}: a sparse rate?"
    assert CATALOG.gpu("h100").flops_per_second["bf16"] == 989e12
    assert CATALOG.gpu("a100").native_flops_per_second("fp8") is None


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(UnknownNameError, match="h100-sxm-80"):
        CATALOG.gpu("h1000")
    with pytest.raises(UnknownNameError, match=r"llama-3\.1-8b"):
        CATALOG.model("lama-3.1-8b")
    with pytest.raises(UnknownNameError, match="chat"):
        CATALOG.workload("chatt")


def test_mistral_small_4_names_both_readings():
    real, press = CATALOG.readings("mistral-small-4")
    assert CATALOG.model("Mistral Small 4") == real
    assert (real.name, press.name) == ("mistral-small-4-119b-2603", "mistral-small-4-press-22b")
    assert press.name in real.reading and real.name in press.reading
    assert press.provenance.basis == "assumed"
    assert press.licence == "Apache-2.0"
    assert press.total_params == CATALOG.model("mistral-small-2409").total_params
    assert "." not in real.reading.rstrip(".").replace("6.5B", ""), "one sentence"


def test_a_clear_name_has_one_reading():
    assert [m.name for m in CATALOG.readings("llama-3.1-8b")] == ["llama-3.1-8b"]
    assert CATALOG.model("llama-3.1-8b").reading == ""


def test_models_answer_to_their_hub_id():
    assert CATALOG.model("meta-llama/llama-3.1-8b-instruct").name == "llama-3.1-8b"


def test_offers_point_at_gpus_that_exist():
    assert {o.gpu for o in CATALOG.offers() if o.gpu} <= set(CATALOG.gpu_names)
    unmapped = {o.gpu_as_listed for o in CATALOG.offers() if o.gpu is None}
    assert "B300 (180 GB)" in unmapped  # a listing that contradicts itself stays unmapped
    cheapest = CATALOG.offers("H100")
    assert cheapest and all(o.gpu == "h100-sxm-80" for o in cheapest)
    assert [o.usd_per_gpu_hour for o in cheapest] == sorted(o.usd_per_gpu_hour for o in cheapest)


def test_offers_that_bill_the_machine_apart_say_so():
    assert all(offer.gpu_only for offer in CATALOG.offers(provider="Modal"))
    assert not any(offer.gpu_only for offer in CATALOG.offers(provider="AWS"))


def test_apis_serve_exactly_the_checkpoint_they_name():
    served = {a.id for a in CATALOG.apis("mistral-small-4")}
    assert served == {
        "mistral/mistral-small-2603",
        "openrouter/mistralai/mistral-small-2603",
        "regolo-ai/mistral-small-4-119b",
    }
    by_id = {a.id: a for a in CATALOG.apis()}
    assert by_id["mistral/mistral-small-latest"].serves is None  # moves with time
    assert by_id["deepinfra/meta-llama/Llama-3.3-70B-Instruct-Turbo"].serves is None  # another checkpoint
    assert {a.serves for a in CATALOG.apis() if a.serves} <= set(CATALOG.model_names)


def test_a_missing_price_is_none_and_never_zero():
    assert any(p.usd is None for p in CATALOG.purchase_prices("m3-ultra"))
    assert any(a.cached_input_usd_per_mtok is None for a in CATALOG.apis())


def test_source_of_an_api_price_names_its_own_file():
    offer = next(a for a in CATALOG.apis() if a.id == "mistral/mistral-small-2603")
    assert offer.provenance.source.endswith("/providers/mistral/models/mistral-small-2603.toml")


def test_overrides_change_one_field_and_say_whose_it_is(tmp_path: Path):
    own = tmp_path / "own.toml"
    own.write_text(
        '[gpus.h100-sxm-80]\ntdp_watts = 650\n[[offers]]\ngpu = "h100-sxm-80"\nusd_per_gpu_hour = 1.5\n'
        '[[purchase]]\nitem = "h100-sxm-80"\nkind = "quote"\nunit = "per GPU"\nusd = 21000\n'
    )
    catalog = load_catalog(overrides=own)
    gpu = catalog.gpu("h100")
    assert gpu.tdp_watts == 650
    assert gpu.memory_bytes == CATALOG.gpu("h100").memory_bytes
    assert gpu.provenance_by_field["tdp_watts"].source == str(own)
    mine = next(o for o in catalog.offers("h100") if o.provider == "own")
    assert (mine.usd_per_gpu_hour, mine.provenance.basis) == (1.5, "assumed")
    assert [price.usd for price in catalog.purchase_prices("h100-sxm-80")] == [21000], "a quote is no press estimate"
    assert len(catalog.purchase_prices("l4")) == len(CATALOG.purchase_prices("l4"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[colours]\nred = 1\n", "colours is not known"),
        ("offers = 3\n", "[[offers]]"),
        ("gpus = []\n", "[gpus.NAME]"),
        ("[gpus.h100-sxm-80]\nmemory_bytes = -1\n", "memory_bytes"),
        ("[gpus.h100-sxm-80]\nmemory = 80\n", "memory"),
        ("[[offers]]\nusd_per_gpu_hour = 'cheap'\n", "usd_per_gpu_hour"),
        ("not toml at all", "valid TOML"),
    ],
)
def test_broken_overrides_get_one_line_with_file_and_key(tmp_path: Path, text: str, says: str):
    own = tmp_path / "own.toml"
    own.write_text(text)
    with pytest.raises(CatalogError) as caught:
        catalog = load_catalog(overrides=own)
        catalog.gpus()
        catalog.offers()
    assert says in str(caught.value) and "own.toml" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("path", "old", "new", "says"),
    [
        ("gpus/l4.toml", 'source = "', 'origin = "', "provenance"),
        ("gpus/l4.toml", "memory_bytes_per_second =", "bandwidth =", "memory_bytes_per_second"),
        ("gpus/l4.toml", "max_per_node = 8", 'max_per_node = "eight"', "max_per_node"),
        ("models/mistral-small-2409.toml", "[config]", "[configuration]", "config is missing"),
        ("models/llama-3.1-8b.toml", "hidden_size = 4096", "hidden_size = 0", "hidden_size = 0"),
        ("offers/lambda.toml", "columns = [", "spalten = [", "table.columns"),
        ("offers/lambda.toml", 'rows = [\n  ["unspecified", ', 'rows = [\n  ["unspecified", 1, ', "cells for"),
        ("offers/lambda.toml", 'basis = "price list"', 'basis = "hearsay"', "hearsay"),
    ],
)
def test_a_broken_file_is_named_with_its_key(copied: Path, path: str, old: str, new: str, says: str):
    file = copied / path
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))
    with pytest.raises(CatalogError) as caught:
        catalog = load_catalog(copied)
        catalog.gpus()
        catalog.models()
        catalog.offers()
    assert says in str(caught.value) and Path(path).name in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_folder_is_found_by_environment(copied: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("LLMSIZER_PROFILES", str(copied))
    assert load_catalog().gpu_names == ("h100-sxm-80", "l4")
    monkeypatch.setenv("LLMSIZER_PROFILES", str(copied / "nowhere"))
    with pytest.raises(CatalogError, match="no folder"):
        load_catalog()


def test_engines_are_found_by_version():
    assert CATALOG.engine("vllm", "0.19.1").version == "0.19.0"
    assert CATALOG.engine("vllm").memory_fraction == 0.92
    assert CATALOG.engine("vllm", "0.20").memory_fraction == 0.9
    assert CATALOG.engine("vllm", "0.1").version == "0.2.0"  # older than all: the oldest
    assert CATALOG.engine("TRT-LLM").rule == "fraction of free"
    with pytest.raises(UnknownNameError, match="vllm"):
        CATALOG.engine("vlm")


def test_workload_presets_have_tails():
    for name in CATALOG.workload_names:
        workload = CATALOG.workload(name)
        assert workload.context_tokens > workload.prompt_tokens
