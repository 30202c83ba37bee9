"""The runs of a sweep sorted into arms: runs that differ in nothing but their seeds are the replicates of one arm."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple, NoReturn, TypeVar

import numpy as np

from analysis.best_of_n import selection
from analysis.best_of_n.curves import Curves, Normalised
from analysis.runs import configuration, labels, naming
from analysis.runs.configuration import Unsuited as Unsuited
from analysis.runs.kinds import CONTROL as CONTROL
from analysis.runs.kinds import CONTROLS as CONTROLS
from analysis.runs.kinds import FEW_PAIRS as FEW_PAIRS
from analysis.runs.kinds import KINDS, UNTRAINED, kind_of
from analysis.runs.kinds import MAIN as MAIN
from analysis.runs.kinds import PENALISED as PENALISED
from analysis.runs.naming import BEST_OF_N, title
from analysis.runs.run_curves import chooses, chosen_curves, curves_of
from analysis.statistics.resampling import Resample, original, resamples, weights_of
from rlhf_lab.store.records import MissingRuns, Run

NOT_UPSTREAM = ("reward_shaping", "policy", "score", "tracker", "runtime")  # sections that change no proxy

Name = TypeVar("Name", bound=Hashable)
DRAWS = 300
SEED = 2022  # of every draw in a figure: the same records give the same numbers


class Drawn(NamedTuple):
    """The bootstrap of an arm: the curves of every replicate in every draw of questions."""

    resamples: list[Resample]  # the first takes everything once
    replicates: tuple[Normalised, ...]  # of each replicate, curves (B, K), one row a resample

    def mean(self) -> Normalised:
        """(B, K) curves: the mean over the replicates that each resample drew."""
        count = len(self.replicates)
        shares = np.stack([np.bincount(draw.replicates, minlength=count) / count for draw in self.resamples])

        def mean(curves: list[np.ndarray]) -> np.ndarray:
            """(B, K): the mean of the replicates' curves under the shares of each draw."""
            return np.einsum("br,rbk->bk", shares, np.stack(curves))

        return Normalised(
            mean([curves.kl for curves in self.replicates]),
            {
                name: mean([curves.values[name] for curves in self.replicates])
                for name in self.replicates[0].values
            },
        )


@dataclass(frozen=True)
class Arm:
    """Replicates of one method against one kind of reward model."""

    method: str  # bon, ppo, ...
    rm: str  # option of the reward model
    kind: str  # one of kinds.KINDS
    label: str  # the reward in words, and the settings that vary
    parameters: float  # of the reward model, non-embedding; NaN for a checkpoint
    seeds: tuple[str, ...]  # of each replicate: reward model/preferences/policy
    curves: tuple[Curves, ...]  # of each replicate
    runs: tuple[Run, ...]  # of each replicate
    reward: str = ""  # the reward in words: size, rule, comparisons, shaping
    policy: str = ""  # option of the policy's language model, where the method has several

    @property
    def title(self) -> str:
        """Method and reward model in words."""
        return f"{title(self.method)}, {self.label}"

    @property
    def chooses(self) -> bool:
        """Whether the method chooses from one table of answers of the initial policy."""
        return chooses(self.runs[0])

    @property
    def settings(self) -> Mapping[str, Any]:
        """The method's own settings in the first replicate; the others differ in `seed` alone."""
        return self.runs[0].config["policy"]

    @property
    def policy_parameters(self) -> float:
        """Parameters of the policy's language model, non-embedding; NaN for a checkpoint."""
        return parameters_of(self.runs[0].config.get("model", {}))

    @property
    def questions(self) -> int:
        """How many questions every replicate was evaluated on."""
        return len(self.curves[0].questions)

    @cached_property
    def drawn(self) -> Drawn:
        """The curves of every replicate, first as they are and then in `DRAWS` resamples."""
        count = len(self.curves)
        draws = [original(count), *resamples(count, np.random.default_rng(SEED), DRAWS)]
        weights = weights_of(draws, self.questions)
        return Drawn(draws, tuple(curves.normalised(weights) for curves in self.curves))

    def of_seeds(self, seeds: Sequence[str]) -> Arm:
        """Return the arm with the replicates of these seeds alone, in this order."""
        order = [self.seeds.index(replicate) for replicate in seeds]
        return replace(
            self,
            seeds=tuple(seeds),
            curves=tuple(self.curves[i] for i in order),
            runs=tuple(self.runs[i] for i in order),
        )

    def stacked(self, name: str) -> np.ndarray:
        """(R, C, K): a number of every replicate, question and point, for paired tests."""
        return np.stack([curves.by_question(name) for curves in self.curves])


