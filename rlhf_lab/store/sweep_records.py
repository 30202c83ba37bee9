"""Sweep records, which say what runs a sweep asked for, and the place of the store."""

from __future__ import annotations

import difflib
import json
import os
from pathlib import Path
from typing import Any

from rlhf_lab.store.artifacts import inside


class MissingRuns(ValueError):
    """Runs that were asked for are not made; the message ends with the command that makes them."""


class DamagedRuns(ValueError):
    """Files differ from what was made; the message ends with the command that makes them again."""


def store_root(store: str | Path | None = None) -> Path:
    """Return the folder of the store: `store`, or else RLHF_LAB_STORE, or else `./store`."""
    return Path(store or os.environ.get("RLHF_LAB_STORE") or "store").expanduser().resolve()


def sweep_names(store: str | Path | None = None) -> list[str]:
    """Return the names of all sweeps that have a record."""
    return sorted({path.parent.name for path in (store_root(store) / "sweeps").glob("*/*.json")})


def sweep_record(sweep: str, store: str | Path | None = None) -> dict[str, Any]:
    """Return the newest record of a sweep; MissingRuns if the sweep was never started."""
    root = store_root(store)
    known = sweep_names(root)
    if sweep not in known:
        here = f"no runs of sweep {sweep!r} in {root}"
        if close := difflib.get_close_matches(sweep, known, n=1):
            raise MissingRuns(f"{here}: did you mean {close[0]}?")
        raise MissingRuns(f"{here} ({', '.join(known) or 'nothing'} there); make them: {command_of(sweep)}")
    return read_record(max(inside(root / "sweeps", sweep).glob("*.json")))


def read_record(path: Path) -> dict[str, Any]:
    """Return the sweep record at `path`; DamagedRuns if it cannot be used."""
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
    """Return the command that runs a sweep, for a sweep without a record of its command."""
    return "rlhf-lab" if sweep == "adhoc" else f"rlhf-lab experiment={sweep}"
