"""What stands behind the names in a configuration: files, hub repositories, modules of judges."""

from __future__ import annotations

import functools
import re
from importlib.util import find_spec
from pathlib import Path

from rlhf_lab.store import file_digest

COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)*")  # owner/name, and for a data set perhaps a folder inside it


@functools.cache
def _digest(path: Path, state: tuple[tuple[Path, int, int], ...]) -> str:
    """The digest of `path`, computed once for each `state` of its files: all jobs name the same data."""
    return file_digest(path)


def fingerprint(name: str, revision: str | None) -> str:
    """The digest of the contents of a local file or folder, or `id@commit` of a hub repository.

    Raises ValueError when `name` is neither there nor a hub id with a pinned commit.
    """
    path = Path(name).expanduser()
    if path.exists():
        files = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        return _digest(path.resolve(), tuple((p, p.stat().st_mtime_ns, p.stat().st_size) for p in files))
    if revision is not None and COMMIT.fullmatch(revision) and HUB_NAME.fullmatch(name):
        return f"{name}@{revision}"
    raise ValueError(
        f"found no file or folder {name!r}: give an existing path, "
        "or a hub id with revision= its 40-digit commit"
    )


def module_digest(function: str) -> str:
    """The digest of the source of a judge "module:function"; ValueError when there is no such module."""
    module, _, name = function.partition(":")
    try:
        spec = find_spec(module) if module and name else None
    except ModuleNotFoundError:  # of the package that would hold it
        spec = None
    if spec is None or spec.origin is None:
        raise ValueError(f"found no judge {function!r}: expected module:function with an importable module")
    return file_digest(Path(spec.origin))
