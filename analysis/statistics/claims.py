"""Claims and how they are decided: met, not met or undecided, against the thresholds in `analysis/claims/`.

A claim is decided by the interval that is printed with it. It is met if the whole interval lies beyond the threshold,
not met if the whole interval falls short of it, and undecided if the interval holds the threshold. That two numbers
are alike is a claim of its own: an equivalence, "smaller than 0.1", decided by a 90 % interval.

A file of thresholds names the primary claims of its figure; all others are exploratory. Of the primary claims that
their intervals would meet, the ones that the procedure of Holm (1979) does not keep are undecided, and of the others
those that the procedure of Benjamini and Hochberg (1995) does not keep.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np

from rlhf_lab.functional.intervals import LEVEL as LEVEL
from rlhf_lab.functional.intervals import Interval, Reported, p_above, p_below

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # what the standard library took over in 3.11

Thresholds = Mapping[str, Mapping[str, Any]]  # of one figure: claim -> name -> number, and `primary`

NEEDED = (
    "replicates",
    "sizes",
    "arms",
    "questions",
)  # with fewer than a threshold of these, nothing is decided
EQUIVALENCE_LEVEL = 0.90  # two one-sided tests at 5 %
FALSE_CLAIMS = 0.05  # the chance that any primary claim of a figure is met falsely
FALSE_DISCOVERIES = 0.05  # the rate among the exploratory claims of a figure that are met


@dataclass(frozen=True)
class Claim:
    """One sentence about what was measured, and whether it holds."""

    claim: str
    measured: float
    interval: Interval
    threshold: float  # in the units of `measured`
    n: int  # clusters: questions, or runs of a claim about runs
    replicates: int
    met: bool | None  # None is undecided
    rule: str  # when it is met and when it is not
    unit: str
    subject: str = ""  # what it is about: a row of the printed table
    topic: str = ""  # what is said of it: a column
    level: float = LEVEL  # of the interval
    primary: bool = False  # named beforehand; every other claim is exploratory
    p: float = math.nan  # one-sided p-value of the threshold
    by_construction: bool = False  # true of any data: never counted
    conditional: bool = False  # on the replicates at hand

    @property
    def state(self) -> str:
        """The state in words: met, not met or undecided."""
        return {True: "met", False: "not met", None: "undecided"}[self.met]

    def as_json(self) -> dict[str, Any]:
        """Return plain values; a number that is missing or infinite is null."""
        plain = asdict(self) | {"interval": [_finite(bound) for bound in self.interval]}
        return {name: _finite(value) for name, value in plain.items()}


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


@cache
def thresholds(figure: str) -> Thresholds:
    """Return the thresholds of a figure's claims, which `analysis/claims/FIGURE.toml` holds."""
    return tomllib.loads((files("analysis") / "claims" / f"{figure}.toml").read_text())


# --- rules ------------------------------------------------------------------------------------------------------


def exceeds(interval: Interval, threshold: float) -> bool | None:
    """Return whether the whole interval lies above `threshold`: False if none of it does, else None (undecided)."""
    if not all(math.isfinite(bound) for bound in interval):
        return None
    if interval.lo > threshold:
        return True
    return False if interval.hi <= threshold else None


def equivalent(interval: Interval, lo: float, hi: float) -> bool | None:
    """Return whether the interval lies inside [lo, hi].

    False where it lies outside; None (undecided) where it is wider, or where a bound is not finite.
    """
    if not all(math.isfinite(bound) for bound in interval):
        return None
    if lo <= interval.lo and interval.hi <= hi:
        return True
    return False if interval.lo > hi or interval.hi < lo else None


def all_met(states: Iterable[bool | None]) -> bool | None:
    """Return whether every claim is met: False if one is not, None if one is undecided and none is not met."""
    seen = set(states)
    return False if False in seen else None if None in seen else True


