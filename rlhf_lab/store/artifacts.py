"""The store: a folder of artifacts, each named by the digest of everything that determines its contents, its key.

`store/<stage>/<key>/` is one artifact. It counts as made when it holds `manifest.json`. It is filled elsewhere and put
there by one rename, so that a process that is killed leaves nothing that looks made. A lease per key
(`rlhf_lab.store.leases`) saves two processes from doing the same work. The manifest lists every file with its size and
SHA-256, and `rlhf_lab.store.integrity` checks them before use.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

from rlhf_lab.store import leases, redaction
from rlhf_lab.store.leases import Lease

MANIFEST = "manifest.json"
KEY_FORMAT = (
    2  # goes up when keys are derived in another way; format 1 named a stage by the path of its module
)
WORK = ("runs", "sweeps", "locks", "scratch", "checkpoints", "launcher")  # folders that hold no artifacts
PLAIN_NAME = re.compile(r"\w[\w.+=-]{0,199}")  # what a folder of the store may be called
CHECKPOINT = (
    "checkpoint"  # folder inside that of a stage under way; it outlives a try that failed or was killed
)


def canonical(value: Any) -> Any:
    """Return `value` as JSON types that serialise the same in every process.

    Raises TypeError for types that might not, and ValueError for numbers that are not finite.
    """
    if isinstance(value, Enum):
        return value.value
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"a configuration value must be finite, got {value}")
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if is_dataclass(value) and not isinstance(value, type):
        return {"class": type(value).__name__} | {
            f.name: canonical(getattr(value, f.name)) for f in fields(value)
        }
    if isinstance(value, Mapping):
        return {str(k): canonical(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [canonical(v) for v in value]
    kind = type(value).__name__
    raise TypeError(f"cannot key a {kind}: use numbers, strings, lists, enums and dataclasses")


def digest(value: Any) -> str:
    """Return the first 20 hexadecimal digits of the SHA-256 of the canonical JSON of `value`."""
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def file_digest(path: Path) -> str:
    """Return the SHA-256 of the bytes of a file, or of the relative names and bytes of all files in a folder."""
    if path.is_file():
        sha256 = hashlib.sha256()
        with path.open("rb") as stream:
            while block := stream.read(1 << 20):
                sha256.update(block)
        return sha256.hexdigest()
    files = sorted(p for p in path.rglob("*") if p.is_file())
    digests = [(p.relative_to(path).as_posix(), file_digest(p)) for p in files]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


@dataclass(frozen=True)
class Node:
    """One stage with its configuration and inputs: an artifact that can be made, whether or not it has been."""

    name: str  # of the stage, which is its identity whichever module holds its code
    version: int
    config: Any
    inputs: Mapping[str, Node] = field(default_factory=dict)
    # Field of the config that names a file -> its digest.
    contents: Mapping[str, str] = field(default_factory=dict)
    key: str = ""

    def __post_init__(self) -> None:
        """Derive the key from everything that determines the result."""
        settings = {f.name: getattr(self.config, f.name) for f in fields(self.config)}
        settings |= self.contents
        identity = {
            "format": KEY_FORMAT,
            "stage": self.name,
            "version": self.version,
            "config": {"class": type(self.config).__name__} | settings,
            "inputs": {name: node.key for name, node in self.inputs.items()},
        }
        object.__setattr__(self, "key", digest(identity))

    def walk(self) -> Iterator[Node]:
        """Yield this node and every distinct node below it, inputs first."""
        seen: set[str] = set()

        def visit(node: Node) -> Iterator[Node]:
            """Yield what `node` needs and was not yielded before, inputs first, and the node itself."""
            if node.key in seen:
                return
            seen.add(node.key)
            for upstream in node.inputs.values():
                yield from visit(upstream)
            yield node

        yield from visit(self)


class Store:
    """A folder of artifacts."""

    def __init__(self, root: str | Path) -> None:
        self.root = resolved(root)
        self._leases: dict[Path, Lease] = {}

    def path(self, node: Node) -> Path:
        """Return the folder where the artifact of `node` is, or will be."""
        return inside(self.root, node.name, node.key)

    def made(self, node: Node) -> bool:
        """Return whether the artifact of `node` is made."""
        return (self.path(node) / MANIFEST).is_file()

    def manifest(self, node: Node) -> dict[str, Any]:
        """Return the manifest of a made node: stage, version, config, input keys, files, seconds, provenance."""
        return json.loads((self.path(node) / MANIFEST).read_text())

    @contextmanager
    def claim(self, node: Node) -> Iterator[Lease | None]:
        """Hold the lease of `node` in a `with` block; it yields None if another process holds the lease.

        The lease ends with the process, however that ends.
        """
        path = self._lease(node)
        lease = self._leases.setdefault(path, Lease(path))
        taken = lease.take()
        try:
            yield lease if taken else None
        finally:
            if taken:
                lease.release()

    def maker(self, node: Node) -> str:
        """Return in words which process makes `node`."""
        return leases.holder(self._lease(node)) or "another worker"

    def _lease(self, node: Node) -> Path:
        return inside(self.root, "locks", f"{node.name}-{node.key}.lease")

    def publish(self, node: Node, make: Callable[[Path], None], provenance: Mapping[str, Any]) -> Path:
        """Call `make` with a scratch folder to fill, rename that into place, and return the folder of `node`.

        `checkpoint/` in the scratch folder links to a folder of `node` that outlives a try that failed or was killed:
        the next try with the same source, packages and device finds there what the last one left. It is removed once
        the node is made, and is no part of the artifact.
        """
        final, checkpoint = self.path(node), self._checkpoint(node, provenance)
        scratch = self.root / "scratch" / f"{node.name}-{node.key}-{uuid.uuid4().hex[:8]}"
        try:  # a signal may raise at any line, so everything from here on is cleaned up
            scratch.mkdir(parents=True)
            checkpoint.mkdir(parents=True, exist_ok=True)
            link = scratch / CHECKPOINT
            link.symlink_to(os.path.relpath(checkpoint, scratch), target_is_directory=True)
            started, resumed = time.time(), any(checkpoint.iterdir())
            make(scratch)
            link.unlink()
            _remove_empty_folders(scratch)
            manifest = {
                "format": KEY_FORMAT,
                "stage": node.name,
                "version": node.version,
                "key": node.key,
                "config": canonical(node.config),
                "contents": dict(node.contents),
                "inputs": {name: [upstream.name, upstream.key] for name, upstream in node.inputs.items()},
                "made_from": {name: contents(self.manifest(up)) for name, up in node.inputs.items()},
                "files": listing(scratch),
                "made": time.time(),
                "seconds": time.time() - started,
                "resumed": resumed,  # from a checkpoint; `seconds` are then those of the last try
                "provenance": dict(provenance),
            }
            manifest |= {name: redaction.hide(manifest[name]) for name in ("config", "provenance")}
            write_json(scratch / MANIFEST, sealed(manifest))
            final.parent.mkdir(parents=True, exist_ok=True)
            self.discard(node)
            os.replace(scratch, final)
            self.forget_checkpoints(node)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            with suppress(OSError):  # a folder with a checkpoint stays
                checkpoint.rmdir()
        return final

    def _checkpoint(self, node: Node, provenance: Mapping[str, Any]) -> Path:
        setting = {name: provenance.get(name) for name in ("source", "packages", "device")}
        return self.root / "checkpoints" / f"{node.name}-{node.key}-{digest(setting)}"

    def forget_checkpoints(self, node: Node) -> None:
        """Remove the checkpoints of `node`, so that the next try starts from the beginning."""
        for folder in (self.root / "checkpoints").glob(f"{node.name}-{node.key}-*"):
            shutil.rmtree(folder, ignore_errors=True)

    def discard(self, node: Node) -> None:
        """Remove the artifact of `node`, its manifest first, so that a half-removed folder never counts as made.

        A link or a file in its place is removed, and what a link leads to stays.
        """
        path = self.path(node)
        if path.is_symlink() or path.is_file():
            path.unlink(missing_ok=True)
            return
        with suppress(IsADirectoryError):
            (path / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)


# --- manifests and names ------------------------------------------------------------------------------------


def listing(folder: Path) -> dict[str, list[Any]]:
    """Return name -> [size, SHA-256] of every file in `folder` but its manifest."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / MANIFEST)
    return {p.relative_to(folder).as_posix(): [p.stat().st_size, file_digest(p)] for p in files}


