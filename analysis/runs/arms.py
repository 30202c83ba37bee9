"""Runs sorted into arms: runs whose configurations differ in nothing but seeds are the replicates of one arm.

An arm is told from the others by its configuration. Its label is for display: the words that `naming` has for what sets
it apart, followed by every key that tells arms of like words apart.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from analysis.best_of_n import selection
from analysis.best_of_n.curves import Curves, Normalised
from analysis.runs import configuration, naming
from analysis.runs.configuration import Unsuited as Unsuited
from analysis.runs.naming import BEST_OF_N, COIN, title
from analysis.runs.run_curves import chooses, chosen_curves, curves_of
from analysis.statistics.resampling import Resample, original, resamples, weights_of
from rlhf_lab.store.records import MissingRuns, Run

NOT_UPSTREAM = ("reward_shaping", "policy", "score", "tracker", "runtime")  # sections that change no proxy
POLICY = "model"  # config group of the policy's language model, which counts among the method's settings
KINDS = ("main", "few_pairs", "penalised", "drift_control")  # of arms, in this order
MAIN, FEW_PAIRS, PENALISED, CONTROL = KINDS
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
    kind: str  # main, few_pairs, penalised, drift_control
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
        return parameters_of(self.runs[0].config.get(POLICY, {}))

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


def common_seeds(arms: Sequence[Arm]) -> list[str]:
    """Return the seeds of the replicates that all arms have."""
    return [seeds for seeds in arms[0].seeds if all(seeds in arm.seeds for arm in arms)]


@dataclass(frozen=True)
class Study:
    """The arms of one sweep."""

    arms: tuple[Arm, ...]  # in order of method, kind, size

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods of the arms, best-of-n first."""
        return tuple(dict.fromkeys(arm.method for arm in self.arms))

    def of(self, method: str, *kinds: str) -> list[Arm]:
        """Return the arms of a method, of these kinds or of all."""
        return [arm for arm in self.arms if arm.method == method and (not kinds or arm.kind in kinds)]


# --- from runs to arms ------------------------------------------------------------------------------------------


