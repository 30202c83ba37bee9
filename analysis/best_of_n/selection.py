"""The curves of runs that select among stored answers: every n from one table of answers of the initial policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from analysis.best_of_n import hedge_tune
from analysis.best_of_n.curves import Curves
from analysis.best_of_n.estimator import PORTION, grid
from analysis.best_of_n.rules import TOKENS, Table, tables

Floats = NDArray[np.float64]

LIKENESS = "MBRBestOfN"
HEDGED = "HedgeTune"
METHODS = ("BestOfN", "BestOfPoisson", "SoftBestOfN", LIKENESS, "Pessimism", HEDGED)  # classes of the policy
BY_PROMPT = ("BestOfN", "BestOfPoisson", LIKENESS)  # the others draw noise or questions over the whole table


class Rule(NamedTuple):
    """A rule of selection with its settings."""

    method: str  # class of the policy, one of METHODS
    policy: Mapping[str, Any]


def columns(method: str) -> list[str]:
    """Return the columns that a rule reads beside the scores."""
    return [TOKENS] if method == LIKENESS else []


def selection_curves(rows: pa.Table, method: str, policy: Mapping[str, Any], tilted: bool = True) -> Curves:
    """Return the curves of one rule; see `rules_curves`."""
    return rules_curves(rows, [Rule(method, policy)], tilted=tilted)[0]


def rules_curves(
    rows: pa.Table, rules: Sequence[Rule], like: Floats | None = None, tilted: bool = True
) -> list[Curves]:
    """Return the curve over n of each rule on one table of answers.

    HedgeTune has one point beside the initial policy. `like` (Q, N) is the likeness to the other answers, if it
    is known. Without `tilted` the curves do not say how much KL a rise of the proxy needs, which takes time to
    compute.
    """
    curves: dict[int, Curves] = {}
    for by_prompt, portion in ((True, PORTION), (False, rows.num_rows)):
        places = [place for place, rule in enumerate(rules) if (rule.method in BY_PROMPT) == by_prompt]
        parts: dict[int, list[Curves]] = {place: [] for place in places}
        for table in tables(rows, like, tilted, portion) if places else ():
            for place in places:
                parts[place].append(_curve(table, rules[place]))
        curves |= {place: Curves.joined(of_rule) for place, of_rule in parts.items()}
    return [curves[place] for place in range(len(rules))]


def _curve(table: Table, rule: Rule) -> Curves:
    if rule.method == HEDGED:
        return hedge_tune.tuned(table, rule.policy)
    points = grid(table.answers)
    expected = table.expected(rule.method, rule.policy, points)
    return table.curves(points, points <= table.answers // 4, expected)
