"""Whether an artifact is what was made: its manifest unedited, its files those listed there, byte for byte.

A truncated, edited or foreign file, a manifest that lies, an artifact that belongs elsewhere (of another
VERSION, say) is `Damaged`, and its text names what is wrong. Digests are computed once per process and file.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from rlhf_lab.store.artifacts import MANIFEST, contents, file_digest, sealed


class Damaged(ValueError):
    """An artifact that must not be used; its text is one line."""

    def __init__(self, folder: Path, why: str) -> None:
        super().__init__(f"{folder.parent.name}/{folder.name} {why}")
        self.folder = folder


def check(folder: Path, names: Collection[str] | None = None) -> dict[str, Any]:
    """The manifest of the artifact in `folder`, once its files are found to be those that were made.

    With `names` only those files are read whole, and of the others the size is compared; Damaged says what
    is wrong.
    """
    manifest = manifest_of(folder)
    listed: Mapping[str, Sequence[Any]] = manifest["files"]
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    found.pop(MANIFEST, None)
    if missing := sorted(listed.keys() - found.keys()):
        raise Damaged(folder, f"lacks {missing[0]}, which its manifest lists")
    if foreign := sorted(found.keys() - listed.keys()):
        raise Damaged(folder, f"holds {foreign[0]}, which its manifest does not list")
    for name, path in found.items():
        if why := _fault(path, *listed[name], whole=names is None or name in names):
            raise Damaged(folder, f"{why} in {name}")
    return manifest


def check_together(folders: Collection[Path], names: Collection[str] | None = None) -> None:
    """Check artifacts that are used together: each, and that those made from others here are of these.

    An artifact that was made again may differ in the last bit (another machine, other threads); what was made
    from the earlier one has no place beside it.
    """
    manifests = {folder: check(folder, names) for folder in folders}
    now = {(folder.parent.name, folder.name): contents(made) for folder, made in manifests.items()}
    for folder, manifest in manifests.items():
        for name, (stage, key) in manifest["inputs"].items():
            if now.get((stage, key), manifest["made_from"][name]) != manifest["made_from"][name]:
                raise Damaged(folder, f"was made from another {stage}/{key} than the one there now")


def manifest_of(folder: Path) -> dict[str, Any]:
    """The manifest in `folder`, once it is found to be unedited and to belong there."""
    path = folder / MANIFEST
    try:
        state = path.stat()
        return _manifest(path, state.st_mtime_ns, state.st_size, state.st_ino)
    except FileNotFoundError:
        raise Damaged(folder, "has no manifest") from None


@functools.cache
def _manifest(path: Path, mtime_ns: int, size: int, inode: int) -> dict[str, Any]:
    """A manifest, read once for each state of it."""
    folder = path.parent
    try:
        found = json.loads(path.read_bytes())
    except ValueError:
        raise Damaged(folder, "has a manifest that is not JSON") from None
    if not isinstance(found, dict) or "seal" not in found:
        raise Damaged(folder, "has a manifest without digests, so that nothing can be checked")
    if sealed(found) != found:
        raise Damaged(folder, "has a manifest that was changed since it was made")
    own = (str(found["stage"]).rpartition(".")[2], found["key"])
    if own != (folder.parent.name, folder.name):
        raise Damaged(folder, f"holds another artifact, {'/'.join(own)} of VERSION {found['version']}")
    return found


def _fault(path: Path, size: int, made: str, whole: bool) -> str | None:
    """What is wrong with a file that should have this size and digest; only its size is read unless `whole`."""
    try:
        state = path.stat()
        if state.st_size != size:
            return f"has {state.st_size} bytes, where {size} were made,"
        now = _digest(path, state.st_mtime_ns, size, state.st_ino) if whole else made
    except FileNotFoundError:  # another worker discards it at this moment
        return "has nothing any more"
    return None if now == made else f"has other contents (SHA-256 {now[:12]}, where {made[:12]} was made)"


@functools.cache
def _digest(path: Path, mtime_ns: int, size: int, inode: int) -> str:
    """The digest of a file, computed once for each state of it."""
    return file_digest(path)