def controlled(claims: Sequence[Claim]) -> list[Claim]:
    """Return the claims of a figure with its false claims controlled: one that was met and is not kept is undecided.

    Among the primary claims the chance that any is met falsely is at most 5 % (Holm, 1979). Among the exploratory ones
    the rate of false discoveries is at most 5 % (Benjamini and Hochberg, 1995).
    """
    tried: dict[bool, list[float]] = {
        primary: sorted(c.p for c in claims if counted(c) and c.primary is primary and math.isfinite(c.p))
        for primary in (True, False)
    }
    kept = {True: holm(tried[True]), False: benjamini_hochberg(tried[False])}

    def decided(claim: Claim) -> Claim:
        """Return the claim as the procedure leaves it, with what its rule adds."""
        if not counted(claim) or not math.isfinite(claim.p):
            return claim
        count = len(tried[claim.primary])
        procedure = "Holm at 0.05" if claim.primary else f"Benjamini-Hochberg at q = {FALSE_DISCOVERIES:g}"
        kind = "primary" if claim.primary else "exploratory"
        rule = f"{claim.rule}; {kind}: undecided unless p, {claim.p:.2g}, is kept by {procedure} among {count} claims"
        return replace(
            claim, rule=rule, met=None if claim.met and claim.p > kept[claim.primary] else claim.met
        )

    return [decided(claim) for claim in claims]


def benjamini_hochberg(p: Sequence[float]) -> float:
    """Return the largest of m p-values in order, the k-th, that is at most k / m x 0.05; -inf if none is."""
    bounds = [FALSE_DISCOVERIES * rank / len(p) for rank in range(1, len(p) + 1)]
    return max((one for one, bound in zip(p, bounds, strict=True) if one <= bound), default=-math.inf)


def holm(p: Sequence[float]) -> float:
    """Return the last of m p-values in order before the first, the k-th, above 0.05 / (m - k + 1); -inf if none is."""
    kept = -math.inf
    for rank, one in enumerate(p):
        if one > FALSE_CLAIMS / (len(p) - rank):
            break
        kept = one
    return kept


def counted(claim: Claim) -> bool:
    """Return whether a claim counts: one that holds by construction does not."""
    return not claim.by_construction


# --- the claims of a figure -------------------------------------------------------------------------------------


