"""Fields that name files: a key holds a digest of what these contain, not the name."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

CONTENT = {"content": True}  # metadata that marks such a field


def content_fields(config: Any) -> dict[str, str]:
    """The fields of `config` that name files, with their values."""
    return {f.name: getattr(config, f.name) for f in fields(config) if f.metadata.get("content")}
