"""The sweep: all jobs are composed, checked and recorded before the first starts; then a launcher runs them."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Mapping, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from rlhf_lab.commands import hydra_internals
from rlhf_lab.commands.compose import Composer, chosen
from rlhf_lab.commands.errors import Incomplete, Mistake, explain, is_mistake
from rlhf_lab.commands.job import sweep_name, typed
from rlhf_lab.commands.jobs import Job, check, overrides_of_jobs
from rlhf_lab.commands.refusals import refuse_hydra, refuse_paths, refuse_python
from rlhf_lab.config import registry
from rlhf_lab.config.runtime import Runtime
from rlhf_lab.pipeline import execution, plan
from rlhf_lab.store import redaction, sweep_records, upkeep
from rlhf_lab.store.artifacts import Store


class PlannedSweeper(Sweeper):
    """A sweeper that plans all jobs of a sweep first and runs each distinct one once."""

    def __init__(self, params: Mapping[str, str], cells: Sequence[str]) -> None:
        self._params, self._cells = dict(params), list(cells)

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Keep the arguments, which composing and launching need."""
        self._loader, self._config = hydra_context.config_loader, config
        self._context, self._task = hydra_context, task_function

    def sweep(self, arguments: list[str]) -> None:
        """Plan every job, then print the plan or make what is missing; Incomplete when a job is not made."""
        from rlhf_lab.commands import display
        from rlhf_lab.commands.launch import launch

        jobs = self._jobs(arguments)
        self._launcher = self._launcher_of(len(jobs))
        runtime = jobs[0].experiment.runtime
        store = _store(runtime)
        if runtime.plan:
            display.plan(jobs, store)
            return
        _offline(jobs)
        try:
            store.root.mkdir(parents=True, exist_ok=True)
        except FileNotFoundError as error:  # a folder in which none can be made, such as /proc
            raise Mistake(
                f"{store.root}: no folder can be made there: give another place with runtime.store="
            ) from error
        check(jobs, str(self._config.hydra.runtime.choices["hydra/launcher"]), store)
        _forget(jobs, store, runtime)
        for why in dict.fromkeys(execution.mend(job.leaf, store) for job in jobs):
            if why:
                print(f"{why}: it is made again", flush=True)
        if line := upkeep.earlier_format(store.root):
            print(line, file=sys.stderr, flush=True)
        record(jobs, store)
        error = None
        try:
            with display.Progress(jobs, store):
                error = launch([job for job in jobs if not store.made(job.leaf)], store, self._launch)
        finally:  # whatever happens, the user sees what there is
            display.settle(jobs, store)
            display.outcome(jobs, store, error)
        if not all(store.made(job.leaf) for job in jobs):
            raise Incomplete

    def _jobs(self, arguments: Sequence[str]) -> list[Job]:
        """Return every distinct job, composed, typed and planned; Mistake names the first that cannot be."""
        parser = OverridesParser.create(config_loader=self._loader)
        try:
            asked = overrides_of_jobs(self._params, self._cells, arguments, parser.parse_overrides)
        except ValueError as error:
            raise Mistake(str(error)) from error
        composer, jobs = Composer(self._loader, self._config), dict[str, Job]()
        for overrides in asked:
            try:
                job = _job(composer, len(jobs), overrides)
            except Exception as error:
                if not (is_mistake(error) or isinstance(error, ValueError)):
                    raise
                where = f" (job: {' '.join(overrides)})" if len(asked) > 1 else ""
                raise Mistake(explain(error) + where) from error
            jobs.setdefault(job.leaf.key, job)
        return list(jobs.values())

    def _launcher_of(self, jobs: int) -> Launcher:
        """Return the launcher that the configuration names; a lone job runs in this process, without workers."""
        config = self._config
        if jobs == 1 and "n_jobs" in config.hydra.launcher:
            config = copy.deepcopy(config)
            OmegaConf.update(config, "hydra.launcher.n_jobs", 1)
        return Plugins.instance().instantiate_launcher(
            hydra_context=self._context, task_function=self._task, config=config
        )

    def _launch(self, jobs: Sequence[Job]) -> None:
        named = [[*job.overrides, f"hydra.job.name='{job.leaf.key}'"] for job in jobs]
        for result in self._launcher.launch(named, initial_job_idx=0):
            hydra_internals.raise_failure(result)  # which the job could not record itself


def _store(runtime: Runtime) -> Store:
    """Return the store of the sweep; Mistake if its name cannot be one of a folder."""
    try:
        return Store(runtime.store)
    except ValueError as error:
        raise Mistake(f"runtime.store: {error}") from error


def _job(composer: Composer, index: int, overrides: list[str]) -> Job:
    composed = composer.compose(overrides)
    choices = composed.hydra.runtime.choices
    refuse_paths({str(group): str(option) for group, option in choices.items() if option is not None})
    refuse_python(OmegaConf.to_container(composed.hydra, resolve=False), "hydra")
    refuse_hydra(composed.hydra)
    experiment = typed(composed.config)
    plain = OmegaConf.to_container(composed.config, resolve=True, enum_to_str=True)
    assert isinstance(plain, dict)
    config = {str(key): value for key, value in plain.items()}
    return Job(index, tuple(overrides), chosen(choices), config, experiment, plan.plan(experiment))


def record(jobs: Sequence[Job], store: Store) -> None:
    """Write the sweep record: what was asked for, so that missing runs can be named."""
    names = {name for job in jobs for name in (*job.choices, *job.choices.values())}
    rows = [
        {
            "index": job.index,
            "overrides": redaction.hide(job.overrides, names),
            "choices": job.choices,
            "classes": {path: registry.lineage(schema) for path, schema in registry.classes(job.experiment)},
            "config": redaction.hide(job.config, names),
            "method": type(job.experiment.policy).__name__,
            "uses_gold": job.experiment.uses_gold,
            "key": job.leaf.key,
            "stages": [[node.name, node.key] for node in job.leaf.walk()],  # what pruning keeps
        }
        for job in jobs
    ]
    command = redaction.hide(os.environ.get(execution.COMMAND, ""), names)
    sweep_records.write_record(store.root, sweep_name(jobs[0].choices), {"command": command, "jobs": rows})


def _offline(jobs: Sequence[Job]) -> None:
    """Keep the Hugging Face libraries off the network unless a stage or a judge may need it."""
    hub = any("@" in digest for job in jobs for node in job.leaf.walk() for digest in node.contents.values())
    if not hub and not any(job.experiment.score.extra for job in jobs):
        for name in ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE"):
            os.environ.setdefault(name, "1")


def _forget(jobs: Sequence[Job], store: Store, runtime: Runtime) -> None:
    """Discard the stages that `runtime.force` names, before any job; Mistake for a stage that no job has."""
    known = {node.name for job in jobs for node in job.leaf.walk()}
    for name in runtime.force:
        if name not in known:
            raise Mistake(f"runtime.force: no stage {name!r}; there are {', '.join(sorted(known))}")
    for job in jobs:
        execution.forget(job.leaf, runtime.force, store)


def register() -> None:
    """Make the sweeper known to Hydra."""
    hydra_internals.register_sweeper(PlannedSweeper)
