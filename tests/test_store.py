"""Made once, made whole: what is killed leaves nothing, and workers share the work."""

import multiprocessing
import os
import signal
import sys
import time
import weakref
from dataclasses import dataclass
from pathlib import Path

import pytest
from runtime import RUNTIME

from rlhf_lab.commands.options import folder
from rlhf_lab.pipeline import execution
from rlhf_lab.stages import registry
from rlhf_lab.store.artifacts import Node, Store, read_json, write_json
from rlhf_lab.store.metrics import Metrics

FORK = multiprocessing.get_context("fork")


@dataclass
class Config:
    name: str
    seconds: float = 0.0


VERSION = 1
registry.MODULES[__name__] = __name__


def run(config, inputs, out, runtime):
    """A stage: this module is one."""
    (out / "half").write_text("begun")
    time.sleep(config.seconds)
    (out / "whole").write_text(" ".join([config.name, *sorted(inputs)]))
    with (out.parents[1] / "built").open("a") as stream:
        stream.write(config.name + "\n")


def node(name, seconds=0.0, **inputs):
    return Node(__name__, VERSION, Config(name, seconds), inputs)


def diamond(seconds=0.0):
    top = node("top", seconds)
    left, right = (node(name, seconds, top=top) for name in ("left", "right"))
    return node("leaf", seconds, left=left, right=right)


def built(store):
    return sorted((store.root / "built").read_text().split())


def test_what_is_made_is_made_once_and_says_of_what(store):
    leaf = diamond()
    execution.realise(leaf, store, RUNTIME)
    execution.realise(leaf, store, RUNTIME)
    assert built(store) == ["leaf", "left", "right", "top"]
    manifest = store.manifest(leaf)
    assert manifest["inputs"] == {up: [n.name, n.key] for up, n in leaf.inputs.items()}
    assert {name: size for name, (size, _) in manifest["files"].items()} == {"half": 5, "whole": 15}
    assert manifest["seconds"] >= 0 and manifest["made_from"].keys() == leaf.inputs.keys()
    assert {"packages", "git", "source", "device", "threads", "command"} <= manifest["provenance"].keys()
    in_checkout = (Path(__file__).parents[1] / ".git").exists()
    assert (manifest["provenance"]["git"] is not None) == in_checkout
    assert not list((store.root / "scratch").iterdir())


class Circle:
    """Something that only a collection frees."""

    def __init__(self):
        self.itself = self


def test_what_a_stage_leaves_behind_in_memory_is_freed(store, monkeypatch):
    left = []

    def leave(config, inputs, out, runtime):
        left.append(weakref.ref(Circle()))
        if config.name == "bad":
            raise ArithmeticError

    monkeypatch.setattr(sys.modules[__name__], "run", leave)
    execution.realise(node("good"), store, RUNTIME)
    with pytest.raises(ArithmeticError):
        execution.realise(node("bad"), store, RUNTIME)
    assert len(left) == 2 and all(one() is None for one in left)


def test_nothing_below_what_is_made_is_needed(store):
    leaf = diamond()
    execution.realise(leaf, store, RUNTIME)
    top = leaf.inputs["left"].inputs["top"]
    store.discard(top)
    assert execution.missing(leaf, store) == []
    store.discard(leaf.inputs["left"])
    assert execution.missing(leaf, store) == []
    store.discard(leaf)
    assert [n.config.name for n in execution.missing(leaf, store)] == ["top", "left", "leaf"]


def test_a_stage_that_fails_leaves_nothing(store):
    def fail(out):
        (out / "half").write_text("begun")
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        store.publish(node("one"), fail, {})
    assert not store.made(node("one")) and not list((store.root / "scratch").iterdir())


def test_a_signal_before_a_stage_has_begun_leaves_nothing(store, monkeypatch):
    """It may come between the making of the folder and the stage's first line."""
    symlink_to = Path.symlink_to

    def interrupted(link, target, target_is_directory=False):
        symlink_to(link, target, target_is_directory)
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "symlink_to", interrupted)
    with pytest.raises(KeyboardInterrupt):
        store.publish(node("one"), lambda out: None, {})
    assert not list((store.root / "scratch").iterdir()) and not list((store.root / "checkpoints").iterdir())


def test_a_checkpoint_outlives_a_failure_for_the_same_source_and_device_and_is_no_part_of_the_artifact(store):
    one, here = node("one"), {"source": "a", "packages": {"torch": "2"}, "device": "cpu"}
    seen = []

    def make(out, fail=True):
        seen.append(sorted(path.name for path in (out / "checkpoint").iterdir()))
        (out / "checkpoint" / f"try{len(seen)}").touch()
        (out / "whole").write_text("one")
        if fail:
            raise RuntimeError("no")

    for provenance in (here, here, here | {"source": "b"}, here | {"device": "cuda"}):
        with pytest.raises(RuntimeError):
            store.publish(one, make, provenance)
    store.publish(one, lambda out: make(out, fail=False), here)
    assert seen == [[], ["try1"], [], [], ["try1", "try2"]]
    assert list(store.manifest(one)["files"]) == ["whole"] and not list(store.root.glob("checkpoints/*"))
    assert store.manifest(one)["resumed"]
    store.publish(node("other"), lambda out: None, here)
    assert not store.manifest(node("other"))["resumed"]


