"""One GPU's memory on the screen: a waterfall against the card's limit, and what fits where, a number in each cell."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from llmsizer.deliver.charts.colours import GREY, PART_COLOURS, WORDS_ON_MARKS
from llmsizer.deliver.charts.figures import Spec, layout_of, plain
from llmsizer.deliver.elements.basis import MARKS, mark
from llmsizer.deliver.elements.tables import Cell, Table, words
from llmsizer.deliver.elements.wording import shown_parts, size
from llmsizer.facts.provenance import Basis
from llmsizer.physics.answers.memory import MemoryAnswer
from llmsizer.physics.memory.account import MemoryBudget
from llmsizer.physics.memory.fit_cell import FitCell
from llmsizer.units import GIGA

OUTSIDE_THE_BUDGET = ("driver and context", "unused")
KINDS = ("no", "wider", "tight", "roomy")
KIND_COLOURS = ("#8f9dab", "#d9962f", "#a9cdea", "#4a8fcb")  # dark words keep 4.5:1 on each
TIGHT_SHARE = 0.1  # of the card left in the cache: less is tight
LONGEST_LINE = 14  # letters of a row's name


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One part of the account, standing on those before it; bytes."""

    name: str
    start: float
    bytes: float
    basis: Basis

    @property
    def end(self) -> float:
        return self.start + self.bytes


def waterfall(budget: MemoryBudget) -> tuple[Step, ...]:
    """The parts of one GPU, those first that the engine's reservation holds; a part of nothing is left out.

    The last ends at the card's size, or beyond it by what does not fit.
    """
    outside = (*OUTSIDE_THE_BUDGET, *(() if _graphs_are_inside(budget) else ("CUDA graphs",)))
    ordered = sorted(budget.parts.items(), key=lambda part: _place(part[0], outside))
    steps: list[Step] = []
    for name, value in ordered:
        if value > 0 or name == "KV cache":
            start = steps[-1].end if steps else 0.0
            steps.append(Step(name=name, start=start, bytes=value, basis=budget.basis[name]))
    return tuple(steps)


def _graphs_are_inside(budget: MemoryBudget) -> bool:
    return budget.engine.rule != "static pool" and budget.engine.graphs_inside_budget


def _place(name: str, outside: tuple[str, ...]) -> int:
    """Weights, then what a step needs, then the cache; after it what the reservation leaves out, the unused last."""
    if name in outside:
        return 3 + (name == "unused")
    return {"KV cache": 2, "activations": 1, "CUDA graphs": 1, "engine": 1}.get(name, 0)


def waterfall_figure(budget: MemoryBudget) -> Spec:
    """Bars that stand on one another, up to the line of the card; the dashed line is what the engine may take."""
    steps = waterfall(budget)
    names = [f"{plain(step.name)} {MARKS[step.basis]}" for step in steps]
    longest = max(budget.gpu_bytes, budget.used_bytes) / GIGA
    bars: Spec = {
        "type": "bar",
        "orientation": "h",
        "y": names,
        "base": [step.start / GIGA for step in steps],
        "x": [step.bytes / GIGA for step in steps],
        "hovertext": [f"{plain(step.name)}: {size(step.bytes)} {mark(step.basis)}" for step in steps],
        "hoverinfo": "text",
        "marker": {
            "color": ["rgba(0,0,0,0)" if step.name == "unused" else PART_COLOURS[_colour(step)] for step in steps],
            "line": {"color": GREY, "width": [1.5 if step.name == "unused" else 0 for step in steps]},
        },
        "showlegend": False,
    }
    lines = [_upright(budget.gpu_bytes / GIGA, "solid"), _upright(budget.budget_bytes / GIGA, "dash")]
    return {
        "data": [bars, *_beyond(budget, steps, names)],
        "layout": layout_of(
            100 + 34 * len(steps),
            margin={"l": 8, "r": 8, "t": 48, "b": 8},
            barmode="overlay",
            xaxis={
                "title": {"text": "GB of one GPU"},
                "range": [0, longest * 1.02],
                "fixedrange": True,
                "rangemode": "tozero",
            },
            yaxis={"automargin": True, "fixedrange": True, "showgrid": False, "type": "category",
                   "categoryorder": "array", "categoryarray": names, "range": [len(names) - 0.5, -0.5]},
            shapes=lines,
            annotations=[*_sizes(steps, names, longest), *_limits(budget, longest)],
        ),
    }  # fmt: skip


