"""Tables, figures, charts and whole pages as HTML; every text that comes from outside is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib.resources import files
from string import Template

from llmsizer.deliver.elements.basis import MARKS
from llmsizer.deliver.elements.chart import Chart, Key
from llmsizer.deliver.elements.escaping import escape
from llmsizer.deliver.elements.tables import Cell, Table, figure
from llmsizer.deliver.elements.wording import figure_range
from llmsizer.facts.figure import Figure
from llmsizer.facts.provenance import Basis
from llmsizer.version import __version__

WIDE, NARROW = 960.0, 350.0


def page(*, title: str, style: str, body: str, footer: str) -> str:
    """A whole page that loads nothing; the title is words, all else HTML or CSS already."""
    filled = {"title": escape(title), "style": style, "body": body, "footer": footer}
    return Template(asset("page.html")).substitute(filled, version=escape(__version__))


def asset(name: str, package: str = "llmsizer.deliver.pages") -> str:
    """A file that lies beside the code."""
    return (files(package) / name).read_text(encoding="utf-8")


def tag(name: str, content: str, css: str = "") -> str:
    """An element around content that is HTML already."""
    return f"<{name}{f' class={chr(34)}{css}{chr(34)}' if css else ''}>{content}</{name}>"


def said(name: str, words: str, css: str = "") -> str:
    """An element around words."""
    return tag(name, escape(words), css)


def basis_mark(basis: Basis) -> str:
    klass = basis.replace(" ", "-")
    return f'<span class="basis basis-{klass}"><span class="shape">{MARKS[basis]}</span> {escape(basis)}</span>'


def cell_content(cell: Cell) -> str:
    """What a cell says; a number stands with its interval and its basis."""
    css = "long" if "://" in cell.text else ""
    text = said("strong", cell.text) if cell.strong else said("span", cell.text, css) if css else escape(cell.text)
    remark = said("span", cell.remark, "remark stale" if cell.remark.startswith("stale") else "remark")
    remark = remark if cell.remark else ""
    if cell.basis is None:
        return text + (f"<br>{remark}" if remark else "")
    between = said("span", cell.between, "between") if cell.between else ""
    text = "" if cell.is_only_unknown else text
    return f'<span class="fig" data-basis="{escape(cell.basis)}">{tag("span", text, "value")}{between}' + (
        f"{basis_mark(cell.basis)}</span>{remark}"
    )


def figure_block(value: Figure) -> str:
    """One figure on a card: value, interval and basis under each other."""
    return cell_content(figure(value))


def surety(value: Figure) -> str:
    """Interval and basis of a figure whose value the sentence before has said."""
    words = value.estimate.reason if value.value is None else figure_range(value)
    said_words = said("span", words, "between") + " " if words else ""
    return f'<span class="fig inline" data-basis="{escape(value.basis)}">{said_words}{basis_mark(value.basis)}</span>'


def table(content: Table, *, caption: bool = True, css: str = "") -> str:
    """A table with scopes for those who hear it; it scrolls sideways by itself where the page is narrow."""
    if not content.rows:
        return said("p", "Nothing to show.", "muted")
    numeric = [any(row[i].basis is not None for row in content.rows) for i in range(len(content.headers))]
    heads = "".join(
        f'<th scope="col"{_num(is_number)}>{escape(header)}</th>'
        for header, is_number in zip(content.headers, numeric, strict=True)
    )
    rows = "".join(_row(row, numeric, is_total=i == content.total_row) for i, row in enumerate(content.rows))
    title = said("p", content.title, "caption") if caption else ""
    note = said("p", content.note, "muted") if content.note else ""
    label = escape(content.title)
    head = f'{title}<div class="scroll" tabindex="0" role="region" aria-label="{label}"><table class="{css}">'
    return f"{head}<thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>{note}"


def _num(is_number: bool) -> str:
    return ' class="num"' if is_number else ""


def _row(row: tuple[Cell, ...], numeric: Sequence[bool], *, is_total: bool) -> str:
    first = f'<th scope="row">{cell_content(row[0])}</th>'
    rest = "".join(
        f"<td{_num(is_number)}>{cell_content(cell)}</td>" for cell, is_number in zip(row[1:], numeric[1:], strict=True)
    )
    return f"<tr{' class=total' if is_total else ''}>{first}{rest}</tr>"


def chart(content: Chart) -> str:
    """The drawing with its title, and its table under it."""
    return drawing(content, said("figcaption", content.title)) + table(content.table, caption=False)


def drawing(content: Chart, caption: str = "") -> str:
    """The drawing twice, for wide and for narrow pages, with its legend and its note."""
    drawings = tag("div", content.draw(WIDE), "wide") + tag("div", content.draw(NARROW), "narrow")
    note = said("p", content.note, "muted") if content.note else ""
    return tag("figure", f"{caption}{drawings}{legend(content.legend)}{note}")


def legend(keys: Iterable[Key]) -> str:
    items = "".join(
        f'<li><span class="{escape(key.css)}"></span><b>{escape(key.symbol)}</b> <span>{escape(key.words)}</span></li>'
        for key in keys
    )
    return f'<ul class="legend">{items}</ul>' if items else ""


def details(summary: str, content: str) -> str:
    return f"<details><summary>{escape(summary)}</summary>{content}</details>"


def bullets(items: Iterable[str]) -> str:
    """A list of sentences."""
    made = "".join(said("li", item) for item in items)
    return f"<ul>{made}</ul>" if made else ""
