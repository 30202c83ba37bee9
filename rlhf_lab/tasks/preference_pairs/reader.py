"""Comparisons from a file of JSON lines (gzip or not) or from a data set on the hub."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from rlhf_lab.tasks import json_lines
from rlhf_lab.tasks.preference_pairs.formats import Comparison, Unusable, comparison

MISSING = "check task.path, or name a hub data set and set task.revision to its 40-digit commit"


class Read(NamedTuple):
    """The comparisons of a source, and the number of rows that were dropped, by reason."""

    comparisons: list[Comparison]
    dropped: dict[str, int]


def read(path: str, revision: str | None = None) -> Read:
    """Read every usable comparison of a file of JSON lines, or of a hub data set at a pinned `revision`.

    Raises ValueError, in one line, for a source that cannot be read or that holds nothing usable.
    """
    local = Path(path).expanduser()
    rows = (
        _hub_rows(path, revision)
        if revision is not None and not local.exists()
        else json_lines.rows(local, MISSING)
    )
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


def _hub_rows(path: str, revision: str | None) -> Iterable[tuple[str, object]]:
    """Return the rows of the `train` split of a hub data set; a third part of the name is a folder inside it."""
    from datasets import load_dataset  # takes seconds to import, and only the hub needs it

    parts = path.split("/", 2)
    folder = parts[2] if len(parts) == 3 else None
    try:
        rows = load_dataset("/".join(parts[:2]), data_dir=folder, split="train", revision=revision)
    # The hub, the network and the files of the data set fail in too many ways to list.
    except Exception as error:
        first = (str(error).splitlines() or [""])[0]
        raise ValueError(
            f"{path}@{revision}: the hub gave no `train` split ({type(error).__name__}: {first}): check "
            "the name, the commit and the connection, or download the file and name it in task.path"
        ) from error
    return ((f"row {number}", row) for number, row in enumerate(rows))
