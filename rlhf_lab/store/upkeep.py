"""The store as a whole: how large it is, whether all of it is what was made, what of it nobody needs."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlhf_lab.store import integrity, leases
from rlhf_lab.store.artifacts import KEY_FORMAT, MANIFEST, WORK

KEY = re.compile(r"[0-9a-f]{20}")
OF_STAGE = re.compile(r"(\w+)-([0-9a-f]{20})(-.*)?")  # stage and key that a folder of work in progress is for


@dataclass(frozen=True)
class Prunable:
    """Something in the store that no sweep record needs."""

    path: Path
    bytes: int
    why: str


def size(path: Path) -> int:
    """Bytes of a file, or of all files in a folder."""
    if not path.is_dir():
        return path.lstat().st_size
    return sum(p.lstat().st_size for p in path.rglob("*") if not p.is_dir())


def artifacts(root: Path) -> list[Path]:
    """The folder of every artifact, whole or not; what is not called like one is never touched."""
    return [folder for stage in _stages(root) for folder in _inside(stage) if _is_artifact(folder)]


def verify(root: Path) -> Iterator[str]:
    """What is wrong with the store, a line each, found by reading every byte of every artifact."""
    manifests = {}
    for folder in artifacts(root):
        try:
            manifests[folder] = integrity.check(folder)
        except integrity.Damaged as damaged:
            yield str(damaged)
    for folder, manifest in manifests.items():
        inputs = [root.joinpath(*upstream) for upstream in manifest["inputs"].values()]
        try:
            integrity.check_together([path for path in inputs if path in manifests])
        except integrity.Damaged as damaged:
            yield f"{damaged} (both are inputs of {folder.parent.name}/{folder.name})"
    for path in _foreign(root):
        yield f"{path.relative_to(root)} is nothing that was made here"
    for path in sorted((root / "sweeps").glob("*/*.json")):
        try:
            wanted(path)
        except ValueError as error:
            yield str(error)


def prunable(root: Path, newest: bool = False) -> list[Prunable]:
    """What no sweep record needs, or with `newest` no sweep's newest record; ValueError if one is unreadable,
    or if with `newest` something is being made, perhaps for an older record.

    A figure reads the newest record of its sweep, so what it needs is never among these.
    """
    if newest and (busy := [path for path in _inside(root / "locks") if not leases.over(path)]):
        raise ValueError(
            f"{leases.holder(busy[0])} is making {busy[0].stem}: prune --newest when nothing runs"
        )
    records, dropped = _records(root, newest)
    needed = {stage for path in records for stage in wanted(path)}
    runs = {key for stage, key in needed if stage == "run"}
    found = [(path, "replaced by a newer record of its sweep") for path in dropped]
    for folder in artifacts(root):
        if (folder.parent.name, folder.name) not in needed:
            found.append((folder, "no sweep record needs it"))
        elif not (folder / MANIFEST).is_file():
            found.append((folder, "half removed"))
    jobs = [path for path in _inside(root / "runs") if _is_artifact(path)]
    found += [(path, "no sweep record has this run") for path in jobs if path.name not in runs]
    for name in ("scratch", "checkpoints"):
        found += [(path, why) for path in _inside(root / name) if (why := _leftover(path, root, needed))]
    found += [(path, why) for path in _inside(root / "locks") if (why := leases.over(path))]
    return [Prunable(path, size(path), why) for path, why in found]


def earlier_format(root: Path) -> str | None:
    """A line about runs whose keys have an earlier format, which new runs do not use; None if there are none."""
    manifests = (folder / MANIFEST for folder in _inside(root / "run") if _is_artifact(folder))
    count = sum(f'"format": {KEY_FORMAT}' not in path.read_text() for path in manifests if path.is_file())
    if not count:
        return None
    return (
        f"{root} holds {count} runs whose keys have an earlier format: they stay and figures still read them, "
        "but new runs make their stages again"
    )


def remove(items: Sequence[Prunable]) -> None:
    """Remove them; of an artifact the manifest goes first, so that a half-removed one never counts as made."""
    for item in items:
        if item.path.is_dir():
            (item.path / MANIFEST).unlink(missing_ok=True)
            shutil.rmtree(item.path)
        else:
            item.path.unlink(missing_ok=True)


def wanted(path: Path) -> set[tuple[str, str]]:
    """Stage and key of all that the jobs of a sweep record are made of."""
    try:
        jobs: list[dict[str, Any]] = json.loads(path.read_text())["jobs"]
        return {(str(stage), str(key)) for job in jobs for stage, key in job["stages"]}
    except (ValueError, KeyError, TypeError):
        raise ValueError(
            f"sweep record {path.parent.name}/{path.name} cannot be read, so what it needs is not known: "
            "remove it, or run its sweep again and then remove it"
        ) from None


def _records(root: Path, newest: bool) -> tuple[list[Path], list[Path]]:
    """The sweep records that count and, if only each sweep's newest does, the others."""
    kept, dropped = [], []
    for folder in _inside(root / "sweeps"):
        paths = sorted(folder.glob("*.json"))
        kept += paths[-1:] if newest else paths
        dropped += paths[:-1] if newest else []
    return kept, dropped


def _leftover(path: Path, root: Path, needed: set[tuple[str, str]]) -> str | None:
    """Why nobody will go on with a folder of work in progress; None for what is under way, and for the
    checkpoint of a stage that a record needs and that is not made.
    """
    name = OF_STAGE.fullmatch(path.name)
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
    return [path for path in _inside(root) if _is_folder(path) and path.name not in WORK]


def _foreign(root: Path) -> Iterator[Path]:
    """What lies where artifacts do and is none."""
    yield from (path for path in _inside(root) if not _is_folder(path))
    for stage in _stages(root):
        yield from (path for path in _inside(stage) if not _is_artifact(path))


def _is_artifact(path: Path) -> bool:
    return _is_folder(path) and KEY.fullmatch(path.name) is not None


def _is_folder(path: Path) -> bool:
    """Whether something is a folder of this store: a link leads elsewhere."""
    return path.is_dir() and not path.is_symlink()


def _inside(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if folder.is_dir() else []
