"""The schema of an experiment: names, types, units and ranges. Values live in `conf/`, one home for each.

Every class is a plain dataclass that Hydra checks the YAML against. `OmegaConf.to_object` turns the composed
configuration into these classes once, at the command line; no other code sees a DictConfig.

The comment of a field is the documentation of its key: `rlhf_lab.commands.reference` reads it.

A field outside `Runtime` and `Tracker` changes a result and therefore enters the key of the stages that use it. A
field inside them says how a stage runs and enters no key. A class has only the fields that its method uses.
"""

from importlib import import_module
from pkgutil import iter_modules

for _module in iter_modules(__path__):  # each names its options in `registry.GROUPS`
    import_module(f"{__name__}.{_module.name}")