def _remove_empty_folders(folder: Path) -> None:
    """Remove folders that hold no file, such as those that a trainer was given for its own files."""
    for path in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        with suppress(OSError):  # it holds something
            path.rmdir()


def sealed(manifest: Mapping[str, Any]) -> dict[str, Any]:
    """Return the manifest with a digest of all its other entries under `seal`, so that an edit is noticed."""
    entries = {name: value for name, value in manifest.items() if name != "seal"}
    text = json.dumps(entries, sort_keys=True, separators=(",", ":"))
    return entries | {"seal": hashlib.sha256(text.encode()).hexdigest()}


def contents(manifest: Mapping[str, Any]) -> str:
    """Return the digest of the files of an artifact: equal for equal bytes, whenever and wherever made."""
    return digest(manifest["files"])


def plain(name: str) -> str:
    """Return `name` if it can name a folder of the store; ValueError if not, as it might lead out of the store."""
    if not isinstance(name, str) or not PLAIN_NAME.fullmatch(name):
        raise ValueError(f"{name!r} cannot name a folder of the store: use letters, digits and . _ + = -")
    return name


def resolved(root: str | Path) -> Path:
    """Return the absolute path of the folder of a store; ValueError if there can be none."""
    try:
        return Path(root).expanduser().resolve()
    except (RuntimeError, OSError, ValueError) as error:  # ~nobody, a circle of links, a null character
        raise ValueError(f"{str(root)!r} cannot be the folder of a store: {error}") from None


def inside(root: Path, *names: str) -> Path:
    """Return the path of the folders `names` below `root`; ValueError for a name that `plain` refuses."""
    return root.joinpath(*(plain(name) for name in names))


# --- JSON ---------------------------------------------------------------------------------------------------


def write_json(path: Path, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the new one, never a part, also after a power cut.

    Raises ValueError for NaN and infinity.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    text = json.dumps(value, indent=1, allow_nan=False) + "\n"
    try:
        with partial.open("w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def read_json(path: Path) -> dict[str, Any]:
    """Return the JSON object in the file at `path`, or an empty dict where there is none that can be read."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
