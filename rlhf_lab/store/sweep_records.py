"""Sweep records, which say what runs a sweep asked for, and the place of the store."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from rlhf_lab.store.artifacts import inside, resolved, write_json

RECORD = re.compile(r"\d{4}[-\d]*T[-\d]+Z?\.json")  # name of a record, by its time; the highest is the newest
TIME = "%Y-%m-%dT%H-%M-%S-%fZ"
AHEAD = timedelta(minutes=5)  # that the clocks of machines may differ
ROW = {  # what a job in a record has
    "key": str,
    "choices": dict,
    "overrides": list,
    "config": dict,
    "method": str,
    "uses_gold": bool,
}


class MissingRuns(ValueError):
    """Runs that were asked for are not made; the message ends with the command that makes them."""


class DamagedRuns(ValueError):
    """Files differ from what was made; the message ends with the command that makes them again."""


def store_root(store: str | Path | None = None) -> Path:
    """Return the folder of the store: `store`, or else RLHF_LAB_STORE, or else `./store`."""
    return resolved(store or os.environ.get("RLHF_LAB_STORE") or "store")


def sweep_names(store: str | Path | None = None) -> list[str]:
    """Return the names of all sweeps that have a record."""
    return sorted({path.parent.name for path in record_paths(store_root(store))})


def record_paths(root: Path, unreadable: list[str] | None = None) -> list[Path]:
    """Return the paths of all sweep records, the oldest first. Files that are not named like one do not count.

    A folder that cannot be read becomes a line of `unreadable`; DamagedRuns if that is the folder of all.
    """
    lines: list[str] = [] if unreadable is None else unreadable
    paths = json_files(root, lines)
    if not (root / "sweeps").is_dir() and lines:
        raise DamagedRuns(lines[0])
    named = (path for path in paths if RECORD.fullmatch(path.name) and path.parent.parent != root)
    return sorted(named, key=lambda path: path.name)


def json_files(root: Path, unreadable: list[str]) -> list[Path]:
    """Return all JSON files in `sweeps/` and in its folders, also those that were renamed or moved up.

    What cannot be looked into, and may have been a folder of records, becomes a line of `unreadable`.
    """
    folder, paths = root / "sweeps", list[Path]()
    if not folder.exists() and not folder.is_symlink():
        return paths
    for path in _inside(folder, unreadable):
        paths += [path] if path.is_file() and path.suffix == ".json" else _inside(path, unreadable)
    return [path for path in paths if path.suffix == ".json" and not path.name.startswith(".")]


def _inside(folder: Path, unreadable: list[str]) -> list[Path]:
    try:
        return [] if folder.name.startswith(".") else sorted(folder.iterdir())
    except OSError as error:
        unreadable.append(f"{folder} cannot be read as a folder of sweep records: {error.strerror}")
        return []


def sweep_record(sweep: str, store: str | Path | None = None) -> dict[str, Any]:
    """Return the newest record of a sweep; MissingRuns if the sweep was never started."""
    root = store_root(store)
    known = sweep_names(root)
    if sweep not in known:
        here = f"no runs of sweep {sweep!r} in {root}"
        if close := difflib.get_close_matches(sweep, known, n=1):
            raise MissingRuns(f"{here}: did you mean {close[0]}?")
        raise MissingRuns(f"{here} ({', '.join(known) or 'nothing'} there); make them: {command_of(sweep)}")
    return read_record([path for path in record_paths(root) if path.parent.name == sweep][-1])


def write_record(root: Path, sweep: str, record: Mapping[str, Any]) -> Path:
    """Write the record of a sweep that starts now, and return its path.

    Its name is the time, or follows that of the newest record of the sweep if a clock was ahead when that was written.
    """
    now = datetime.now(timezone.utc)
    folder = inside(root, "sweeps", sweep)
    name = f"{now.strftime(TIME)}.json"
    earlier = [path.name for path in record_paths(root) if path.parent.name == sweep]
    if earlier and earlier[-1] >= name:
        name = f"{(_time(earlier[-1]) + timedelta(microseconds=1)).strftime(TIME)}.json"
    write_json(folder / name, {"sweep": sweep, "time": now.isoformat(), **record})
    return folder / name


def ahead(path: Path) -> bool:
    """Return whether the name of a record says that it was written in the future."""
    return _time(path.name) > datetime.now(timezone.utc) + AHEAD


def _time(name: str) -> datetime:
    numbers = re.sub(r"\D", "", name).ljust(20, "0")[:20]
    return datetime.strptime(numbers, "%Y%m%d%H%M%S%f").replace(tzinfo=timezone.utc)


def read_record(path: Path) -> dict[str, Any]:
    """Return the sweep record at `path`; DamagedRuns if it cannot be used."""
    where, again = f"sweep record {path.parent.name}/{path.name}", "run its sweep again"
    try:
        record = json.loads(path.read_bytes())
    except OSError as error:
        raise DamagedRuns(f"{where} cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        raise DamagedRuns(f"{where} is not JSON; remove it, and {again}") from None
    jobs = record.get("jobs") if isinstance(record, dict) else None
    if not isinstance(jobs, list) or not all(isinstance(job, dict) for job in jobs):
        raise DamagedRuns(f"{where} has no list of jobs; remove it, and {again}")
    lacking = {name for job in jobs for name, kind in ROW.items() if not isinstance(job.get(name), kind)}
    if lacking:
        raise DamagedRuns(
            f"{where} lacks {min(lacking)} of a job: it was edited, or left by an earlier version; {again}"
        )
    return record | {"sweep": path.parent.name, "command": str(record.get("command") or "")}


def command_of(sweep: str) -> str:
    """Return the command that runs a sweep, for a sweep without a record of its command."""
    return "rlhf-lab" if sweep == "adhoc" else f"rlhf-lab experiment={sweep}"
