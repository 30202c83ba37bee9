"""What must not be written down: the values of environment variables that hold keys, tokens and passwords."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Mapping
from typing import Any

NAME = re.compile(r"(^|_)(TOKEN|KEY|APIKEY|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(_|$)", re.IGNORECASE)
SHORTEST = 12  # characters; a shorter value may be a word that records use
HIDDEN = "[secret]"


def hide(value: Any) -> Any:
    """`value`, a text or JSON types that hold texts, without any secret of this process's environment."""
    if isinstance(value, str):
        for secret in _secrets(tuple(os.environ.items())):
            value = value.replace(secret, HIDDEN)
        return value
    if isinstance(value, Mapping):
        return {key: hide(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [hide(inner) for inner in value]
    return value


@functools.lru_cache(maxsize=4)
def _secrets(environment: tuple[tuple[str, str], ...]) -> list[str]:
    """The secrets in `environment`, longest first: one may begin with another. A path to a key is none."""
    found = {
        value
        for name, value in environment
        if NAME.search(name) and len(value) >= SHORTEST and not value.startswith(("/", "~"))
    }
    return sorted(found, key=len, reverse=True)
