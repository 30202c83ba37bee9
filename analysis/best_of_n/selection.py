"""From a run's rule of selection to its curves: every strength from one table of answers of the initial policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import pyarrow as pa

from analysis.best_of_n import rules
from analysis.best_of_n.curves import Curves
from analysis.best_of_n.estimator import grid
from analysis.best_of_n.portions import Portions
from analysis.best_of_n.rules import Chosen, Floats, Ints, Table

LIKENESS = "MBRBestOfN"
HEDGED = "HedgeTune"
BY_PROMPT = ("BestOfN", "BestOfPoisson", LIKENESS)  # each prompt alone, without noise drawn over all
METHODS = ("BestOfN", "BestOfPoisson", "SoftBestOfN", LIKENESS, "Pessimism", HEDGED)  # classes of the policy


def columns(method: str) -> list[str]:
    """What a rule reads beside scores."""
    return ["token_ids"] if method == LIKENESS else []


class Rule(NamedTuple):
    """A rule of selection with its settings."""

    method: str  # class of the policy
    policy: Mapping[str, Any]


def selection_curves(rows: pa.Table, method: str, policy: Mapping[str, Any], tilted: bool = True) -> Curves:
    """The curves of one rule, as `rules_curves` has them."""
    return rules_curves(rows, [Rule(method, policy)], tilted=tilted)[0]


def rules_curves(
    rows: pa.Table, rules: Sequence[Rule], like: Floats | None = None, tilted: bool = True
) -> list[Curves]:
    """The curve over n of each rule on one table of answers; of HedgeTune its one point beside the initial policy.

    `like` (Q, N) is likeness to the other answers, if it is known. Without `tilted` rules that look at each prompt
    alone do not say how much KL the proxy's rise needs, where that takes time of its own.
    """
    alone = [rule for rule in rules if rule.method in BY_PROMPT]
    found = iter(_of_portions(rows, alone, like, tilted) if alone else [])
    table = Table.of(rows, like) if len(alone) < len(rules) else None
    return [next(found) if rule.method in BY_PROMPT else _of_table(table, rule) for rule in rules]


def _of_portions(rows: pa.Table, rules: Sequence[Rule], like: Floats | None, tilted: bool) -> list[Curves]:
    portions = Portions.of(rows, like)
    points = grid(portions.answers)
    return portions.curves(points, [partial(_chosen, n=points, rule=rule) for rule in rules], tilted)


def _of_table(table: Table | None, rule: Rule) -> Curves:
    assert table is not None
    if rule.method == HEDGED:
        from analysis.best_of_n import hedge_tune

        return hedge_tune.tuned(table, rule.policy)
    points = grid(table.answers)
    return table.curves(points, points <= table.answers // 4, _chosen(table, points, rule))


def _chosen(table: Table, n: Ints, rule: Rule) -> Chosen:
    method, policy = rule
    if method == "BestOfN":
        return rules.best_of_n(table, n)
    if method == "BestOfPoisson":
        return rules.best_of_poisson(table, n)
    if method == "SoftBestOfN":
        return rules.soft_best_of_n(table, n, policy["inverse_temperature"])
    if method == LIKENESS:
        return rules.best_of_n(table, n, policy["proximity"])
    return rules.pessimistic(table, n, policy["beta"])
