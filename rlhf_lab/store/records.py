"""The Python interface to what was run: every run of a sweep, and every answer with its scores as a row of a table.

`load` returns a pandas DataFrame with one row per answer. `runs`, `made` and `history` return `Run` objects, whose
tables are pyarrow tables. Every file that is read is first compared with the digest that was recorded when it was made.
Functions that take `store` read the store in that folder, by default the one that RLHF_LAB_STORE names, or `./store`.

Examples:
    >>> from rlhf_lab.store import records
    >>> frame = records.load("quickstart", columns=["checkpoint", "kl", "gold", "proxy"])  # doctest: +SKIP
    >>> frame.groupby(["method", "rm", "checkpoint"])[["kl", "gold", "proxy"]].mean()  # doctest: +SKIP
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from rlhf_lab.config import registry
from rlhf_lab.config.models import Half
from rlhf_lab.store import comparisons, integrity, leases
from rlhf_lab.store.artifacts import MANIFEST, inside, read_json
from rlhf_lab.store.parquet import open_table as open_table
from rlhf_lab.store.parquet import read_columns
from rlhf_lab.store.parquet import read_parts as read_parts
from rlhf_lab.store.parquet import read_table as read_table
from rlhf_lab.store.parquet import write_parts as write_parts
from rlhf_lab.store.parquet import write_table as write_table
from rlhf_lab.store.sweep_records import DamagedRuns as DamagedRuns
from rlhf_lab.store.sweep_records import MissingRuns as MissingRuns
from rlhf_lab.store.sweep_records import command_of, read_record, record_paths
from rlhf_lab.store.sweep_records import store_root as store_root
from rlhf_lab.store.sweep_records import sweep_names as sweep_names
from rlhf_lab.store.sweep_records import sweep_record as sweep_record

if TYPE_CHECKING:
    import pandas as pd

# Files of artifacts.
SAMPLES = "samples.parquet"  # sampled answers
SCORES = "scores.parquet"  # their scores by one scorer
REFERENCE = "reference.parquet"  # log-probabilities of SFT answers by a trained policy and by SFT
ACTIVATIONS = "activations.parquet"  # hidden states at the end of each prompt
PAIRS = "pairs.parquet"  # labelled comparisons
HELDOUT = "heldout.parquet"  # rewards by a reward model of both answers of every held-out pair

# Inputs of the last stage, `run`. All other inputs of it hold scores of the samples.
SAMPLED = "samples"
TURNS = "second_turns"
TURNS_READ = "second_turns.read"  # what gold reads in the second turns
STATES = "activations"

REWARD_MODELS = ("reward_model", "weight_average")  # stages that make a reward model
# Inputs that lead from a score of the proxy to its reward models.
PROXY_INPUTS = ("proxy", "ensemble", "member")


@dataclass(frozen=True)
class Run:
    """One run of a sweep: what was asked for, how far it got, and its tables once it is made.

    `runs`, `made` and `history` return runs; do not construct one.

    Attributes:
        key: The key of the run's last stage, 20 hexadecimal digits. It names the run's folders in the store.
        sweep: The name of the sweep that asked for the run.
        choices: The option chosen of each config group, such as `{"policy": "ppo", "rm": "3k", ...}`.
        overrides: The overrides of the command line that lead to this run.
        config: The whole configuration as nested dicts and plain values.
        status: `made`, `failed`, `stopped`, `running` or `missing`.
        root: The folder of the store.
        method: The class of the policy's configuration, such as `PPO` or `BestOfN`.
        uses_gold: Whether the policy used gold rewards to choose answers.
        classes: The class of every option by its path, such as `{"labeler": ("Flip", "Labeler"), ...}`, followed by the
            classes that it inherits from.
    """

    key: str
    sweep: str
    choices: Mapping[str, str]
    overrides: Sequence[str]
    config: Mapping[str, Any]
    status: str
    root: Path
    method: str
    uses_gold: bool
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """The folder of the run's job, with config.yaml, status.json, metrics.jsonl, log.txt and traceback.txt."""
        return inside(self.root, "runs", self.key)

    def job(self) -> dict[str, Any]:
        """Return what the job recorded of itself (status.json), or an empty dict if it has not started."""
        return read_json(self.folder / "status.json")

    def manifest(self) -> dict[str, Any]:
        """Return the manifest of the run's last stage: its inputs, files, seconds and provenance."""
        return self._manifest("run", self.key)

    def rows(self, columns: Sequence[str] | None = None) -> pa.Table:
        """Return the answers of the run with all of their scores, one row per answer.

        Args:
            columns: The columns to read; all by default. Only the files that hold them are read.

        Returns:
            The columns of samples.parquet (`prompt_id`, `sample`, `text`, `kl`, ...) followed by those of every
            scores.parquet (`gold`, `proxy`, ...), with the rows in the order of samples.parquet.

        Raises:
            KeyError: If a column is in no file; the message lists the columns there are.
            DamagedRuns: If a file differs from what was made.
            MissingRuns: If the run is not made.
        """
        self._check()
        inputs = self.manifest()["inputs"]
        others = (SAMPLED, TURNS, TURNS_READ, STATES)
        paths = [self._path(*inputs[SAMPLED]) / SAMPLES]
        paths += [self._path(*scores) / SCORES for name, scores in inputs.items() if name not in others]
        with ExitStack() as stack:
            files = [stack.enter_context(open_table(path)) for path in paths]
            names = [file.schema_arrow.names for file in files]
            if columns is not None:
                if missing := sorted(set(columns).difference(*names)):
                    known = ", ".join(name for of_file in names for name in of_file)
                    raise KeyError(f"run {self.key} has no column {missing[0]!r}; it has {known}")
                names = [[name for name in of_file if name in columns] for of_file in names]
            tables = [
                read_columns(file, of_file) for file, of_file in zip(files, names, strict=True) if of_file
            ]
        joined: dict[str, pa.ChunkedArray] = {}
        for table in tables:
            if table.num_rows != tables[0].num_rows:
                raise ValueError(f"run {self.key}: {table.num_rows} scores for {tables[0].num_rows} samples")
            joined |= zip(table.column_names, table.columns, strict=True)
        order = list(joined if columns is None else columns)
        return pa.Table.from_arrays([joined[name] for name in order], order)

    def second_turns(self) -> pa.Table:
        """Return the second answers of SFT and of the policy, to doubt and to its control, as gold reads them.

        docs/columns.md lists the columns. Raises KeyError for a run without `score.second_turns`.
        """
        inputs = self.manifest()["inputs"]
        if TURNS not in inputs:
            raise KeyError(f"run {self.key} has no second turns: run it with score.second_turns above 0")
        self._check()
        turns = read_table(self._path(*inputs[TURNS]) / SAMPLES)
        read = read_table(self._path(*inputs[TURNS_READ]) / SCORES)
        return pa.Table.from_arrays(
            [*turns.columns, *read.columns], [*turns.column_names, *read.column_names]
        )

    def reference(self) -> pa.Table:
        """Return the log-probabilities that a trained policy and SFT give to answers of SFT, at each checkpoint.

        `forward_kl` is KL(SFT || policy) per answer, in nats. Raises KeyError for a policy that is
        not trained, such as best-of-n.
        """
        return read_table(self._file(REFERENCE, *self.manifest()["inputs"][SAMPLED]))

    def prompts(self) -> pa.Table:
        """Return the prompts of the task, one row per prompt, to be joined to `rows` by `prompt_id`."""
        samples = self._manifest(*self.manifest()["inputs"][SAMPLED])
        return read_table(self._file("prompts.parquet", *samples["inputs"]["task"]))

    def activations(self) -> pa.Table:
        """Return the hidden states at the end of each prompt; KeyError for a run without `score.activations=true`."""
        return read_table(self._file(ACTIVATIONS, *self.manifest()["inputs"][STATES]))

    def provenance(self) -> dict[str, Any]:
        """Return under what the samples were made: package versions, git commit, device, threads and command."""
        return self._manifest(*self.manifest()["inputs"][SAMPLED])["provenance"]

    def evaluation(self, scorer: str) -> dict[str, Any]:
        """Return the evaluation of the reward model behind a scorer, on held-out pairs.

        Args:
            scorer: `proxy` for the learned reward model, judged by the labels that it was trained on, or `gold` for a
                gold reward that is a model, judged by people's choices.

        Raises:
            KeyError: If the scorer is no reward model.
        """
        inputs = self._manifest(*self.manifest()["inputs"][scorer])["inputs"]
        if scorer not in inputs:
            raise KeyError(f"run {self.key}: no reward model is behind {scorer}")
        return json.loads(self._file("evaluation.json", *inputs[scorer]).read_text())

    def reward_models(self) -> dict[str, dict[str, Any]]:
        """Return key -> configuration of every reward model behind the proxy.

        It is one reward model, the members of an ensemble, or an average of weights and its members.
        """
        configs, queue = {}, [tuple(self.manifest()["inputs"]["proxy"])]
        while queue:
            stage, key = queue.pop(0)
            manifest = self._manifest(stage, key)
            if stage in REWARD_MODELS:
                configs[key] = manifest["config"]
            if stage != "reward_model":  # a reward model among the inputs of a reward model is gold
                inputs = manifest["inputs"].items()
                queue += [
                    tuple(upstream) for name, upstream in inputs if name.partition(".")[0] in PROXY_INPUTS
                ]
        return configs

    def comparisons(self, reward_model: str) -> pa.Table:
        """Return the pairs of a reward model behind the proxy, with its rewards of the held-out ones.

        Args:
            reward_model: A key of `reward_models`.

        Returns:
            The labelled pairs; `split` says whether the model was trained on a pair or is judged on it. The columns
            `chosen_reward` and `rejected_reward` are NaN for pairs of the training split.
        """
        stage = next(
            (name for name in REWARD_MODELS if self._path(name, reward_model).is_dir()), "reward_model"
        )
        manifest = self._manifest(stage, reward_model)
        half = Half[manifest["config"].get("half", "both")]  # earlier versions had no halves
        pairs = comparisons.in_half(read_table(self._file(PAIRS, *manifest["inputs"]["pairs"])), half)
        rewards = read_table(self._file(HELDOUT, stage, reward_model))
        try:
            return comparisons.with_rewards(pairs, rewards)
        except ValueError as error:
            raise ValueError(f"{stage}/{reward_model}: {error}") from None

    def rewards(self, reward_model: str) -> pa.ChunkedArray:
        """Return the rewards of the run's answers, in the order of `rows`, by a reward model of `scored_by`."""
        return read_table(self._file(SCORES, *self.scored_by()[reward_model]), ["proxy"])["proxy"]

    def scored_by(self) -> dict[str, tuple[str, str]]:
        """Return key -> (stage, key) of the scores of every reward model that scored the run's answers by itself."""
        proxy = tuple(self.manifest()["inputs"]["proxy"])
        inputs = self._manifest(*proxy)["inputs"]
        scorers = {}
        for scores in (proxy, *(tuple(inputs[name]) for name in inputs if name.startswith("scores."))):
            stage, key = self._manifest(*scores)["inputs"].get("proxy", ("", ""))
            if stage in REWARD_MODELS:
                scorers[key] = scores
        return scorers

    def stage_metrics(self, stage: str) -> list[dict[str, Any]]:
        """Return the lines of metrics that a stage recorded, each a dict with `step` and the numbers of that step.

        If several stages below the run have this name, the one nearest to its end counts. A role, the path of inputs
        from the run to one stage as in `made_by`, tells stages of one name apart: `proxy/proxy/trunk` is the language
        model from which the reward model started. Raises KeyError if there is no such stage.
        """
        if "/" in stage:
            found = self._in_role(stage)
        else:
            found = next(((name, key) for name, key in self._stages() if name == stage), None)
        if found is None:
            raise KeyError(f"run {self.key} has no stage {stage!r}")
        lines = self._file("metrics.jsonl", *found).read_text().splitlines()
        return [json.loads(line) for line in lines]

    def _in_role(self, role: str) -> tuple[str, str] | None:
        """Return name and key of the stage to which a path of inputs leads; None if it leads nowhere."""
        name, key = "run", self.key
        for step in role.split("/"):
            inputs = self._manifest(name, key)["inputs"]
            if step not in inputs:
                return None
            name, key = inputs[step]
        return name, key

    def made_by(self) -> dict[str, dict[str, Any]]:
        """Return role -> manifest of every stage below the run that is still in the store.

        The role is the path of inputs that leads to the stage: `samples/sft` is the model that was sampled, and the
        run itself is `""`.
        """
        manifests, queue = {}, [("", "run", self.key)]
        while queue:
            role, stage, key = queue.pop()
            try:
                manifests[role] = self._manifest(stage, key)
            except (MissingRuns, DamagedRuns):  # rows do not need it
                continue
            inputs = manifests[role]["inputs"]
            queue += [(f"{role}/{name}".lstrip("/"), *upstream) for name, upstream in inputs.items()]
        return manifests

    def _stages(self) -> Iterator[tuple[str, str]]:
        """Yield name and key of the run's stages, nearest to its end first and gold's after the proxy's."""
        queue, seen = [("run", self.key)], set()
        while queue:
            name, key = queue.pop(0)
            if key in seen:
                continue
            seen.add(key)
            yield name, key
            inputs = self._manifest(name, key)["inputs"]
            queue += [tuple(inputs[i]) for i in sorted(inputs, key=lambda i: i == "gold")]

    def _check(self) -> None:
        """Raise DamagedRuns unless samples and scores are as they were made and belong together."""
        artifacts = [("run", self.key), *self.manifest()["inputs"].values()]
        for artifact in artifacts:
            self._manifest(*artifact)
        try:
            integrity.check_together(
                [self._path(*artifact) for artifact in artifacts], names=(SAMPLES, SCORES)
            )
        except integrity.Damaged as damaged:
            raise self._damaged(damaged) from None

    def _file(self, name: str, stage: str, key: str) -> Path:
        """Return the path of a file of an artifact, once it is found to be as it was made."""
        self._manifest(stage, key)
        try:
            files = integrity.check(self._path(stage, key), names=(name,))["files"]
        except integrity.Damaged as damaged:
            raise self._damaged(damaged) from None
        if name not in files:
            raise KeyError(f"{stage}/{key} has no {name}")
        return self._path(stage, key) / name

    def _manifest(self, stage: str, key: str) -> dict[str, Any]:
        folder = self._path(stage, key)
        try:
            return integrity.manifest_of(folder)
        except integrity.Damaged as damaged:
            if (folder / MANIFEST).is_file():
                raise self._damaged(damaged) from None
            raise MissingRuns(f"{folder} is not there; make it: {self._command(stage, key)}") from None

    def _path(self, stage: str, key: str) -> Path:
        return inside(self.root, stage, key)

    def _damaged(self, damaged: integrity.Damaged) -> DamagedRuns:
        command = self._command(damaged.folder.parent.name, damaged.folder.name)
        return DamagedRuns(f"run {self.key[:8]}: {damaged}; make it again: {command}")

    def _command(self, stage: str, key: str) -> str:
        """Return the command that makes an artifact again."""
        try:
            command = sweep_record(self.sweep, self.root)["command"] or command_of(self.sweep)
        except (MissingRuns, DamagedRuns):
            command = command_of(self.sweep)
        mended = stage == "run" or [stage, key] in self.manifest()["inputs"].values()  # by every new run
        return command if mended else f"{command} 'runtime.force=[{stage}]'"


