"""Whether the runs of a figure were made alike: each stage at one VERSION, by one source, under one set of packages.

A stage is compared with itself in the other runs. That a run's stages were made at different times is the
point of a store; that two runs which a claim compares were trained by different code is a confounder.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rlhf_lab.records import Run

NAMED = 3  # runs named of each kind


def mixture(runs: Sequence[Run]) -> str | None:
    """One line that says which stages of the made runs were made unlike each other, and how; None if none."""
    values: dict[tuple[str, str, str], dict[str, list[str]]] = {}  # role, stage, what -> value -> runs' keys
    for run in (run for run in runs if run.status == "made"):
        computed = {role: made for role, made in run.made_by().items() if role}  # the leaf computes nothing
        for role, manifest in computed.items():
            for what, value in _facts(manifest).items():
                stage = str(manifest["stage"]).rpartition(".")[2]
                values.setdefault((role, stage, what), {}).setdefault(value, []).append(run.key[:8])
    stages: dict[str, list[str]] = {}  # a difference in words -> the stages that have it
    for (_, stage, what), found in values.items():
        if len(found) > 1:
            said = " and ".join(f"{what} {value} ({_some(keys)})" for value, keys in sorted(found.items()))
            stages.setdefault(said, []).append(stage)
    return "; ".join(f"{', '.join(dict.fromkeys(names))} by {said}" for said, names in stages.items()) or None


def _facts(manifest: dict[str, Any]) -> dict[str, str]:
    made = manifest["provenance"]
    versions = {name: version or "(none)" for name, version in made.get("packages", {}).items()}
    return {"VERSION": str(manifest["version"]), "source": made.get("source", "(unknown)")[:8], **versions}


def _some(keys: Sequence[str]) -> str:
    if len(keys) == 1:
        return f"run {keys[0]}"
    return f"{len(keys)} runs: {', '.join(keys[:NAMED])}{', ...' if len(keys) > NAMED else ''}"
