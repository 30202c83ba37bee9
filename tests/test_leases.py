"""One builder at a time, with real processes: killed, stopped, on another machine, many at once."""

import json
import logging
import multiprocessing
import os
import signal
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from runtime import RUNTIME
from test_store import built, node, until

from rlhf_lab.pipeline import execution
from rlhf_lab.store import leases

pytestmark = pytest.mark.timing
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def workers(store, monkeypatch):
    """Start processes that all make one node, each with a log of its own; none outlives the test."""
    monkeypatch.setattr(execution, "PATIENCE_SECONDS", 0.3)
    started = []

    def work(number, leaf):
        logging.basicConfig(filename=store.root.parent / f"log{number}", level=logging.INFO, force=True)
        execution.realise(leaf, store, RUNTIME)

    def start(leaf, count=4):
        started.extend(FORK.Process(target=work, args=(number, leaf)) for number in range(count))
        for worker in started:
            worker.start()
        return started

    yield start
    for worker in started:
        worker.kill()
        worker.join()


def lease_of(store, node):
    return store.root / "locks" / f"{node.name}-{node.key}.lease"


def builder(store, node, other_than=None):
    """The process that makes `node`, once there is one."""
    path = lease_of(store, node)
    until(lambda: (found := leases.holder(path)) and found.pid != other_than)
    return leases.holder(path).pid


def logs(store):
    return [path.read_text() for path in sorted(store.root.parent.glob("log?"))]


def test_of_four_workers_one_builds_and_three_say_for_whom_they_wait(store, workers):
    slow = node("slow", seconds=1.0)
    started = workers(slow)
    pid = builder(store, slow)
    for worker in started:
        worker.join(30)
    assert [worker.exitcode for worker in started] == [0] * 4 and built(store) == ["slow"]
    waiting = [
        text for text in logs(store) if f"waiting for test_store {slow.key}, which process {pid}" in text
    ]
    assert len(waiting) == 3 and not list((store.root / "locks").iterdir())


def test_a_killed_builder_is_replaced_in_seconds(store, workers):
    slow = node("slow", seconds=1.5)
    started = workers(slow)
    first = builder(store, slow)
    until(lambda: list(store.root.glob("scratch/*/half")))
    os.kill(first, signal.SIGKILL)  # not waited for, so that it stays as a zombie
    killed = time.monotonic()
    second = builder(store, slow, other_than=first)
    took = time.monotonic() - killed
    print(f"taken over after {took:.2f} s")
    assert second in {worker.pid for worker in started} and took < 3
    for worker in started:
        worker.join(30)
    assert sorted(worker.exitcode for worker in started) == [-signal.SIGKILL, 0, 0, 0]
    assert built(store) == ["slow"] and store.made(slow)
    assert sum(f"taken over from process {first} on" in text for text in logs(store)) == 1


def test_a_builder_stopped_beyond_its_lease_drops_its_work_when_it_goes_on(store, workers, monkeypatch):
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.1)
    monkeypatch.setattr(leases, "EXPIRE_SECONDS", 1.0)
    slow = node("slow", seconds=1.5)
    started = workers(slow, count=2)
    first = builder(store, slow)
    until(lambda: list(store.root.glob("scratch/*/half")))
    os.kill(first, signal.SIGSTOP)
    try:
        until(lambda: store.made(slow))
        made = (store.path(slow) / "manifest.json").stat()
    finally:
        os.kill(first, signal.SIGCONT)
    for worker in started:
        worker.join(30)
    assert [worker.exitcode for worker in started] == [0, 0]
    now = (store.path(slow) / "manifest.json").stat()
    assert (now.st_ino, now.st_mtime_ns) == (made.st_ino, made.st_mtime_ns)
    assert any("what was made here is dropped" in text for text in logs(store))
    assert not list((store.root / "locks").iterdir()) and not list((store.root / "scratch").iterdir())


def write_lease(path, age=0.0, **changes):
    me = {"machine": leases._machine(), "host": "here", "pid": os.getpid(), "token": "t"}
    _, me["born"] = leases._process(os.getpid())
    path.write_text(json.dumps(me | changes))
    os.utime(path, (time.time() - age, time.time() - age))


@pytest.mark.parametrize(
    ("changes", "age", "why"),
    [
        ({}, 0, None),
        ({}, 40, None),  # the machine slept
        ({"pid": 2**22 + 1}, 0, "its process is gone"),
        ({"born": "long ago"}, 0, "its process is gone"),  # its number has come round
        ({"machine": "elsewhere", "pid": 2**22 + 1}, 20, None),
        ({"machine": "elsewhere"}, 40, "no sign of life for 40 s"),
        ({"pid": 2**80}, 40, "no sign of life for 40 s"),  # no process at all
    ],
)
def test_when_a_lease_is_over(tmp_path, changes, age, why):
    path = tmp_path / "one.lease"
    write_lease(path, age, **changes)
    found = leases.over(path)
    assert (found is None) if why is None else (why in found)
    lease = leases.take(path)
    assert (lease is not None) == (why is not None)
    if lease:
        lease.release()
        assert not list(tmp_path.iterdir())


def test_where_processes_are_not_told_silence_decides(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "PROCESSES", tmp_path / "nothing")
    path = tmp_path / "one.lease"
    for age, over in ((0, False), (40, True)):
        write_lease(path, age)
        assert (leases.over(path) is not None) == over


@given(said=st.binary(max_size=60), age=st.sampled_from([0, 40]))
def test_a_lease_of_any_bytes_ends_after_a_while(tmp_path_factory, said, age):
    path = tmp_path_factory.mktemp("locks") / "one.lease"
    path.write_bytes(said)
    os.utime(path, (time.time() - age, time.time() - age))
    lease = leases.take(path)
    assert (lease is not None) == (age == 40)
    if lease:
        lease.release()


def test_a_lease_is_renewed_and_a_lost_one_is_not_released(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.05)
    path = tmp_path / "one.lease"
    lease = leases.take(path)
    os.utime(path, (0, 0))
    until(lambda: path.stat().st_mtime > 0)
    write_lease(path)  # another's
    with pytest.raises(leases.Superseded, match=r"one: taken over by process \d+ on here"):
        lease.confirm()
    lease.release()
    assert path.exists()


def test_a_takeover_that_meets_a_new_lease_gives_it_back(tmp_path, monkeypatch):
    path = tmp_path / "one.lease"
    write_lease(path, pid=2**22 + 1)
    rename = os.rename

    def late(source, target):
        if Path(source) == path:
            write_lease(path, token="of one that was faster")
        rename(source, target)

    monkeypatch.setattr(os, "rename", late)
    assert leases.take(path) is None
    assert leases.holder(path).token == "of one that was faster" and len(list(tmp_path.iterdir())) == 1


def test_many_processes_never_hold_one_lease_at_once(tmp_path):
    def work():
        for _ in range(20):
            while not (lease := leases.take(tmp_path / "one.lease")):
                time.sleep(0.001)
            os.close(os.open(tmp_path / "held", os.O_CREAT | os.O_EXCL))  # fails if another is inside
            os.unlink(tmp_path / "held")
            lease.release()

    workers = [FORK.Process(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0] * 4
