"""The words that start with a dash: Hydra's flags, checked before Hydra sees them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from rlhf_lab.commands.mistakes import Mistake, nearest

PICKLED = "--experimental-rerun"  # reads its configuration from a pickle


def check(arguments: Sequence[str]) -> bool:
    """Refuse in one line what Hydra would answer with its usage, and the flag that would load a pickle.

    Return whether the configuration of a job, the whole of it, is what is asked for (`--cfg job`).
    """
    parser = get_args_parser()
    parser.error = _refuse
    found, unknown = parser.parse_known_args(arguments)
    for word in unknown:
        if word.startswith("-"):
            known = [name for name in parser._option_string_actions if name not in (PICKLED, "-er")]
            raise Mistake(f"no flag {word.partition('=')[0]}{nearest(word.partition('=')[0], known)}")
    if found.experimental_rerun is not None:
        raise Mistake(f"{PICKLED} would load a pickle, which is never done: give the overrides again")
    for word in found.overrides:
        if "=" not in word and not word.startswith("~"):
            raise Mistake(f"{word}: expected key=value or group=option; rlhf-lab --help lists them")
    return found.cfg == "job" and found.package is None


def _refuse(message: str) -> NoReturn:
    raise Mistake(message)
