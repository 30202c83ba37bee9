"""Fixtures that all tests share.

Where which test lies:
- `test_X.py` tests the part of `rlhf_lab` that it is named after, `analysis/test_X.py` the figure or the helper X
  of `analysis`.
- Modules without `test_` are what tests are built from: small models (`tiny.py`, `checkpoints.py`, `planted.py`),
  problems for trainers (`online.py`), a way to stop and kill runs (`stopped.py`), experiments as the command line
  composes them (`composing.py`), tables of bad input (`bad_inputs.py`), made-up data (`dialogues.py`), and in
  `analysis/fake_*.py` stores of runs whose truth is known.
- `fakes/` holds stages that take milliseconds, for tests of everything around stages.

Markers: `slow` tests learn, kill or repeat whole runs (`make test-slow`; each trainer has a smoke test among the fast
ones). `timing` tests depend on how fast processes start and end and are tried once more when they fail; a test of
numbers never is.
"""

import gc
import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

sys.path.append(str(Path(__file__).parent / "fakes"))


os.environ.setdefault(
    "RLHF_LAB_JOBS", "1"
)  # sweeps run in the test's own process, unless a test asks for workers
gc.disable()  # until all is imported


def pytest_collection_finish():
    """What imports made lives for ever: looking through it took a fifth of the time of tests that train."""
    gc.enable()
    gc.collect()
    gc.freeze()


def pytest_collection_modifyitems(items):
    """A test of timing may be tried once more."""
    for item in items:
        if item.get_closest_marker("timing"):
            item.add_marker(pytest.mark.flaky(reruns=1))


class Answer(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture(scope="session", autouse=True)
def compositions():
    """Hydra composes equal overrides once in a process, see composing.py."""
    import composing

    with pytest.MonkeyPatch.context() as patch:
        composing.remember(patch)
        yield


@pytest.fixture
def store(tmp_path):
    from rlhf_lab.store.artifacts import Store

    return Store(tmp_path / "store")


@pytest.fixture(scope="session")
def pipelines(tmp_path_factory):
    """A store of small, real pipelines that all tests of a session share, those of other workers too.

    Whoever needs a stage first makes it while others wait, so no lock is needed beside the store's own. Tests add to
    it and read it; none may change what is there.
    """
    from rlhf_lab.store.artifacts import Store

    base = tmp_path_factory.getbasetemp()
    return Store((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "pipelines")


@pytest.fixture
def fakes(monkeypatch):
    """Stages that take milliseconds instead of the real ones."""
    import fake_stages

    from rlhf_lab.stages import registry

    for name in fake_stages.STAGES:
        stage = registry.module(name)
        monkeypatch.setattr(stage, "run", stage.run)
    fake_stages.install()


@pytest.fixture
def lab(monkeypatch, tmp_path, capsys):
    """`rlhf-lab` in this process, with a store of its own: lab("rm=3k") -> Answer."""
    before = dict(os.environ)
    os.environ["RLHF_LAB_STORE"] = str(tmp_path / "store")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        sys, "path", list(sys.path)
    )  # the command adds its folder: judges of other tests are there
    from rlhf_lab.commands.lab import main

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["rlhf-lab", *arguments])
        code = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        return Answer(code, *capsys.readouterr())

    yield call
    os.environ.clear()
    os.environ.update(before)
