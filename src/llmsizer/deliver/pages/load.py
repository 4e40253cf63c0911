"""The page behind ``--plot``: one self-contained HTML file with the charts of load, each with its table."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmsizer.deliver.elements.chart import Chart
from llmsizer.deliver.elements.tables import Table
from llmsizer.deliver.pages import html
from llmsizer.files import whole_file
from llmsizer.version import __version__


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPage:
    """What the page says: a title, the answer in sentences, charts with their tables, further tables, its basis."""

    title: str
    sentences: tuple[str, ...]
    charts: tuple[Chart, ...]
    tables: tuple[Table, ...] = ()
    basis: str = ""


def write_load_page(path: Path, page: LoadPage) -> Path:
    """Write the page, whole or not at all. Raises InputError where it cannot be written."""
    text = render_load_page(page)
    with whole_file(path) as partial:
        partial.write_text(text, encoding="utf-8", newline="\n")
    return path


def render_load_page(page: LoadPage) -> str:
    body = [html.said("h1", page.title), *(html.said("p", sentence) for sentence in page.sentences)]
    for chart in page.charts:
        table = html.details(f"{chart.title}: the table", html.table(chart.table, caption=False))
        body.append(html.said("h2", chart.title) + html.drawing(chart) + table)
    body.extend(html.said("h2", table.title) + html.table(table, caption=False) for table in page.tables)
    return html.page(
        title=page.title,
        style=html.asset("report.css") + html.asset("load.css"),
        body="\n".join(body),
        footer=html.said("p", f"llmsizer {__version__} · {page.basis} · the same command gives the same numbers"),
    )