def _beyond(budget: MemoryBudget, steps: Sequence[Step], names: Sequence[str]) -> list[Spec]:
    """What lies beyond the card, crossed out over the bars; nothing where everything fits on it."""
    over = [(step, name) for step, name in zip(steps, names, strict=True) if step.end > budget.gpu_bytes * (1 + 1e-9)]
    starts = [max(step.start, budget.gpu_bytes) / GIGA for step, _ in over]
    crossed: Spec = {
        "type": "bar",
        "orientation": "h",
        "y": [name for _, name in over],
        "base": starts,
        "x": [step.end / GIGA - start for (step, _), start in zip(over, starts, strict=True)],
        "hoverinfo": "skip",
        "showlegend": False,
        "marker": {
            "color": "rgba(255,255,255,0.25)",
            "line": {"width": 0},
            "pattern": {"shape": "x", "fillmode": "overlay", "fgcolor": WORDS_ON_MARKS, "solidity": 0.2, "size": 7},
        },
    }
    return [crossed] if over else []


def _colour(step: Step) -> int:
    """The same part has the same colour in every account."""
    order = ("quantized weights", "KV cache", "driver and context", "unquantized weights", "activations",
             "CUDA graphs", "engine", "draft model")  # fmt: skip
    return order.index(step.name) if step.name in order else 0


def _upright(x: float, dash: str) -> Spec:
    line = {"dash": dash, "width": 2, "color": GREY}
    return {"type": "line", "x0": x, "x1": x, "y0": 0, "y1": 1, "yref": "paper", "line": line, "layer": "above"}


def _sizes(steps: Sequence[Step], names: Sequence[str], longest: float) -> list[Spec]:
    """Each part's size beside its bar: after it where there is room, before it where there is none."""
    notes: list[Spec] = []
    for step, name in zip(steps, names, strict=True):
        start, end = step.start / GIGA, step.end / GIGA
        note: Spec = {"y": name, "text": size(step.bytes), "showarrow": False}
        if end < longest * 0.8:
            note |= {"x": end, "xanchor": "left", "xshift": 5}
        elif start > longest * 0.2:
            note |= {"x": start, "xanchor": "right", "xshift": -5}
        else:
            inside = {} if step.name == "unused" else {"font": {"color": WORDS_ON_MARKS}}
            note |= {"x": (start + end) / 2, "xanchor": "center", **inside}
        notes.append(note)
    return notes


def _limits(budget: MemoryBudget, longest: float) -> list[Spec]:
    """The words of the two lines, in two rows so that they cannot meet."""
    card = budget.gpu_bytes / GIGA
    reserved = f"{plain(budget.engine.engine)} may take {size(budget.budget_bytes)}"
    place: Spec = {"y": 1.0, "yref": "paper", "showarrow": False, "yanchor": "bottom"}
    at_right = card > longest * 0.5
    return [
        place | {"x": card, "yshift": 18, "text": f"<b>card: {size(budget.gpu_bytes)}</b>", **_beside(at_right)},
        place | {"x": budget.budget_bytes / GIGA, "text": reserved, **_beside(at_right)},
    ]


def _beside(at_left: bool) -> Spec:
    return {"xanchor": "right", "xshift": 4} if at_left else {"xanchor": "left", "xshift": -4}


def waterfall_alt(answer: MemoryAnswer) -> str:
    """The waterfall for those who cannot see it."""
    budget = answer.budget
    parts = ", ".join(f"{step.name} {size(step.bytes)}" for step in waterfall(budget))
    verdict = "fits" if budget.fits else f"does not fit: {budget.reason}"
    return f"{budget.deployment.label}, one GPU: {parts}; the card has {size(budget.gpu_bytes)}; it {verdict}"


def waterfall_table(answer: MemoryAnswer) -> Table:
    """The account in numbers that sum, as displayed, to the card, or to more where it does not fit."""
    budget = answer.budget
    steps = waterfall(budget)
    gigabytes = shown_parts([step.bytes / GIGA for step in steps], 2)
    rows = [
        (
            words(step.name, remark=_of_the_cache(answer) if step.name == "KV cache" else ""),
            Cell(text=f"{shown:,.2f} GB", basis=step.basis),
            words(f"{step.bytes / budget.gpu_bytes:.1%}"),
        )
        for step, shown in zip(steps, gigabytes, strict=True)
    ]
    whole = sum(gigabytes)
    total = "sum, more than the card" if budget.overflow_bytes > 0 else "card"
    size_basis = budget.basis["unused"]
    rows.append(
        (
            words(total, strong=True),
            Cell(text=f"{whole:,.2f} GB", basis=size_basis, strong=True),
            words(f"{whole * GIGA / budget.gpu_bytes:.1%}"),
        )
    )
    return Table(
        title=f"Memory of one GPU: {budget.deployment.label}",
        headers=("Part", "Size", "Of the card"),
        rows=tuple(rows),
        note=f"{budget.engine.engine} {budget.engine.version}: {_rule(budget)}",
        total_row=len(steps),
    )


