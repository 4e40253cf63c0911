"""Measured records as tables and figures: one row a point, one record in full, two sides compared."""

from __future__ import annotations

from collections.abc import Sequence

from llmsizer.deliver.charts.colours import GREY, PART_COLOURS
from llmsizer.deliver.charts.figures import Spec
from llmsizer.deliver.elements.basis import MARKS
from llmsizer.deliver.elements.tables import Cell, Table, number, words
from llmsizer.deliver.elements.wording import amount, plain_number
from llmsizer.deliver.tables.variants import peak_memory_bytes
from llmsizer.facts.records import ProfileRecord, QualityRecord
from llmsizer.profile.comparing import Faster, shape_of
from llmsizer.profile.shown import Shown, fields_of, text_of

_SURE, _UNSURE = "circle", "circle-open"


def shape_words(record: ProfileRecord) -> str:
    """``8 × 128→32 tokens``, with the pattern where requests arrived by themselves."""
    pattern, batch, prompt, output = shape_of(record)
    how = "" if pattern in ("batch", "single") else f"{pattern}, "
    return f"{how}{batch:,} × {prompt:,}→{output:,} tokens"


def records_table(records: Sequence[ProfileRecord]) -> Table:
    """One row an operating point; a failed one says why."""
    headers = ("Model", "Variant", "Load", "TTFT", "TPOT", "Tokens / s", "Peak memory", "Engine, device", "Measured")
    return Table(
        title=f"{len(records):,} operating points",
        headers=headers,
        rows=tuple(_record_row(record) for record in records),
        note="Load: requests at once × prompt → output tokens. Medians over repeats, with their interval.",
    )


def _record_row(r: ProfileRecord) -> tuple[Cell, ...]:
    where = words(r.engine, remark=r.device.name)
    when = words(r.measured_at[:10] or "no date")
    name = (words(r.model), words(r.variant, strong=True, remark=", ".join(f.replace("_", " ") for f in r.flags)))
    if r.status != "ok":
        failed = words("failed", remark=r.failure or "no reason given")
        return (*name, words(shape_words(r)), failed, words("–"), words("–"), words("–"), where, when)
    return (
        *name,
        words(shape_words(r)),
        _spread(r.ttft_seconds, r.ttft_seconds_low, r.ttft_seconds_high, r, "ttft_seconds"),
        _spread(r.tpot_seconds, r.tpot_seconds_low, r.tpot_seconds_high, r, "tpot_seconds"),
        number(r.output_tokens_per_second, "", "measured", why_unknown=r.unknown.get("output_tokens_per_second", "")),
        number(peak_memory_bytes(r), "bytes", "measured", why_unknown=r.unknown.get("process_peak_bytes", "")),
        where,
        when,
    )


def _spread(value: float | None, low: float | None, high: float | None, record: ProfileRecord, field: str) -> Cell:
    cell = number(value, "s", "measured", why_unknown=record.unknown.get(field, ""))
    if value is None or low is None or high is None or low == high:
        return cell
    return Cell(text=cell.text, basis=cell.basis, between=f"{amount(low, 's')} to {amount(high, 's')}")


def record_table(record: ProfileRecord | QualityRecord) -> Table:
    """Every field of a record: value, unit, how it is known, and why where it is not."""
    fields = fields_of(record)
    known = [field for field in fields if field.value is not None]
    absent = [field for field in fields if field.value is None]
    return Table(
        title="One record in full",
        headers=("Field", "Value", "Unit", "How it is known"),
        rows=tuple(_field_row(field) for field in (*known, *absent)),
    )


def _field_row(field: Shown) -> tuple[Cell, ...]:
    if field.value is None:
        return (
            words(field.field),
            Cell(text="unknown", basis="unknown", remark=field.note),
            words(field.unit),
            words(""),
        )
    how = f"{MARKS['measured']} measured" if field.basis == "measured" else "given: what was asked, or a name"
    return words(field.field), words(text_of(field.value)), words(field.unit), words(how)


def compared_table(compared: Sequence[Faster], over: str, under: str) -> Table:
    """Times as fast at each point that both were measured at."""
    rows = tuple(
        (
            words(one.over.model),
            words(shape_words(one.over)),
            Cell(text=one.text(), basis="measured"),
            words("in turn" if one.paired else "apart"),
            words(_sure(one)),
        )
        for one in compared
    )
    return Table(
        title=f"{over} against {under}: {compared[0].metric if compared else ''}",
        headers=("Model", "Load", "Times as fast, 90 % interval", "Measured", "Sure which is faster"),
        rows=rows,
        note="Above 1 the first is the faster. Measured in turn: what slowed the machine slowed both.",
    )


def _sure(one: Faster) -> str:
    if one.ratio.low is None:
        return "unknown: too few runs"
    return "yes" if one.is_sure else "no: the interval holds 1"


def compared_figure(compared: Sequence[Faster], over: str, under: str) -> Spec:
    """A point with its interval for each load; the line at 1 is "equally fast"; hollow where that is inside."""
    labels = [_plain(f"{one.over.batch:,} × {one.over.prompt_tokens:,}→{one.over.output_tokens:,}") for one in compared]
    values = [one.ratio.value for one in compared]
    highs = [one.ratio.high or one.ratio.value for one in compared]
    lows = [one.ratio.low or one.ratio.value for one in compared]
    trace: Spec = {
        "type": "scatter",
        "mode": "markers+text",
        "x": values,
        "y": list(range(len(compared))),
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [high - v for high, v in zip(highs, values, strict=True)],
            "arrayminus": [v - low for low, v in zip(lows, values, strict=True)],
            "color": GREY,
        },
        "text": [f"{plain_number(value)}× {MARKS['measured']}" for value in values],
        "textposition": "top center",
        "hovertext": [f"{label}: {one.text()}" for label, one in zip(labels, compared, strict=True)],
        "hoverinfo": "text",
        "marker": {
            "size": 11,
            "symbol": [_SURE if one.is_sure else _UNSURE for one in compared],
            "color": PART_COLOURS[0],
        },
        "showlegend": False,
    }
    least, most = min([1.0, *lows], default=1.0), max([1.0, *highs], default=1.0)
    layout: Spec = {
        "height": 90 + 46 * max(1, len(compared)),
        "margin": {"l": 8, "r": 8, "t": 26, "b": 8},
        "dragmode": False,
        "hovermode": "closest",
        "shapes": [{"type": "line", "x0": 1, "x1": 1, "y0": 0, "y1": 1, "yref": "paper",
                    "line": {"dash": "dot", "width": 1.5, "color": GREY}}],
        "annotations": [{"x": 1, "y": 1, "yref": "paper", "yanchor": "bottom", "showarrow": False,
                         "text": "equally fast"}],
        "xaxis": {"title": {"text": _plain(f"{over}: times as fast as {under}")}, "fixedrange": True,
                  "range": [least - 0.15 * (most - least + 0.1), most + 0.15 * (most - least + 0.1)]},
        "yaxis": {"tickvals": list(range(len(labels))), "ticktext": labels, "automargin": True, "fixedrange": True,
                  "range": [len(labels) - 0.5, -0.7], "showgrid": False, "zeroline": False},
    }  # fmt: skip
    return {"data": [trace] if compared else [], "layout": layout}


def _plain(text: str) -> str:
    """Plotly reads a little HTML in its texts; names from outside are not to use it."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
