"""Comparisons from a file of JSON lines (gzip or not) or from a data set on the hub."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from rlhf_lab.tasks.preference_pairs.rows import Comparison, Unusable, comparison

GZIP = b"\x1f\x8b"  # the first bytes of every gzip file, whatever its name


class Read(NamedTuple):
    """What a source holds: its comparisons, and how many rows were dropped for which reason."""

    comparisons: list[Comparison]
    dropped: dict[str, int]


def read(path: str, revision: str | None = None) -> Read:
    """Every usable comparison behind `path`: a file of JSON lines, or a hub data set at a pinned `revision`.

    Raises ValueError, in one line, for a source that cannot be read or holds nothing usable.
    """
    local = Path(path).expanduser()
    rows = _hub_rows(path, revision) if revision is not None and not local.exists() else _file_rows(local)
    comparisons, dropped = [], Counter[str]()
    for place, row in rows:
        try:
            comparisons.append(comparison(row))
        except Unusable as reason:
            dropped[str(reason)] += 1
        except ValueError as error:
            raise ValueError(f"{path}, {place}: {error}") from None
    if not comparisons:
        reasons = "; ".join(f"{count} x {reason}" for reason, count in dropped.items())
        raise ValueError(f"{path}: no usable comparison is left ({reasons}): give a file with others")
    return Read(comparisons, dict(dropped))


def _file_rows(path: Path) -> Iterator[tuple[str, object]]:
    """The rows of a file of JSON lines, each with its place; blank lines are skipped."""
    found = 0
    for number, line in enumerate(_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        found += 1
        try:
            yield f"line {number}", json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(
                f"{path}, line {number}: not JSON ({error.msg}, column {error.colno}); expected one JSON "
                "object a line: write the file as JSON lines"
            ) from None
    if not found:
        raise ValueError(f"{path}: the file is empty, expected one JSON object a line: give a file with rows")


def _text(path: Path) -> str:
    if path.is_dir():
        raise ValueError(f"{path}: found a folder, expected a file of JSON lines: name the file in it")
    if not path.is_file():
        raise ValueError(
            f"{path}: found no such file, expected JSON lines (gzip or not): check task.path, or name a hub "
            "data set and set task.revision to its 40-digit commit"
        )
    data = path.read_bytes()
    if data.startswith(GZIP):
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as error:
            raise ValueError(
                f"{path}: the gzip data are damaged ({error}): download the file again"
            ) from None
    try:
        return data.decode("utf-8-sig")  # some editors put a mark at the start
    except UnicodeDecodeError as error:
        raise ValueError(
            f"{path}: byte {error.start} is not UTF-8; expected JSON lines in UTF-8: convert the file"
        ) from None


def _hub_rows(path: str, revision: str | None) -> Iterable[tuple[str, object]]:
    """The rows of the `train` split of a hub data set; a third part of the name is a folder inside it."""
    from datasets import load_dataset  # seconds to import, and needed for the hub only

    parts = path.split("/", 2)
    folder = parts[2] if len(parts) == 3 else None
    try:
        rows = load_dataset("/".join(parts[:2]), data_dir=folder, split="train", revision=revision)
    except (
        Exception
    ) as error:  # the hub, the network and the data set's own files fail in too many ways to list
        first = (str(error).splitlines() or [""])[0]
        raise ValueError(
            f"{path}@{revision}: the hub gave no `train` split ({type(error).__name__}: {first}): check "
            "the name, the commit and the connection, or download the file and name it in task.path"
        ) from error
    return ((f"row {number}", row) for number, row in enumerate(rows))
