"""What was run and the rows it left: the only door between the store and analysis.

`load(sweep="quickstart")` returns a DataFrame with one row an answer; `runs("quickstart")` returns the runs, whose
rows are pyarrow tables.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq

from rlhf_lab.config.models import Half
from rlhf_lab.store import comparisons, integrity
from rlhf_lab.store.artifacts import MANIFEST, inside, read_json
from rlhf_lab.store.parquet import open_table as open_table
from rlhf_lab.store.parquet import read_columns
from rlhf_lab.store.parquet import read_parts as read_parts
from rlhf_lab.store.parquet import read_table as read_table
from rlhf_lab.store.parquet import write_parts as write_parts
from rlhf_lab.store.parquet import write_table as write_table
from rlhf_lab.store.sweep_records import DamagedRuns as DamagedRuns
from rlhf_lab.store.sweep_records import MissingRuns as MissingRuns
from rlhf_lab.store.sweep_records import command_of, read_record
from rlhf_lab.store.sweep_records import store_root as store_root
from rlhf_lab.store.sweep_records import sweep_names as sweep_names
from rlhf_lab.store.sweep_records import sweep_record as sweep_record

if TYPE_CHECKING:
    import pandas as pd

SAMPLES, SCORES = "samples.parquet", "scores.parquet"
REFERENCE = "reference.parquet"  # what a trained policy makes of SFT's answers
ACTIVATIONS = "activations.parquet"  # hidden states at the end of each prompt
PAIRS = "pairs.parquet"  # labelled comparisons
HELDOUT = "heldout.parquet"  # rewards by a reward model of both sides of every held-out pair
JUDGED = (
    "reward_model",
    "weight_average",
)  # stages that leave a reward model and its rewards of held-out pairs
BEHIND = ("proxy", "ensemble", "member")  # inputs by which a score of the proxy comes of reward models
SAMPLED = "samples"  # the leaf's input that holds completions; its other inputs hold their scores
TURNS, TURNS_READ = "second_turns", "second_turns.read"  # but for these: second turns, and what they say
STATES = "activations"  # and this one, which holds what the policy's layers make of the prompts


# --- one run ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """One job of a sweep: what was asked for, how far it got, and its rows once it is made."""

    key: str  # of its leaf; also the name of its folder under store/runs
    sweep: str
    choices: Mapping[str, str]  # option of each config group: task, model, labeler, rm, policy, replicate
    overrides: Sequence[str]
    config: Mapping[str, Any]  # all of it, as plain values
    status: str  # made, failed, stopped, running or missing
    root: Path  # of the store
    method: (
        str  # class of the policy's configuration: PPO, BestOfN, ...; choices["policy"] is the option's name
    )
    uses_gold: bool  # whether gold had a say in what was chosen

    @property
    def folder(self) -> Path:
        """The job's own folder: config.yaml, status.json, metrics.jsonl, log.txt, traceback.txt."""
        return inside(self.root, "runs", self.key)

    def job(self) -> dict[str, Any]:
        """What the job recorded of itself (status.json); empty when it has not started."""
        return read_json(self.folder / "status.json") or {}

    def manifest(self) -> dict[str, Any]:
        """The leaf's manifest."""
        return self._manifest("run", self.key)

    def rows(self, columns: Sequence[str] | None = None) -> pa.Table:
        """One row per completion in the order of samples.parquet: the completion and every score of it.

        Only the files and columns that are asked for are read; KeyError names a column that is nowhere,
        DamagedRuns a file that is not what was made.
        """
        self._check()
        with ExitStack() as stack:
            files = [stack.enter_context(open_table(path)) for path in self._sources()]
            tables = [read_columns(file, names) for file, names in self._wanted(files, columns)]
        found: dict[str, pa.ChunkedArray] = {}
        for table in tables:
            if table.num_rows != tables[0].num_rows:
                raise ValueError(f"run {self.key}: {table.num_rows} scores for {tables[0].num_rows} samples")
            found |= zip(table.column_names, table.columns, strict=True)
        names = list(found if columns is None else columns)
        return pa.Table.from_arrays([found[name] for name in names], names)

    def second_turns(self) -> pa.Table:
        """What SFT and the policy say when their own answers are doubted or asked for again, and what gold reads there:
        a row each (docs/records.md); KeyError for a run that was not asked for any.
        """
        inputs = self.manifest()["inputs"]
        if TURNS not in inputs:
            raise KeyError(f"run {self.key} has no second turns: run it with score.second_turns above 0")
        self._check()
        said = read_table(self._path(*inputs[TURNS]) / SAMPLES)
        read = read_table(self._path(*inputs[TURNS_READ]) / SCORES)
        return pa.Table.from_arrays([*said.columns, *read.columns], [*said.column_names, *read.column_names])

    def reference(self) -> pa.Table:
        """What a trained policy makes of SFT's answers at each checkpoint; KeyError for one that is not trained."""
        return read_table(self._file(REFERENCE, *self.manifest()["inputs"][SAMPLED]))

    def prompts(self) -> pa.Table:
        """The task's prompts, to be joined to rows by `prompt_id`."""
        samples = self._manifest(*self.manifest()["inputs"][SAMPLED])
        return read_table(self._file("prompts.parquet", *samples["inputs"]["task"]))

    def activations(self) -> pa.Table:
        """Hidden states at the end of each prompt; KeyError for a run without score.activations=true."""
        return read_table(self._file(ACTIVATIONS, *self.manifest()["inputs"][STATES]))

    def provenance(self) -> dict[str, Any]:
        """Under what the run's samples were made: package versions, git commit, device, threads, command."""
        return self._manifest(*self.manifest()["inputs"][SAMPLED])["provenance"]

    def evaluation(self, scorer: str) -> dict[str, Any]:
        """Of the reward model behind a scorer, its evaluation on held-out pairs: `proxy` against the labeler's
        choices, `gold` against people's; KeyError where no reward model is behind it.
        """
        inputs = self._manifest(*self.manifest()["inputs"][scorer])["inputs"]
        if scorer not in inputs:
            raise KeyError(f"run {self.key}: no reward model is behind {scorer}")
        return json.loads(self._file("evaluation.json", *inputs[scorer]).read_text())

    def reward_models(self) -> dict[str, dict[str, Any]]:
        """Key -> settings of every reward model behind the proxy: one, or all members and the average of weights."""
        found, queue = {}, [tuple(self.manifest()["inputs"]["proxy"])]
        while queue:
            stage, key = queue.pop(0)
            manifest = self._manifest(stage, key)
            if stage in JUDGED:
                found[key] = manifest["config"]
            if stage == JUDGED[0]:
                continue  # a reward model further up is gold
            of = manifest["inputs"]
            queue += [tuple(of[name]) for name in of if name.partition(".")[0] in BEHIND]
        return found

    def comparisons(self, reward_model: str) -> pa.Table:
        """The pairs that a reward model behind the proxy learned from and is judged on (`split` says which), with
        `chosen_reward` and `rejected_reward`, NaN for those it learned from.
        """
        stage = next((one for one in JUDGED if self._path(one, reward_model).is_dir()), JUDGED[0])
        made = self._manifest(stage, reward_model)
        half = Half[made["config"].get("half", "both")]  # earlier versions had no halves
        pairs = comparisons.in_half(read_table(self._file(PAIRS, *made["inputs"]["pairs"])), half)
        rewards = read_table(self._file(HELDOUT, stage, reward_model))
        try:
            return comparisons.with_rewards(pairs, rewards)
        except ValueError as unlike:
            raise ValueError(f"{stage}/{reward_model}: {unlike}") from None

    def rewards(self, reward_model: str) -> pa.ChunkedArray:
        """Rewards of the run's answers, in their order, by one of those that scored them (`scored_by`)."""
        return read_table(self._file(SCORES, *self.scored_by()[reward_model]), ["proxy"])["proxy"]

    def scored_by(self) -> dict[str, tuple[str, str]]:
        """Key -> stage and key of its scores, of every reward model that scored the run's answers by itself."""
        proxy = tuple(self.manifest()["inputs"]["proxy"])
        of = self._manifest(*proxy)["inputs"]
        scores = [proxy, *(tuple(of[name]) for name in of if name.startswith("scores."))]
        behind = [(self._manifest(*one)["inputs"].get("proxy", ("", "")), one) for one in scores]
        return {key: one for (stage, key), one in behind if stage in JUDGED}

    def stage_metrics(self, stage: str) -> list[dict[str, Any]]:
        """The lines that the stage of this name recorded as it ran; of several, the one nearest the leaf."""
        for name, key in self._stages():
            if name == stage:
                lines = self._file("metrics.jsonl", name, key).read_text().splitlines()
                return [json.loads(line) for line in lines]
        raise KeyError(f"run {self.key} has no stage {stage!r}")

    def made_by(self) -> dict[str, dict[str, Any]]:
        """Role -> manifest of every stage that is still there: samples/sft is the model that was sampled."""
        found, queue = {}, [("", "run", self.key)]
        while queue:
            role, stage, key = queue.pop()
            try:
                found[role] = self._manifest(stage, key)
            except (MissingRuns, DamagedRuns):  # no row is read from it
                continue
            upstream = found[role]["inputs"].items()
            queue += [(f"{role}/{name}".lstrip("/"), *of) for name, of in upstream]
        return found

    def _stages(self) -> Iterator[tuple[str, str]]:
        """Name and key of every stage below the leaf, nearest first, gold's after the proxy's."""
        queue, seen = [("run", self.key)], set()
        while queue:
            name, key = queue.pop(0)
            if key in seen:
                continue
            seen.add(key)
            yield name, key
            inputs = self._manifest(name, key)["inputs"]
            queue += [tuple(inputs[i]) for i in sorted(inputs, key=lambda i: i == "gold")]

    def _sources(self) -> list[Path]:
        """The files of the run's rows; the first is the samples."""
        inputs = self.manifest()["inputs"]
        scores = [of for name, of in inputs.items() if name not in (SAMPLED, TURNS, TURNS_READ, STATES)]
        return [self._path(*inputs[SAMPLED]) / SAMPLES, *(self._path(*of) / SCORES for of in scores)]

    def _wanted(
        self, files: Sequence[pq.ParquetFile], columns: Sequence[str] | None
    ) -> list[tuple[pq.ParquetFile, list[str]]]:
        """The files to read with the columns to take from each."""
        found = [file.schema_arrow.names for file in files]
        if columns is None:
            return list(zip(files, found, strict=True))
        missing = set(columns).difference(*found)
        if missing:
            have = ", ".join(name for names in found for name in names)
            raise KeyError(f"run {self.key} has no column {sorted(missing)[0]!r}; it has {have}")
        wanted = [[name for name in names if name in columns] for names in found]
        return [(file, names) for file, names in zip(files, wanted, strict=True) if names]

    def _check(self) -> None:
        """Raise DamagedRuns unless samples and scores are those that were made, and of each other."""
        together = [("run", self.key), *self.manifest()["inputs"].values()]
        for one in together:
            self._manifest(*one)
        try:
            integrity.check_together([self._path(*one) for one in together], names=(SAMPLES, SCORES))
        except integrity.Damaged as damaged:
            raise self._damaged(damaged) from None

    def _file(self, name: str, stage: str, key: str) -> Path:
        """A file of an artifact, once it is found to be what was made."""
        self._manifest(stage, key)
        try:
            listed = integrity.check(self._path(stage, key), names=(name,))["files"]
        except integrity.Damaged as damaged:
            raise self._damaged(damaged) from None
        if name not in listed:
            raise KeyError(f"{stage}/{key} has no {name}")
        return self._path(stage, key) / name

    def _manifest(self, stage: str, key: str) -> dict[str, Any]:
        folder = self._path(stage, key)
        try:
            return integrity.manifest_of(folder)
        except integrity.Damaged as damaged:
            if (folder / MANIFEST).is_file():
                raise self._damaged(damaged) from None
            raise MissingRuns(f"{folder} is not there; make it: {self._again(stage, key)}") from None

    def _path(self, stage: str, key: str) -> Path:
        return inside(self.root, stage, key)

    def _damaged(self, damaged: integrity.Damaged) -> DamagedRuns:
        folder = damaged.folder
        again = self._again(folder.parent.name, folder.name)
        return DamagedRuns(f"run {self.key[:8]}: {damaged}; make it again: {again}")

    def _again(self, stage: str, key: str) -> str:
        """The command that makes an artifact again; below samples and scores only what is told is."""
        command = sweep_record(self.sweep, self.root)["command"] or command_of(self.sweep)
        read = stage == "run" or [stage, key] in self.manifest()["inputs"].values()
        return command if read else f"{command} 'runtime.force=[{stage}]'"


