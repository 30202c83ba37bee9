"""The arguments and callbacks that all trainers of TRL share: no printing, float32, no saving, numbers to `Metrics`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback
from transformers.trainer_callback import TrainerControl, TrainerState
from transformers.training_args import TrainingArguments

from rlhf_lab.config.runtime import Runtime
from rlhf_lab.store.metrics import Metrics, require_finite

AnyTrainer = TypeVar("AnyTrainer", bound=Trainer)


def arguments(out: Path, seed: int, runtime: Runtime) -> dict[str, Any]:
    """Return the arguments that all trainers of TRL share, for a stage that works in the folder `out`."""
    return {
        "output_dir": str(out / "trainer"),
        "seed": seed,
        "data_seed": seed,
        "use_cpu": runtime.device == "cpu",
        "bf16": False,  # autocast is slower at these sizes, and on by default
        "activation_checkpointing": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "logging_steps": runtime.log_every,
        "logging_nan_inf_filter": False,  # or a loss of NaN would be logged as the mean of earlier losses
        "dataloader_pin_memory": False,
        "adam_beta2": 0.95,
        "optim": "adamw_torch_fused",
    }


class _Record(TrainerCallback):
    """Passes the numbers called `names` of a trainer on to `metrics`."""

    def __init__(self, metrics: Metrics, names: tuple[str, ...]) -> None:
        self._metrics = metrics
        self._names = names

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Record the numbers of this line; the summary line at the end of training has none of them."""
        values = {name: float(logs[name]) for name in self._names if logs and name in logs}
        if values:
            self._metrics.log(state.global_step, **values)


def recording(
    trainer: AnyTrainer, metrics: Metrics, names: tuple[str, ...] = ("loss", "grad_norm", "accuracy")
) -> AnyTrainer:
    """Return `trainer` changed so that it prints nothing, passes its numbers on to `metrics`, and checks its losses.

    A loss that is not finite raises FloatingPointError.
    """
    step = trainer.training_step

    def checked(*args: Any, **kwargs: Any) -> Any:
        """Return the loss of a step; raise FloatingPointError if it is not finite."""
        loss = step(*args, **kwargs)
        require_finite(trainer.state.global_step, loss=float(loss))
        return loss

    trainer.training_step = checked
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(_Record(metrics, names))
    return trainer


class AfterStep(TrainerCallback):
    """Calls `act(step)` after every optimiser step; training ends if it returns True."""

    def __init__(self, act: Callable[[int], bool | None]) -> None:
        self._act = act

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Call `act`, and end training if it returns True."""
        if self._act(state.global_step):
            control.should_training_stop = True


class AfterLine(TrainerCallback):
    """Calls `act(step)` after every line with a mean loss, when no loss is counted that is not in a line yet."""

    def __init__(self, act: Callable[[int], None]) -> None:
        self._act = act

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Call `act` if the line has a loss."""
        if logs and "loss" in logs:
            self._act(state.global_step)
