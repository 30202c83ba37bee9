"""The state of a run between two rollouts, in safetensors and JSON: nothing of it is a pickle.

A trainer on rollouts goes on from such a folder by the Trainer's own way of resuming, with what it would read
from pickles read from here instead.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from rlhf_lab.store import write_json

if TYPE_CHECKING:
    from rlhf_lab.stages.policy.online.rollouts import Rollouts

TENSORS, REST = "state.safetensors", "state.json"
TRAINER_STATE = "trainer_state.json"  # where the Trainer looks for the step


def save(trainer: Rollouts, folder: Path) -> None:
    """Write weights, optimiser, schedule, step, coefficient and random numbers of `trainer` to `folder`."""
    optimizer, schedule = _running(trainer)
    state = optimizer.state_dict()
    tensors = {f"weight.{name}": value.detach() for name, value in _model(trainer).named_parameters()}
    if trainer.config.reference_ema:
        followed = trainer.problem.reference.named_parameters()
        tensors |= {f"reference.{name}": value.detach() for name, value in followed}
    for number, values in state["state"].items():
        tensors |= {f"optimizer.{number}.{name}": value for name, value in values.items()}
    tensors |= {f"random.{name}": one.get_state() for name, one in trainer.generators.items()}
    tensors["random.torch"] = torch.get_rng_state()
    save_file({name: value.contiguous() for name, value in tensors.items()}, folder / TENSORS)
    rest = {"groups": state["param_groups"], "schedule": schedule.state_dict(), "kl_coef": trainer.kl_coef}
    write_json(folder / REST, rest)
    trainer.state.save_to_json(str(folder / TRAINER_STATE))


def step(folder: Path) -> int:
    """The optimiser step after which the state in `folder` was saved."""
    return json.loads((folder / TRAINER_STATE).read_text())["global_step"]


def load_weights(trainer: Rollouts, folder: Path) -> None:
    """Set all parameters, those of a reference that follows the policy too, and the penalty's coefficient."""
    tensors = load_file(folder / TENSORS)
    trainer.kl_coef = json.loads((folder / REST).read_text())["kl_coef"]
    saved, followed = _under(tensors, "weight"), _under(tensors, "reference")
    with torch.no_grad():
        for name, value in _model(trainer).named_parameters():
            value.copy_(saved[name])
        for name, value in trainer.problem.reference.named_parameters() if followed else ():
            value.copy_(followed[name])


def load_optimizer(trainer: Rollouts, folder: Path) -> None:
    """Set the optimiser's moments and groups, and where the schedule of its rates is."""
    optimizer, schedule = _running(trainer)
    rest = json.loads((folder / REST).read_text())
    moments: dict[int, dict[str, torch.Tensor]] = {}
    for path, value in _under(load_file(folder / TENSORS), "optimizer").items():
        number, _, name = path.partition(".")
        moments.setdefault(int(number), {})[name] = value
    optimizer.load_state_dict({"state": moments, "param_groups": rest["groups"]})
    schedule.load_state_dict(rest["schedule"])


def load_random(trainer: Rollouts, folder: Path) -> None:
    """Set the generators: the trainer's own, and torch's, with which TRL cuts a rollout into minibatches."""
    saved = _under(load_file(folder / TENSORS), "random")
    for name, generator in trainer.generators.items():
        generator.set_state(saved[name])
    torch.set_rng_state(saved["torch"])


def _model(trainer: Rollouts) -> nn.Module:
    return trainer.accelerator.unwrap_model(trainer.model)


def _running(trainer: Rollouts) -> tuple[Any, Any]:
    """Optimiser and schedule, which the Trainer makes when it starts."""
    assert trainer.optimizer is not None and trainer.lr_scheduler is not None
    return trainer.optimizer, trainer.lr_scheduler


def _under(tensors: dict[str, torch.Tensor], name: str) -> dict[str, torch.Tensor]:
    return {
        key.removeprefix(f"{name}."): value for key, value in tensors.items() if key.startswith(f"{name}.")
    }
