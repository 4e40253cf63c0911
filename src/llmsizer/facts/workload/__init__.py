"""Demand: how many requests, when, how long, how fast they expect an answer; and how a scenario writes it."""

from llmsizer.facts.workload.workload import DAYS_PER_YEAR, Growth, Slo, Workload

__all__ = ["DAYS_PER_YEAR", "Growth", "Slo", "Workload"]