def _of_the_cache(answer: MemoryAnswer) -> str:
    """What the asked requests take of it."""
    budget = answer.budget
    if not answer.holds:
        return ""
    taken = answer.concurrency * budget.layout.request_bytes(budget.deployment.max_context_tokens)
    each = "your request takes" if answer.concurrency == 1 else f"your {answer.concurrency:,} requests take"
    return f"{each} {size(taken)}"


def _rule(budget: MemoryBudget) -> str:
    """What the engine reserves, in words."""
    share = f"{(budget.deployment.memory_fraction or budget.engine.memory_fraction):.0%}"
    return {
        "fraction of total": f"reserves {share} of the card when it starts",
        "fraction of free": f"reserves {share} of what is free once the model is loaded",
        "static pool": "keeps a reserve free and takes the rest as one pool",
    }.get(budget.engine.rule, f"reserves {share} of what is free")


def kind_of(cell: FitCell) -> str:
    """``roomy``, ``tight``, ``wider`` or ``no``."""
    if cell.free_bytes is not None:
        return "roomy" if cell.free_share >= TIGHT_SHARE else "tight"
    return "wider" if cell.needs_tensor else "no"


def fit_figure(
    rows: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[FitCell]], *, x_title: str, y_title: str
) -> Spec:
    """A map of what fits: colour repeats what the words in each cell say."""
    if not rows or not columns:
        return {"data": [], "layout": {}}
    last = len(KINDS) - 1
    steps = [[(i + j) / len(KINDS), colour] for i, colour in enumerate(KIND_COLOURS) for j in (0, 1)]
    data: Spec = {
        "type": "heatmap",
        "x": [plain(name) for name in columns],
        "y": [_broken(name) for name in rows],
        "z": [[KINDS.index(kind_of(cell)) for cell in line] for line in cells],
        "zmin": -0.5,
        "zmax": last + 0.5,
        "colorscale": steps,
        "showscale": False,
        "text": [[cell.text for cell in line] for line in cells],
        "texttemplate": "%{text}",
        "textfont": {"color": WORDS_ON_MARKS, "size": 11},
        "hovertext": [
            [plain(f"{row}, {column}: {cell_words(cell)}") for column, cell in zip(columns, line, strict=True)]
            for row, line in zip(rows, cells, strict=True)
        ],
        "hoverinfo": "text",
        "xgap": 2,
        "ygap": 2,
    }  # fmt: skip
    axis: Spec = {"type": "category", "fixedrange": True, "automargin": True, "showgrid": False, "ticks": ""}
    return {
        "data": [data],
        "layout": layout_of(
            150 + 34 * len(rows),
            xaxis=axis | {"title": {"text": x_title}, "tickangle": -50 if max(map(len, columns)) > 4 else 0},
            yaxis=axis | {"title": {"text": y_title}, "autorange": "reversed"},
        ),
    }


def _broken(name: str) -> str:
    """A long name in two lines, parted at the hyphen nearest its middle: narrow screens keep room for the map."""
    hyphens = [i for i, letter in enumerate(name) if letter == "-"]
    if len(name) <= LONGEST_LINE or not hyphens:
        return plain(name)
    at = min(hyphens, key=lambda i: abs(i - len(name) / 2)) + 1
    return f"{plain(name[:at])}<br>{plain(name[at:])}"


def cell_words(cell: FitCell) -> str:
    """A cell as a sentence."""
    if cell.free_bytes is not None:
        return f"{size(cell.free_bytes)} of cache left on each GPU"
    return f"needs TP={cell.needs_tensor}" if cell.needs_tensor else f"does not fit: {cell.reason}"


def fit_table(title: str, rows: Sequence[str], columns: Sequence[str], cells: Sequence[Sequence[FitCell]]) -> Table:
    """The map in words."""
    return Table(
        title=title,
        headers=("", *columns),
        rows=tuple(
            (words(name, strong=True), *(_fit_cell(cell) for cell in line))
            for name, line in zip(rows, cells, strict=True)
        ),
    )


def _fit_cell(cell: FitCell) -> Cell:
    if cell.free_bytes is not None:
        return Cell(text=f"{size(cell.free_bytes)} free", basis=cell.basis)
    if cell.needs_tensor:
        return Cell(text=f"needs TP={cell.needs_tensor}", basis=cell.basis)
    return Cell(text="no", remark=cell.reason)


def fit_alt(what: str, cells: Sequence[Sequence[FitCell]]) -> str:
    """How many cells of each kind the map has, in words."""
    kinds = [kind_of(cell) for line in cells for cell in line]
    fits, wider = kinds.count("roomy") + kinds.count("tight"), kinds.count("wider")
    return f"{what}: of {len(kinds)} combinations {fits} fit, {wider} need more GPUs, {kinds.count('no')} do not fit"
