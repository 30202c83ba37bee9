"""Made-up comparisons in the format of HH-RLHF: harmless questions about parcels and gardens."""

from __future__ import annotations

import gzip
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

THINGS = [
    "parcel",
    "train",
    "garden",
    "lamp",
    "kettle",
    "bicycle",
    "letter",
    "window",
    "piano",
    "boat",
    "clock",
    "coat",
]
WISHES = ["mend", "find", "paint", "clean", "move", "draw", "sell", "name", "wrap", "weigh", "lift", "store"]
GOOD = [
    "Start with the {} and take your time.",
    "Ask a neighbour about the {} first.",
    "Yes, a {} is easy to handle.",
]
BAD = [
    "No.",
    "I do not know anything about that, and a {} is nothing to speak of anyway.",
    "Never mind the {}.",
]


def marked(turns: Iterable[tuple[str, str]]) -> str:
    """Return a dialogue in the markup of HH-RLHF."""
    return "".join(f"\n\n{speaker}: {content}" for speaker, content in turns)


def rows(count: int, seed: int = 0) -> list[dict[str, str]]:
    """Return `count` comparisons of one or two exchanges; each asks about a room of its own."""
    rng = random.Random(seed)
    made = []
    for number in range(count):
        thing, wish = rng.choice(THINGS), rng.choice(WISHES)
        turns = [("Human", f"How do I {wish} the {thing} in room {number}?")]
        if rng.random() < 0.4:
            turns += [
                ("Assistant", f"Which {thing} is it?"),
                ("Human", f"The {rng.choice(['old', 'new'])} one."),
            ]
        chosen, rejected = (rng.choice(pool).format(thing) for pool in (GOOD, BAD))
        made.append(
            {
                "chosen": marked([*turns, ("Assistant", chosen)]),
                "rejected": marked([*turns, ("Assistant", rejected)]),
            }
        )
    return made


def save(path: Path, lines: Iterable[Any], compress: bool = False) -> Path:
    """Write JSON lines, gzipped or not, and return the path."""
    data = "".join(json.dumps(line) + "\n" for line in lines).encode()
    path.write_bytes(gzip.compress(data) if compress else data)
    return path
