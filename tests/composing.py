"""Experiments as the command line composes them, and what they make."""

from hydra import compose, initialize_config_dir

from rlhf_lab.commands import compose as sources
from rlhf_lab.commands import sweeper
from rlhf_lab.commands.folders import folder
from rlhf_lab.commands.job import typed
from rlhf_lab.pipeline import execution, plan


def experiment(*overrides):
    """The typed experiment that these overrides ask for."""
    sources.register([word.partition("=")[2] for word in overrides if word.startswith("+sweeps=")])
    sweeper.register()
    with initialize_config_dir(str(folder("conf")), version_base="1.3"):
        return typed(compose("config", overrides=list(overrides)))


def realised(store, *overrides, stage=None):
    """The leaf that these overrides ask for, made in `store`; or only its first stage of that name."""
    asked = experiment(*overrides)
    leaf = plan.plan(asked)
    node = leaf if stage is None else next(one for one in leaf.walk() if one.name == stage)
    execution.realise(node, store, asked.runtime)
    return node
