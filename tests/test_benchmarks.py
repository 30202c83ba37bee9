"""Benchmarks are run by hand (`make bench`): here they are only imported, so that none is left behind by a change."""

from importlib import import_module
from pathlib import Path

import pytest

NAMES = sorted(path.stem for path in (Path(__file__).parents[1] / "benchmarks").glob("[!_]*.py"))


def test_there_are_benchmarks():
    assert len(NAMES) >= 12


@pytest.mark.parametrize("name", NAMES)
def test_a_benchmark_can_be_imported(name):
    import_module(f"benchmarks.{name}")
