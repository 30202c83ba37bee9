"""One builder at a time, with real processes: killed, stopped, on another machine, many at once."""

import logging
import multiprocessing
import os
import signal
import time

import pytest
from hypothesis import example, given
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
    """The pid of the process that makes `node`, once there is one."""
    path = lease_of(store, node)
    until(lambda: (found := leases.holder(path)) and found.split()[1] != str(other_than))
    return int(leases.holder(path).split()[1])


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
    os.kill(first, signal.SIGKILL)
    killed = time.monotonic()
    next(
        worker for worker in started if worker.pid == first
    ).join()  # until then it is a zombie, which looks alive
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


def write_lease(path, age=0.0, pid=None):
    """Leave the lease of a process on another machine, renewed `age` seconds ago."""
    fields = {"pid": pid or os.getpid(), "host": "here", "mode": "lease", "token": "t", "duration": 30.0}
    path.write_text("filelock/2\n" + "".join(f"{name}={value}\n" for name, value in fields.items()))
    os.utime(path, (time.time() - age, time.time() - age))


@pytest.mark.parametrize(("age", "why"), [(0, None), (20, None), (40, "it gave no sign of life for 40 s")])
def test_a_lease_is_over_once_it_has_been_silent(tmp_path, age, why):
    path = tmp_path / "a.lease"
    write_lease(path, age, pid=7)
    assert leases.over(path) == why and leases.holder(path) == "process 7 on here"
    assert leases.over(tmp_path / "none.lease") is None and leases.holder(tmp_path / "none.lease") is None


def test_a_lease_of_another_machine_is_taken_once_it_was_seen_silent(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(leases, "EXPIRE_SECONDS", 0.5)
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.1)
    path = tmp_path / "a.lease"
    write_lease(path)
    path.write_text(path.read_text().replace("30.0", "0.5"))
    lease = leases.Lease(path)
    assert not lease.take()
    until(lease.take, seconds=5)
    assert "a is taken over from process" in caplog.text
    lease.release()
    assert not list(tmp_path.iterdir())


@given(text=st.binary(max_size=60))
@example(text=b"")  # a machine that crashed leaves an empty file
def test_a_lease_of_any_bytes_ends_after_a_while(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("locks") / "a.lease"
    path.write_bytes(text)
    os.utime(path, (time.time(), time.time()))
    assert not leases.Lease(path).take()
    os.utime(path, (time.time() - 40, time.time() - 40))
    lease = leases.Lease(path)
    assert lease.take() and not lease.take()
    lease.release()


def test_a_lease_is_renewed_and_a_lost_one_is_not_released(tmp_path, monkeypatch):
    monkeypatch.setattr(leases, "RENEW_SECONDS", 0.05)
    path = tmp_path / "a.lease"
    lease = leases.Lease(path)
    assert lease.take()
    lease.confirm()
    os.utime(path, (0, 0))
    until(lambda: path.stat().st_mtime > 0)
    path.unlink()
    write_lease(path, pid=7)
    with pytest.raises(leases.Superseded, match="a: taken over by process 7 on here"):
        lease.confirm()
    lease.release()
    assert path.exists()


def test_many_processes_never_hold_one_lease_at_once(tmp_path):
    def work():
        lease = leases.Lease(tmp_path / "a.lease")
        for _ in range(20):
            while not lease.take():
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