# --- the runs of a sweep ------------------------------------------------------------------------------


def runs(sweep: str, store: str | Path | None = None) -> list[Run]:
    """Every run of the newest record of a sweep, made or not, each once, in the order of the record."""
    return _runs(sweep_record(sweep, store), store_root(store))


def history(store: str | Path | None = None) -> list[Run]:
    """Every run of every sweep record, each once under the newest sweep that asked for it, newest first."""
    root = store_root(store)
    paths = sorted((root / "sweeps").glob("*/*.json"), key=lambda path: path.name, reverse=True)
    found: dict[str, Run] = {}
    for path in paths:
        for run in _runs(read_record(path), root):
            found.setdefault(run.key, run)
    return list(found.values())


def _runs(record: Mapping[str, Any], root: Path) -> list[Run]:
    rows = {row["key"]: row for row in record["jobs"]}
    return [
        Run(
            key,
            record["sweep"],
            row["choices"],
            tuple(row["overrides"]),
            row["config"],
            _status(root, key),
            root,
            row["method"],
            row["uses_gold"],
        )
        for key, row in rows.items()
    ]


def made(sweep: str, store: str | Path | None = None) -> list[Run]:
    """Every run of a sweep; MissingRuns names those that are not made and the command that makes them."""
    found = runs(sweep, store)
    missing = [run for run in found if run.status != "made"]
    if missing:
        shown = "\n  ".join(f"{run.key[:8]} ({' '.join(run.overrides)}): {run.status}" for run in missing)
        raise MissingRuns(
            f"{len(missing)} of {len(found)} runs of sweep {sweep!r} are not made:\n  {shown}\n"
            f"make them: {sweep_record(sweep, store)['command']}"
        )
    return found


