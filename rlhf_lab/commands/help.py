"""The text of `rlhf-lab --help`."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

from rlhf_lab.commands.folders import folder, options
from rlhf_lab.config import registry

WIDTH = 100
READING_ORDER = (
    *("task", "model", "intervention", "labeler", "rm", "rm_combination", "reward_shaping"),
    *("policy", "tracker", "runtime", "experiment"),
)  # in reading order

HEADER = """\
rlhf-lab: what happens when a policy is optimised too hard against a learned reward.

  rlhf-lab rm=25k policy=ppo policy.kl_coef=0.05           one experiment
  rlhf-lab -m rm=3k,25k policy=ppo replicate=r0,r1,r2      a sweep; only what is missing is made
  rlhf-lab experiment=quickstart runtime.plan=true         what a named study would make

Options (group=option)
"""

FOOTER = """
Values (key=value); rlhf-lab --cfg job prints them all, docs/keys.md explains them
  sft.steps  preferences.pairs  preferences.seed  rm.seed  policy.seed  policy.kl_coef (ppo)  score.extra
  runtime.store  runtime.plan  runtime.force  runtime.device  runtime.threads

Flags
  --multirun, -m   values with commas are sweeps (implied)
  --cfg job        print the configuration and stop
  --config-dir D   options of your own: D/rm/mine.yaml is rm=mine
  completion       eval "$(rlhf-lab --shell-completion install=bash)", or install=zsh, install=fish

What was run: rlhf-runs.  Figures: rlhf-figures."""


def help_text(added: Sequence[Path] = ()) -> str:
    """The help, with the options found in `conf`, `sweeps` and the folders `added` to them."""
    folders, sweeps = [folder("conf"), *added], folder("sweeps")
    found = {path.name: options(path.name, folders) for root in folders for path in root.iterdir()}
    found["experiment"] += sorted(path.stem for path in sweeps.glob("*.yaml"))
    order = [*READING_ORDER, *sorted(set(found) - set(READING_ORDER))]
    lines = [_line(group, ordered(group, found[group])) for group in order if found.get(group)]
    lines.append(
        f"  {'replicate':<16}r0 .. r9 | r100 .. r119   (preferences.seed, rm.seed, policy.seed at once)"
    )
    return HEADER + "\n".join(lines) + "\n" + FOOTER


def _line(group: str, names: Sequence[str]) -> str:
    """The options of a group, on as many lines as they need."""
    return textwrap.fill(
        " | ".join(names), WIDTH, initial_indent=f"  {group:<16}", subsequent_indent=" " * 18
    )


def ordered(group: str, names: Sequence[str]) -> list[str]:
    """Return the options of a group in the order of the schema, sizes first, and those not named there last."""
    known = list(registry.GROUPS.get(group, ()))

    def place(name: str) -> int:
        if name in known:
            return known.index(name)
        return -1 if name[0].isdigit() else len(known)

    return sorted(names, key=place)
