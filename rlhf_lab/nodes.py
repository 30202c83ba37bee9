"""Nodes of single stages, keyed at the stage's VERSION."""

from __future__ import annotations

from importlib import import_module

from rlhf_lab import sources
from rlhf_lab.config import Model, content_fields
from rlhf_lab.store import Node


def node(stage: str, config: object, **inputs: Node) -> Node:
    """A node of the stage in module `stage`, at that module's VERSION."""
    contents = {
        name: sources.fingerprint(value, getattr(config, "revision", None))
        for name, value in content_fields(config).items()
    }
    return Node(stage, import_module(stage).VERSION, config, inputs, contents)


def language_model(model: Model, task: Node) -> Node:
    """The model before fine-tuning: trained from scratch on the task's corpus, or a given checkpoint."""
    return node(model.STAGE, model, task=task)