def unlike_in(arms: Iterable[Arm], *keys: str) -> list[list[Arm]]:
    """Return groups of arms whose configurations differ in these keys or sections alone, in the order of the arms."""
    groups: dict[str, list[Arm]] = {}
    for arm in arms:
        groups.setdefault(configuration.identity(arm.runs[0], *keys), []).append(arm)
    return list(groups.values())


def arm_by(arms: Iterable[Arm], name: Callable[[Arm], Name]) -> dict[Name, Arm]:
    """Return the arms by a name that a figure has for them; raises Unsuited where two arms have one name."""
    named: dict[Name, Arm] = {}
    for arm in arms:
        other = named.setdefault(name(arm), arm)
        if other is not arm:
            _refuse_pool(f"{other.title} and {arm.title}", other.runs[0], arm.runs[0])
    return named


def common_seeds(arms: Sequence[Arm]) -> list[str]:
    """Return the seeds of the replicates that all arms have."""
    return [seeds for seeds in arms[0].seeds if all(seeds in arm.seeds for arm in arms)]


@dataclass(frozen=True)
class Study:
    """The arms of one sweep."""

    arms: tuple[Arm, ...]  # in order of method, kind, size

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods of the arms, best-of-n first; controls without any reward are no methods."""
        return tuple(dict.fromkeys(arm.method for arm in self.arms if arm.kind not in UNTRAINED))

    def of(self, method: str, *kinds: str) -> list[Arm]:
        """Return the arms of a method, of these kinds or of all."""
        return [arm for arm in self.arms if arm.method == method and (not kinds or arm.kind in kinds)]


# --- from runs to arms ------------------------------------------------------------------------------------------


def study(runs: Sequence[Run], unseen: bool = False) -> Study:
    """Return the arms of the runs that are made; raises MissingRuns where a method of the sweep has none.

    With `unseen`, curves are those of answers about subjects that no comparison is about (task=field_guide).
    """
    made = [run for run in runs if run.status == "made"]
    missing = {naming.method(run) for run in runs} - {naming.method(run) for run in made}
    if missing or not runs:
        names = " and ".join(title(method) for method in sorted(missing)) or "anything"
        raise MissingRuns(f"no run of {names} is made ({len(made)} of {len(runs)} runs are)")
    most_pairs = max(run.config["preferences"]["pairs"] for run in runs)
    choosing = [run for run in made if chooses(run)]
    curves_by_run = list(zip(choosing, chosen_curves(choosing, unseen), strict=True))
    # Trained policies are scaled by a table of the initial policy's answers, where the same proxy scored one.
    initial = {
        proxy_of(run): curves.initial for run, curves in curves_by_run if run.method != selection.HEDGED
    }
    trained = [run for run in made if not chooses(run)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # most of the work is numpy's
        trained_curves = pool.map(lambda run: curves_of(run, initial.get(proxy_of(run)), unseen), trained)
        curves_by_run += zip(trained, trained_curves, strict=True)
    return Study(_arms(curves_by_run, most_pairs))


def _arms(curves_by_run: Sequence[tuple[Run, Curves]], most_pairs: int) -> tuple[Arm, ...]:
    groups: dict[str, list[tuple[Run, Curves]]] = {}
    for run, curves in curves_by_run:
        groups.setdefault(configuration.identity(run), []).append((run, curves))
    names = configuration.seed_names([run for run, _ in group] for group in groups.values())
    first_runs = [group[0][0] for group in groups.values()]
    named = labels.of_arms(first_runs, most_pairs)
    arms = [
        _arm(group, names, words, kind_of(group[0][0], most_pairs))
        for group, words in zip(groups.values(), named, strict=True)
    ]

    def order(arm: Arm) -> tuple[Any, ...]:
        """Return what arms are sorted by: method, kind, sizes, then the settings that vary."""
        sizes = [np.inf if np.isnan(size) else size for size in (arm.parameters, arm.policy_parameters)]
        values = [arm.settings.get(name) for name in sorted(varying[arm.method])]
        numbers = [float(value) for value in values if isinstance(value, (int, float))]
        return arm.method != BEST_OF_N, arm.method, KINDS.index(arm.kind), sizes, numbers, arm.label

    varying = {words.method: words.varying for words in named}
    return tuple(sorted(arms, key=order))


def grouped(runs: Sequence[Run]) -> list[list[Run]]:
    """Return the runs of each arm: those that differ in nothing but seeds."""
    by_identity: dict[str, list[Run]] = {}
    for run in runs:
        by_identity.setdefault(configuration.identity(run), []).append(run)
    return list(by_identity.values())


def runs_by(runs: Iterable[Run], name: Callable[[Run], Name], *without: str) -> dict[Name, list[Run]]:
    """Return the runs by a name that a figure has for their arm.

    Raises Unsuited where runs of one name differ in more than seeds and the keys or sections `without`.
    """
    named: dict[Name, list[Run]] = {}
    for run in runs:
        named.setdefault(name(run), []).append(run)
    for first, *others in named.values():
        own = configuration.identity(first, *without)
        for other in others:
            if configuration.identity(other, *without) != own:
                _refuse_pool(f"runs {first.key[:8]} and {other.key[:8]}", first, other, without)
    return named


def _refuse_pool(words: str, first: Run, other: Run, without: Sequence[str] = ()) -> NoReturn:
    keys = configuration.differing([first, other], *without)
    raise Unsuited(
        f"this figure takes {words} for one arm, and they differ in {', '.join(keys)}: choose runs with --runs"
    )


def _arm(members: Sequence[tuple[Run, Curves]], names: Sequence[str], words: labels.Label, kind: str) -> Arm:
    def seeds(run: Run) -> list[int]:
        """Return the seeds of a run in the order of `names`; -1 for one that it has not."""
        own = configuration.seeds(run)
        return [own.get(name, -1) for name in names]

    ordered = sorted(members, key=lambda member: seeds(member[0]))
    run, first_curves = ordered[0]
    for other, curves in ordered[1:]:
        same_points = np.array_equal(curves.points, first_curves.points)
        if not same_points or not np.array_equal(curves.questions, first_curves.questions):
            raise Unsuited(
                f"{words.label}: runs {run.key} and {other.key} differ in points or questions, so they are no "
                "replicates"
            )
    for (first, _), (other, _) in pairwise(ordered):
        if seeds(first) == seeds(other):
            raise Unsuited(
                f"{words.label}: runs {first.key} ({' '.join(first.overrides)}) and {other.key} "
                f"({' '.join(other.overrides)}) have one configuration and the same seeds, so they are no replicates: "
                "a file that they read or a stage's VERSION has changed between them; choose one with --runs"
            )
    return Arm(
        method=words.method,
        rm=words.rm,
        kind=kind,
        label=words.label,
        parameters=parameters_of(run.config["rm"]["model"]),
        seeds=tuple(configuration.replicate(member, names) for member, _ in ordered),
        curves=tuple(curves for _, curves in ordered),
        runs=tuple(member for member, _ in ordered),
        reward=words.reward,
        policy=words.policy,
    )


def proxy_of(run: Run) -> str:
    """Return what tells recorded proxies apart: all that lies upstream of a policy, seeds among it.

    Rules of selection choose by the shaped proxy, so the shaping counts there too.
    """
    without = NOT_UPSTREAM if not chooses(run) else tuple(set(NOT_UPSTREAM) - {"reward_shaping"})
    upstream = configuration.telling(run, *without)
    if configuration.is_a(run, "rm_combination", "Constrained"):  # it records the mean of its members
        form = ("members", "seeds", "offset")
        upstream = {
            key: value
            for key, value in upstream.items()
            if not key.startswith("rm_combination.") or key.removeprefix("rm_combination.") in form
        }
        upstream["rm_combination"] = "Mean"
    seeds = {
        key: seed for key, seed in configuration.seeds(run).items() if not configuration.within(key, without)
    }
    return json.dumps([upstream, seeds], sort_keys=True, default=str)


def parameters_of(model: Mapping[str, Any]) -> float:
    """Return the non-embedding weights of a Llama-style model; NaN for a checkpoint.

    A layer has 4 h^2 of attention and 3 h m of the MLP, for a hidden size h and an intermediate size m.
    """
    if "hidden" not in model:
        return float("nan")
    return float(model["layers"] * (4 * model["hidden"] ** 2 + 3 * model["hidden"] * model["intermediate"]))
