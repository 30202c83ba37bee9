"""Claims and how they are decided: met, not met or undecided, against the thresholds in `analysis/claims/`."""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from analysis.statistics.resampling import Bootstrapped
from rlhf_lab.functional.intervals import Estimate, Interval

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib  # what the standard library took over in 3.11

Thresholds = Mapping[str, Mapping[str, float]]  # of one figure: claim -> name -> number

NEEDED = (
    "replicates",
    "sizes",
    "arms",
    "questions",
)  # with fewer than a threshold of these, nothing is decided
Z95, Z95_ONE_SIDED = 1.959964, 1.644854


Reported = Estimate | Bootstrapped  # what a claim or a table of estimates reports


@dataclass(frozen=True)
class Claim:
    """One sentence about what was measured, and whether it holds."""

    claim: str
    measured: float
    interval: Interval  # 95 %; 90 % of an equivalence claim
    threshold: float  # in the units of `measured`
    n: int  # clusters: questions, or runs of a claim about runs
    replicates: int
    met: bool | None  # None is undecided
    rule: str  # when it is met and when it is not
    unit: str
    subject: str = ""  # what it is about: a row of the printed table
    topic: str = ""  # what is said of it: a column
    by_construction: bool = False  # true of any data: never counted
    conditional: bool = False  # on the replicates at hand, fewer than five

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


def exceeds_by_ses(mean: float, se: float, ses: float, margin: float) -> bool | None:
    """Return whether `mean` is at least `ses` standard errors above 0.

    False where its upper 95 % bound is below `margin`; None (undecided) between, or where a number is not finite.
    """
    if not (math.isfinite(mean) and math.isfinite(se)):
        return None
    if mean > 0 and mean >= ses * se:
        return True
    return False if mean + Z95_ONE_SIDED * se < margin else None


def exceeds(interval: Interval, threshold: float) -> bool | None:
    """Return whether the whole interval lies above `threshold`: False if none of it does, else None (undecided)."""
    if not all(math.isfinite(bound) for bound in interval):
        return None
    if interval.lo > threshold:
        return True
    return False if interval.hi <= threshold else None


def equivalent(interval90: Interval, lo: float, hi: float) -> bool | None:
    """Return whether the 90 % interval lies inside [lo, hi]: "no change" holds.

    False where it lies outside; None (undecided) where it is wider, or where a bound is not finite.
    """
    if not all(math.isfinite(bound) for bound in interval90):
        return None
    if lo <= interval90.lo and interval90.hi <= hi:
        return True
    return False if interval90.lo > hi or interval90.hi < lo else None


def normal_interval(mean: float, se: float, z: float = Z95) -> Interval:
    """Return the interval mean -+ z se, 95 % by default."""
    return Interval(mean - z * se, mean + z * se)


def all_met(states: Iterable[bool | None]) -> bool | None:
    """Return whether every claim is met: False if one is not, None if one is undecided and none is not met."""
    seen = set(states)
    return False if False in seen else None if None in seen else True


