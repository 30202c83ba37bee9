"""Whether the runs of a figure were made alike: each stage at one VERSION, under one set of packages.

A stage is compared with itself in the other runs. That a run's stages were made at different times is the
point of a store; that two runs which a claim compares were trained by different code is a confounder. A change
of the source under one VERSION is said to leave results alone: it is told, and no claim is refused for it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from rlhf_lab.store.records import Run

NAMED = 3  # runs named of each kind


Values = dict[tuple[str, str, str], dict[str, list[str]]]  # role, stage, what -> value -> keys of the runs
SOURCE = "source"


class Mixture(NamedTuple):
    """What the made runs of a figure do not have in common."""

    unlike: (
        str  # in one line: stages that differ in VERSION or packages, and in which runs; empty if none does
    )
    sources: list[str]  # stages that not all runs have from the same state of the source code


def mixture(runs: Sequence[Run]) -> Mixture:
    """How the made runs differ from each other."""
    stages: dict[str, list[str]] = {}  # a difference in words -> the stages that have it
    sources: set[str] = set()
    for (_, stage, what), found in _values(runs).items():
        if len(found) > 1 and what == SOURCE:
            sources.add(stage)
        elif len(found) > 1:
            said = " and ".join(f"{what} {value} ({_some(keys)})" for value, keys in sorted(found.items()))
            stages.setdefault(said, []).append(stage)
    unlike = (f"{', '.join(dict.fromkeys(names))} by {said}" for said, names in stages.items())
    return Mixture("; ".join(unlike), sorted(sources))


def _values(runs: Sequence[Run]) -> Values:
    values: Values = {}
    for run in (run for run in runs if run.status == "made"):
        computed = {role: made for role, made in run.made_by().items() if role}  # the leaf computes nothing
        for role, manifest in computed.items():
            for what, value in _facts(manifest).items():
                stage = str(manifest["stage"]).rpartition(".")[2]
                values.setdefault((role, stage, what), {}).setdefault(value, []).append(run.key[:8])
    return values


def _facts(manifest: dict[str, Any]) -> dict[str, str]:
    made = manifest["provenance"]
    packages = {name: version or "(none)" for name, version in made.get("packages", {}).items()}
    return {"VERSION": str(manifest["version"]), SOURCE: made.get("source", "(unknown)"), **packages}


def _some(keys: Sequence[str]) -> str:
    if len(keys) == 1:
        return f"run {keys[0]}"
    return f"{len(keys)} runs: {', '.join(keys[:NAMED])}{', ...' if len(keys) > NAMED else ''}"
