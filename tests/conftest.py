import gc
import os
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

sys.path.append(str(Path(__file__).parent / "fakes"))


gc.disable()  # until all is imported


def pytest_collection_finish():
    """What imports made lives for ever: looking through it took a fifth of the time of tests that train."""
    gc.enable()
    gc.collect()
    gc.freeze()


class Answer(NamedTuple):
    code: int
    out: str
    err: str


@pytest.fixture
def store(tmp_path):
    from rlhf_lab.store.artifacts import Store

    return Store(tmp_path / "store")


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
