"""All that this project uses of Hydra 1.3 beyond its public interface, with the reason for each.

Hydra is pinned below 1.4. After an upgrade this is the only module to look at.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser
from typing import Any

import yaml
from hydra._internal.core_plugins import file_config_source, structured_config_source
from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import get_args_parser
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.config_source import ConfigResult
from hydra.plugins.sweeper import Sweeper
from omegaconf import DictConfig, OmegaConf

from rlhf_lab.commands.errors import Mistake
from rlhf_lab.commands.refusals import refuse_hydra, refuse_python

SWEEPER = "hydra_plugins.rlhf_lab.PlannedSweeper"


def flags_parser() -> ArgumentParser:
    """Return the parser of Hydra's flags, so that an unknown flag is refused in one line instead of with a usage."""
    return get_args_parser()


def register_sources() -> None:
    """Have Hydra check the files that it reads, and share the schemas between compositions."""
    Plugins.instance()  # registers Hydra's own sources first
    SourcesRegistry.instance().types["file"] = FileConfigSource
    SourcesRegistry.instance().types["structured"] = StructuredConfigSource


def register_sweeper(sweeper: type[Sweeper]) -> None:
    """Make `sweeper` known as SWEEPER: Hydra takes plugins only from a package of the name `hydra_plugins`."""
    sys.modules.setdefault("hydra_plugins.rlhf_lab", sys.modules[sweeper.__module__])
    Plugins.instance().class_name_to_class[SWEEPER] = sweeper


def check_compositions() -> None:
    """Check Hydra's own part of what is composed: Hydra has no hook between composing and setting up its logging."""
    compose = Hydra.compose_config

    def checked(self: Hydra, *args: Any, **kwargs: Any) -> DictConfig:
        """Compose a configuration and refuse what no configuration may set."""
        configuration = compose(self, *args, **kwargs | {"with_log_configuration": False})
        refuse_hydra(configuration.hydra)
        return configuration

    if compose.__name__ != checked.__name__:  # once in a process
        Hydra.compose_config = checked


def skip_mode() -> None:
    """Do not compose everything once more to read `hydra.mode`: the argument `--multirun` is always given."""
    Hydra.get_mode = lambda *_, **__: None


def raise_failure(result: JobReturn) -> None:
    """Raise the error of a job that failed, without the line that `JobReturn.return_value` prints before it."""
    if result.status is JobStatus.FAILED:
        raise result._return_value


class StructuredConfigSource(structured_config_source.StructuredConfigSource):
    """The schemas, which compositions share: Hydra copies its sources, and every schema with them, each time."""

    def __deepcopy__(self, memo: dict[int, Any]) -> StructuredConfigSource:
        return self  # nothing is changed: what is loaded is a copy


class FileConfigSource(file_config_source.FileConfigSource):
    """Files of YAML, each checked before it is composed: Hydra has no hook between reading and building."""

    def load_config(self, config_path: str) -> ConfigResult:
        """Return the file; Mistake when it is not YAML or names Python."""
        name = f"{self.path}/{self._normalize_file_name(config_path)}"
        try:
            result = super().load_config(config_path)
        except yaml.constructor.ConstructorError as error:
            raise Mistake(
                f"{name}: {error.problem}: YAML cannot name Python to run; write plain values"
            ) from None
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise Mistake(f"{name}: not YAML ({_place(error)}): mend the file") from None
        refuse_python(OmegaConf.to_container(result.config, resolve=False), name)
        return result


def _place(error: yaml.YAMLError | UnicodeDecodeError) -> str:
    """Return what is wrong with a file and where, without line breaks."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        return f"line {error.problem_mark.line + 1}: {error.problem}"
    return " ".join(str(error).split())
