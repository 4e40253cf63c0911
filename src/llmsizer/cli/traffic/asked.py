"""The question that ``simulate`` and ``capacity`` share: which fleet, under what, from which evidence."""

from __future__ import annotations

import argparse
import datetime
from typing import TYPE_CHECKING

from llmsizer.cli.arguments import add_json, number, whole_number
from llmsizer.cli.currency import add_currency, in_currency
from llmsizer.cli.decide.memory import add_speculation
from llmsizer.cli.decide.planning import SCENARIO_HELP, Evidence, read_evidence, scenario_asked
from llmsizer.installed import optional

if TYPE_CHECKING:
    from llmsizer.decide.fleets import ServedFleet
    from llmsizer.facts.scenario import Scenario
    from llmsizer.traffic.service import Goal
    from llmsizer.traffic.simulator.fleet import Replica

ROUTINGS = {"least-loaded": "least loaded", "round-robin": "round robin", "prefix-affine": "prefix affine"}


def add_question(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("scenario", help=SCENARIO_HELP)
    parser.add_argument("--gpu", help="this GPU instead of the recommended one")
    parser.add_argument("--weights", metavar="FORMAT", help="these weights instead of the recommended ones")
    parser.add_argument("--tp", type=whole_number("tp", most=4096), help="tensor parallel degree, with both of them")
    parser.add_argument("--replicas", type=whole_number("replicas", most=10_000), help="all, spares included")
    parser.add_argument(
        "--routing", default="least-loaded", choices=ROUTINGS, help="how requests are dealt to replicas"
    )
    parser.add_argument("--burstiness", type=number("burstiness", most=20), metavar="CV",
                        help="of gaps: 0 constant, 1 Poisson, above 1 bursty (default: the workload's)")  # fmt: skip
    parser.add_argument("--e2e-p95", type=number("e2e-p95", least=1e-3), metavar="SECONDS", help="also asked for")
    parser.add_argument(
        "--replications",
        type=whole_number("replications", most=1000),
        default=5,
        help="runs with other draws: what intervals come from",
    )
    parser.add_argument("--seed", type=whole_number("seed", least=0), default=0, help="of the draws (default: 0)")
    add_speculation(parser)
    parser.add_argument("--records", metavar="FILE|STORE", help="own profile records: they calibrate")
    add_currency(parser)
    add_json(parser)


class Asked:
    """What both commands begin with: scenario, fleet, replica, goal."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        optional("numba", what="the event simulator", extra="simulate")  # before anything takes time
        from llmsizer.decide.fleets import FleetChoice, served_fleet
        from llmsizer.facts.catalog import default_catalog
        from llmsizer.facts.hub import load_model
        from llmsizer.traffic.service import Goal
        from llmsizer.traffic.simulator.deployed import replica_of
        from llmsizer.traffic.simulator.fleet import Fleet

        self.scenario: Scenario = in_currency(scenario_asked(arguments), arguments)
        self.evidence: Evidence = read_evidence(arguments.records, None)
        catalog = default_catalog()
        choice = FleetChoice(
            gpu=arguments.gpu, weights=arguments.weights, tensor=arguments.tp, replicas=arguments.replicas
        )
        self.fleet: ServedFleet = served_fleet(
            load_model(self.scenario.model, catalog),
            self.scenario,
            catalog,
            choice,
            today=datetime.date.today(),
            calibration=self.evidence.calibration,
        )
        workload = self.fleet.workload
        self.replica: Replica = replica_of(
            self.fleet.deployment,
            calibration=self.evidence.calibration,
            # In conversations more than the prefix is in the cache, and it is not shared.
            shared_prefix_tokens=workload.shared_prefix_tokens if workload.turns == 1 else 0,
        )
        self.goal: Goal = Goal(slo=self.scenario.slo, e2e_p95_seconds=arguments.e2e_p95)
        self.routed = Fleet(replicas=self.fleet.replicas, routing=ROUTINGS[arguments.routing])  # type: ignore[arg-type]

    @property
    def steps(self) -> str:
        """What the simulated step times rest on."""
        own = "own records" if self.evidence.calibration else "public records"
        return f"{self.fleet.closed.basis} on {own}"