def runs(sweep: str, store: str | Path | None = None) -> list[Run]:
    """Return every run of the newest record of a sweep, made or not, in the order of the record.

    Args:
        sweep: The name of the sweep, such as `quickstart`; `adhoc` for runs without a sweep.
        store: The folder of the store.

    Raises:
        MissingRuns: If the sweep was never started; the message ends with the command that runs it.

    Examples:
        >>> [run.key for run in runs("quickstart") if run.method == "PPO"]  # doctest: +SKIP
    """
    return _runs(sweep_record(sweep, store), store_root(store))


def history(store: str | Path | None = None, unreadable: list[str] | None = None) -> list[Run]:
    """Return every run of every sweep record, each once under the newest sweep that asked for it, newest first.

    A record that cannot be read raises DamagedRuns, or becomes a line of `unreadable` if that is given.
    """
    root = store_root(store)
    by_key: dict[str, Run] = {}
    for path in reversed(record_paths(root, unreadable)):
        try:
            record = read_record(path)
        except DamagedRuns as error:
            if unreadable is None:
                raise
            unreadable.append(str(error))
            continue
        for run in _runs(record, root):
            by_key.setdefault(run.key, run)
    return list(by_key.values())


def _runs(record: Mapping[str, Any], root: Path) -> list[Run]:
    jobs = {job["key"]: job for job in record["jobs"]}
    return [
        Run(
            key=key,
            sweep=record["sweep"],
            choices=job["choices"],
            overrides=tuple(job["overrides"]),
            config=job["config"],
            status=_status(root, key),
            root=root,
            method=job["method"],
            uses_gold=job["uses_gold"],
            classes=job.get("classes") or classes_of(job["choices"], job["config"]),
        )
        for key, job in jobs.items()
    ]


