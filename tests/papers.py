"""Decisions small enough for tests: few GPUs, a day that stands still."""

from __future__ import annotations

import copy
import datetime
from pathlib import Path
from typing import Any

from llmsizer.decide.recommend import recommend
from llmsizer.deliver.papers.bill_of_materials import bill_of_materials
from llmsizer.deliver.papers.conditions import conditions
from llmsizer.deliver.papers.decision import Decision, decide_papers
from llmsizer.deliver.papers.order_dates import order_dates
from llmsizer.deliver.papers.power_and_rack import power_sheet
from llmsizer.deliver.workbook.writing import write_workbook
from llmsizer.facts.catalog import Catalog, default_catalog
from llmsizer.facts.hub import load_model
from llmsizer.facts.scenario import Scenario

TODAY = datetime.date(2026, 11, 20)
USUAL: dict[str, Any] = {
    "name": "papers",
    "description": "a chat",
    "model": "mistral-small-4",
    "spare_replicas": 1,
    "workload": {"preset": "chat", "tokens_per_month": 2e9},
    "constraints": {"gpus": ["h100-sxm-80", "rtx-pro-6000-ws", "l40s"], "precisions": ["int8", "int4"]},
}
GROWTH = {"per_year": 1.0, "start": "2027-06-01", "until": "2029-06-01"}
RAMP = {"from_share": 0.1, "start": "2027-04-01", "until": "2028-04-01"}


def scenario(**changes: Any) -> Scenario:
    """The usual one with tables merged: ``scenario(money={"vat_rate": 0.19})``."""
    data = copy.deepcopy(USUAL)
    for key, value in changes.items():
        data[key] = data.get(key, {}) | value if isinstance(value, dict) else value
    return Scenario.model_validate(data)


def decision(asked: Scenario, catalog: Catalog | None = None) -> Decision:
    found = catalog or default_catalog()
    recommendation = recommend(load_model(asked.model, found), asked, found, today=TODAY)
    return decide_papers(recommendation, asked, found, today=TODAY)


def workbook(made: Decision, path: Path) -> Path:
    orders, power = order_dates(made), power_sheet(made)
    write_workbook(
        path,
        made,
        bom=bill_of_materials(made),
        orders=orders,
        found=conditions(made, orders, power),
        power=power,
    )
    return path
