"""Ctrl-C, SIGTERM and dead workers, around stages that take milliseconds: table, exit code, no orphans, the rest."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from rlhf_lab.commands import job
from rlhf_lab.pipeline import plan
from rlhf_lab.store import interrupts, records
from rlhf_lab.store.artifacts import read_json

pytestmark = pytest.mark.timing
TESTS = Path(__file__).parent
SWEEP = ("-m", "policy=ppo", "replicate=r0,r1,r2,r3")
JOBLIB = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")


@pytest.fixture
def started(tmp_path):
    """Starts `python -m rlhf_lab` with the fake stages, in a process group of its own."""
    processes = []

    def start(*arguments, **environment):
        paths = os.pathsep.join([str(TESTS / "fakes"), str(TESTS.parent)])
        fixed = {"RLHF_LAB_STORE": str(tmp_path / "store"), "PYTHONPATH": paths}
        process = subprocess.Popen(
            [sys.executable, "-m", "rlhf_lab", *arguments],
            cwd=tmp_path,
            env={**os.environ, **fixed, **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def running(store):
    """The process of a job that is in its policy stage, once there is one."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        for path in store.glob("runs/*/status.json"):
            status = read_json(path)
            if status.get("state") == "running" and status.get("stage") == "ppo":
                return status["pid"]
        time.sleep(0.02)
    raise AssertionError("no job came to its policy stage")


def until_gone(group):
    """Return when no process of the group is left."""
    end = time.monotonic() + 20
    while time.monotonic() < end:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return
        time.sleep(0.05)
    raise AssertionError("workers outlive their parent")


@pytest.mark.parametrize(
    ("number", "launcher"),
    [
        pytest.param(signal.SIGINT, JOBLIB, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, JOBLIB, marks=pytest.mark.slow),
        (signal.SIGINT, ()),
        pytest.param(signal.SIGTERM, (), marks=pytest.mark.slow),
    ],
    ids=["SIGINT joblib", "SIGTERM joblib", "SIGINT basic", "SIGTERM basic"],
)
def test_a_signal_to_the_parent_stops_all_with_a_table_and_the_same_command_goes_on(
    started, tmp_path, number, launcher
):
    store = tmp_path / "store"
    first = started(*SWEEP, *launcher, FAKE_SLEEP="0.5")
    running(store)
    first.send_signal(number)
    out, err = first.communicate(timeout=30)
    assert first.returncode == 128 + number, out + err
    assert err == f"rlhf-lab: stopped by {number.name}; the same command goes on from there\n"
    assert "stopped" in out and "not run" in out
    until_gone(first.pid)
    states = sorted(read_json(path)["state"] for path in store.glob("runs/*/status.json"))
    assert set(states) <= {"made", "stopped", "not run"} and "stopped" in states
    assert not list(store.glob("scratch/*"))

    second = started(*SWEEP, *launcher)
    out, err = second.communicate(timeout=60)
    assert second.returncode == 0, out + err
    assert {run.status for run in records.runs("adhoc", store)} == {"made"}


def test_a_closed_terminal_stops_like_sigterm_unless_the_command_was_told_to_ignore_it():
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whatever these tests were started with
    try:
        with interrupts.listening(), pytest.raises(interrupts.Interrupted, match="stopped by SIGHUP"):
            signal.raise_signal(signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
        with interrupts.listening():
            signal.raise_signal(signal.SIGHUP)
            assert not interrupts.asked()
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_rest_of_the_sweep_goes_on_when_a_worker_is_killed(started, tmp_path, number):
    sweep = started(*SWEEP, *JOBLIB, FAKE_SLEEP="0.3")
    os.kill(running(tmp_path / "store"), number)
    out, err = sweep.communicate(timeout=60)
    assert sweep.returncode == 0, out + err
    assert {run.status for run in records.runs("adhoc", tmp_path / "store")} == {"made"}


@pytest.mark.slow
def test_workers_end_with_a_parent_that_is_killed(started, tmp_path):
    sweep = started(*SWEEP, *JOBLIB, FAKE_SLEEP="0.3")
    running(tmp_path / "store")
    sweep.kill()
    sweep.wait()
    until_gone(sweep.pid)


@pytest.mark.slow
def test_a_job_that_kills_its_worker_is_named_and_takes_no_other_with_it(started, tmp_path):
    sweep = started(*SWEEP, *JOBLIB, FAKE_KILL="ppo:1", FAKE_SLEEP="0.1")
    out, err = sweep.communicate(timeout=60)
    assert sweep.returncode == 1 and "its worker process died" in out, out + err
    assert [run.status for run in records.runs("adhoc", tmp_path / "store")].count("made") == 3


def test_while_a_stage_looks_for_itself_the_first_signal_is_noted_and_a_later_one_raises(monkeypatch):
    monkeypatch.setattr(interrupts, "ECHO_SECONDS", 0.0)
    with interrupts.listening():
        with interrupts.patiently():
            signal.raise_signal(signal.SIGTERM)
            assert interrupts.asked()
            with pytest.raises(interrupts.Interrupted):
                signal.raise_signal(signal.SIGTERM)
        with pytest.raises(interrupts.Interrupted, match="stopped by SIGTERM"):
            interrupts.stop_if_asked()
    assert not interrupts.asked()


def test_a_job_whose_data_changed_after_planning_says_so(lab, fakes, monkeypatch):
    def changed(experiment):
        leaf = plan.plan(experiment)
        object.__setattr__(leaf, "key", "0" * 20)
        return leaf

    monkeypatch.setattr(job, "plan", SimpleNamespace(plan=changed))
    answer = lab("policy=bon")
    assert answer.code == 1 and "its data or a judge changed after the sweep was planned" in answer.out
