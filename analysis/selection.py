"""From a run's rule of selection to its curves: every strength from one table of answers of the initial policy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from analysis import hedging, rules
from analysis.bestofn import grid
from analysis.curves import Curves
from analysis.rules import Chosen, Ints, Table

LIKENESS = "MBRBestOfN"
HEDGED = "HedgeTune"
METHODS = ("BestOfN", "BestOfPoisson", "SoftBestOfN", LIKENESS, "Pessimism", HEDGED)  # classes of the policy


def columns(method: str) -> list[str]:
    """What a rule reads beside scores."""
    return ["token_ids"] if method == LIKENESS else []


def selection_curves(rows: pa.Table, method: str, policy: Mapping[str, Any]) -> Curves:
    """`table_curves` of a run's rows."""
    return table_curves(Table.of(rows), method, policy)


def table_curves(table: Table, method: str, policy: Mapping[str, Any]) -> Curves:
    """The curve over n of the rule that `policy` configures; of HedgeTune its one point beside the initial policy."""
    if method == HEDGED:
        return hedging.tuned(table, policy)
    points = grid(table.answers)
    return table.curves(points, points <= table.answers // 4, _chosen(table, points, method, policy))


def _chosen(table: Table, n: Ints, method: str, policy: Mapping[str, Any]) -> Chosen:
    if method == "BestOfN":
        return rules.best_of_n(table, n)
    if method == "BestOfPoisson":
        return rules.best_of_poisson(table, n)
    if method == "SoftBestOfN":
        return rules.soft_best_of_n(table, n, policy["inverse_temperature"])
    if method == LIKENESS:
        return rules.best_of_n(table, n, policy["proximity"])
    return rules.pessimistic(table, n, policy["beta"])
