"""Experiments as the command line composes them, and what they make."""

import copy
import os

from hydra import compose, initialize_config_dir
from hydra._internal.config_loader_impl import ConfigLoaderImpl

from rlhf_lab.commands import compose as sources
from rlhf_lab.commands import sweeper
from rlhf_lab.commands.job import typed
from rlhf_lab.commands.options import folder
from rlhf_lab.config import registry
from rlhf_lab.pipeline import execution, plan

CONF = f"file://{folder('conf')}"


def remember(monkeypatch):
    """Let Hydra compose equal overrides of the project's own options once in this process.

    Composing takes 0.1 to 0.2 s, and hundreds of tests ask for the same options. Folders of YAML that a test writes
    are composed every time.
    """
    load, composed = ConfigLoaderImpl.load_configuration, {}

    def load_configuration(self, config_name, overrides, run_mode, **flags):
        paths = [element.path for element in self.get_search_path().get_path()]
        own = all(path == CONF or not path.startswith("file://") for path in paths)
        if not own or any("searchpath" in override for override in overrides):
            return load(self, config_name, overrides, run_mode, **flags)
        key = (config_name, tuple(overrides), run_mode, *flags.items(), *paths)
        if key not in composed:
            composed[key] = load(self, config_name, overrides, run_mode, **flags)
        config = copy.deepcopy(composed[key])
        config.hydra.runtime.cwd = os.getcwd()
        return config

    monkeypatch.setattr(ConfigLoaderImpl, "load_configuration", load_configuration)
    register, registered = sources.register, []

    def register_once(studies=None):
        asked = (studies, {group: dict(schemas) for group, schemas in registry.GROUPS.items()})
        if registered != [asked]:
            register(studies)
            registered[:] = [asked]

    monkeypatch.setattr(sources, "register", register_once)


def experiment(*overrides):
    """Return the typed experiment that these overrides ask for."""
    sources.register([word.partition("=")[2] for word in overrides if word.startswith("experiment=")])
    sweeper.register()
    with initialize_config_dir(str(folder("conf")), version_base="1.3"):
        return typed(compose("config", overrides=list(overrides)))


def realised(store, *overrides, stage=None):
    """Return the leaf that these overrides ask for, made in `store`; or only its first stage of that name."""
    asked = experiment(*overrides)
    leaf = plan.plan(asked)
    node = leaf if stage is None else next(node for node in leaf.walk() if node.name == stage)
    execution.realise(node, store, asked.runtime)
    return node
