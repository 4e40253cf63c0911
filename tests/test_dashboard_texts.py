"""Languages: every sentence in each of them, with the same places in it; the chosen one is in the page and its link."""

from __future__ import annotations

import re
import string
import tomllib

import pytest

pytest.importorskip("streamlit")
pytest.importorskip("plotly")

from dashboard_pages import DASHBOARDS, PAGES, figures_of, really_answer, show, small, turn_to, words_of
from dashboard_pages import dashboards as dashboards
from dashboard_pages import measured as measured
from llmsizer.deliver.elements.basis import MEANINGS
from llmsizer.deliver.elements.glossary import GLOSSARY

BY_ENGLISH = ("headers", "glossary", "sentences")


def sentences(language: str) -> dict[str, str]:
    data = tomllib.loads((DASHBOARDS / "texts" / f"{language}.toml").read_text(encoding="utf-8"))
    return {f"{t}.{key}": text for t, rows in data.items() if t not in BY_ENGLISH for key, text in rows.items()}


def places(sentence: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(sentence) if name is not None}


def test_italian_has_every_sentence_of_english_and_no_other() -> None:
    assert sentences("it").keys() == sentences("en").keys()


def test_every_sentence_has_the_same_places_in_italian() -> None:
    english, italian = sentences("en"), sentences("it")
    assert {key: places(text) for key, text in italian.items()} == {key: places(text) for key, text in english.items()}


def test_every_sentence_is_said_somewhere() -> None:
    """By its own key, or by one whose end is filled in: such an end stands in the program as a word of its own."""
    sources = [*DASHBOARDS.rglob("*.py"), *(DASHBOARDS.parent / "src" / "llmsizer").rglob("*.py")]
    program = "\n".join(path.read_text(encoding="utf-8") for path in sources)
    words = {*re.findall(r'"([a-zA-Z_]+)"', program), *re.findall(r"^    (\w+): ", program, re.M)}
    filled = [re.escape(key) for key in re.findall(r"""["']([a-z_]+\.[a-z_]*\{[^"']*)["']""", program)]
    families = [re.compile(re.sub(r"\\\{.*?\\\}", r"(\\w+)", key)) for key in filled]

    def is_said(key: str) -> bool:
        if f'"{key}"' in program or f"'{key}'" in program:
            return True
        return any(m[1] in words for family in families if (m := family.fullmatch(key)))

    assert [key for key in sentences("en") if not is_said(key)] == []


def test_no_sentence_is_empty() -> None:
    assert all(text.strip() for language in ("en", "it") for text in sentences(language).values())


def test_every_definition_is_in_italian() -> None:
    data = tomllib.loads((DASHBOARDS / "texts" / "it.package.toml").read_text(encoding="utf-8"))
    assert {meaning for _, meaning in GLOSSARY} <= data["glossary"].keys()
    assert set(MEANINGS.values()) <= data["glossary"].keys()
    assert MEANINGS.keys() <= data["headers"].keys()


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_in_italian(page: str) -> None:
    app = show(page, language="it")
    assert not app.exception
    text = words_of(app)
    assert "Ogni numero dice come lo si sa: ● misurato" in text
    assert "restano in inglese" in text


def test_the_language_is_chosen_on_the_page_and_goes_into_the_link() -> None:
    app = show("decide")
    app.segmented_control(key="language").set_value("it").run()
    assert "Noleggia 2 × NVIDIA H100 SXM da Nebius" in str(app.main.subheader[0].value)
    assert app.query_params["language"] == "it"
    turn_to(app, "evidence")
    assert "Da dove viene ogni numero" in words_of(app)


def test_a_language_nobody_wrote_is_english() -> None:
    app = show("decide", language="xx")
    assert not app.exception
    assert "Every number says how it is known" in words_of(app)


