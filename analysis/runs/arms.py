"""The runs of a sweep sorted into arms: runs that differ in nothing but their seeds are one arm's
replicates.
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
from analysis.best_of_n.initial_policy import InitialScales
from analysis.runs import naming
from analysis.runs.naming import COIN
from analysis.runs.run_curves import chooses, chosen_curves, curves_of
from analysis.statistics.resampling import Resample, original, resamples, weights_of
from rlhf_lab.store.records import MissingRuns, Run

BEST_OF_N = "bon"
HEDGED = "hedge:"  # the method hedge:bon:40 tunes best-of-n on 40 questions
TITLES = {
    BEST_OF_N: "best-of-n",
    "soft_bon": "soft best-of-n",
    "best_of_poisson": "best-of-Poisson",
    "mbr_bon": "MBR best-of-n",
    "pessimism": "pessimism",
    "ppo": "PPO",
    "grpo": "GRPO",
    "rloo": "RLOO",
    "online_dpo": "online DPO",
    "dpo": "DPO",
    "ipo": "IPO",
    "slic": "SLiC",
    "kto": "KTO",
    "expert_iteration": "expert iteration",
}
NO_PART_OF_THE_PROXY = ("reward_shaping", "policy", "score", "tracker", "runtime")  # sections of the config
POLICY = "model"  # the config group of the policy's language model: a setting like those of the method
MAIN, FEW_PAIRS, PENALISED, CONTROL = "main", "few_pairs", "penalised", "drift_control"
DRAWS = 300
SEED = 2022  # of every draw in a figure: the same records give the same numbers


class Drawn(NamedTuple):
    """The bootstrap of an arm: what every replicate's curves are in every draw of questions."""

    resamples: list[Resample]  # the first takes everything once
    replicates: tuple[Normalised, ...]  # of each replicate, curves (B, K), one row a resample

    def mean(self) -> Normalised:
        """(B, K) curves: the mean over the replicates that each resample drew."""
        count = len(self.replicates)
        taken = np.stack([np.bincount(draw.replicates, minlength=count) / count for draw in self.resamples])

        def over(parts: list[np.ndarray]) -> np.ndarray:
            return np.einsum("br,rbk->bk", taken, np.stack(parts))

        names = self.replicates[0].values
        values = {name: over([one.values[name] for one in self.replicates]) for name in names}
        return Normalised(over([one.kl for one in self.replicates]), values)


@dataclass(frozen=True)
class Arm:
    """Replicates of one method against one kind of reward model."""

    method: str  # bon, ppo, ...
    rm: str  # option of the reward model
    kind: str  # main, few_pairs, penalised, drift_control
    label: str  # what is optimised in words, and the settings that vary
    parameters: float  # of the reward model, non-embedding; NaN for a checkpoint
    seeds: tuple[str, ...]  # of each replicate: reward model/preferences/policy
    curves: tuple[Curves, ...]  # of each replicate
    runs: tuple[Run, ...]  # of each replicate
    reward: str = ""  # what is optimised in words: size, rule, comparisons, shaping
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
        """The method's own settings, as the first replicate has them; only `seed` differs in the others."""
        return self.runs[0].config["policy"]

    @property
    def policy_parameters(self) -> float:
        """Of the policy's language model, non-embedding; NaN for a checkpoint."""
        return parameters_of(self.runs[0].config.get(POLICY, {}))

    @property
    def questions(self) -> int:
        """How many questions every replicate was evaluated on."""
        return len(self.curves[0].questions)

    @cached_property
    def drawn(self) -> Drawn:
        """Its curves once as they are and in `DRAWS` resamples."""
        count = len(self.curves)
        draws = [original(count), *resamples(count, np.random.default_rng(SEED), DRAWS)]
        weights = weights_of(draws, self.questions)
        return Drawn(draws, tuple(curves.normalised(weights) for curves in self.curves))

    def of_seeds(self, seeds: Sequence[str]) -> Arm:
        """The arm with only these replicates, in this order."""
        places = [self.seeds.index(one) for one in seeds]
        curves, runs = tuple(self.curves[i] for i in places), tuple(self.runs[i] for i in places)
        return replace(self, seeds=tuple(seeds), curves=curves, runs=runs)

    def stacked(self, name: str) -> np.ndarray:
        """(R, C, K): a number of every replicate, question and point, for paired tests."""
        return np.stack([curves.by_question(name) for curves in self.curves])


