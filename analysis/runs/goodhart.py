"""Whether a fall of gold is Goodhart's law, and not what any optimisation does to a policy: one claim about four arms.

An arm on reward models is held against the controls of the same chain (task, base model, SFT):

- its gold lies above that of a policy trained on i.i.d. noise and above that of SFT with noise on its weights, at some
  KL that all three reach; the KL is chosen on one half of the questions and the difference measured on the other;
- its gold falls from its own peak;
- while gold of the oracle, which was trained on gold itself, does not fall on the way to the same KL.

The fall and the oracle's drop are measured at the largest KL that both arms reach, which must be at least twice that of
the proxy's peak.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.runs.arms import Arm, Study
from analysis.runs.equal_kl import Path
from analysis.runs.gold_lost import split
from analysis.runs.kinds import MAIN, NOISE, ORACLE, WEIGHT_NOISE
from analysis.runs.naming import BEST_OF_N, GOLD_SDS, title
from analysis.runs.tables import estimate_row
from analysis.statistics.claims import EQUIVALENCE_LEVEL, ClaimTable, all_met, equivalent, exceeds
from analysis.statistics.turnover import turnover
from rlhf_lab.functional.intervals import LEVEL, Estimate, p_above, p_below
from rlhf_lab.store.records import Run

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

CHAIN = ("task", "model", "sft", "intervention")  # sections that an arm shares with its controls
NEEDED = (NOISE, WEIGHT_NOISE, ORACLE)
REWARD_SECTIONS = ("reward", "rm", "preferences", "labeler", "rm_combination", "reward_shaping")
SHARED_KLS = 8  # at which the arm is compared with noise
POINTS = 33  # of a way to a KL, equally far apart in its root


class Curves(NamedTuple):
    """Gold of one arm over KL: each replicate's own KL, and gold of each question."""

    d: Floats  # (R, K) nats^0.5
    gold: Floats  # (R, C, K) SDs

    @property
    def reach(self) -> float:
        """The root of the KL that every replicate reaches."""
        return float(self.d.max(axis=1).min())

    def at(self, d: Floats) -> Floats:
        """(R, C, T): gold where each `d` (T,) is first reached, linear between checkpoints."""
        shape = self.gold.shape[1:]
        return np.stack(
            [
                Path(np.broadcast_to(own, shape), gold).at(np.broadcast_to(d, (shape[0], len(d))))
                for own, gold in zip(self.d, self.gold, strict=True)
            ]
        )


class Goodhart(NamedTuple):
    """The parts of the claim, in SDs of gold."""

    above: Mapping[str, Estimate]  # kind of noise -> gold minus that of the noise at the shared KL
    shared_kl: float  # nats: mean of the two that the halves of the questions choose
    fall: Estimate  # from the arm's peak to `kl`
    oracle_drop: Estimate  # from the oracle's peak to `kl`; 0 where it is highest at `kl`
    oracle_ahead: Estimate  # the oracle minus the arm at `kl`: reported, and no part of the claim
    peak_kl: float  # nats, of the arm
    kl: float  # nats: the largest that the arm and the oracle reach

    @property
    def far_enough(self) -> bool:
        """Whether the oracle was followed to twice the KL of the arm's peak."""
        return self.kl >= 2 * self.peak_kl > 0


def goodhart(arm: Curves, noises: Mapping[str, Curves], oracle: Curves, half: Bools) -> Goodhart:
    """Return the parts of the claim from curves on the same questions; `half` (C,) of them chooses for the other."""
    nearest = min(curves.reach for curves in (arm, *noises.values()))
    shared = nearest * np.sqrt(np.arange(1, SHARED_KLS + 1) / SHARED_KLS)
    gold = arm.at(shared)
    others = {kind: curves.at(shared) for kind, curves in noises.items()}
    apart = [gold.mean(axis=0) - other.mean(axis=0) for other in others.values()]  # (C, T) each
    chosen = [
        int(np.min([side[questions].mean(axis=0) for side in apart], axis=0).argmax())
        for questions in (half, ~half)
    ]
    place = np.where(half, chosen[1], chosen[0])[None, :, None]

    def placed(table: Floats) -> Floats:
        """(R, C): the value of each question at the place that the other half chose."""
        return np.take_along_axis(table, np.broadcast_to(place, (*table.shape[:2], 1)), axis=2)[:, :, 0]

    end = min(arm.reach, oracle.reach)
    way = np.linspace(0, end, POINTS)
    on_way, oracles = arm.at(way), oracle.at(way)
    fall, drop = (turnover(table, half, end_too=True) for table in (on_way, oracles))
    return Goodhart(
        above={kind: Estimate.of_difference(placed(gold), placed(other)) for kind, other in others.items()},
        shared_kl=float(np.mean(shared[chosen] ** 2)),
        fall=fall.fall,
        oracle_drop=drop.fall,
        oracle_ahead=Estimate.of_difference(oracles[:, :, -1], on_way[:, :, -1]),
        peak_kl=float(np.mean(way[fall.at] ** 2)),
        kl=end**2,
    )