def test_what_the_calculation_says_on_the_first_page_is_said_in_italian(monkeypatch: pytest.MonkeyPatch) -> None:
    """Reasons, fixes, notes and what drivers would turn: every sentence of real answers has its pattern."""
    import texts

    found = []
    for scenario in (
        small(),
        small(1e11, zones=["EU"], max_usd_per_month=1.0),
        small(1e9, eu_only=True, gpus=["l4", "h100-sxm-80", "v100-sxm2-32"], precisions=["bf16", "fp8", "int4"]),
    ):
        answer = really_answer(monkeypatch, scenario)
        found += [words for each in answer.rejections for words in (each.reason, each.nearest_fix)]
        found += [note for api in answer.apis for note in api.notes]
        found += [turn.text + "." for turn in answer.uncertainty.flips] if answer.uncertainty else []
        found += [path.why_not for path in answer.uncertainty.paths] if answer.uncertainty else []
        found += [answer.sentence] if answer.best is None and not answer.apis else []
    monkeypatch.setenv("LLMSIZER_LANGUAGE", "it")
    left = [words for words in found if words and " = " not in words and texts.told(words) == words]
    assert len(set(found)) > 20
    assert sorted(set(left)) == []


def test_a_sentence_that_nobody_translated_stays_as_it_is_and_its_parts_are_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import texts

    monkeypatch.setenv("LLMSIZER_LANGUAGE", "it")
    assert texts.told("something else") == "something else"
    assert texts.told("something else; no rental offer") == "something else; nessuna offerta di noleggio"
    assert texts.told("fits in fp8 or on 8 GPUs") == "ci sta in fp8 o su 8 GPU"
    assert texts.told("the budget is {usd}") == "the budget is {usd}"
    monkeypatch.setenv("LLMSIZER_LANGUAGE", "en")
    assert texts.told("no rental offer") == "no rental offer"


ENGLISH = re.compile(
    r"\b(the|of|and|is|are|with|which|that|than|each|from|at|by|its|than|would|cheapest|tokens|requests|unknown)\b"
)
QUOTED = re.compile(r"https?://\S+|`[^`]*`|%\{[^}]*\}|/\S+")  # addresses, what is typed, places of hovers, folders
WORDS_OF_A_FIGURE = ("text", "name", "hovertext", "hovertemplate", "title", "ticktext")


def words_of_figures(figure: object, key: str = "") -> list[str]:
    if isinstance(figure, dict):
        return [words for name, each in figure.items() for words in words_of_figures(each, name)]
    if isinstance(figure, list):
        return [words for each in figure for words in words_of_figures(each, key)]
    return [figure] if isinstance(figure, str) and key in WORDS_OF_A_FIGURE else []


@pytest.mark.parametrize("page", ["decide", "memory", "load", "build_vs_buy", "precision"])
def test_nothing_that_an_italian_page_says_is_left_in_english(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers, tables, figures and notes of a real answer: no word that only an English sentence would hold."""
    monkeypatch.setenv("LLMSIZER_LANGUAGE", "it")
    really_answer(monkeypatch, small())
    app = show(page, language="it")
    for section in ("notes", "plans", "rejections", "apis", "accuracy", "leaves_out", "definitions"):
        app.session_state[f"folded_{section}"] = True
    app.run()
    assert not app.exception
    said = [*words_of(app).splitlines(), *(words for figure in figures_of(app) for words in words_of_figures(figure))]
    assert len(said) > 30
    assert sorted({words for words in said if ENGLISH.search(QUOTED.sub(" ", words))}) == []


def test_numbers_stand_where_a_pattern_asks_for_numbers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    import texts

    monkeypatch.setenv("LLMSIZER_LANGUAGE", "it")
    assert texts.told("$3,868 to $4,200") == "da $3,868 a $4,200"
    assert texts.told("up to date") == "up to date"
    assert texts.told("Owning is cheaper than renting from 2 B tokens a month ($5 a month)") == (
        "Comprare costa meno di noleggiare da 2 B token al mese ($5 al mese)"
    )