def classes_of(choices: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, tuple[str, ...]]:
    """Return the class of every option by its path, from a record that names options alone.

    An option whose class is not known stands for it by its own name.
    """
    classes = {}
    for chosen, option in sorted(choices.items(), key=lambda choice: choice[0].startswith("schema/")):
        group, _, path = chosen.removeprefix("schema/").partition("@")
        if "/" in group:  # a file that an option is made of
            continue
        section: Any = config
        for name in (path or group).split("."):
            section = section.get(name) if isinstance(section, Mapping) else None
        if isinstance(section, Mapping):
            schema = registry.schema_of(group, option, section)
            classes[path or group] = registry.lineage(schema) if schema else (option,)
    return classes


def _status(root: Path, key: str) -> str:
    if (inside(root, "run", key) / MANIFEST).is_file():
        return "made"
    status = read_json(root / "runs" / key / "status.json")
    state = status.get("state")
    if state == "running" and leases.gone(status.get("pid"), status.get("host"), status.get("started")):
        return "stopped"
    return state if state in ("failed", "stopped", "running") else "missing"


def made(sweep: str, store: str | Path | None = None) -> list[Run]:
    """Return every run of a sweep, all of which must be made.

    Raises:
        MissingRuns: If runs are not made; the message names them and the command that makes them.
    """
    everything = runs(sweep, store)
    missing = [run for run in everything if run.status != "made"]
    if missing:
        lines = "\n  ".join(f"{run.key[:8]} ({' '.join(run.overrides)}): {run.status}" for run in missing)
        raise MissingRuns(
            f"{len(missing)} of {len(everything)} runs of sweep {sweep!r} are not made:\n  {lines}\n"
            f"make them: {sweep_record(sweep, store)['command']}"
        )
    return everything


