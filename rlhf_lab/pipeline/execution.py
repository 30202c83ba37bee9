"""Make missing artifacts: workers share a plan through the store, and each takes stages that no other is making."""

from __future__ import annotations

import functools
import gc
import logging
import os
import platform
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from rlhf_lab.config.runtime import Runtime
from rlhf_lab.stages import registry
from rlhf_lab.store import integrity, interrupts
from rlhf_lab.store.artifacts import Node, Store, digest, file_digest
from rlhf_lab.store.integrity import Damaged
from rlhf_lab.store.leases import Superseded

log = logging.getLogger(__name__)

COMMAND = "RLHF_LAB_COMMAND"  # environment: what the user typed, for workers to record
PACKAGES = ("rlhf-lab", "torch", "trl", "transformers", "tokenizers", "numpy")
POLL_SECONDS = 0.2
TRIES = 2  # of one job at one stage that is found damaged, or taken over, after it was made
PATIENCE_SECONDS = 5.0  # before a message says that another worker is waited for

Announce = Callable[[Node | None], None]


def missing(leaf: Node, store: Store) -> list[Node]:
    """Return the nodes that must be made for `leaf`, inputs first; the inputs of a made node are not needed."""
    nodes: dict[str, Node] = {}

    def visit(node: Node) -> None:
        """Collect the missing nodes of `node`, inputs first."""
        if node.key in nodes or store.made(node):
            return
        for upstream in node.inputs.values():
            visit(upstream)
        nodes[node.key] = node

    visit(leaf)
    return list(nodes.values())


def forget(leaf: Node, names: Sequence[str], store: Store) -> None:
    """Discard the stages called `names`, and whatever was made from them, so that they are made again."""
    stale: set[str] = set()
    for node in leaf.walk():
        if node.name in names or any(upstream.key in stale for upstream in node.inputs.values()):
            stale.add(node.key)
            store.discard(node)
            store.forget_checkpoints(node)


def mend(leaf: Node, store: Store) -> str | None:
    """Discard a made `leaf` whose samples or scores are gone or damaged, with those, and say why.

    It is what figures read, so that running a sweep again heals it. Other stages are checked before use.
    """
    if not store.made(leaf):
        return None
    damaged = _damage({"leaf": leaf, **leaf.inputs}, store)
    if damaged is None:
        return None
    for node in (leaf, *leaf.inputs.values()):
        if node is leaf or store.path(node) == damaged.folder:
            with store.claim(node) as lease:
                if lease:  # else another worker makes it again already
                    store.discard(node)
    return str(damaged)


def realise(leaf: Node, store: Store, runtime: Runtime, announce: Announce = lambda node: None) -> None:
    """Make `leaf` and what it needs, while other workers may do the same; `announce` is called with each stage."""
    waiting_since = time.monotonic()
    made = Counter[str]()  # key of a stage -> how often it was made here

    def counted(node: Node | None) -> None:
        """Announce a stage; RuntimeError if it was made more than TRIES times and is gone or damaged again."""
        if node is not None:
            made[node.key] += 1
            if made[node.key] > TRIES:
                raise RuntimeError(
                    f"{node.name}/{node.key} was made {TRIES} times by this job and was damaged, removed or taken over "
                    "each time: find out what changes the store"
                )
        announce(node)

    while wanted := missing(leaf, store):
        interrupts.stop_if_asked()
        ready = [node for node in wanted if all(store.made(upstream) for upstream in node.inputs.values())]
        if any(_make(node, store, runtime, counted) for node in ready):
            waiting_since = time.monotonic()
            continue
        if time.monotonic() - waiting_since > PATIENCE_SECONDS:
            waiting_since = float("inf")  # say it once
            for node in ready:
                log.info("waiting for %s %s, which %s is making", node.name, node.key, store.maker(node))
            announce(None)
        time.sleep(POLL_SECONDS * random.uniform(0.5, 1.5))


def _make(node: Node, store: Store, runtime: Runtime, announce: Announce) -> bool:
    """Whether this worker made `node`; False when another one is at it, or was first, or an input must be
    made again.
    """
    with store.claim(node) as lease:
        if not lease or store.made(node) or not _usable(node.inputs, store):
            return False
        announce(node)
        log.info("%s %s: begun", node.name, node.key)
        started = time.monotonic()
        # Torch may be imported already, or will be by the stage.
        os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = str(runtime.threads)
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(runtime.threads)
        inputs = {name: store.path(upstream) for name, upstream in node.inputs.items()}

        def make(out: Path) -> None:
            """Run the stage into `out`; an error about its numbers names the stage."""
            try:
                registry.module(node.name).run(node.config, inputs, out, runtime)
            except ArithmeticError as error:  # a number that is not finite, or impossible
                raise type(error)(f"{node.name}: {error}") from error
            lease.confirm()  # nothing is published by one that was stopped so long that another took over

        try:
            store.publish(node, make, provenance=provenance(runtime))
        except Superseded as late:
            log.warning("%s; what was made here is dropped", late)
            return False
        finally:
            gc.collect()
            # What stays are half a million objects of modules. A collection of them takes a third of a second, and
            # every trainer begins with one.
            gc.freeze()
        log.info("%s %s: made in %.1f s", node.name, node.key, time.monotonic() - started)
        return True


def _usable(inputs: Mapping[str, Node], store: Store) -> bool:
    """Return whether all inputs are intact; one that is not is logged and discarded, to be made again."""
    damaged = _damage(inputs, store)
    if damaged is None:
        return True
    bad = next(node for node in inputs.values() if store.path(node) == damaged.folder)
    with store.claim(bad) as lease:
        if lease and str(_damage(inputs, store)) == str(damaged):  # nobody made it again meanwhile
            log.warning("%s: it is made again", damaged)
            store.discard(bad)
    return False


def _damage(nodes: Mapping[str, Node], store: Store) -> Damaged | None:
    try:
        integrity.check_together([store.path(node) for node in nodes.values()])
    except Damaged as damaged:
        return damaged
    return None


def provenance(runtime: Runtime) -> dict[str, Any]:
    """Return the circumstances of an artifact: versions, commit, source, device, threads and command."""
    return {
        **world(),
        "device": runtime.device,
        "threads": runtime.threads,
        "command": os.environ.get(COMMAND, " ".join(sys.argv)),
    }


@functools.cache
def world() -> Mapping[str, Any]:
    """Return what is the same for all stages of this process: package versions, commit, digest of the source."""
    package = Path(__file__).parents[1]
    code = sorted(package.rglob("*.py"))
    return {
        "python": sys.version.split()[0],
        "processor": _processor(),
        "packages": {name: _version(name) for name in PACKAGES},
        "git": _git(package),
        "source": digest([[path.relative_to(package).as_posix(), file_digest(path)] for path in code]),
    }


def _processor() -> str:
    """Return the processor's name: rounding differs between kinds, and training from scratch amplifies it."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _git(folder: Path) -> dict[str, Any] | None:
    """Return the commit of the checkout that holds `folder` and whether it has changes; None outside a checkout."""
    if not (folder.parent / ".git").exists():
        return None

    git = shutil.which("git", path=os.defpath)
    if git is None:
        return None

    def ask(*words: str) -> str:
        """Return what git answers; neither the environment nor the checkout names a program that it would run."""
        return subprocess.check_output(
            [git, "-c", "core.fsmonitor=", *words],
            cwd=folder,
            env={"HOME": os.environ.get("HOME", "/"), "GIT_OPTIONAL_LOCKS": "0"},
            stderr=subprocess.DEVNULL,
            text=True,
        ).strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.CalledProcessError):
        return None
