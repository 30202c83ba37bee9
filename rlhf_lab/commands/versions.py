"""Whether the installed libraries are those that this release is tested with."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

DISTRIBUTION = "rlhf-lab"


def outside() -> str | None:
    """Return one line about libraries whose version is outside the package's requirements; None when all fit."""
    unfit = [f"{required.name} {installed} ({required.specifier})" for required, installed in _unfit()]
    if not unfit:
        return None
    return f"not tested with {', '.join(unfit)}: results may differ; pip install -U {DISTRIBUTION} mends it"


def _unfit() -> Iterator[tuple[Requirement, str]]:
    """Yield the requirements, without extras, that the installed version does not meet."""
    for text in _requirements():
        required = Requirement(text)
        if required.marker is not None and not required.marker.evaluate({"extra": ""}):
            continue
        try:
            installed = version(required.name)
        except PackageNotFoundError:
            continue  # what needs it says so
        if not required.specifier.contains(installed, prereleases=True):
            yield required, installed


def _requirements() -> list[str]:
    try:
        return requires(DISTRIBUTION) or []
    except PackageNotFoundError:  # run from a checkout that is not installed
        return []
