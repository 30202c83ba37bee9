"""The distinct reward models behind runs, and where the store has their raw rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from analysis.best_of_n.answer_table import in_order
from analysis.runs.run_curves import chooses
from rlhf_lab.store.records import Run

NEEDED = ("prompt_id", "question_id", "text", "finished", "gold")  # of a table of SFT answers


@dataclass(frozen=True)
class RewardModel:
    """One reward model that was trained, whichever proxies it is or is part of."""

    key: str
    training: Mapping[str, Any]  # settings of its training
    run: Run  # the newest run with it behind the proxy
    runs: int  # of those asked for
    table: Run | None  # the run with the most SFT answers that it alone scored

    def comparisons(self) -> pa.Table:
        """Return its pairs, with rewards of the held-out ones; raises ValueError where it left none."""
        try:
            return self.run.comparisons(self.key)
        except KeyError as missing:
            raise ValueError(
                f"{missing.args[0]}: an earlier version made it; make it again with: rlhf-lab ... "
                "'runtime.force=[reward_model]'"
            ) from None

    def answers(self) -> pa.Table | None:
        """Return SFT answers with gold and its own rewards as `proxy`, in order; None where it scored none."""
        if self.table is None:
            return None
        rows = self.table.rows(NEEDED)
        return in_order(rows.append_column("proxy", self.table.rewards(self.key)))


def reward_models(
    runs: Sequence[Run], known: Sequence[Run], unreadable: list[str] | None = None
) -> list[RewardModel]:
    """Return the distinct reward models behind made `runs`, in their order.

    Tables of answers come from all `known` runs. A run that cannot be read raises ValueError, or becomes a line of
    `unreadable` if that is given.
    """
    behind: dict[str, list[tuple[Run, Mapping[str, Any]]]] = {}  # key -> runs with its training settings
    for run in runs:
        for key, training in _behind(run, unreadable).items():
            behind.setdefault(key, []).append((run, training))
    tables = _tables(known, set(behind), skip_unreadable=unreadable is not None)
    models = []
    for key, members in behind.items():
        run, training = members[0]
        models.append(RewardModel(key, training, run, len(members), tables.get(key)))
    return models


def _behind(run: Run, unreadable: list[str] | None = None) -> Mapping[str, Mapping[str, Any]]:
    try:
        return run.reward_models() if run.status == "made" else {}
    except ValueError as error:
        if unreadable is None:
            raise
        unreadable.append(str(error))
        return {}


def _tables(runs: Sequence[Run], wanted: set[str], skip_unreadable: bool) -> dict[str, Run]:
    """Return for each reward model the run that chooses from the most answers that it scored by itself."""
    tables: dict[str, Run] = {}
    for run in runs:
        if run.status != "made" or not chooses(run):
            continue
        try:
            scored_by = run.scored_by()
        except ValueError:
            if skip_unreadable:
                continue
            raise
        for key in wanted.intersection(scored_by):
            if key not in tables or _size(run) > _size(tables[key]):
                tables[key] = run
    return tables


def _size(run: Run) -> int:
    """The number of answers in the table that a run chooses from."""
    return run.config["policy"]["prompts"] * run.config["policy"]["samples"]