def test_force_forgets_checkpoints(store):
    one = node("one")
    with pytest.raises(RuntimeError):
        store.publish(one, stopped, {})
    assert list(store.root.glob("checkpoints/*"))
    execution.forget(one, [one.name], store)
    assert not list(store.root.glob("checkpoints/*"))


def stopped(out):
    (out / "checkpoint" / "begun").touch()
    raise RuntimeError("no")


def test_a_number_that_is_not_finite_names_its_stage(store, monkeypatch):
    def broken(config, inputs, out, runtime):
        with Metrics(out) as metrics:
            metrics.log(3, loss=float("nan"))

    monkeypatch.setattr(sys.modules[__name__], "run", broken)
    with pytest.raises(FloatingPointError, match=r"^test_store: loss is nan at step 3"):
        execution.realise(node("one"), store, RUNTIME)
    assert not store.made(node("one"))


def test_a_killed_worker_leaves_nothing_that_looks_made_and_no_stale_claim(store):
    slow = node("slow", seconds=60)
    worker = FORK.Process(target=execution.realise, args=(slow, store, RUNTIME))
    worker.start()
    until(lambda: list(store.root.glob("scratch/*/half")))
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    assert not store.made(slow) and not store.path(slow).exists()
    with store.claim(slow) as mine:
        assert mine
        store.publish(slow, lambda out: (out / "whole").write_text("now"), {})
    assert store.made(slow)


def test_a_folder_without_manifest_is_replaced(store):
    one = node("one")
    store.path(one).mkdir(parents=True)
    (store.path(one) / "half").write_text("left by someone")
    assert not store.made(one)
    execution.realise(one, store, RUNTIME)
    assert (store.path(one) / "whole").read_text() == "one"


def test_workers_build_each_stage_once_and_different_ones_at_a_time(store):
    leaf = diamond(seconds=0.4)
    workers = [FORK.Process(target=execution.realise, args=(leaf, store, RUNTIME)) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert [worker.exitcode for worker in workers] == [0, 0, 0]
    assert built(store) == ["leaf", "left", "right", "top"]
    began, ended = zip(*(span(store.manifest(n)) for n in leaf.inputs.values()), strict=True)
    assert max(began) < min(ended), "left and right were made side by side"


def span(manifest):
    return manifest["made"] - manifest["seconds"], manifest["made"]


def test_a_claim_dies_with_its_holder(store):
    one = node("one")

    def hold():
        with store.claim(one):
            (store.root / "held").touch()
            time.sleep(60)

    holder = FORK.Process(target=hold)
    holder.start()
    until(lambda: (store.root / "held").exists())
    with store.claim(one) as mine:
        assert not mine
    os.kill(holder.pid, signal.SIGKILL)
    holder.join()
    with store.claim(one) as mine:
        assert mine


def test_a_reader_sees_old_json_or_new(tmp_path):
    path = tmp_path / "a.json"
    assert read_json(path) == {}
    write_json(path, {"a": 1})
    with pytest.raises(ValueError):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1} and [p.name for p in tmp_path.iterdir()] == ["a.json"]


def test_conf_and_sweeps_are_found_in_a_checkout():
    top = Path(__file__).parents[1]
    assert folder("conf") == top / "conf" and folder("sweeps") == top / "sweeps"


def until(condition, seconds=20):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", "5", '"x"', "\xff", "[" * 5000])
def test_json_that_is_no_object_reads_as_an_empty_one(tmp_path, text):
    (tmp_path / "a.json").write_text(text)
    assert read_json(tmp_path / "a.json") == {}


def test_a_stage_that_is_damaged_each_time_ends_the_job_with_a_line(store, monkeypatch):
    leaf = diamond()
    usable = execution._usable

    def spoiled(inputs, store):
        for made in inputs.values():
            if made.config.name == "top" and store.made(made):
                (store.path(made) / "whole").write_text("")
        return usable(inputs, store)

    monkeypatch.setattr(execution, "_usable", spoiled)
    with pytest.raises(RuntimeError, match=r"was made 2 times by this job and was damaged, removed or taken"):
        execution.realise(leaf, store, RUNTIME)
    assert built(store).count("top") == 2


@pytest.mark.parametrize("place", ["dangling link", "link", "file"])
def test_what_lies_in_the_place_of_an_artifact_gives_way_and_what_is_linked_stays(store, tmp_path, place):
    top, outside = node("top"), tmp_path / "outside"
    path = store.path(top)
    path.parent.mkdir(parents=True)
    outside.mkdir()
    (outside / "precious").touch()
    if place == "file":
        path.touch()
    else:
        path.symlink_to(outside if place == "link" else tmp_path / "nowhere")
    execution.realise(top, store, RUNTIME)
    assert store.made(top) and not path.is_symlink() and (outside / "precious").exists()


def test_empty_folders_of_a_trainer_are_no_part_of_an_artifact(store):
    top = node("top")
    store.publish(top, lambda out: (out / "trainer" / "runs").mkdir(parents=True), {})
    assert [path.name for path in store.path(top).iterdir()] == ["manifest.json"]


@pytest.mark.parametrize("root", ["~nobody-of-this-name/x", "a\0b"])
def test_a_folder_that_cannot_be_one_is_a_line(root):
    with pytest.raises(ValueError, match="cannot be the folder of a store"):
        Store(root)
