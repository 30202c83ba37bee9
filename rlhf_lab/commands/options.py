"""The options of every config group: their files, those that other packages add, and the help that lists them.

Another package adds options through an entry point of the group `rlhf_lab`: a function without arguments, in a module
whose classes are registered with `rlhf_lab.config.registry.option`. It returns the folder of YAML options that goes
with them (laid out as `conf/`), or None.
"""

from __future__ import annotations

import functools
import textwrap
import warnings
from collections.abc import Sequence
from importlib.metadata import entry_points
from pathlib import Path

from rlhf_lab.config import registry

ENTRY_POINTS = "rlhf_lab"  # group of the entry points of other packages
REPLICATES = (*range(10), *range(100, 120))  # of `replicate=rN`
WIDTH = 100
# groups in the order in which the help lists them; groups of other packages follow
READING_ORDER = (
    "task",
    "model",
    "intervention",
    "labeler",
    "rm",
    "rm_combination",
    "reward_shaping",
    "policy",
    "tracker",
    "runtime",
    "experiment",
)

HEADER = """\
rlhf-lab: what happens when a policy is optimised too hard against a learned reward.

  rlhf-lab                                                 starts a run: best-of-n, 3k reward model
  rlhf-lab rm=25k policy=ppo policy.kl_coef=0.05           one experiment
  rlhf-lab -m rm=3k,25k policy=ppo replicate=r0,r1,r2      a sweep; only what is missing is made
  rlhf-lab experiment=quickstart runtime.plan=true         what a named study would make

Options (group=option)
"""

FOOTER = """
Values (key=value); rlhf-lab --cfg job prints them all and the options chosen; `make docs` explains each
  sft.steps  preferences.pairs  preferences.seed  rm.seed  policy.seed  score.extra
  policy.kl_coef (ppo, grpo, rloo)  policy.clip (ppo)
  runtime.store  runtime.plan  runtime.force  runtime.device  runtime.threads

Flags
  --multirun, -m   values with commas are sweeps (implied)
  --cfg job        print the configuration and stop
  --config-dir D   options of your own: D/rm/mine.yaml is rm=mine, D/experiment/mine.yaml is experiment=mine
  hydra.launcher.n_jobs=16   how many jobs run at the same time (2; RLHF_LAB_JOBS in the environment)
  completion       eval "$(rlhf-lab --shell-completion install=bash)", or install=zsh, install=fish

What was run: rlhf-runs.  Figures: rlhf-figures."""


@functools.cache
def load_plugins() -> list[Path]:
    """Call every entry point, once in a process, and return the folders of YAML options that they add."""
    folders: list[Path] = []
    for entry in entry_points(group=ENTRY_POINTS):
        try:
            added = entry.load()()
        except Exception as error:
            warnings.warn(f"plugin {entry.name} ({entry.value}) does not load: {error}", stacklevel=2)
            continue
        if added is not None:
            folders.append(Path(added))
    return folders


def folder(name: str) -> Path:
    """Return the folder `conf` or `sweeps`: inside the package in a wheel, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    return next(p for p in (package / name, package.parent / name) if p.is_dir())


def options(group: str, folders: Sequence[Path]) -> list[str]:
    """Return the options of a config group, sizes first and smallest first."""
    names = {path.stem for root in folders for path in (root / group).glob("*.yaml")}
    return sorted(names, key=lambda name: (not name[0].isdigit(), len(name), name))


def names(group: str, folders: Sequence[Path]) -> list[str]:
    """Return all that may be written after `group=`: options in files, studies of sweeps/, and replicates."""
    if group == "replicate":
        return [f"r{number}" for number in REPLICATES]
    studies = sorted(path.stem for path in folder("sweeps").glob("*.yaml")) if group == "experiment" else []
    return options(group, folders) + studies


def help_text(added: Sequence[Path] = ()) -> str:
    """Return the help, with the options in `conf`, `sweeps` and the folders `added` to them."""
    folders = [folder("conf"), *added]
    names = {path.name: options(path.name, folders) for root in folders for path in root.iterdir()}
    names["experiment"] += sorted(path.stem for path in folder("sweeps").glob("*.yaml"))
    order = [*READING_ORDER, *sorted(set(names) - set(READING_ORDER))]
    lines = [_line(group, ordered(group, names[group])) for group in order if names.get(group)]
    lines.append(
        f"  {'replicate':<16}r0 .. r9 | r100 .. r119   (preferences.seed, rm.seed, policy.seed at once)"
    )
    return HEADER + "\n".join(lines) + "\n" + FOOTER


def _line(group: str, names: Sequence[str]) -> str:
    """Return the options of a group on as many lines as they need."""
    return textwrap.fill(
        " | ".join(names), WIDTH, initial_indent=f"  {group:<16}", subsequent_indent=" " * 18
    )


def ordered(group: str, names: Sequence[str]) -> list[str]:
    """Return the options of a group in the order of the schema, sizes first, and those not named there last."""
    known = list(registry.GROUPS.get(group, ()))

    def position(name: str) -> int:
        """Return where an option stands: sizes, then registered options, then others."""
        if name in known:
            return known.index(name)
        return -1 if name[0].isdigit() else len(known)

    return sorted(names, key=position)
