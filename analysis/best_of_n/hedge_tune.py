"""HedgeTune: the strength of a rule at which expected gold stops rising, from gold on a few questions (2506.19248).

The strength is a root of E[gold psi], where psi is the derivative in the strength of the log-chance of an answer; for
best-of-n it is 1/n + log u, with u the proxy's quantile. Both are sums over the answers of a table.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from analysis.best_of_n import estimator, soft_best_of_n
from analysis.best_of_n.curves import Curves
from analysis.best_of_n.rules import Expected, Table
from rlhf_lab.functional.intervals import cluster_means

Floats = NDArray[np.float64]
Response = Callable[[float], tuple[float, float]]  # strength -> expected gold, its derivative in the strength

STRENGTHS = 16  # at which a change of sign is looked for
SOFTEST, HARDEST = 0.05, 16.0  # inverse temperatures, per SD
SMALLEST_MEAN = 0.01  # of the Poisson
FEWEST = 2  # questions whose gold is looked at, and questions whose gold is not


class Choice(NamedTuple):
    """The strength that was chosen."""

    strength: float
    root: bool  # whether gold stops rising there; otherwise it is an end of the range


@dataclass(frozen=True)
class Tuned(Curves):
    """The initial policy and the rule at the chosen strength, on questions whose gold HedgeTune did not look at."""

    choice: Choice
    n: float  # mean number of answers at that strength


def tuned(table: Table, policy: Mapping[str, Any]) -> Tuned:
    """Return the rule at the strength that HedgeTune finds from gold on a few questions, evaluated on the
    others.

    `gold_questions` of the policy says on how many questions gold is looked at, `seed` on which, and `rule`
    what rule is tuned: n of best-of-n, the mean of best-of-Poisson, or the inverse temperature of soft
    best-of-n at n = N/4.
    """
    seen = np.isin(table.cluster, looked_at(table.cluster, policy["gold_questions"], policy["seed"]))
    others, quarter = np.unique(table.cluster[~seen]), max(table.answers // 4, 1)
    if policy["rule"] == "soft_bon":
        choice = best(soft_response(table.only(seen), quarter), SOFTEST, HARDEST)
        rest = table.only(~seen)
        expected = rest.expected("SoftBestOfN", {"inverse_temperature": choice.strength}, [1, quarter])
        return _tuned(rest, expected, choice, quarter, others)
    if policy["rule"] == "best_of_poisson":
        choice = best(poisson_response(gold_by_rank(table, seen)), SMALLEST_MEAN, table.answers // 2 - 1)
        n = 1 + choice.strength
        return _tuned(table, table.expected("BestOfPoisson", {}, [1, n]), choice, n, others)
    response = best_of_n_response(gold_by_rank(table, seen))
    choice = whole(best(response, 1, table.answers // 2), response)
    expected = table.expected("BestOfN", {}, [1, int(choice.strength)])
    return _tuned(table, expected, choice, choice.strength, others)


def _tuned(table: Table, expected: Expected, choice: Choice, n: float, questions: NDArray[np.int64]) -> Tuned:
    """Return the point of a rule beside the initial policy, on some of the table's questions."""
    good = np.array([True, n <= table.answers // 4])
    plain = table.curves(np.arange(2), good, expected).on(questions)
    same = {field.name: getattr(plain, field.name) for field in fields(Curves)}
    return Tuned(**same, choice=choice, n=n)


def looked_at(cluster: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Return questions drawn at random, (count,); those of a smaller count are among them."""
    questions = np.unique(cluster)
    if not FEWEST <= count <= len(questions) - FEWEST:
        raise ValueError(
            f"gold_questions is {count} of {len(questions)} questions; expected {FEWEST} to {len(questions) - FEWEST}"
        )
    return np.random.default_rng(seed).permutation(questions)[:count]


def best(response: Response, least: float, most: float) -> Choice:
    """Return the strength with the highest expected gold, of those where gold stops rising and the two ends.

    A curve that only rises has no root, and its strongest end is taken.
    """
    response, grid = cache(response), np.geomspace(least, most, STRENGTHS)
    slopes = np.array([response(strength)[1] for strength in grid])
    turns = np.flatnonzero((slopes[:-1] > 0) & (slopes[1:] <= 0))
    roots = [float(brentq(lambda x: response(x)[1], grid[i], grid[i + 1], rtol=1e-6)) for i in turns]
    candidates = [*(Choice(root, True) for root in roots), Choice(least, False), Choice(most, False)]
    return max(candidates, key=lambda candidate: response(candidate.strength)[0])


def whole(choice: Choice, response: Response) -> Choice:
    """Return the better of the two whole numbers around a strength."""
    around = sorted({int(np.floor(choice.strength)), int(np.ceil(choice.strength))})
    return Choice(float(max(around, key=lambda n: response(n)[0])), choice.root)


def best_of_n_response(profile: Floats) -> Response:
    """Return the response to n, for the mean gold (N,) of each rank of the proxy; d F^n / dn = F^n log F."""
    share = np.arange(len(profile) + 1) / len(profile)

    def response(n: float) -> tuple[float, float]:
        """Return expected gold at n and its derivative in n."""
        reach = estimator.best_of_n_reach(share, [n])[:, 0]
        moved = reach * np.log(np.maximum(share, np.finfo(float).tiny))
        return float(profile @ np.diff(reach)), float(profile @ np.diff(moved))

    return response


def poisson_response(profile: Floats) -> Response:
    """Return the response to the Poisson's mean m, which is the mean number of answers less one.

    d/dm F exp(m (F - 1)) = (F - 1) F exp(m (F - 1)).
    """
    share = np.arange(len(profile) + 1) / len(profile)

    def response(mean: float) -> tuple[float, float]:
        """Return expected gold at a mean and its derivative in the mean."""
        reach = estimator.poisson_reach(share, [1 + mean])[:, 0]
        return float(profile @ np.diff(reach)), float(profile @ np.diff((share - 1) * reach))

    return response


def soft_response(table: Table, n: int) -> Response:
    """Return the response to the inverse temperature of soft best-of-n at `n`."""
    gold = table.values[table.names.index("gold")]

    def response(strength: float) -> tuple[float, float]:
        """Return expected gold at an inverse temperature and its derivative in it."""
        columns = np.stack(soft_best_of_n.response(table.score, gold, n, strength), axis=1)
        expected, slope = cluster_means(columns, table.cluster).mean(axis=0)
        return float(expected), float(slope)

    return response


def gold_by_rank(table: Table, seen: NDArray[np.bool_]) -> Floats:
    """Return the mean gold of each rank of the proxy over the prompts `seen` (Q,), lowest rank first, (N,)."""
    ranked = table.ranked[table.names.index("gold"), seen]
    return cluster_means(ranked, table.cluster[seen]).mean(axis=0)
