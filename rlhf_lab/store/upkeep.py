"""The store as a whole: its size, whether everything in it is as it was made, and what no sweep record needs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf_lab.store import integrity, leases, sweep_records
from rlhf_lab.store.artifacts import KEY_FORMAT, MANIFEST, WORK, read_json

KEY = re.compile(r"[0-9a-f]{20}")
IN_PROGRESS = re.compile(r"(\w+)-([0-9a-f]{20})(-.*)?")  # a folder of work in progress: stage, key, more


@dataclass(frozen=True)
class Prunable:
    """A file or folder in the store that no sweep record needs, its size, and the reason in words."""

    path: Path
    bytes: int
    reason: str


def size(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    if not path.is_dir():
        return path.lstat().st_size
    return sum(p.lstat().st_size for p in path.rglob("*") if not p.is_dir())


def artifacts(root: Path) -> list[Path]:
    """Return the folder of every artifact, made or not. Folders that are not named by a key are never touched."""
    return [folder for stage in _stages(root) for folder in _entries(stage) if _is_artifact(folder)]


def verify(root: Path) -> Iterator[str]:
    """Read every byte of every artifact, and yield a line for each thing that is wrong with the store."""
    manifests = {}
    for folder in artifacts(root):
        try:
            manifests[folder] = integrity.check(folder)
            for name in integrity.foreign(folder):
                yield f"{folder.parent.name}/{folder.name} holds {name}, which its manifest does not list"
        except (integrity.Damaged, OSError) as damaged:
            yield str(damaged)
    for folder, manifest in manifests.items():
        inputs = [root.joinpath(*upstream) for upstream in manifest["inputs"].values()]
        try:
            integrity.check_together([path for path in inputs if path in manifests])
        except (integrity.Damaged, OSError) as damaged:
            yield f"{damaged} (both are inputs of {folder.parent.name}/{folder.name})"
    for path in _foreign(root):
        yield f"{path.relative_to(root)} is nothing that was made here"
    unreadable: list[str] = []
    records = sweep_records.json_files(root, unreadable)
    yield from unreadable
    for path in records:
        try:
            sweep_records.read_record(path)
        except sweep_records.DamagedRuns as damaged:
            yield str(damaged)
    for path in _entries(root / "runs"):
        status = path / "status.json"
        if status.exists() and not read_json(status):
            yield f"{status.relative_to(root)} is no JSON object; the same command writes it again"


def prunable(root: Path, newest: bool = False) -> list[Prunable]:
    """Return what no sweep record needs, or with `newest`, what the newest record of no sweep needs.

    A figure reads the newest record of its sweep, so nothing that it needs is returned. Raises ValueError if a record
    cannot be read, or with `newest` if a process makes something, as that may be for an older record, or if a record
    is dated in the future.
    """
    if newest and (busy := [path for path in _entries(root / "locks") if not leases.over(path)]):
        raise ValueError(
            f"{leases.holder(busy[0])} is making {busy[0].stem}: prune --newest when nothing runs"
        )
    unreadable: list[str] = []
    records = sweep_records.json_files(root, unreadable)
    if unreadable:
        raise ValueError(f"{unreadable[0]}, so what its records need is not known")
    replaced = _replaced(records) if newest else set()
    needed = {stage_and_key for path in records if path not in replaced for stage_and_key in wanted(path)}
    reasons = {path: "replaced by a newer record of its sweep" for path in sorted(replaced)}
    for folder in artifacts(root):
        if (folder.parent.name, folder.name) not in needed:
            reasons[folder] = "no sweep record needs it"
        elif not (folder / MANIFEST).is_file():
            reasons[folder] = "half removed"
    for folder in _entries(root / "runs"):
        if _is_artifact(folder) and ("run", folder.name) not in needed:
            reasons[folder] = "no sweep record has this run"
    for path in [*_entries(root / "scratch"), *_entries(root / "checkpoints")]:
        if reason := _leftover(path, root, needed):
            reasons[path] = reason
    for path in _entries(root / "locks"):
        if reason := leases.over(path):
            reasons[path] = reason
    return [Prunable(path, size(path), reason) for path, reason in reasons.items()]


def earlier_format(root: Path) -> str | None:
    """Return a line that tells how many runs have keys of an earlier format, or None if there are none.

    New runs do not use what such runs are made of.
    """
    manifests = (folder / MANIFEST for folder in _entries(root / "run") if _is_artifact(folder))
    count = sum(
        f'"format": {KEY_FORMAT}'.encode() not in path.read_bytes() for path in manifests if path.is_file()
    )
    if not count:
        return None
    return (
        f"{root} holds {count} runs whose keys have an earlier format: they stay and figures still read them, "
        "but new runs make their stages again"
    )


def remove(items: Sequence[Prunable]) -> None:
    """Remove files and folders; the manifest goes first, so that a half-removed artifact never counts as made."""
    for item in items:
        if item.path.is_dir():
            (item.path / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(item.path)
        else:
            item.path.unlink(missing_ok=True)


def wanted(path: Path) -> set[tuple[str, str]]:
    """Return (stage, key) of every artifact that the jobs of a sweep record are made of; ValueError if unreadable."""
    try:
        jobs: list[dict[str, Any]] = json.loads(path.read_bytes())["jobs"]
        return {(str(stage), str(key)) for job in jobs for stage, key in job["stages"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        raise ValueError(
            f"sweep record {path.parent.name}/{path.name} cannot be read, so what it needs is not known: "
            "remove it, or run its sweep again and then remove it"
        ) from None


def _replaced(records: Sequence[Path]) -> set[Path]:
    """Return the records that are not the newest of their sweep; ValueError if it is not known which is the newest."""
    newest: dict[Path, Path] = {}
    named = sorted(path for path in records if sweep_records.RECORD.fullmatch(path.name))
    for path in named:
        if sweep_records.ahead(path):
            raise ValueError(
                f"sweep record {path.parent.name}/{path.name} is dated in the future, so a clock was ahead and the "
                "newest is not known: rename it to the time when it was written, or prune without --newest"
            )
        newest[path.parent] = path
    return {*named} - {*newest.values()}


def _leftover(path: Path, root: Path, needed: set[tuple[str, str]]) -> str | None:
    """Return why no process will go on with a folder of work in progress.

    None for a stage that is being made, and for the checkpoint of a stage that a record needs and that is not made.
    """
    name = IN_PROGRESS.fullmatch(path.name)
    if not name:
        return "left by an unknown process"
    stage, key = name[1], name[2]
    lease = root / "locks" / f"{stage}-{key}.lease"
    under_way = lease.exists() and not leases.over(lease)
    awaited = (stage, key) in needed and not (root / stage / key / MANIFEST).is_file()
    if under_way or (awaited and path.parent.name == "checkpoints"):
        return None
    return "left by a worker that died"


def _stages(root: Path) -> list[Path]:
    return [path for path in _entries(root) if _is_folder(path) and path.name not in WORK]


def _foreign(root: Path) -> Iterator[Path]:
    """Yield what lies among the artifacts and is none."""
    yield from (path for path in _entries(root) if not _is_folder(path))
    for stage in _stages(root):
        yield from (path for path in _entries(stage) if not _is_artifact(path))


def _is_artifact(path: Path) -> bool:
    return _is_folder(path) and KEY.fullmatch(path.name) is not None


def _is_folder(path: Path) -> bool:
    """Return whether `path` is a folder of this store, not a link that leads elsewhere."""
    return path.is_dir() and not path.is_symlink()


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
