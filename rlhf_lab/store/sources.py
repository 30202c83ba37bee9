"""The contents behind names in a configuration: local files, hub repositories, and modules of judges."""

from __future__ import annotations

import functools
import os
import re
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

from rlhf_lab.store.artifacts import file_digest

COMMIT = re.compile(r"[0-9a-f]{40}")
DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)*")  # owner/name, or owner/name/folder for a part of a data set


@functools.cache
def _digest(path: Path, state: tuple[tuple[Path, int, int], ...]) -> str:
    """Return the digest of `path`, which is computed once for each `state` of its files."""
    return file_digest(path)


def fingerprint(name: str, revision: str | None) -> str:
    """Return the digest of the contents of a local file or folder, or `id@commit` for a hub repository.

    Raises ValueError if `name` is neither an existing path nor a hub id with a pinned commit.
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


def offline() -> bool:
    """Return whether the user keeps the Hugging Face libraries off the network (HF_HUB_OFFLINE)."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def here(name: str, revision: str | None) -> bool:
    """Return whether `name` can be read without the network: a local path, or a hub id while offline."""
    return revision is None or Path(name).expanduser().exists() or offline()


def _spec(module: str) -> ModuleSpec | None:
    """Return where a module would be imported from, without importing it or the packages that hold it."""
    spec, path, name = None, None, ""
    for part in module.split("."):
        name = f"{name}.{part}".lstrip(".")
        finders = (finder.find_spec(name, path) for finder in sys.meta_path if hasattr(finder, "find_spec"))
        spec = next((spec for spec in finders if spec is not None), None)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    return spec


def module_digest(function: str) -> str:
    """Return the digest of the source of a judge "module:function"; ValueError if there is no such function."""
    module, _, name = function.partition(":")
    if not (DOTTED.fullmatch(module) and name.isidentifier()):
        raise ValueError(f"found no judge {function!r}: expected module:function, such as my_module:judge")
    spec = _spec(module)
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise ValueError(f"found no judge {function!r}: {module} is not a module with a file here")
    source = Path(spec.origin)
    if source.suffix == ".py" and not re.search(rf"\b{name}\b", source.read_text(errors="replace")):
        raise ValueError(f"found no judge {function!r}: {source} does not contain {name}")
    return file_digest(source)