def load(sweep: str, store: str | Path | None = None, columns: Sequence[str] | None = None) -> pd.DataFrame:
    """One row per completion of every run of a sweep; MissingRuns when some are not made.

    Beside the columns of `Run.rows` (all of them, or those in `columns`) each row says where it comes from:
    `run`, `method`, `rm`, `rm_seed`, `policy_seed`, `kl_coef` (NaN for a method without one), `pairs`,
    `labeler`.

        >>> frame = load("quickstart", columns=["gold", "proxy", "kl"])  # doctest: +SKIP
        >>> frame.groupby(["method", "rm"])[["gold", "proxy"]].mean()  # doctest: +SKIP
    """
    tables = [_with_origin(run, run.rows(columns)) for run in made(sweep, store)]
    joined = pa.concat_tables(tables, promote_options="permissive")
    del tables
    return joined.to_pandas(split_blocks=True, self_destruct=True)  # no column is held twice


def _with_origin(run: Run, rows: pa.Table) -> pa.Table:
    """The rows after columns that say where they come from."""
    of = {name: pa.repeat(pa.scalar(value), rows.num_rows) for name, value in origin(run).items()}
    return pa.Table.from_arrays([*of.values(), *rows.columns], [*of, *rows.column_names])


def origin(run: Run) -> dict[str, Any]:
    """The values that tell a run from the others of its sweep."""
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


def _status(root: Path, key: str) -> str:
    if (inside(root, "run", key) / MANIFEST).is_file():
        return "made"
    state = (read_json(root / "runs" / key / "status.json") or {}).get("state")
    return state if state in ("failed", "stopped", "running") else "missing"