def common_seeds(arms: Sequence[Arm]) -> list[str]:
    """The seeds of the replicates that all arms have."""
    return [seeds for seeds in arms[0].seeds if all(seeds in arm.seeds for arm in arms)]


@dataclass(frozen=True)
class Study:
    """Everything that a figure shows of one sweep."""

    arms: tuple[Arm, ...]  # in order of method, size, kind

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods there are, best-of-n first."""
        return tuple(dict.fromkeys(arm.method for arm in self.arms))

    def of(self, method: str, *kinds: str) -> list[Arm]:
        """The arms of a method, of these kinds or all."""
        return [arm for arm in self.arms if arm.method == method and (not kinds or arm.kind in kinds)]


def study(runs: Sequence[Run]) -> Study:
    """Read the runs that are made; MissingRuns when a method of the sweep has none."""
    made = [run for run in runs if run.status == "made"]
    empty = {_method(run) for run in runs} - {_method(run) for run in made}
    if empty or not runs:
        names = " and ".join(title(method) for method in sorted(empty)) or "anything"
        raise MissingRuns(f"no run of {names} is made ({len(made)} of {len(runs)} runs are)")
    most_pairs = max(run.config["preferences"]["pairs"] for run in runs)
    choosing = [run for run in made if chooses(run)]
    read = list(zip(choosing, chosen_curves(choosing), strict=True))
    initial = {_proxy(run): curves.initial for run, curves in read if run.method != selection.HEDGED}
    read += _trained([run for run in made if not chooses(run)], initial)  # they scale the others
    return Study(_arms(read, most_pairs))


def _trained(runs: Sequence[Run], initial: Mapping[str, InitialScales]) -> list[tuple[Run, Curves]]:
    """Each run with its curves; threads, as most of the work is numpy's."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        curves = pool.map(lambda run: curves_of(run, initial.get(_proxy(run))), runs)
        return list(zip(runs, curves, strict=True))


def _arms(read: Sequence[tuple[Run, Curves]], most_pairs: int) -> tuple[Arm, ...]:
    varying = _varying([run for run, _ in read], most_pairs)
    grouped: dict[tuple[str, str], list[tuple[Run, Curves]]] = {}
    for run, curves in read:
        label = _label(run, most_pairs, varying[_method(run)])
        grouped.setdefault((_method(run), label), []).append((run, curves))
    arms = [
        _arm(label, members, most_pairs, POLICY in varying[method])
        for (method, label), members in grouped.items()
    ]
    kinds = (MAIN, FEW_PAIRS, PENALISED, CONTROL)

    def place(arm: Arm) -> tuple[bool, str, int, float, float, list[float], str]:
        """What arms are put in order by."""
        size, policys = (np.inf if np.isnan(one) else one for one in (arm.parameters, arm.policy_parameters))
        numbers = [arm.settings[name] for name in sorted(varying[arm.method] - {POLICY})]
        ordered = [float(one) for one in numbers if isinstance(one, (int, float))]
        return arm.method != BEST_OF_N, arm.method, kinds.index(arm.kind), size, policys, ordered, arm.label

    return tuple(sorted(arms, key=place))


def _arm(label: str, members: Sequence[tuple[Run, Curves]], most_pairs: int, several: bool) -> Arm:
    ordered = sorted(members, key=lambda member: _seeds(member[0]))
    run = ordered[0][0]
    for other, curves in ordered[1:]:
        first = ordered[0][1]
        same = np.array_equal(curves.points, first.points) and np.array_equal(
            curves.questions, first.questions
        )
        if not same:
            raise ValueError(
                f"{label}: runs {run.key} and {other.key} differ in points or questions, so they are no "
                "replicates"
            )
    seeds = tuple("/".join(str(seed) for seed in _seeds(member)) for member, _ in ordered)
    for (first, _), (second, _) in pairwise(ordered):
        if _seeds(first) == _seeds(second):
            raise ValueError(
                f"{label}: runs {first.key} ({' '.join(first.overrides)}) and {second.key} "
                f"({' '.join(second.overrides)}) have the same seeds, so they are no replicates"
            )
    runs, curves = zip(*ordered, strict=True)
    parameters = parameters_of(run.config["rm"]["model"])
    kind = _kind(run, most_pairs)
    reward = naming.reward(run, most_pairs)
    policy = run.choices[POLICY] if several else ""
    return Arm(_method(run), run.choices["rm"], kind, label, parameters, seeds, curves, runs, reward, policy)