# --- arms ---------------------------------------------------------------------------------------------------


def curves(arm: Arm, like: Arm) -> Curves:
    """Return an arm's curves, with gold in the SDs of the arm `like`, which has the same initial policy."""
    sd = np.mean([own.scale(np.ones(like.questions))[0] for own in like.curves])
    return Curves(
        np.stack([own.normalised().d for own in arm.curves]),
        np.stack([own.values["gold"] for own in arm.curves]) / sd,
    )


def controls(study: Study, arm: Arm, kind: str) -> list[Arm]:
    """Return the controls of a kind that share an arm's chain and questions, the most settings in common first."""
    suited = [
        other
        for other in study.arms
        if other.kind == kind
        and (kind == WEIGHT_NOISE or other.method == arm.method)
        and all(_section(other.runs[0], name) == _section(arm.runs[0], name) for name in CHAIN)
        and np.array_equal(other.curves[0].questions, arm.curves[0].questions)
    ]
    own = arm.settings
    return sorted(
        suited, key=lambda other: -sum(own.get(name) == value for name, value in other.settings.items())
    )


def _section(run: Run, name: str) -> Any:
    return run.config.get(name) or {}


def parts_of(study: Study, arm: Arm) -> Goodhart | None:
    """Return the parts of the claim about an arm; None where a control is missing."""
    suited = {kind: controls(study, arm, kind) for kind in NEEDED}
    if not all(suited.values()):
        return None
    known = {kind: curves(arms[0], arm) for kind, arms in suited.items()}
    return goodhart(
        curves(arm, arm), {kind: known[kind] for kind in (NOISE, WEIGHT_NOISE)}, known[ORACLE], split(arm)
    )


def trained(study: Study) -> list[Arm]:
    """Return the arms that the claim is about: policies trained on reward models."""
    return [arm for arm in study.arms if arm.kind == MAIN and not arm.chooses and arm.method != BEST_OF_N]


# --- claim, rows and notes ----------------------------------------------------------------------------------


def claim_goodhart(claims: ClaimTable, study: Study) -> None:
    """Claim `goodhart` of every arm whose controls are made."""
    for arm in trained(study):
        parts = parts_of(study, arm)
        if parts is not None:
            claim_parts(claims, arm.title, parts, arm.questions)


def claim_parts(claims: ClaimTable, subject: str, parts: Goodhart, n: int) -> None:
    """Add the joint claim; its number is the part that is nearest to failing among the differences and the fall."""
    limits = claims.limits["goodhart"]
    threshold, margin = float(limits["threshold"]), float(limits["margin"])
    beyond = [*parts.above.values(), parts.fall]
    drop = parts.oracle_drop
    states = [exceeds(estimate.interval(), threshold) for estimate in beyond]
    states.append(equivalent(drop.interval(EQUIVALENCE_LEVEL), -margin, margin))
    p = [p_above(estimate, threshold) for estimate in beyond] + [
        p_above(drop, -margin),
        p_below(drop, margin),
    ]
    lo, hi = drop.interval(EQUIVALENCE_LEVEL)
    replicates = min(estimate.replicates for estimate in (*beyond, drop))
    least = min(beyond, key=lambda estimate: estimate.interval().lo)
    claims.add(
        "goodhart",
        subject,
        f"gold lies above i.i.d. noise ({parts.above[NOISE].signed}) and weight noise "
        f"({parts.above[WEIGHT_NOISE].signed}) at KL {parts.shared_kl:.2g}, falls from its peak at KL "
        f"{parts.peak_kl:.2g} to KL {parts.kl:.2g} ({parts.fall.signed}), each by more than {threshold:g}, while the "
        f"oracle's drop on the way there is smaller than {margin:g} ({drop.value:+.2f}, 90 % interval [{lo:+.2f}, "
        f"{hi:+.2f}])",
        least._replace(replicates=replicates),
        n,
        "Goodhart",
        threshold=threshold,
        met=all_met(states),
        p=float(np.max(p)),
        rule=f"met: the intervals of both differences and of the fall lie above {threshold:g}, and the oracle's 90 % "
        f"interval inside [{-margin:g}, {margin:g}]; not met: one of them lies on the other side; where the oracle is "
        "not followed to twice the KL of the peak, undecided",
        enough=parts.far_enough,
    )


