"""What sweeps left of what was asked for: their records, and where the store is."""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import Any

from rlhf_lab.store.artifacts import inside


class MissingRuns(ValueError):
    """Records that were asked for and are not there; the message ends with the command that makes them."""


class DamagedRuns(ValueError):
    """Records that are not what was made; the message ends with the command that makes them again."""


def store_root(store: str | Path | None = None) -> Path:
    """The folder of everything made: `store`, else RLHF_LAB_STORE, else ./store."""
    return Path(store or os.environ.get("RLHF_LAB_STORE") or "store").expanduser().resolve()


def sweep_names(store: str | Path | None = None) -> list[str]:
    """The names of all sweeps with a record."""
    return sorted({path.parent.name for path in (store_root(store) / "sweeps").glob("*/*.json")})


def sweep_record(sweep: str, store: str | Path | None = None) -> dict[str, Any]:
    """The newest record of the sweep of this name; MissingRuns when it was never started."""
    root = store_root(store)
    known = sweep_names(root)
    if sweep not in known:  # a path is no name
        here = f"no runs of sweep {sweep!r} in {root}"
        if close := difflib.get_close_matches(sweep, known, n=1):
            raise MissingRuns(f"{here}: did you mean {close[0]}?")
        raise MissingRuns(f"{here} ({', '.join(known) or 'nothing'} there); make them: {command_of(sweep)}")
    found = sorted(inside(root / "sweeps", sweep).glob("*.json"))
    return read_record(found[-1])


def read_record(path: Path) -> dict[str, Any]:
    """The sweep record at `path`; DamagedRuns for one that cannot be used."""
    try:
        record = json.loads(path.read_text())
    except ValueError:
        raise DamagedRuns(f"sweep record {path} is not JSON; remove it, and run its sweep again") from None
    if not all("method" in row for row in record["jobs"]):
        raise DamagedRuns(
            f"sweep record {path} was left by an earlier version; remove it, and run its sweep again"
        )
    return record


def command_of(sweep: str) -> str:
    """The command that runs a sweep, where there is no record of how it was run."""
    return "rlhf-lab" if sweep == "adhoc" else f"rlhf-lab experiment={sweep}"
