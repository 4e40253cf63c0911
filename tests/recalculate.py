"""A workbook read as it is, and recalculated by LibreOffice from its formulas alone."""

from __future__ import annotations

import re
import shutil
import subprocess
import zipfile
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

MAIN = "{http://schemas.openxmlformats.org/spreadsheetml/2006/main}"
RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"
# LibreOffice keeps what it finds in the file unless it is told otherwise.
ALWAYS = """<?xml version="1.0" encoding="UTF-8"?>
<oor:items xmlns:oor="http://openoffice.org/2001/registry" xmlns:xs="http://www.w3.org/2001/XMLSchema"
 xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><item oor:path="/org.openoffice.Office.Calc/Formula/Load">
<prop oor:name="OOXMLRecalcMode" oor:op="fuse"><value>0</value></prop></item></oor:items>"""
Cells = dict[tuple[str, str], float | str]


def office() -> str | None:
    """The program that recalculates; None where it is not installed."""
    return shutil.which("soffice") or shutil.which("libreoffice")


def cells(path: Path) -> Cells:
    """Every cell by sheet and place, as a number or a text."""
    with zipfile.ZipFile(path) as file:
        names = file.namelist()
        shared = []
        if "xl/sharedStrings.xml" in names:
            strings = ElementTree.fromstring(file.read("xl/sharedStrings.xml"))
            shared = ["".join(t.text or "" for t in item.iter(f"{MAIN}t")) for item in strings]
        relations = ElementTree.fromstring(file.read("xl/_rels/workbook.xml.rels"))
        targets = {relation.get("Id"): relation.get("Target", "") for relation in relations}
        found: Cells = {}
        for sheet in ElementTree.fromstring(file.read("xl/workbook.xml")).iter(f"{MAIN}sheet"):
            page = ElementTree.fromstring(file.read("xl/" + targets[sheet.get(RELATION)].removeprefix("/xl/")))
            for cell in page.iter(f"{MAIN}c"):
                value = cell.find(f"{MAIN}v")
                if value is not None and value.text is not None:
                    kind = cell.get("t", "n")
                    text = shared[int(value.text)] if kind == "s" else value.text
                    found[sheet.get("name", ""), cell.get("r", "")] = float(text) if kind == "n" else text
    return found


def formulas(path: Path) -> dict[tuple[str, str], str]:
    """The formula of every cell that has one."""
    found = {}
    with zipfile.ZipFile(path) as file:
        names = [s.get("name", "") for s in ElementTree.fromstring(file.read("xl/workbook.xml")).iter(f"{MAIN}sheet")]
        for number, name in enumerate(names, start=1):
            for cell in ElementTree.fromstring(file.read(f"xl/worksheets/sheet{number}.xml")).iter(f"{MAIN}c"):
                formula = cell.find(f"{MAIN}f")
                if formula is not None:
                    found[name, cell.get("r", "")] = formula.text or ""
    return found


def named(path: Path) -> dict[str, tuple[str, str]]:
    """Where each name of the workbook points to."""
    with zipfile.ZipFile(path) as file:
        book = ElementTree.fromstring(file.read("xl/workbook.xml"))
    places = {}
    for name in book.iter(f"{MAIN}definedName"):
        sheet, _, place = (name.text or "").rpartition("!")
        places[name.get("name", "")] = (sheet.strip("'"), place.replace("$", ""))
    return places


def changed(path: Path, to: Path, values: Mapping[tuple[str, str], float] = {}) -> Path:
    """A copy without any computed value, and with other numbers in some cells."""
    order = {}
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as target:
        sheets = ElementTree.fromstring(source.read("xl/workbook.xml")).iter(f"{MAIN}sheet")
        order = {sheet.get("name", ""): f"xl/worksheets/sheet{i}.xml" for i, sheet in enumerate(sheets, start=1)}
        for name in source.namelist():
            text = source.read(name)
            if name.startswith("xl/worksheets/"):
                page = re.sub(r"</f><v>[^<]*</v>", "</f>", text.decode())
                for (sheet, place), value in values.items():
                    if order[sheet] == name:
                        page, count = re.subn(rf'(<c r="{place}"[^>]*><v>)[^<]*(</v>)', rf"\g<1>{value!r}\g<2>", page)
                        assert count == 1, f"{sheet}!{place} holds no number"
                text = page.encode()
            target.writestr(name, text)
    return to


def recalculated(paths: list[Path], folder: Path) -> list[Cells]:
    """What LibreOffice makes of the formulas; computed values are taken out of the files first."""
    program = office()
    assert program, "LibreOffice is not installed"
    (folder / "user" / "user").mkdir(parents=True, exist_ok=True)
    (folder / "user" / "user" / "registrymodifications.xcu").write_text(ALWAYS)
    (folder / "in").mkdir(exist_ok=True)
    bare = [changed(path, folder / "in" / f"{i}-{path.name}") for i, path in enumerate(paths)]
    subprocess.run(
        [program, f"-env:UserInstallation=file://{(folder / 'user').resolve()}", "--headless", "--convert-to",
         "xlsx:Calc MS Excel 2007 XML", "--outdir", str(folder / "out"), *map(str, bare)],
        check=True, capture_output=True, timeout=900,
    )  # fmt: skip
    return [cells(folder / "out" / path.name) for path in bare]


def differences(cached: Cells, computed: Cells, formula_cells: set[tuple[str, str]], cent: float = 0.005) -> list[str]:
    """Formula cells whose computed value is not the one that the file came with, to the cent."""
    wrong = []
    for place in sorted(formula_cells):
        a, b = cached.get(place, ""), computed.get(place, "")
        if isinstance(a, float) and isinstance(b, float):
            if abs(a - b) > max(cent, 1e-12 * abs(a)):
                wrong.append(f"{place[0]}!{place[1]}: {a!r} in the file, {b!r} recalculated")
        elif a != b:
            wrong.append(f"{place[0]}!{place[1]}: {a!r} in the file, {b!r} recalculated")
    return wrong