def rows(study: Study) -> list[dict[str, Any]]:
    """Return rows of the table of fits: every part of the claim about each arm, with its interval and its KL."""
    table = []
    for arm in trained(study):
        parts = parts_of(study, arm)
        if parts is None:
            continue
        named = {"method": arm.method, "rm": arm.rm, "arm": arm.kind, "label": arm.label}
        each = {
            f"gold minus i.i.d. noise at KL {parts.shared_kl:.3g}": parts.above[NOISE],
            f"gold minus weight noise at KL {parts.shared_kl:.3g}": parts.above[WEIGHT_NOISE],
            f"fall from the peak at KL {parts.peak_kl:.3g} to KL {parts.kl:.3g}": parts.fall,
            f"oracle's drop to KL {parts.kl:.3g}": parts.oracle_drop,
            f"oracle minus gold at KL {parts.kl:.3g}": parts.oracle_ahead,
        }
        for parameter, estimate in each.items():
            level = EQUIVALENCE_LEVEL if estimate is parts.oracle_drop else LEVEL
            table.append(
                estimate_row(named, "goodhart", parameter, estimate, arm.questions, GOLD_SDS, level)
                | {"x": "exact"}
            )
    return table


def notes(study: Study) -> list[str]:
    """Return a line for each control that is missing, with the command that makes it, or was chosen among several."""
    lines: dict[str, None] = {}
    for arm in trained(study):
        for kind in NEEDED:
            match controls(study, arm, kind):
                case []:
                    line = (
                        f"no claim of Goodhart for {title(arm.method)}: {CALLED[kind]} is missing; make it: "
                        f"{command(arm.runs, kind)}"
                    )
                case [_]:
                    continue
                case [first, *others]:
                    line = (
                        f"Goodhart, {arm.title}: {CALLED[kind]} is {first.title}, chosen among {1 + len(others)} by "
                        "the settings in common"
                    )
            lines[line] = None
    return list(lines)


CALLED = {
    NOISE: "the control on i.i.d. noise",
    WEIGHT_NOISE: "the control of noise on the weights",
    ORACLE: "the oracle, which is trained on gold itself,",
}
OPTION = {NOISE: "reward=noise", ORACLE: "reward=gold", WEIGHT_NOISE: "policy=weight_noise"}


def command(runs: Sequence[Run], kind: str) -> str:
    """Return the command that makes a control of the same chain as `runs`, in the same replicates."""
    run = runs[0]
    dropped = (*REWARD_SECTIONS, "replicate", *(("policy",) if kind == WEIGHT_NOISE else ()))
    kept = [
        override
        for override in run.overrides
        if override.partition("=")[0].partition(".")[0].lstrip("+") not in dropped
        and override.partition("=")[0] != "policy.seed"
    ]
    named = [word for own in runs for word in own.overrides if word.startswith("replicate=")]
    seeds = dict.fromkeys(str(own.config["policy"]["seed"]) for own in runs)
    which = ",".join(named).replace(",replicate=", ",") if named else f"policy.seed={','.join(seeds)}"
    prompts = [f"policy.prompts={run.config['policy']['prompts']}"] if kind == WEIGHT_NOISE else []
    of_experiment = any(override.startswith("experiment=") for override in kept)
    alone = ["hydra.sweeper.cells=[]"] if of_experiment else []  # not the jobs of the experiment again
    return " ".join(["rlhf-lab -m", *alone, *kept, OPTION[kind], *prompts, which])
