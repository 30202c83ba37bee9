"""`rlhf-lab`: experiments and sweeps of them, composed by Hydra."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rlhf_lab.store import interrupts

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override
    from omegaconf import DictConfig

# settings of libraries that print by default; they are set before the libraries are imported, and workers inherit them
QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "TRANSFORMERS_VERBOSITY": "error",
    "DATASETS_VERBOSITY": "error",
    "WANDB_SILENT": "true",
}
PARENTS = ("hydra.", "runtime.")  # keys that the parent of the jobs reads too
HELP = ("--help", "-h")
QUESTIONS = ("--cfg", "-c", "--hydra-help", "--info", "-i", "--shell-completion", "-sc", "--version")


def main() -> None:
    """Run the command line. Exit code 0: all is made, 1: a job failed, 2: a mistake, 130 or 143: stopped."""
    for stream in ("stdout", "stderr"):  # a closed one, as under cron, takes nothing
        if getattr(sys, stream) is None:
            setattr(sys, stream, open(os.devnull, "w"))  # noqa: SIM115  it stays open as the stream does
    if any(argument in HELP for argument in sys.argv[1:]):
        from rlhf_lab.commands import options

        print(options.help_text(options.load_plugins()))
        return
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # raise errors, which `errors.explain` words
    os.environ["RLHF_LAB_COMMAND"] = shlex.join(["rlhf-lab", *sys.argv[1:]])
    try:
        here = os.getcwd()
    except FileNotFoundError:
        print(
            "rlhf-lab: the folder that this shell is in was removed: change to another one", file=sys.stderr
        )
        sys.exit(2)
    if "" not in sys.path:
        sys.path.append(here)  # judges of the user's own: score.extra=[my_module:judge]
    try:
        with interrupts.listening():
            code = _run(sys.argv[1:])
            sys.stdout.flush()
    except BrokenPipeError:  # the reader of the output has seen enough: rlhf-lab --cfg job | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)


def _run(arguments: Sequence[str]) -> int:
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from omegaconf import OmegaConf

    from rlhf_lab.commands import compose, errors, hydra_internals, options, refusals

    arguments = [_as_experiment(argument) for argument in arguments]
    experiments = [argument for argument in arguments if argument.startswith("experiment=")]
    compose.register([experiment.partition("=")[2] for experiment in experiments])
    try:
        if len(experiments) > 1:
            raise errors.Mistake(
                f"{' '.join(experiments)}: one experiment at a time: give each a command of its own"
            )
        flags, overrides = _parse(arguments)
        if any(flag.split("=")[0] in QUESTIONS for flag in flags):
            task = _no_job  # without what running needs, an answer takes half the time
        else:
            from rlhf_lab.commands import job, sweeper, versions

            if (line := versions.outside()) is not None:
                print(f"rlhf-lab: {line}", file=sys.stderr)
            sweeper.register()
            arguments, task = _as_sweep(flags, overrides), job.run
            hydra_internals.skip_mode()
        hydra_internals.check_compositions()
        sys.argv[1:] = arguments
        shows_a_job = refusals.check_flags(hydra_internals.flags_parser(), arguments)
        conf = str(options.folder("conf"))
        hydra.main(config_path=conf, config_name="config", version_base="1.3")(task)()
        if shows_a_job:
            print(OmegaConf.to_yaml({"choices": compose.chosen(HydraConfig.get().runtime.choices)}), end="")
    except errors.Incomplete:
        return 1
    except interrupts.Interrupted as stop:
        print(f"rlhf-lab: {stop}", file=sys.stderr)
        return 128 + stop.number
    except Exception as error:
        line = errors.explain(error) if errors.is_mistake(error) else errors.obstacle(error)
        if line is None:
            raise
        print(f"rlhf-lab: {line}", file=sys.stderr)
        return 2
    return 0


def _as_experiment(argument: str) -> str:
    """`+sweeps=NAME`, the other spelling of `experiment=NAME`, as the latter."""
    key, equals, name = argument.partition("=")
    return f"experiment={name}" if equals and key == "+sweeps" else argument


def _no_job(cfg: DictConfig) -> None:
    """The task of a command that only asks Hydra a question, which is never run."""


def _parse(arguments: Sequence[str]) -> tuple[list[str], list[Override]]:
    """Return the flags, with the values that stand apart from them, and the overrides; Mistake for what is refused."""
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from hydra.errors import HydraException

    from rlhf_lab.commands.errors import unreadable
    from rlhf_lab.commands.refusals import refuse_override, refuse_twice

    parser = OverridesParser.create()
    flags: list[str] = []
    overrides: list[Override] = []
    for argument in arguments:
        if argument.startswith("-") or not ("=" in argument or argument.startswith("~")):
            flags.append(argument)
            continue
        try:
            overrides.append(parser.parse_override(argument))
        except HydraException as error:
            raise unreadable(argument) from error
        refuse_override(overrides[-1])
    refuse_twice(overrides)
    return flags, overrides


def _as_sweep(flags: Sequence[str], overrides: Sequence[Override]) -> list[str]:
    """Return the arguments for Hydra: one run is a sweep of one job.

    Values go to the jobs only. Hydra would also put those without a comma into the parent's configuration, where
    `policy.kl_coef=0.1` fails when the sweep chooses the policy. It leaves out sweeps, and so each value is written as
    a sweep over that value alone.
    """
    from rlhf_lab.commands.errors import Mistake
    from rlhf_lab.commands.jobs import only

    arguments = [flag for flag in flags if flag not in ("-m", "--multirun", "-r", "--run")] + ["--multirun"]
    for override in overrides:
        argument = str(override.input_line)
        value_of_a_job = "." in override.key_or_group and not override.key_or_group.startswith(PARENTS)
        if value_of_a_job and not override.is_sweep_override():
            key, _, value = argument.partition("=")
            if value == "null":
                raise Mistake(f"{argument}: null is not a value of this key: leave the key out")
            argument = f"{key}={only(value)}" if value else argument
        arguments.append(argument)
    return arguments