class ClaimTable(list[Claim]):
    """The claims of one figure, in order, decided by the thresholds in `analysis/claims/FIGURE.toml`.

    Each method adds one claim and returns it. Its arguments are the same everywhere: the claim's table in the file of
    thresholds, its subject (a row of the printed table: "PPO, 3k"), a sentence that goes on after the subject and a
    colon, the estimate, `n` clusters (questions, or runs of a claim about runs), and the topic (a column of the printed
    table). A claim is undecided where its table asks for more `replicates` or `questions` than there are, or where the
    caller says that not `enough` was seen. A claim is primary if its table says `primary = true`.

        claims = ClaimTable("coste2023_fig7", unit="SDs of gold")
        claims.above("best", "PPO, mean of 3", "gold is above one model's", estimate, 400, "above one model")

    is met if the interval of `estimate` lies above the `threshold` in the table `[best]`, and the sentence says so:
    "gold is above one model's by more than 0.1".
    """

    def __init__(self, figure: str, unit: str = "", limits: Thresholds | None = None) -> None:
        super().__init__()
        self.unit = unit  # of claims that name none
        self.limits = thresholds(figure) if limits is None else limits

    def above(
        self,
        key: str,
        subject: str,
        sentence: str,
        estimate: Reported,
        n: int,
        topic: str,
        threshold: float | None = None,
        **more: Any,
    ) -> Claim:
        """Add that an estimate is above a threshold by its interval.

        The threshold is the one in the claim's table, which the sentence then states, or the one that is given.
        """
        return self.all_above(key, subject, sentence, [estimate], n, topic, threshold, **more)

    def all_above(
        self,
        key: str,
        subject: str,
        sentence: str,
        estimates: Sequence[Reported],
        n: int,
        topic: str,
        threshold: float | None = None,
        shown: Reported | None = None,
        **more: Any,
    ) -> Claim:
        """Add that every estimate is above a threshold by its interval; the lowest is reported, or the one `shown`."""
        if threshold is None:
            threshold = float(self.limits[key]["threshold"])
            sentence += f" by more than {threshold:g}" if threshold else ""
        intervals = [estimate.interval() for estimate in estimates]
        whole = "the whole interval lies" if len(estimates) == 1 else "every interval lies"
        short = "no part of it does" if len(estimates) == 1 else "no part of one does"
        return self.add(
            key,
            subject,
            sentence,
            shown or min(estimates, key=lambda estimate: estimate.interval().lo),
            n,
            topic,
            threshold=threshold,
            met=all_met(exceeds(interval, threshold) for interval in intervals),
            p=float(np.max([p_above(estimate, threshold) for estimate in estimates])),
            rule=f"met: {whole} above {threshold:g}; not met: {short}",
            **more,
        )

    def below(
        self,
        key: str,
        subject: str,
        sentence: str,
        estimate: Reported,
        n: int,
        topic: str,
        threshold: float,
        **more: Any,
    ) -> Claim:
        """Add that an estimate is below a threshold by its interval."""
        lo, hi = estimate.interval()
        return self.add(
            key,
            subject,
            sentence,
            estimate,
            n,
            topic,
            threshold=threshold,
            met=exceeds(Interval(-hi, -lo), -threshold),
            p=p_below(estimate, threshold),
            rule=f"met: the whole interval lies below {threshold:g}; not met: no part of it does",
            **more,
        )

    def equivalent(
        self,
        key: str,
        subject: str,
        sentence: str,
        estimate: Reported,
        n: int,
        topic: str,
        lo: float | None = None,
        hi: float | None = None,
        **more: Any,
    ) -> Claim:
        """Add that an estimate lies in [lo, hi] by its 90 % interval, by default within the `margin` of 0.

        The sentence then ends in "the difference is smaller than 0.1", and never says that there is none.
        """
        return self.all_equivalent(key, subject, sentence, [estimate], n, topic, lo, hi, **more)

    def all_equivalent(
        self,
        key: str,
        subject: str,
        sentence: str,
        estimates: Sequence[Reported],
        n: int,
        topic: str,
        lo: float | None = None,
        hi: float | None = None,
        **more: Any,
    ) -> Claim:
        """Add that every estimate lies in [lo, hi] by its 90 % interval; the furthest from the middle is reported."""
        if hi is None:
            hi = float(self.limits[key]["margin"])
            sentence += f": the difference is smaller than {hi:g}"
        lo = -hi if lo is None else lo
        middle = (lo + hi) / 2
        intervals = [estimate.interval(EQUIVALENCE_LEVEL) for estimate in estimates]
        whole = "the whole" if len(estimates) == 1 else "every"
        return self.add(
            key,
            subject,
            sentence,
            max(estimates, key=lambda estimate: abs(estimate.value - middle)),
            n,
            topic,
            level=EQUIVALENCE_LEVEL,
            threshold=hi,
            met=all_met(equivalent(interval, lo, hi) for interval in intervals),
            p=float(np.max([(p_above(estimate, lo), p_below(estimate, hi)) for estimate in estimates])),
            rule=f"met: {whole} 90 % interval lies inside [{lo:g}, {hi:g}]; not met: outside",
            **more,
        )

    def add(
        self,
        key: str,
        subject: str,
        sentence: str,
        estimate: Reported,
        n: int,
        topic: str,
        *,
        threshold: float,
        met: bool | None,
        rule: str,
        level: float = LEVEL,
        most: float = math.inf,
        unit: str = "",
        enough: bool = True,
        conditional: bool | None = None,
        **more: Any,
    ) -> Claim:
        """Add a claim that was decided elsewhere, by a rule that no method here has.

        The interval ends at `most` at the latest, the largest value that the quantity can have.
        """
        limits = self.limits[key]
        enough = (
            enough and estimate.replicates >= limits.get("replicates", 0) and n >= limits.get("questions", 0)
        )
        counts = [f"{limits[name]:g} {name}" for name in NEEDED if name in limits]
        needed = [f"with fewer than {' and '.join(counts)}"] if counts else []
        needed += [f"below KL {limits['least_kl']:g}"] if "least_kl" in limits else []
        lo, hi = estimate.interval(level)
        claim = Claim(
            claim=f"{subject}: {sentence}",
            measured=estimate.value,
            interval=Interval(lo, min(hi, most)),
            level=level,
            threshold=threshold,
            n=n,
            replicates=estimate.replicates,
            met=met if enough else None,
            rule=f"{rule}; else{''.join(f', and {words},' for words in needed)} undecided",
            unit=unit or self.unit,
            subject=subject,
            topic=topic,
            primary=bool(limits.get("primary", False)),
            conditional=estimate.is_conditional if conditional is None else conditional,
            **more,
        )
        self.append(claim)
        return claim
