"""Which devices are taken for there, and when anybody looks."""

from types import SimpleNamespace

import pytest
import torch

from rlhf_lab.commands import jobs
from rlhf_lab.commands.errors import Mistake
from rlhf_lab.models import devices
from rlhf_lab.store.artifacts import Store


@pytest.fixture
def two(monkeypatch):
    """A machine with two GPUs."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:0", "cuda:1"])
def test_a_device_that_is_there(two, name):
    devices.check(name)


@pytest.mark.parametrize("name", ["cuda:2", "cuda:", "gpu", "meta", ""])
def test_a_device_that_is_not_there(two, name):
    with pytest.raises(ValueError, match="only cpu, cuda, cuda:0, cuda:1"):
        devices.check(name)


def test_devices_of_other_machines_are_theirs_to_find(monkeypatch, tmp_path):
    monkeypatch.setattr(jobs, "missing", lambda leaf, store: [])
    runtime = SimpleNamespace(device="cuda:77", force=[])
    job = SimpleNamespace(experiment=SimpleNamespace(runtime=runtime), overrides=(), leaf=None)
    jobs.check([job], "submitit_slurm", Store(tmp_path))
    with pytest.raises(Mistake, match="finds no such device"):
        jobs.check([job], "joblib", Store(tmp_path))