def title(method: str) -> str:
    """A method in words."""
    if not method.startswith(HEDGED):
        return TITLES.get(method, method)
    rule, questions = method.removeprefix(HEDGED).rsplit(":", 1)
    return f"HedgeTune of {TITLES[rule]} ({questions} questions)"


def _method(run: Run) -> str:
    """The option of the policy; of HedgeTune with its rule and the questions it saw gold of."""
    policy = run.config["policy"]
    if run.method == selection.HEDGED:
        return f"{HEDGED}{policy['rule']}:{policy['gold_questions']}"
    return BEST_OF_N if run.method == "BestOfN" else run.choices["policy"]


def _proxy(run: Run) -> str:
    """What tells recorded proxies apart: all that lies upstream of a policy; the shaping where rules choose by it."""
    parts = {name: part for name, part in run.config.items() if name not in NO_PART_OF_THE_PROXY}
    upstream = {name: part for name, part in parts.items() if part != {}}  # like records from before a group
    if chooses(run) and (shaping := naming.shaping(run)):
        upstream["reward_shaping"] = shaping
    given = {name: value for name, value in run.config["preferences"].items() if value is not None}
    upstream["preferences"] = given  # records from before there was `model` are like those where it is null
    rule = naming.option(run, "rm_combination")  # rules with the same settings
    if rule == "constrained":  # recorded is the mean of its members
        rule, of = "mean", upstream["rm_combination"]
        upstream["rm_combination"] = {name: of[name] for name in ("members", "seeds", "offset")}
    return json.dumps([rule, upstream], sort_keys=True, default=str)


def _seeds(run: Run) -> tuple[int, int, int]:
    return tuple(run.config[part]["seed"] for part in ("rm", "preferences", "policy"))


def _kind(run: Run, most_pairs: int) -> str:
    if run.config["labeler"].get("rate") == COIN:
        return CONTROL
    if run.config["policy"].get("kl_coef"):
        return PENALISED
    return MAIN if run.config["preferences"]["pairs"] == most_pairs else FEW_PAIRS


def _label(run: Run, most_pairs: int, varying: frozenset[str]) -> str:
    """What is optimised, and all that sets the run apart from the plain case: `varying` names settings."""
    words = [naming.reward(run, most_pairs), *naming.settings(_settings(run), varying)]
    return ", ".join(words)


def _varying(runs: Sequence[Run], most_pairs: int) -> dict[str, frozenset[str]]:
    """Method -> the settings of its own that tell apart runs against like reward models, seeds aside."""
    seen: dict[tuple[str, str], dict[str, set[str]]] = {}
    for run in runs:
        of = seen.setdefault((_method(run), _label(run, most_pairs, frozenset())), {})
        for name, value in _settings(run).items():
            of.setdefault(name, set()).add(str(value))
    varying: dict[str, set[str]] = {}
    for (method, _), of in seen.items():
        varying.setdefault(method, set()).update(name for name, values in of.items() if len(values) > 1)
    return {method: frozenset(names - {"seed"}) for method, names in varying.items()}


def _settings(run: Run) -> dict[str, Any]:
    """The method's own settings, and the language model that it trains or samples."""
    return {**run.config["policy"], POLICY: run.choices.get(POLICY)}


def parameters_of(model: Mapping[str, Any]) -> float:
    """Non-embedding weights of a Llama-style model: attention 4 h^2 and MLP 3 h m a layer; NaN for a
    checkpoint.
    """
    if "hidden" not in model:
        return float("nan")
    return float(model["layers"] * (4 * model["hidden"] ** 2 + 3 * model["hidden"] * model["intermediate"]))


class Unsuited(ValueError):
    """Runs that a figure has nothing to draw of, though nothing is wrong with them."""
