"""Removal of secrets from what is written down: the values of environment variables that hold keys and passwords."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

NAME = re.compile(r"(^|_)(TOKEN|KEY|APIKEY|SECRET|PASSWORD|PASSWD|CREDENTIALS?)(_|$)", re.IGNORECASE)
SHORTEST = 12  # characters; a shorter value may be an ordinary word
HIDDEN = "[secret]"


def hide(value: Any) -> Any:
    """Return `value`, a text or JSON types that hold texts, with the secrets of the environment replaced."""
    return _without(_secrets(), value)


def _without(secrets: Sequence[str], value: Any) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, HIDDEN)
        return value
    if isinstance(value, Mapping):
        return {key: _without(secrets, inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without(secrets, inner) for inner in value]
    return value


def _secrets() -> list[str]:
    """Return the secrets of the environment, longest first, as one may begin with another. Paths are no secrets."""
    secrets = {
        value
        for name, value in os.environ.items()
        if len(value) >= SHORTEST and not value.startswith(("/", "~")) and NAME.search(name)
    }
    return sorted(secrets, key=len, reverse=True)
