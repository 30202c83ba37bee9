"""Labels of arms: the words that `naming` has for them, then each key that still differs with its value.

Two arms of one method never have the same label.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from pathlib import PurePath
from typing import Any, NamedTuple

from analysis.runs import naming
from analysis.runs.configuration import differing, settings, telling, within
from rlhf_lab.store.records import Run

POLICY = "model"  # config group of the policy's language model, which counts among the method's settings
NOT_REWARD = ("policy", "score", POLICY)  # sections that change no reward model


class Label(NamedTuple):
    """How an arm is called."""

    method: str
    rm: str  # the reward model's size, or its checkpoint
    policy: str  # that of the policy's language model where the method has several, else empty
    reward: str  # size, rule, comparisons, shaping, and other settings that differ
    label: str  # the reward, and the settings of the method that vary
    varying: frozenset[str]  # settings of the method, by their names


def of_arms(runs: Sequence[Run], most_pairs: int) -> list[Label]:
    """Return the label of each arm, of which `runs` has one run each."""
    names = checkpoints(runs)
    methods = [naming.method(run) for run in runs]
    sizes = [size(run, "rm", "rm.model", names) for run in runs]
    rewards = [naming.reward(run, rm, most_pairs) for run, rm in zip(runs, sizes, strict=True)]
    rewards = [
        ", ".join([words, *more])
        for words, more in zip(rewards, told_apart(runs, rewards, names, NOT_REWARD), strict=True)
    ]
    policies = [size(run, POLICY, POLICY, names) for run in runs]
    varying = _varying(runs, methods, rewards, policies)
    policies = [
        policy if POLICY in varying[method] else "" for policy, method in zip(policies, methods, strict=True)
    ]
    labels = [
        ", ".join([reward, *naming.settings(run, policy, varying[method] - {POLICY})])
        for run, reward, policy, method in zip(runs, rewards, policies, methods, strict=True)
    ]
    more = told_apart(runs, list(zip(methods, labels, strict=True)), names)
    return [
        Label(method, rm, policy, reward, ", ".join([label, *words]), varying[method] - {POLICY})
        for method, rm, policy, reward, label, words in zip(
            methods, sizes, policies, rewards, labels, more, strict=True
        )
    ]


def told_apart(
    runs: Sequence[Run], words: Sequence[Hashable], names: Mapping[str, str], without: Sequence[str] = ()
) -> list[list[str]]:
    """Return `key value` for each key in which a run differs from others of the same words, for each run.

    Keys and sections in `without` are not looked at.
    """
    alike: dict[Hashable, list[Run]] = {}
    for run, own in zip(runs, words, strict=True):
        alike.setdefault(own, []).append(run)
    keys_of = {own: differing(others, *without) for own, others in alike.items()}
    more = []
    for run, own in zip(runs, words, strict=True):
        values = settings(run)
        more.append([f"{key} {_shown(values[key], names)}" for key in keys_of[own] if key in values])
    return more


def _shown(value: Any, names: Mapping[str, str]) -> str:
    return names.get(value, value) if isinstance(value, str) else str(value)


# --- language models ----------------------------------------------------------------------------------------


def size(run: Run, group: str, path: str, names: Mapping[str, str]) -> str:
    """Return the option of a language model, and the name of its checkpoint if it is one."""
    words = run.choices.get(group, "")
    checkpoint = settings(run).get(f"{path}.path")
    return words if checkpoint is None else f"{words} {names[checkpoint]}"


def checkpoints(runs: Sequence[Run]) -> dict[str, str]:
    """Return, for each path among the settings of runs, the shortest end of it that tells it from the others."""
    paths = {
        value
        for run in runs
        for key, value in settings(run).items()
        if key.endswith(".path") and isinstance(value, str)
    }
    names = {}
    for path in paths:
        parts = PurePath(path).parts
        tails = [str(PurePath(*parts[-count:])) for count in range(1, len(parts) + 1)]
        others = [PurePath(other).parts for other in paths - {path}]
        unique = (
            tail
            for count, tail in enumerate(tails, 1)
            if not any(other[-count:] == parts[-count:] for other in others)
        )
        names[path] = next(unique, path)
    return names


# --- settings of a method -----------------------------------------------------------------------------------


def _varying(
    runs: Sequence[Run], methods: Sequence[str], rewards: Sequence[str], policies: Sequence[str]
) -> dict[str, frozenset[str]]:
    """Method -> its settings that differ between arms with the same reward and penalty."""
    values: dict[tuple[str, ...], list[dict[str, str]]] = {}  # of arms alike in method, reward, penalty
    for run, method, reward, policy in zip(runs, methods, rewards, policies, strict=True):
        own = {
            key.removeprefix("policy."): str(value)
            for key, value in telling(run).items()
            if within(key, ["policy"]) and key != "policy"
        }
        like = method, reward, *naming.settings(run, "", frozenset())
        values.setdefault(like, []).append(own | {POLICY: policy})
    varying: dict[str, set[str]] = {method: set() for method in methods}
    for (method, *_), tables in values.items():
        keys = {key for table in tables for key in table}
        varying[method] |= {key for key in keys if len({table.get(key) for table in tables}) > 1}
    return {method: frozenset(names) for method, names in varying.items()}
