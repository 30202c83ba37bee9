"""A store that is full, read-only or forbidden: one line, and nothing already made is harmed."""

import ctypes
import errno
import multiprocessing
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from test_store import node

from analysis.commands.runs import main as runs_main
from rlhf_lab.commands.errors import obstacle
from rlhf_lab.commands.options import folder
from rlhf_lab.store import integrity, records, upkeep
from rlhf_lab.store.artifacts import Store

FORK = multiprocessing.get_context("fork")


def mount(*arguments):
    return subprocess.run(["mount", *arguments], capture_output=True, text=True).returncode == 0


@pytest.fixture
def disk(tmp_path):
    """A file system of one megabyte where `lab` has its store."""
    folder = tmp_path / "store"
    folder.mkdir()
    if sys.platform != "linux" or not mount("-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)):
        pytest.skip("no small disk here: mounting a tmpfs needs Linux and root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk, leave):
    """Leave so many bytes of the disk."""
    with (disk / "filler").open("wb") as stream:
        stream.write(bytes(shutil.disk_usage(disk).free - leave))


def whole(root):
    return all(integrity.check(folder) for folder in upkeep.artifacts(root))


def test_a_disk_that_fills_up_fails_one_job_in_one_line(disk, lab, fakes, monkeypatch):
    from rlhf_lab.stages.policy import trainers

    fake = trainers.run

    def large(config, inputs, out, runtime):
        if config.seed == 1:
            (out / "weights").write_bytes(bytes(2_000_000))
        fake(config, inputs, out, runtime)

    monkeypatch.setattr(trainers, "run", large)
    sweep = ("-m", "policy=ppo", "policy.seed=0,1,2")
    answer = lab(*sweep)
    assert answer.code == 1 and "Traceback" not in answer.out + answer.err
    assert "job 2 failed: the store: No space left on device: free some (rlhf-runs prune" in answer.out
    assert [run.status for run in records.runs("adhoc")] == ["made", "failed", "made"]
    assert whole(disk) and not list((disk / "scratch").iterdir()) and not list((disk / "locks").iterdir())
    monkeypatch.setattr(trainers, "run", fake)
    assert lab(*sweep).code == 0


@pytest.mark.parametrize("leave", [pytest.param(0, marks=pytest.mark.slow), 16384])
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(disk, lab, fakes, capsys, leave):
    assert lab("policy=bon").code == 0
    rows = records.runs("adhoc")[0].rows()
    fill(disk, leave)
    answer = lab("policy=ppo")
    assert answer.code in (1, 2) and "No space left on device: free some" in answer.out + answer.err
    assert "Traceback" not in answer.out + answer.err and "Logging error" not in answer.err
    assert whole(disk) and not list((disk / "scratch").glob("*"))
    assert runs_main(["--sweep", "adhoc"]) == 0
    (disk / "filler").unlink()
    assert lab("policy=ppo").code == 0 and lab("policy=bon").code == 0
    assert records.runs("adhoc")[0].rows().equals(rows)


def test_a_read_only_store_is_read_and_never_written(disk, lab, fakes, capsys):
    assert lab("policy=bon").code == 0
    assert mount("-o", "remount,ro", str(disk))
    for arguments in ([], ["verify"], ["prune"]):
        assert runs_main(arguments) == 0
    assert records.runs("adhoc")[0].rows().num_rows == 12
    capsys.readouterr()
    for command in (["policy=bon"], ["policy=ppo"]):
        answer = lab(*command)
        assert answer.code == 2 and answer.out == "" and answer.err.count("\n") == 1
        assert "Read-only file system: make it writable" in answer.err
    assert mount("-o", "remount,rw", str(disk))
    assert lab("policy=ppo").code == 0 and whole(disk)


def obey_permissions():
    """Give up, in this process, what lets root read and write against the permissions of files."""
    version, data = 0x20080522, 6  # of linux/capability.h: version 3, and two words of each of three sets
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.capset((ctypes.c_uint32 * 2)(version, 0), (ctypes.c_uint32 * data)()):
        raise OSError(ctypes.get_errno(), "capset")


@pytest.mark.skipif(sys.platform != "linux", reason="needs Linux, where root can give up its capabilities")
def test_a_forbidden_store_is_one_line(lab, fakes, tmp_path):
    assert lab("policy=bon").code == 0
    store, result = records.store_root(), tmp_path / "result"

    def forbidden():
        obey_permissions()
        if not os.access(folder("conf") / "config.yaml", os.R_OK):
            os.write(descriptor, b"skip")
            return
        answer = lab("policy=ppo")
        os.write(descriptor, f"{answer.code} {answer.err}".encode())

    descriptor = os.open(result, os.O_CREAT | os.O_WRONLY)
    store.chmod(0)
    worker = FORK.Process(target=forbidden)
    worker.start()
    worker.join(60)
    store.chmod(0o700)
    said = result.read_text()
    if said == "skip":
        pytest.skip("this checkout belongs to another user and can be read by root only")
    assert said.startswith("2 rlhf-lab: ") and said.count("\n") == 1
    assert "Permission denied: get permission" in said and whole(store)


def test_a_stage_that_meets_a_full_disk_leaves_nothing(disk):
    store = Store(disk)
    with pytest.raises(OSError) as full:
        store.publish(node("one"), lambda out: (out / "big").write_bytes(bytes(2_000_000)), {})
    assert full.value.errno == errno.ENOSPC and not list((disk / "scratch").iterdir())
    store.publish(node("one"), lambda out: (out / "small").write_text("1"), {})
    integrity.check(store.path(node("one")))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "No space", "/s/x"), "/s/x: No space left on device: free some"),
        (OSError(errno.EDQUOT, "quota"), "the store: Disk quota exceeded: free some"),
        (OSError(errno.EROFS, "ro", "/s"), "/s: Read-only file system: make it writable"),
        (PermissionError(errno.EACCES, "no", "/s"), "/s: Permission denied: get permission"),
        (
            RuntimeError("Error while serializing: No space left on device (os error 28)"),
            "the store: No space",
        ),
    ],
)
def test_every_obstacle_has_its_line(error, words):
    line = obstacle(error)
    assert line and line.startswith(words) and "\n" not in line


def test_other_errors_are_no_obstacles():
    assert (
        obstacle(FileNotFoundError(errno.ENOENT, "gone", "/s")) is None and obstacle(ValueError("x")) is None
    )


def test_a_closed_output_a_removed_folder_and_a_place_without_folders_are_no_tracebacks(tmp_path):
    """A shell that closes stdout (cron), stands in a removed folder, or names /proc as the store."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(Path(__file__).parent.parent),
        "RLHF_LAB_STORE": str(tmp_path / "s"),
    }
    command = f"{sys.executable} -m rlhf_lab rm=3k"
    gone = tmp_path / "gone"
    gone.mkdir()
    for line, code, words in (
        (f"{command} runtime.plan=true >&-", 0, ""),
        (
            f"cd {gone} && rmdir {gone} && {command} runtime.plan=true",
            2,
            "was removed: change to another one",
        ),
        (f"{command} runtime.store=/proc/x", 2, "no folder can be made there"),
        (f"{command} 'runtime.store=\"~nouser/x\"'", 2, "runtime.store: '~nouser/x' cannot be the folder"),
    ):
        done = subprocess.run(
            ["sh", "-c", line], cwd=tmp_path, env=environment, capture_output=True, text=True
        )
        assert done.returncode == code, done.stderr
        assert words in done.stderr and done.stderr.count("\n") == (1 if code else 0), done.stderr
