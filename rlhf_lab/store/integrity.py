"""Checks that an artifact is what was made: an unedited manifest and the files that it lists, byte for byte.

`Damaged` says in one line what is wrong with an artifact: a truncated, edited or missing file, an edited manifest, or a
folder that belongs elsewhere. A file that only lies beside those that were made is `foreign`: it harms nothing. The
digest of a file is computed once per process.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlhf_lab.store.artifacts import MANIFEST, contents, file_digest, sealed


class Damaged(ValueError):
    """The artifact in `folder` must not be used; the message is one line."""

    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(f"{folder.parent.name}/{folder.name} {why}")
        self.folder = folder


def check(folder: Path, names: Collection[str] | None = None) -> dict[str, Any]:
    """Return the manifest of the artifact in `folder`; Damaged if a file differs from what was made.

    With `names`, the bytes of only those files are compared, and the sizes of all others.
    """
    manifest = manifest_of(folder)
    listed: Mapping[str, Sequence[Any]] = manifest["files"]
    for name, (size, digest) in listed.items():
        if not (folder / name).is_file():
            raise Damaged(folder, f"lacks {name}, which its manifest lists")
        if why := _fault(folder / name, size, digest, whole=names is None or name in names):
            raise Damaged(folder, f"{why} in {name}")
    return manifest


def foreign(folder: Path) -> list[str]:
    """Return the names of files in `folder` that its manifest does not list."""
    listed = manifest_of(folder)["files"].keys() | {MANIFEST}
    paths = (path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir())
    return sorted(name for path in paths if (name := path.relative_to(folder).as_posix()) not in listed)


def check_together(folders: Collection[Path], names: Collection[str] | None = None) -> None:
    """Check each of several artifacts, and that those made from another one of them were made from its present files.

    An artifact that was made again may differ in the last bit (another machine, other threads). What was made from the
    earlier files must not be used beside the later ones: Damaged.
    """
    manifests = {folder: check(folder, names) for folder in folders}
    present = {(folder.parent.name, folder.name): contents(manifests[folder]) for folder in manifests}
    for folder, manifest in manifests.items():
        for name, (stage, key) in manifest["inputs"].items():
            if present.get((stage, key), manifest["made_from"][name]) != manifest["made_from"][name]:
                raise Damaged(folder, f"was made from another {stage}/{key} than the one there now")


def manifest_of(folder: Path) -> dict[str, Any]:
    """Return the manifest in `folder`; Damaged if there is none, if it was edited, or if it belongs elsewhere."""
    path = folder / MANIFEST
    try:
        state = path.stat()
        return _manifest(path, state.st_mtime_ns, state.st_size, state.st_ino)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        raise Damaged(folder, "has no manifest") from None


@functools.cache
def _manifest(path: Path, mtime_ns: int, size: int, inode: int) -> dict[str, Any]:
    """Return a manifest, which is read once for each state of its file."""
    folder = path.parent
    try:
        manifest = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise Damaged(folder, "has a manifest that is not JSON") from None
    if not isinstance(manifest, dict) or "seal" not in manifest:
        raise Damaged(folder, "has a manifest without digests, so that nothing can be checked")
    if sealed(manifest) != manifest:
        raise Damaged(folder, "has a manifest that was changed since it was made")
    stage = str(manifest["stage"]).rpartition(".")[2]  # the first key format has the path of its module here
    if (stage, manifest["key"]) != (folder.parent.name, folder.name):
        name = f"{stage}/{manifest['key']}"
        raise Damaged(folder, f"holds another artifact, {name} of VERSION {manifest['version']}")
    return manifest


def _fault(path: Path, size: int, digest: str, whole: bool) -> str | None:
    """Return what is wrong with a file of this size and digest, or None; unless `whole`, only its size is read."""
    try:
        state = path.stat()
        if state.st_size != size:
            return f"has {state.st_size} bytes, where {size} were made,"
        present = _digest(path, state.st_mtime_ns, size, state.st_ino) if whole else digest
    except FileNotFoundError:  # another process removes it at this moment
        return "has nothing any more"
    if present != digest:
        return f"has other contents (SHA-256 {present[:12]}, where {digest[:12]} was made)"
    return None


@functools.cache
def _digest(path: Path, mtime_ns: int, size: int, inode: int) -> str:
    """Return the digest of a file, which is computed once for each state of it."""
    return file_digest(path)
