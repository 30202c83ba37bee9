"""Whether the runs of a figure were made alike: each stage at one VERSION, under one set of packages.

A stage is compared with itself in the other runs. That a run's stages were made at different times is the
point of a store; that two runs which a claim compares were trained by different code is a confounder. A change
of the source under one VERSION is said to leave results alone: it is told, and no claim is refused for it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from rlhf_lab.records import Run

NAMED = 3  # runs named of each kind


Facts = Callable[[dict[str, Any]], dict[str, str]]  # of a manifest: what is compared -> its value


def mixture(runs: Sequence[Run]) -> str | None:
    """One line that says which stages of the made runs differ in VERSION or packages; None if none does."""
    return _differences(runs, _results)


def sources(runs: Sequence[Run]) -> str | None:
    """One line that says which stages of the made runs were made by different source code; None if none was."""
    return _differences(runs, _source)


def _differences(runs: Sequence[Run], facts: Facts) -> str | None:
    values: dict[tuple[str, str, str], dict[str, list[str]]] = {}  # role, stage, what -> value -> runs' keys
    for run in (run for run in runs if run.status == "made"):
        computed = {role: made for role, made in run.made_by().items() if role}  # the leaf computes nothing
        for role, manifest in computed.items():
            for what, value in facts(manifest).items():
                stage = str(manifest["stage"]).rpartition(".")[2]
                values.setdefault((role, stage, what), {}).setdefault(value, []).append(run.key[:8])
    stages: dict[str, list[str]] = {}  # a difference in words -> the stages that have it
    for (_, stage, what), found in values.items():
        if len(found) > 1:
            said = " and ".join(f"{what} {value} ({_some(keys)})" for value, keys in sorted(found.items()))
            stages.setdefault(said, []).append(stage)
    return "; ".join(f"{', '.join(dict.fromkeys(names))} by {said}" for said, names in stages.items()) or None


def _results(manifest: dict[str, Any]) -> dict[str, str]:
    packages = manifest["provenance"].get("packages", {})
    return {"VERSION": str(manifest["version"])} | {
        name: version or "(none)" for name, version in packages.items()
    }


def _source(manifest: dict[str, Any]) -> dict[str, str]:
    return {"source": manifest["provenance"].get("source", "(unknown)")[:8]}


def _some(keys: Sequence[str]) -> str:
    if len(keys) == 1:
        return f"run {keys[0]}"
    return f"{len(keys)} runs: {', '.join(keys[:NAMED])}{', ...' if len(keys) > NAMED else ''}"