class ClaimTable(list[Claim]):
    """The claims of one figure, in order, decided by the thresholds in `analysis/claims/FIGURE.toml`.

    Each method adds one claim and returns it. Its arguments are the same everywhere: the claim's table in the file of
    thresholds, its subject (a row of the printed table: "PPO, 3k"), a sentence that goes on after the subject and a
    colon, the estimate, `n` clusters (questions, or runs of a claim about runs), and the topic (a column of the printed
    table). A claim is undecided where its table asks for more `replicates` or `questions` than there are, or where the
    caller says that not `enough` was seen.

        claims = ClaimTable("coste2023_fig7", unit="SDs of gold")
        claims.exceeds_by_ses("best", "PPO, mean of 3", "gold is above one model's", estimate, 400, "above one model")
    """

    def __init__(self, figure: str, unit: str = "", limits: Thresholds | None = None) -> None:
        super().__init__()
        self.unit = unit  # of claims that name none
        self.limits = thresholds(figure) if limits is None else limits

    def exceeds_by_ses(
        self, key: str, subject: str, sentence: str, estimate: Estimate, n: int, topic: str, **more: Any
    ) -> Claim:
        """Add that an estimate is `ses` standard errors above 0; not met if its upper 95 % bound is below `margin`."""
        return self.all_exceed_by_ses(key, subject, sentence, [estimate], n, topic, **more)

    def all_exceed_by_ses(
        self,
        key: str,
        subject: str,
        sentence: str,
        estimates: Sequence[Estimate],
        n: int,
        topic: str,
        shown: Estimate | None = None,
        **more: Any,
    ) -> Claim:
        """Add that every estimate is `ses` standard errors above 0; the lowest is reported, or the one `shown`."""
        ses, margin = self.limits[key]["ses"], self.limits[key]["margin"]
        lowest = shown or min(estimates, key=lambda estimate: estimate.value)
        each, its = ("each ", "an") if len(estimates) > 1 else ("", "its")
        return self.add(
            key,
            subject,
            sentence,
            lowest,
            n,
            topic,
            interval=normal_interval(lowest.value, lowest.se),
            threshold=ses * lowest.se,
            met=all_met(exceeds_by_ses(one.value, one.se, ses, margin) for one in estimates),
            rule=f"met: {each}>= {ses:g} SE above 0; not met: {its} upper 95 % bound is below {margin:g}",
            **more,
        )

    def above(
        self,
        key: str,
        subject: str,
        sentence: str,
        estimate: Reported,
        threshold: float,
        n: int,
        topic: str,
        **more: Any,
    ) -> Claim:
        """Add that an estimate is above a threshold by its 95 % interval, which ends at `most` at the latest."""
        return self.all_above(key, subject, sentence, [estimate], threshold, n, topic, **more)

    def all_above(
        self,
        key: str,
        subject: str,
        sentence: str,
        estimates: Sequence[Reported],
        threshold: float,
        n: int,
        topic: str,
        level: float = 0.95,
        most: float = math.inf,
        **more: Any,
    ) -> Claim:
        """Add that every estimate is above a threshold by its interval at `level`; the lowest is reported."""
        intervals = [Interval(lo, min(hi, most)) for lo, hi in (one.interval(level) for one in estimates)]
        lowest = min(range(len(estimates)), key=lambda place: estimates[place].value)
        each, one = ("every", "one") if len(estimates) > 1 else ("the", "it")
        return self.add(
            key,
            subject,
            sentence,
            estimates[lowest],
            n,
            topic,
            interval=intervals[lowest],
            threshold=threshold,
            met=all_met(exceeds(interval, threshold) for interval in intervals),
            rule=f"met: {each} {level:.0%} interval above {threshold:g}; not met: {one} is below; else undecided",
            **more,
        )

    def below(
        self,
        key: str,
        subject: str,
        sentence: str,
        estimate: Reported,
        threshold: float,
        n: int,
        topic: str,
        **more: Any,
    ) -> Claim:
        """Add that an estimate is below a threshold by its 95 % interval."""
        interval = estimate.interval()
        return self.add(
            key,
            subject,
            sentence,
            estimate,
            n,
            topic,
            interval=interval,
            threshold=threshold,
            met=exceeds(Interval(-interval.hi, -interval.lo), -threshold),
            rule=f"met: 95 % interval below {threshold:g}; not met: above it; else undecided",
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
        """Add that an estimate lies in [lo, hi] by its 90 % interval, by default within the `margin` of 0."""
        hi = self.limits[key]["margin"] if hi is None else hi
        lo = -hi if lo is None else lo
        interval = estimate.interval(0.90)
        return self.add(
            key,
            subject,
            sentence,
            estimate,
            n,
            topic,
            interval=interval,
            threshold=hi,
            met=equivalent(interval, lo, hi),
            rule=f"met: 90 % interval inside [{lo:g}, {hi:g}]; not met: outside; else undecided",
            **more,
        )

    def all_equivalent(
        self,
        key: str,
        subject: str,
        sentence: str,
        estimates: Sequence[Estimate],
        n: int,
        topic: str,
        **more: Any,
    ) -> Claim:
        """Add that every estimate lies within the `margin` of 0 by its 90 % interval; the furthest is reported."""
        margin = self.limits[key]["margin"]
        furthest = max(estimates, key=lambda estimate: abs(estimate.value))
        return self.add(
            key,
            subject,
            sentence,
            furthest,
            n,
            topic,
            interval=furthest.interval(0.90),
            threshold=margin,
            met=all_met(equivalent(estimate.interval(0.90), -margin, margin) for estimate in estimates),
            rule=f"met: every 90 % interval inside [{-margin:g}, {margin:g}]; not met: one is outside; else undecided",
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
        interval: Interval,
        threshold: float,
        met: bool | None,
        rule: str,
        unit: str = "",
        enough: bool = True,
        conditional: bool | None = None,
        **more: Any,
    ) -> Claim:
        """Add a claim that was decided elsewhere, by a rule that no method here has."""
        limits = self.limits[key]
        enough = (
            enough and estimate.replicates >= limits.get("replicates", 0) and n >= limits.get("questions", 0)
        )
        counts = [f"{limits[name]:g} {name}" for name in NEEDED if name in limits]
        needed = [f"with fewer than {' and '.join(counts)}"] if counts else []
        needed += [f"below KL {limits['least_kl']:g}"] if "least_kl" in limits else []
        claim = Claim(
            claim=f"{subject}: {sentence}",
            measured=estimate.value,
            interval=interval,
            threshold=threshold,
            n=n,
            replicates=estimate.replicates,
            met=met if enough else None,
            rule=rule + (f"; undecided {' or '.join(needed)}" if needed else ""),
            unit=unit or self.unit,
            subject=subject,
            topic=topic,
            conditional=estimate.is_conditional if conditional is None else conditional,
            **more,
        )
        self.append(claim)
        return claim
