"""Range checks of the schema's fields: OutOfRange says what a value must be, what it is, and why.

Also the mark of fields that name files: a key holds a digest of what these files contain, not their name.
"""

from __future__ import annotations

import math
from dataclasses import fields
from typing import Any

CONTENT = {"content": True}  # metadata that marks a field that names a file
SEEDS = 2**32  # numpy's legacy generator, which transformers seeds too, takes no larger ones


def content_fields(config: Any) -> dict[str, str]:
    """Return the fields of `config` that name files, with their values."""
    return {f.name: getattr(config, f.name) for f in fields(config) if f.metadata.get("content")}


class OutOfRange(ValueError):
    """A field has a value that its class refuses."""

    def __init__(self, config: Any, name: str, expected: str, why: str) -> None:
        self.config, self.name = config, name
        self.problem = f"must be {expected}, got {getattr(config, name)!r}: {why}"
        super().__init__(f"{type(config).__name__}.{name} {self.problem}")


def check(config: Any, name: str, ok: bool, expected: str, why: str) -> None:
    """Refuse the field `name` of `config` unless `ok`."""
    if not ok:
        raise OutOfRange(config, name, expected, why)


def positive(config: Any, *names: str) -> None:
    """Refuse fields that are not above zero and finite."""
    for name in names:
        check(config, name, getattr(config, name) > 0, "> 0", "counts, sizes and rates are positive")
        check(config, name, math.isfinite(getattr(config, name)), "finite", "it is used in arithmetic")


def not_negative(config: Any, *names: str) -> None:
    """Refuse fields that are below zero or not finite."""
    for name in names:
        ok = 0 <= getattr(config, name) < math.inf
        check(config, name, ok, ">= 0 and finite", "it is the weight of a cost")


def share(config: Any, *names: str) -> None:
    """Refuse fields that are not shares, that is, between 0 and 1."""
    for name in names:
        check(config, name, 0 <= getattr(config, name) <= 1, "in [0, 1]", "it is a share")


def seed(config: Any) -> None:
    """Refuse a seed that some random generator does not take."""
    check(
        config, "seed", 0 <= config.seed < SEEDS, "in 0 .. 2^32 - 1", "random generators take no other seed"
    )
