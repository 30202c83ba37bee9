"""One job of a sweep, in the process that the launcher chose: its run folder, its log, its state."""

from __future__ import annotations

import functools
import json
import logging
import os
import socket
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from rlhf_lab.commands.compose import chosen
from rlhf_lab.commands.errors import in_one_line, missing_values, obstacle, out_of_range
from rlhf_lab.config.checks import OutOfRange
from rlhf_lab.config.experiment import Experiment
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.pipeline import execution, plan
from rlhf_lab.store import interrupts, metrics, redaction, tracking
from rlhf_lab.store.artifacts import Node, Store, plain, write_json

REFRESH_SECONDS = 0.5  # between two writes of status.json


def typed(cfg: DictConfig) -> Experiment:
    """Return the composed configuration as plain dataclasses; ValueError for a value out of range."""
    missing_values(cfg)
    try:
        experiment = OmegaConf.to_object(cfg)
    except OutOfRange as error:
        raise out_of_range(cfg, error) from error
    assert isinstance(experiment, Experiment)
    return experiment


def run(cfg: DictConfig) -> str:
    """Make one job and return its state, `made` or `failed`; a failure is recorded, not raised.

    A process that has been told to stop takes no further job, and raises Interrupted.
    """
    interrupts.stop_if_asked()
    with interrupts.at_work():
        return _run(cfg)


def _run(cfg: DictConfig) -> str:
    experiment = typed(cfg)
    store, leaf = Store(experiment.runtime.store), plan.plan(experiment)
    planned = str(HydraConfig.get().job.name)
    if leaf.key != planned:  # the digest of a file differs
        why = "its data or a judge changed after the sweep was planned; run the command again"
        write_json(store.root / "runs" / planned / "status.json", {"state": "failed", "error": why})
        return "failed"
    status = Status(store.root / "runs" / leaf.key, leaf)
    if store.made(leaf) and (status.folder / "status.json").is_file():
        return "made"
    status.begin(cfg, experiment.runtime)
    with _logged(status.folder / "log.txt"):
        try:
            with _listening(status, experiment):
                execution.realise(leaf, store, experiment.runtime, status.stage)
        except interrupts.Interrupted as stop:
            status.end("stopped", error=str(stop))
            raise
        except BaseException as error:  # a judge that ends the process is a failure like any other
            (status.folder / "traceback.txt").write_text(redaction.hide(traceback.format_exc()))
            logging.getLogger(__name__).exception("failed")
            status.end("failed", error=redaction.hide(obstacle(error) or in_one_line(error)))
            return "failed"
    status.end("made")
    return "made"


class Status:
    """The files in which a job reports: `status.json`, and `metrics.jsonl` with the lines of all its stages."""

    def __init__(self, folder: Path, leaf: Node) -> None:
        self.folder = folder
        self._written = 0.0
        self._now: dict[str, Any] = {"key": leaf.key}
        self._stage_key = ""

    @property
    def current(self) -> str:
        """Return the name of the running stage."""
        return self._now.get("stage", "")

    def begin(self, cfg: DictConfig, runtime: Runtime) -> None:
        """Write the configuration, and a status with versions, device, command and time."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "traceback.txt").unlink(missing_ok=True)
        choices = chosen(HydraConfig.get().runtime.choices)
        names = {*choices, *choices.values()}
        written = OmegaConf.to_yaml(cfg, resolve=True) + OmegaConf.to_yaml({"choices": choices})
        (self.folder / "config.yaml").write_text(redaction.hide(written, names))
        self._now |= {
            "state": "running",
            "sweep": sweep_name(HydraConfig.get().runtime.choices),
            **redaction.hide(execution.provenance(runtime), names),
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "started": time.time(),
        }
        self._write()

    def stage(self, node: Node | None) -> None:
        """Write which stage is running; None while the job waits for a stage of another worker."""
        self._now |= {"stage": node.name if node else "waiting", "done": 0, "total": None}
        if node:
            self._stage_key = node.key
            path = self.folder / "metrics.jsonl"
            if path.is_file():  # lines of an earlier attempt at the stage, which records them again, go
                lines = path.read_text().splitlines(keepends=True)
                path.write_text("".join(line for line in lines if f'"{node.key}"' not in line))
        self._write()

    def heard(self, message: Mapping[str, Any]) -> None:
        """Write what a stage reports: how far it is, and perhaps a line of numbers."""
        self._now |= {"done": message["done"], "total": message["total"]}
        if message["line"]:
            with (self.folder / "metrics.jsonl").open("a") as stream:
                named = {"stage": self.current, "key": self._stage_key, **message["line"]}
                stream.write(json.dumps(named) + "\n")
        if time.monotonic() - self._written > REFRESH_SECONDS:
            self._write()

    def end(self, state: str, **more: Any) -> None:
        """Write how the job ended."""
        ended = time.time()
        self._now |= {"state": state, "ended": ended, "seconds": ended - self._now["started"], **more}
        self._write()

    def _write(self) -> None:
        self._written = time.monotonic()
        write_json(self.folder / "status.json", self._now)


def sweep_name(choices: Mapping[str, Any]) -> str:
    """Return the name under which runs with these choices are recorded: their experiment, or `adhoc` without one.

    ValueError if no folder can have the name.
    """
    return plain(str(choices.get("experiment") or "adhoc"))


@contextmanager
def _listening(status: Status, experiment: Experiment) -> Iterator[None]:
    """Send the reports of stages to the job's folder and to the tracker."""
    choices = HydraConfig.get().runtime.choices
    name = f"{choices['policy']}-{choices['rm']}-{status.folder.name[:8]}"
    with tracking.mirror(experiment, group=sweep_name(choices), name=name) as tracker:

        def listener(message: dict[str, Any]) -> None:
            """Pass a message of a stage to the status and to the tracker."""
            status.heard(message)
            tracker({"stage": status.current, **message})

        metrics.LISTENERS.append(listener)
        try:
            yield
        finally:
            metrics.LISTENERS.remove(listener)


class _Discreet(logging.Formatter):
    """Log lines and tracebacks without secrets."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of `record`."""
        return redaction.hide(super().format(record))


@contextmanager
def _logged(path: Path) -> Iterator[None]:
    """Send log messages and warnings of this process to `path`, not to the terminal."""
    handler = logging.FileHandler(path)
    handler.setFormatter(_Discreet("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root = logging.getLogger()
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    _quiet()
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.setLevel(level)
        handler.close()


@functools.cache
def _quiet() -> None:
    """Send warnings to the log, except those about future versions; done once in a process."""
    logging.raiseExceptions = False  # a line that cannot be logged, as on a full disk, is no error of its own
    warnings.filterwarnings("ignore", category=FutureWarning)
    logging.captureWarnings(True)
    for noisy in ("httpx", "datasets"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
