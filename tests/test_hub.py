"""A model from the catalogue, a path or a hub, and one line where it cannot be had."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llmsizer.errors import InputError, LlmSizerError, NetworkError, UnknownNameError
from llmsizer.facts.catalog import load_catalog
from llmsizer.facts.hub import load_model
from llmsizer.facts.profile_files import read_toml

CATALOG = load_catalog()
CONFIG = read_toml(CATALOG.root / "models" / "llama-3.1-8b.toml")["config"]


def offline(hub_id: str) -> str:
    raise NetworkError(f"{hub_id}: no network")


def test_a_folder_a_file_and_a_name_give_the_same_model(tmp_path: Path):
    folder = tmp_path / "my-llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(CONFIG))
    by_name = load_model("llama-3.1-8b", CATALOG)
    for path in (folder, folder / "config.json"):
        model = load_model(str(path), CATALOG)
        assert model.name == "my-llama"
        assert model.total_params == by_name.total_params
        assert model.provenance.source == str(folder / "config.json")


def test_a_hub_id_is_fetched():
    model = load_model("someone/new-llama", CATALOG, fetch=lambda hub_id: json.dumps(CONFIG))
    assert (model.name, model.hf_repo) == ("new-llama", "someone/new-llama")
    assert model.provenance.source.endswith("someone/new-llama/blob/main/config.json")


def test_a_hub_id_of_the_catalogue_needs_no_network():
    assert load_model("meta-llama/Llama-3.1-8B-Instruct", CATALOG, fetch=offline).name == "llama-3.1-8b"


def test_no_network_is_one_line():
    with pytest.raises(NetworkError, match="someone/new"):
        load_model("someone/new", CATALOG, fetch=offline)


def test_offline_mode_names_what_would_work(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NetworkError, match=r"config\.json would work"):
        load_model("someone/new", CATALOG)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "NaN", '{"model_type": "llama"}', "1" * 6000, "[" * 5000])
def test_a_broken_config_is_one_line(tmp_path: Path, text: str):
    file = tmp_path / "config.json"
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        load_model(str(file), CATALOG)
    assert "\n" not in str(caught.value)


def test_weights_given_for_a_config_are_refused(tmp_path: Path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(bytes(range(256)) * 10)
    with pytest.raises(InputError, match="not the weights"):
        load_model(str(file), CATALOG)


@pytest.mark.parametrize("name", ["", " ", "nothing", "\x00", "x" * 5000, "./nowhere.json", "/nowhere", "a b/c"])
def test_odd_names_get_our_own_errors(name: str):
    with pytest.raises(LlmSizerError):
        load_model(name, CATALOG, fetch=offline)


def test_a_name_close_to_a_known_one_offers_it():
    with pytest.raises(UnknownNameError, match="mixtral-8x7b"):
        load_model("mixtral8x7b", CATALOG)