def study(runs: Sequence[Run]) -> Study:
    """Return the arms of the runs that are made; raises MissingRuns where a method of the sweep has none."""
    made = [run for run in runs if run.status == "made"]
    missing = {naming.method(run) for run in runs} - {naming.method(run) for run in made}
    if missing or not runs:
        names = " and ".join(title(method) for method in sorted(missing)) or "anything"
        raise MissingRuns(f"no run of {names} is made ({len(made)} of {len(runs)} runs are)")
    most_pairs = max(run.config["preferences"]["pairs"] for run in runs)
    choosing = [run for run in made if chooses(run)]
    curves_by_run = list(zip(choosing, chosen_curves(choosing), strict=True))
    # Trained policies are scaled by a table of the initial policy's answers, where the same proxy scored one.
    initial = {_proxy(run): curves.initial for run, curves in curves_by_run if run.method != selection.HEDGED}
    trained = [run for run in made if not chooses(run)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # most of the work is numpy's
        trained_curves = pool.map(lambda run: curves_of(run, initial.get(_proxy(run))), trained)
        curves_by_run += zip(trained, trained_curves, strict=True)
    return Study(_arms(curves_by_run, most_pairs))


def _arms(curves_by_run: Sequence[tuple[Run, Curves]], most_pairs: int) -> tuple[Arm, ...]:
    runs = [run for run, _ in curves_by_run]
    varying = _varying(runs, most_pairs)
    groups: dict[str, list[tuple[Run, Curves]]] = {}
    for run, curves in curves_by_run:
        groups.setdefault(f"{naming.method(run)} {configuration.identity(run)}", []).append((run, curves))
    members = list(groups.values())
    labels = _labels([group[0][0] for group in members], most_pairs, varying)
    names = _seed_names(runs)
    arms = [
        _arm(label, group, most_pairs, names, several_policies=POLICY in varying[naming.method(group[0][0])])
        for label, group in zip(labels, members, strict=True)
    ]

    def order(arm: Arm) -> tuple[Any, ...]:
        sizes = [np.inf if np.isnan(size) else size for size in (arm.parameters, arm.policy_parameters)]
        values = [arm.settings[name] for name in sorted(varying[arm.method] - {POLICY})]
        numbers = [float(value) for value in values if isinstance(value, (int, float))]
        return arm.method != BEST_OF_N, arm.method, KINDS.index(arm.kind), sizes, numbers, arm.label

    return tuple(sorted(arms, key=order))


def _labels(runs: Sequence[Run], most_pairs: int, varying: Mapping[str, frozenset[str]]) -> list[str]:
    """Return a label for each arm, given by its first run; no two arms of one method share theirs."""
    words = [_label(run, most_pairs, varying[naming.method(run)]) for run in runs]
    alike: dict[tuple[str, str], list[int]] = {}
    for place, run in enumerate(runs):
        alike.setdefault((naming.method(run), words[place]), []).append(place)
    for places in alike.values():
        if len(places) > 1:
            keys = configuration.differing([runs[place] for place in places])
            for place in places:
                words[place] = ", ".join(
                    [words[place], *naming.values(configuration.settings(runs[place]), keys)]
                )
    return words


def _arm(
    label: str,
    members: Sequence[tuple[Run, Curves]],
    most_pairs: int,
    seed_names: Sequence[str],
    several_policies: bool,
) -> Arm:
    ordered = sorted(members, key=lambda member: _seeds(member[0], seed_names))
    run, first_curves = ordered[0]
    for other, curves in ordered[1:]:
        same_points = np.array_equal(curves.points, first_curves.points)
        if not same_points or not np.array_equal(curves.questions, first_curves.questions):
            raise ValueError(
                f"{label}: runs {run.key} and {other.key} differ in points or questions, so they are no "
                "replicates"
            )
    for (first, _), (second, _) in pairwise(ordered):
        if configuration.seeds(first) == configuration.seeds(second):
            raise ValueError(
                f"{label}: runs {first.key} ({' '.join(first.overrides)}) and {second.key} "
                f"({' '.join(second.overrides)}) have one configuration and the same seeds, so they are no replicates"
            )
    return Arm(
        method=naming.method(run),
        rm=run.choices["rm"],
        kind=_kind(run, most_pairs),
        label=label,
        parameters=parameters_of(run.config["rm"]["model"]),
        seeds=tuple("/".join(map(str, _seeds(member, seed_names))) for member, _ in ordered),
        curves=tuple(curves for _, curves in ordered),
        runs=tuple(member for member, _ in ordered),
        reward=naming.reward(run, most_pairs),
        policy=run.choices[POLICY] if several_policies else "",
    )


def _proxy(run: Run) -> str:
    """Return what tells recorded proxies apart: all that lies upstream of a policy.

    Rules of selection choose by the shaped proxy, so the shaping counts there too. Records from before a config group
    or a setting existed are like those that have its plain option.
    """
    upstream = {
        name: section for name, section in run.config.items() if name not in NOT_UPSTREAM and section != {}
    }
    shaping = naming.shaping(run)
    if shaping and chooses(run):
        upstream["reward_shaping"] = shaping
    preferences = run.config["preferences"]
    upstream["preferences"] = {name: value for name, value in preferences.items() if value is not None}
    rule = configuration.option(run, "rm_combination")
    if rule == "constrained":  # its recorded proxy is the mean of its members
        rule, settings = "mean", upstream["rm_combination"]
        upstream["rm_combination"] = {name: settings[name] for name in ("members", "seeds", "offset")}
    return json.dumps([rule, upstream], sort_keys=True, default=str)


def _seed_names(runs: Sequence[Run]) -> list[str]:
    """Return the seeds by which replicates are called: the usual ones, and any other in which runs differ."""
    each = [configuration.seeds(run) for run in runs]
    keys = dict.fromkeys(key for found in each for key in found)
    return [key for key in keys if key in configuration.USUAL or len({found.get(key) for found in each}) > 1]


def _seeds(run: Run, names: Sequence[str]) -> tuple[int, ...]:
    """Return the seeds of a run; one that it has not, -1."""
    found = configuration.seeds(run)
    return tuple(int(found.get(name, -1)) for name in names)


def _kind(run: Run, most_pairs: int) -> str:
    if naming.flipped(run) == COIN:
        return CONTROL
    if run.config["policy"].get("kl_coef"):
        return PENALISED
    return MAIN if run.config["preferences"]["pairs"] == most_pairs else FEW_PAIRS


def _label(run: Run, most_pairs: int, varying: frozenset[str]) -> str:
    """Return the reward in words, and the settings of the method that are `varying`."""
    return ", ".join([naming.reward(run, most_pairs), *naming.settings(_settings(run), varying)])


def _varying(runs: Sequence[Run], most_pairs: int) -> dict[str, frozenset[str]]:
    """Method -> its settings, seeds aside, that differ between runs against like reward models."""
    values: dict[tuple[str, str], dict[str, set[str]]] = {}  # method, reward -> setting -> values
    for run in runs:
        like = values.setdefault((naming.method(run), _label(run, most_pairs, frozenset())), {})
        for name, value in _settings(run).items():
            like.setdefault(name, set()).add(str(value))
    varying: dict[str, set[str]] = {}
    for (method, _), like in values.items():
        several = {name for name, different in like.items() if len(different) > 1}
        varying.setdefault(method, set()).update(several - {"seed"})
    return {method: frozenset(names) for method, names in varying.items()}


def _settings(run: Run) -> dict[str, Any]:
    """Return the method's own settings, and the language model that it trains or samples."""
    return {**run.config["policy"], POLICY: run.choices.get(POLICY)}


def parameters_of(model: Mapping[str, Any]) -> float:
    """Return the non-embedding weights of a Llama-style model; NaN for a checkpoint.

    A layer has 4 h^2 of attention and 3 h m of the MLP, for a hidden size h and an intermediate size m.
    """
    if "hidden" not in model:
        return float("nan")
    return float(model["layers"] * (4 * model["hidden"] ** 2 + 3 * model["hidden"] * model["intermediate"]))
