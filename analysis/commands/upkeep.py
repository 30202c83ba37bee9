"""The store as `rlhf-runs` shows it: its size, what is damaged, what can go."""

from __future__ import annotations

import sys
from pathlib import Path

DAMAGED = 1
UNITS = ("bytes", "kB", "MB", "GB")


def size_of(root: Path) -> str:
    """Return a line that says how large the store is."""
    from rlhf_lab.store import upkeep

    return f"{root}: {_human(upkeep.size(root))} in {len(upkeep.artifacts(root))} artifacts"


def verify(root: Path) -> int:
    """Read everything and print what is damaged; return 1 if anything is, else 0."""
    from rlhf_lab.store import upkeep

    damaged = list(upkeep.verify(root))
    sys.stdout.write("".join(f"{line}\n" for line in damaged))
    state = f"{len(damaged)} damaged or foreign" if damaged else "everything is intact"
    sys.stdout.write(f"{size_of(root)}: {state}\n")
    if damaged:
        sys.stdout.write(
            "run its sweep again to make samples and scores again; other stages are when needed\n"
        )
    return DAMAGED if damaged else 0


def prune(root: Path, newest: bool, sure: bool) -> int:
    """Print what no sweep record needs, and remove it if `sure`; return 0."""
    from rlhf_lab.store import upkeep

    items = upkeep.prunable(root, newest)
    for item in items:
        sys.stdout.write(f"{_human(item.bytes):>10}  {item.path.relative_to(root)}  ({item.reason})\n")
    total = _human(sum(item.bytes for item in items))
    if not items:
        sys.stdout.write(f"{size_of(root)}: all of it is needed\n")
    elif sure:
        upkeep.remove(items)
        sys.stdout.write(f"{total} removed; {size_of(root)}\n")
    else:
        again = f"rlhf-runs --store {root} prune {'--newest ' if newest else ''}--yes"
        sys.stdout.write(f"{total} of {size_of(root)}; remove this: {again}\n")
    return 0


def _human(size: float) -> str:
    for unit in UNITS[:-1]:
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} {UNITS[-1]}"
