"""Removal of secrets from what is written down: values of environment variables, and user names in URLs.

A variable is taken for a secret by its name. Only free text is searched: commands, values of a configuration, errors,
logs. Stage names, keys and the options that a run chose stay, as the store is read by them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

NAME = re.compile(
    r"PASS|PWD|CRED|TOKEN|SECRET|API_?KEY|AUTH(?!OR(?!IZ))|PAT(?!H|CH|TERN)|(^|_)KEYS?(_|$)", re.IGNORECASE
)
USER = re.compile(r"(?<=://)[^\s/@'\"]+(?=@)")  # user:password of a URL
SHORTEST = 12  # characters; a shorter value may be an ordinary word
HIDDEN = "[secret]"


def hide(value: Any, names: Collection[str] = ()) -> Any:
    """Return `value`, a text or JSON types that hold texts, with secrets replaced.

    What `names` holds, such as the options of a run, is no secret even where a variable has this value.
    """
    return _without([secret for secret in _secrets() if secret not in names], value)


def _without(secrets: Sequence[str], value: Any) -> Any:
    if isinstance(value, str):
        for secret in secrets:
            value = value.replace(secret, HIDDEN)
        return USER.sub(HIDDEN, value)
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
        if len(value) >= SHORTEST and NAME.search(name) and not _is_path(value)
    }
    return sorted(secrets, key=len, reverse=True)


def _is_path(value: str) -> bool:
    """Return whether `value` begins like a path of this machine; a base64 secret may begin with a slash too."""
    return value.startswith("~") or (value.startswith("/") and os.path.exists("/" + value.split("/")[1]))
