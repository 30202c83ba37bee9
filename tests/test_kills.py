"""The real command line, killed at seeded random moments and run again until done: the tables of one left alone.

RLHF_LAB_KILLS says how many kills while jobs run (2; `make soak`: 40), RLHF_LAB_KILL_SEED which.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest

from rlhf_lab.store.artifacts import read_json

KILLS = int(os.environ.get("RLHF_LAB_KILLS", "2"))
SEED = int(os.environ.get("RLHF_LAB_KILL_SEED", "0"))
SWEEP = (
    "experiment=tiny", "policy=ppo", "policy.seed=0,1", "policy.steps=24", "policy.rollout=16",
    "policy.evaluations=3", "sft.steps=6", "model.steps=15", "preferences.pairs=32",
)  # fmt: skip
LAUNCHERS = ((), ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"))
CHECKPOINTS = "runtime.checkpoint_minutes=0"
TARGETS = ("a worker", "the parent", "everything")


class Kill(NamedTuple):
    """Who was killed when."""

    target: str
    launcher: str
    seconds: float
    stages: str  # under way

    def __str__(self) -> str:
        return f"  {self.seconds:5.1f} s  {self.target:11} {self.launcher:7} {self.stages}"


def start(store: Path, *arguments: str) -> subprocess.Popen[bytes]:
    log = (store.parent / f"{store.name}.log").open("ab")
    return subprocess.Popen(
        [sys.executable, "-m", "rlhf_lab", *SWEEP, *arguments],
        cwd=store.parent,
        env={**os.environ, "RLHF_LAB_STORE": str(store)},
        stdout=log,
        stderr=log,
        start_new_session=True,
    )


def end(process: subprocess.Popen[bytes]) -> None:
    """End what is left of a command's process group."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def running(process: subprocess.Popen[bytes], store: Path) -> list[dict[str, Any]]:
    """The jobs that this command has under way."""
    found = [read_json(path) for path in store.glob("runs/*/status.json")]
    return [one for one in found if one.get("state") == "running" and belongs(one["pid"], process)]


def kill(process: subprocess.Popen[bytes], target: str, jobs: list[dict[str, Any]]) -> None:
    if target == "everything":
        os.killpg(process.pid, signal.SIGKILL)
        return
    os.kill(jobs[0]["pid"] if target == "a worker" and jobs else process.pid, signal.SIGKILL)


def belongs(pid: int, process: subprocess.Popen[bytes]) -> bool:
    """Whether `pid` is of this command; the store may still name a process that is long dead."""
    try:
        return os.getpgid(pid) == process.pid
    except ProcessLookupError:
        return False


def tables(store: Path) -> dict[str, dict[str, list[Any]]]:
    """Every column of every table of every artifact, and every curve."""
    found = {}
    for manifest in store.glob("*/*/manifest.json"):
        for path in sorted(manifest.parent.iterdir()):
            name = path.relative_to(store).as_posix()
            if path.suffix == ".parquet":
                found[name] = pq.read_table(path).to_pydict()
            if path.name == "metrics.jsonl":
                found[name] = {"lines": [json.loads(line) for line in path.open()]}
    return found


def assert_same(store: Path, expected: dict[str, dict[str, list[Any]]], atol: float = 1e-6) -> None:
    found = tables(store)
    assert found.keys() == expected.keys()
    for name, columns in expected.items():
        assert columns.keys() == found[name].keys(), name
        for column, values in columns.items():
            same = found[name][column]
            if values and isinstance(values[0], float):
                np.testing.assert_allclose(same, values, rtol=0, atol=atol, err_msg=f"{name} {column}")
            elif column == "lines":
                assert [line.keys() for line in same] == [line.keys() for line in values], name
                numbers = [[v for line in lines for v in line.values()] for lines in (same, values)]
                np.testing.assert_allclose(*numbers, rtol=0, atol=atol, err_msg=name)
            else:
                assert same == values, f"{name} {column}"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], float]:
    """The tables of a run that is left alone, and the seconds that it took."""
    store = tmp_path_factory.mktemp("reference") / "store"
    started = time.monotonic()
    process = start(store)
    assert process.wait() == 0, (store.parent / "store.log").read_text()
    return tables(store), time.monotonic() - started


@pytest.mark.slow
def test_a_sweep_that_is_killed_again_and_again_ends_with_the_same_tables(
    tmp_path: Path, reference: tuple[dict[str, Any], float]
) -> None:
    expected, seconds = reference
    draw, done, sweeps = random.Random(SEED), [], 0
    while len(done) < KILLS:  # every time a sweep comes to its end, another one begins
        sweeps += 1
        done += killed_until_done(tmp_path / f"store{sweeps}", expected, seconds, draw, KILLS - len(done))
    print(f"{len(done)} kills, {sweeps} sweeps, {seconds:.1f} s left alone")


@pytest.mark.slow
def test_neither_workers_nor_the_launcher_nor_the_split_of_a_batch_change_a_number(
    tmp_path: Path, reference: tuple[dict[str, Any], float]
) -> None:
    process = start(tmp_path / "store", *LAUNCHERS[1], "runtime.score_batch=37")
    assert process.wait() == 0, (tmp_path / "store.log").read_text()
    # log-probabilities of hundreds of nats are float32, whose last digit is 1.5e-5 there; so is k1, their difference
    assert_same(tmp_path / "store", reference[0], atol=5e-5)


def killed_until_done(
    store: Path, expected: dict[str, Any], seconds: float, draw: random.Random, kills: int
) -> list[Kill]:
    """Make the sweep under at most so many kills, check its tables, and say what was done to it."""
    done: list[Kill] = []
    while True:
        launcher, target = draw.choice(LAUNCHERS), draw.choice(TARGETS)
        moment = draw.uniform(0, seconds)
        process = start(store, CHECKPOINTS, *launcher)
        try:
            code = process.wait(moment if len(done) < kills else None)
        except subprocess.TimeoutExpired:
            jobs = running(process, store)
            kill(process, target, jobs)
            stages = " ".join(str(job.get("stage", "starting")) for job in jobs)
            killed = Kill(target, "joblib" if launcher else "basic", moment, stages or "-")
            print(killed, flush=True)
            if jobs:  # one that came before all stages shows little
                done.append(killed)
            code = process.wait()  # when a worker was killed, the rest goes on
            if target != "the parent":
                end(process)
        if code == 0:
            break
    end(process)
    assert_same(store, expected)
    assert not list(store.glob("checkpoints/*"))
    return done