def load(sweep: str, store: str | Path | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """Return every answer of every run of a sweep, with its scores, as one DataFrame.

    Args:
        sweep: The name of the sweep, such as `quickstart`; `adhoc` for runs without a sweep.
        store: The folder of the store.
        columns: The columns of `Run.rows` to read; all by default. To name a few saves memory and time.

    Returns:
        One row per answer: first the columns of `origin`, which say what run the answer is from, then those of
        `Run.rows`. A column that a run lacks is NaN in its rows.

    Raises:
        MissingRuns: If runs are not made; the message names them and the command that makes them.
        DamagedRuns: If a file differs from what was made.
        KeyError: If a column is in no file of a run.

    Examples:
        >>> frame = load("quickstart", columns=["gold", "proxy", "kl"])  # doctest: +SKIP
        >>> frame.groupby(["method", "rm"])[["gold", "proxy"]].mean()  # doctest: +SKIP
    """
    tables = []
    for run in made(sweep, store):
        rows = run.rows(columns)
        constants = {name: pa.repeat(pa.scalar(value), rows.num_rows) for name, value in origin(run).items()}
        names = [*constants, *rows.column_names]
        tables.append(pa.Table.from_arrays([*constants.values(), *rows.columns], names))
    joined = pa.concat_tables(tables, promote_options="permissive")
    del tables
    return joined.to_pandas(split_blocks=True, self_destruct=True)  # no column is held twice


def origin(run: Run) -> dict[str, Any]:
    """Return the values that tell a run from the others of its sweep.

    They are `run` (its key), `method` (the option of the policy), `uses_gold`, `rm`, `rm_seed`, `policy_seed`,
    `kl_coef` (NaN for a method without one), `pairs` (the number of comparisons) and `labeler`.
    """
    config = run.config
    return {
        "run": run.key,
        "method": run.choices["policy"],
        "uses_gold": run.uses_gold,
        "rm": run.choices["rm"],
        "rm_seed": config["rm"]["seed"],
        "policy_seed": config["policy"]["seed"],
        "kl_coef": config["policy"].get("kl_coef", float("nan")),
        "pairs": config["preferences"]["pairs"],
        "labeler": run.choices["labeler"],
    }
