"""Write a store as a sweep would leave it, with random numbers in place of models, so that the truth is known.

Gold is content plus form. Every answer has a trait `h`, a standard normal number that the proxy rewards. Content grows
a little with `h` and falls with its square. So content turns over under best-of-n, and under a policy that moves along
`h`; it turns sooner against a small reward model, which costs more content.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType

import fake_reward_models
import numpy as np

from rlhf_lab.store.artifacts import contents, listing, sealed
from rlhf_lab.store.records import write_table

CLASSES = {  # option of `policy` -> name of its class
    "bon": "BestOfN",
    "ppo": "PPO",
    "grpo": "GRPO",
    "rloo": "RLOO",
    "online_dpo": "OnlineDPO",
    "dpo": "DPO",
    "ipo": "IPO",
    "slic": "SLiC",
    "kto": "KTO",
    "expert_iteration": "ExpertIteration",
    "weight_noise": "WeightNoise",
    "temperature": "Temperature",
}
MEMBERS = {"members": 5, "seeds": "finetune", "offset": "all"}
RULES = {  # what tests call a rule -> its settings; "pretrained" is the mean of members with trunks of their own
    "single": {},
    "mean": MEMBERS,
    "min": MEMBERS,
    "uwo": MEMBERS | {"weight": 0.5},
    "pretrained": MEMBERS | {"seeds": "pretrain"},
    "warm": {"members": 5, "seeds": "finetune"},
    "mu": MEMBERS | {"form": "mu", "thresholds": [1.0]},
    "xi": MEMBERS | {"form": "xi", "thresholds": [1.0]},
}
OPTIONS = {
    "pretrained": "mean",
    "mu": "constrained",
    "xi": "constrained",
}  # rule -> option of `rm_combination`
SHAPINGS = {  # option of `reward_shaping` -> its settings
    "none": {},
    "par": {},
    "min_max": {},
    "mean_std": {},
    "clip": {"sds": 1.0},
    "log_sigmoid": {"quantile": 0.85},
}
SIZES = {"1k": 8, "3k": 16, "25k": 32, "100k": 64, "600k": 128}


@dataclass(frozen=True)
class Cell:
    """One method under settings of its own, with `replicates` runs; a sweep has them beside its usual runs."""

    policy: str
    settings: Mapping[str, float | str] = field(default_factory=dict)
    replicates: int = 2
    rm: str = "3k"
    uses_gold: bool = False
    rule: str = "single"  # a key of RULES
    shaping: str = "none"  # a key of SHAPINGS
    rate: float | None = None  # share of labels that are flipped
    pairs: int = 4000
    epochs: int | None = None  # epochs of the reward model's training; None: the job does not name a number
    model: str = "25k"  # size of the policy, a key of SIZES
    # half of the questions that the reward model learns from; unless "both", the model of the other half scores too
    half: str = "both"
    answers: int = 2  # answers to each prompt of which pairs are made
    training: Mapping[str, float | str] = field(default_factory=dict)  # more settings of the reward model
    # held-out accuracy and sureness of the reward model; None: no reward model is stored
    heldout: tuple[float, float] | None = None
    reward: str = "learned"  # option of `reward`


@dataclass(frozen=True)
class Truth:
    """What is true of the trained policies of a sweep. By default their gold depends on their KL alone."""

    waste: float = 1.0  # factor by which the KL of every trained policy is larger than its movement needs
    slip: float = 0.0  # content that a policy loses for each SD that it moves, whatever the proxy says
    penalised: float = 0.0  # content that a policy with a KL penalty gains once it has moved half an SD
    penalised_proxy: float = 0.0  # the same gain of the proxy, in SDs of its trait
    # method, rule, shaping, policy size or "64 pairs" -> factor of the content that the square of `h` costs
    damage: Mapping[str, float] = field(default_factory=dict)
    power: float = 1.0  # movement grows with the step to this power, so KL with twice this power
    faults_are_liked: bool = True  # whether the trait that the proxy likes comes with insults
    # (pairs, epochs) -> factor of the proxy, to which noise is added; others have none
    learned: Mapping[tuple[int, int | None], float] = field(default_factory=dict)
    scale: Mapping[str, float] = field(default_factory=dict)  # policy size -> factor of its content
    alike: bool = False  # whether reward models of all sizes are equal
    # reward model size -> share of the movement beyond 2 SD that the other half's reward model does not reward
    parted: Mapping[str, float] = field(default_factory=dict)
    spread: float = 0.0  # SD over runs of the content that is gained or lost at full movement


@dataclass(frozen=True)
class Sweep:
    """What a sweep consists of, and how large its tables are."""

    name: str = "quickstart"
    rms: tuple[str, ...] = ("3k", "25k")
    replicates: int = 2
    ppo_replicates: int = 2
    questions: int = 64
    framings: int = 2
    answers: int = 64
    checkpoints: int = 12
    few_pairs: bool = True
    control: bool = True
    parts: bool = True  # gold.content and gold.form; otherwise gold is a model, judged on 400 choices
    damage: float = 0.22  # how much content loses with the square of what the proxy likes
    # length of best-of-n's answers, 3 or more, or 0 for none; right answers have more tokens in common
    tokens: int = 0
    one_table: bool = False  # whether all best-of-n runs choose from the same answers, as in a real sweep
    proxy: str = "proxy"  # name of the proxy's column
    status: str = "made"
    cells: tuple[Cell, ...] = ()
    truth: Truth = field(default_factory=Truth)


@dataclass(frozen=True)
class Job:
    """One run; its fields mean what they mean in `Cell`."""

    policy: str
    rm: str
    seed: int
    pairs: int = 4000
    rate: float | None = None
    settings: Mapping[str, float | str] = field(default_factory=dict)
    uses_gold: bool = False
    rule: str = "single"
    shaping: str = "none"
    epochs: int | None = None
    model: str = "25k"
    half: str = "both"
    answers: int = 2
    training: Mapping[str, float | str] = field(default_factory=dict)
    heldout: tuple[float, float] | None = None
    reward: str = "learned"

    @property
    def options(self) -> dict[str, str]:
        labeler = "flip" if self.rate else "gold_argmax"
        return {
            "labeler": labeler,
            "rm_combination": OPTIONS.get(self.rule, self.rule),
            "reward_shaping": self.shaping,
            "model": self.model,
            "reward": self.reward,
            "schema/reward@reward": "gold" if "gold" in self.reward else self.reward,
        }

    @property
    def reach(self) -> float:
        """How far the mean of `h` moves in all. It moves less under a larger KL penalty or beta."""
        if penalty := self.settings.get("kl_coef"):
            return min(4.5, 0.45 / float(penalty))
        return 4.5 * min(1.0, (0.02 / float(self.settings.get("beta", 0.02))) ** 0.5)


GIVEN = {
    "gold": {"parts": []},
    "visible_gold": {"parts": ["courtesy"]},
    "noise": {"seed": 0},
}  # settings of `reward`
CONTENT = {  # control -> content that it gains for each SD that it moves
    "gold": 0.25,
    "visible_gold": 0.08,
    "noise": -0.25,
    "weight_noise": -0.3,
    "temperature": 0.3,
}
WORLD = {"packages": {"torch": "2.13.0", "trl": "1.16.0"}, "source": "1" * 20}


def write_store(
    root: Path,
    sweep: Sweep,
    unmade: frozenset[int] = frozenset(),
    provenances: Mapping[int, dict] = MappingProxyType({}),
) -> None:
    """Write the sweep's record and its runs but for the job numbers in `unmade`.

    Manifests have the provenance WORLD, or what `provenances` has for the job's number.
    """
    rows = []
    for number, job in enumerate(jobs(sweep)):
        key = f"{number:08x}{abs(hash(sweep.name)) % 16**8:08x}"
        overrides = [f"policy={job.policy}", f"rm={job.rm}", f"rm.seed={job.seed}"]
        choices = {"policy": job.policy, "rm": job.rm, **job.options}
        overrides += [f"policy.{name}={value}" for name, value in job.settings.items()]
        overrides += [] if job.epochs is None else [f"rm.epochs={job.epochs}"]
        row = {"overrides": overrides, "choices": choices, "key": key, "config": config(job, sweep)}
        rows.append(row | {"method": CLASSES[job.policy], "uses_gold": job.uses_gold})
        if number not in unmade:
            provenance = provenances.get(number, WORLD)
            _write_run(root, key, job, sweep, np.random.default_rng([number, 7]), provenance)
    command = f"rlhf-lab experiment={sweep.name}"
    record = {"sweep": sweep.name, "command": command, "time": "2026-01-01T00:00:00+00:00", "jobs": rows}
    path = root / "sweeps" / sweep.name / "20260101T000000.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record))


def jobs(sweep: Sweep) -> list[Job]:
    """Return the jobs of a sweep in the order of its record."""
    found = [Job("bon", rm, seed) for rm in sweep.rms for seed in range(sweep.replicates)]
    found += [Job("ppo", rm, seed) for rm in sweep.rms for seed in range(sweep.ppo_replicates)]
    if sweep.few_pairs:
        found += [Job(policy, sweep.rms[0], 0, pairs=250) for policy in ("bon", "ppo")]
    if sweep.control:
        found += [Job("ppo", sweep.rms[0], 0, rate=0.5)]
    names = [setting.name for setting in fields(Job) if setting.name != "seed"]
    for cell in sweep.cells:
        settings = {name: getattr(cell, name) for name in names}
        found += [Job(seed=seed, **settings) for seed in range(cell.replicates)]
    return found


def config(job: Job, sweep: Sweep) -> dict:
    """Return the part of a job's configuration that figures read."""
    policy = {"seed": 0, "prompts": sweep.questions * sweep.framings, "samples": sweep.answers}
    if job.policy in ("ppo", "grpo", "rloo"):
        policy |= {"divergence": "reverse_kl", "kl_coef": 0.0, "kl_place": "reward"}
    if job.policy != "bon":
        policy |= {"samples": 2, "steps": 100, "warmup": 0, **job.settings}
    rm_hidden, policy_hidden = SIZES[job.rm], SIZES[job.model]
    return {
        "task": {"seed": 0} if sweep.parts else {"seed": 0, "gold": {"seed": 0}},
        "model": {"hidden": policy_hidden, "layers": 2, "intermediate": 2 * policy_hidden},
        "rm": {
            "seed": job.seed,
            "epochs": 3 if job.epochs is None else job.epochs,
            "half": job.half,
            "model": {"hidden": rm_hidden, "layers": 2, "intermediate": 2 * rm_hidden, "seed": 0},
            **job.training,
        },
        "preferences": {"pairs": job.pairs, "answers": job.answers, "seed": job.seed},
        "score": {"other_half": job.half != "both"},
        "labeler": {"rate": job.rate} if job.rate else {},
        "rm_combination": RULES[job.rule],
        "reward_shaping": SHAPINGS[job.shaping],
        "reward": GIVEN.get(job.reward, {}),
        "policy": policy,
    }


def _write_run(
    root: Path, key: str, job: Job, sweep: Sweep, rng: np.random.Generator, provenance: dict
) -> None:
    samples, scores = drawn(job, sweep, rng)
    gold = {name: value for name, value in scores.items() if name.startswith("gold")}
    shared = "table" if sweep.one_table and job.policy == "bon" else key  # whose answers and gold these are
    _write_metrics(root / "policy" / f"{shared}g", samples, job.reach)
    digest = _write_artifact(root, "policy", f"{shared}g", {}, provenance, samples=samples)
    inputs = {"samples": ("policy", f"{shared}g", digest)}
    upstream = {"gold": {} if sweep.parts else {"gold": _gold_model(root)}}
    if job.heldout:
        reward_model = fake_reward_models.write(root, key, config(job, sweep), *job.heldout, sweep.questions)
        upstream["proxy"] = {"proxy": reward_model}
    tables = {"gold": gold, "proxy": {sweep.proxy: scores["proxy"]}}
    if "test" in scores:
        tables["test"] = {"test": scores["test"]}
    for name, columns in tables.items():
        score_key = (shared if name == "gold" else key) + name[0]
        made_from = {"samples": inputs["samples"], **upstream.get(name, {})}
        digest = _write_artifact(root, "score", score_key, made_from, provenance, scores=columns)
        inputs[name] = ("score", score_key, digest)
    _write_artifact(root, "run", key, inputs, provenance)


def _write_artifact(
    root: Path,
    stage: str,
    key: str,
    inputs: dict[str, tuple[str, str, str]],
    provenance: dict,
    **tables: dict,
) -> str:
    """Write an artifact as the store publishes one, and return the digest of its contents."""
    folder = root / stage / key
    folder.mkdir(parents=True, exist_ok=True)
    for name, columns in tables.items():
        write_table(folder / f"{name}.parquet", columns)
    manifest = {
        "stage": stage,
        "version": 1,
        "key": key,
        "inputs": {name: [stage, key] for name, (stage, key, _) in inputs.items()},
        "made_from": {name: digest for name, (_, _, digest) in inputs.items()},
        "files": listing(folder),
        "provenance": provenance,
    }
    (folder / "manifest.json").write_text(json.dumps(sealed(manifest)))
    return contents(manifest)


def _write_metrics(folder: Path, samples: dict, reach: float) -> None:
    """Write metrics of evaluations: the held-out accuracy of the implicit reward grows with the movement."""
    folder.mkdir(parents=True, exist_ok=True)
    steps = np.unique(samples["checkpoint"])
    lines = [{"step": int(step), "heldout_accuracy": 0.5 + 5e-4 * reach * float(step)} for step in steps]
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))


def _gold_model(root: Path) -> tuple[str, str, str]:
    """Write a gold model that agrees with 60 % of people's choices, and return its stage, key and digest.

    Choosing the longer answer agrees with 55 %.
    """
    folder = root / "reward_model" / "gold"
    folder.mkdir(parents=True, exist_ok=True)
    share = {"untied": {"n": 400, "accuracy": {"mean": 0.6, "se": 0.02}}}
    baselines = {"length": {"mean": 0.55, "se": 0.03}}
    (folder / "evaluation.json").write_text(json.dumps(share | {"baselines": baselines}))
    return "reward_model", "gold", _write_artifact(root, "reward_model", "gold", {}, WORLD)


def drawn(job: Job, sweep: Sweep, rng: np.random.Generator) -> tuple[dict, dict]:
    """Return the columns of a run's samples and those of its scores."""
    return _best_of_n(job, sweep, rng) if job.policy == "bon" else _trained(job, sweep, rng)


def _best_of_n(job: Job, sweep: Sweep, rng: np.random.Generator) -> tuple[dict, dict]:
    prompt = np.repeat(np.arange(sweep.questions * sweep.framings), sweep.answers)
    if sweep.one_table:  # the same answers and gold; a reward model has noise of its own
        samples, scores = _rows(
            prompt,
            np.zeros_like(prompt),
            np.zeros(len(prompt)),
            Job("bon", sweep.rms[0], 0),
            sweep,
            np.random.default_rng(7),
        )
        noise = rng.normal(scale=8 / np.log2(SIZES[job.rm]), size=len(prompt))
        return samples, scores | {"proxy": (scores["proxy"] + noise).astype(np.float32)}
    return _rows(prompt, np.zeros_like(prompt), np.zeros(len(prompt)), job, sweep, rng)


def _trained(job: Job, sweep: Sweep, rng: np.random.Generator) -> tuple[dict, dict]:
    """Move the mean of `h` evenly over the steps, up to where a penalty stops it; its KL is shift^2 / 2."""
    each = np.repeat(np.arange(sweep.questions * sweep.framings), 2)
    steps = np.linspace(0, 100, sweep.checkpoints).astype(int)
    prompt, checkpoint = np.tile(each, len(steps)), np.repeat(steps, len(each))
    moved = (checkpoint / 100) ** sweep.truth.power
    stopped = job.reach * (1 - np.exp(-4.5 * moved / job.reach))
    shift = stopped if job.settings.get("kl_coef") else job.reach * moved
    return _rows(prompt, checkpoint, shift, job, sweep, rng)


def _rows(
    prompt: np.ndarray,
    checkpoint: np.ndarray,
    shift: np.ndarray,
    job: Job,
    sweep: Sweep,
    rng: np.random.Generator,
) -> tuple[dict, dict]:
    question = prompt // sweep.framings
    capacity = np.log2(16 if sweep.truth.alike else SIZES[job.rm]) / 7
    known = np.random.default_rng(1).beta(1, 1, sweep.questions)
    drift = 1.0 if job.rate == 0.5 else 0.0
    h = rng.normal(size=len(prompt)) + shift * (1 - drift)
    right = rng.random(len(prompt)) < np.clip(
        known[question] + (0.1 - 0.03 * shift) * shift * (1 - drift), 0, 1
    )
    damage = {250: 0.35}.get(job.pairs, sweep.damage - 0.13 * capacity)
    truth, penalised = sweep.truth, float(job.settings.get("kl_coef", 0) != 0) * np.clip(2 * shift, 0, 1)
    for name in (job.policy, job.rule, job.shaping, job.model, f"{job.pairs} pairs"):
        damage *= truth.damage.get(name, 1.0)
    content = 2.5 * right + 0.6 * h - damage * np.abs(h) ** 2.0
    content += truth.penalised * penalised - truth.slip * shift
    if truth.spread:
        content += truth.spread * rng.normal() * shift / 4.5
    content *= truth.scale.get(job.model, 1.0)
    control = job.policy if job.policy in CONTENT else job.reward
    if control in CONTENT:
        h = rng.normal(size=len(prompt)) + shift
        content = 2.5 * (rng.random(len(prompt)) < known[question]) + CONTENT[control] * shift
    form = -(rng.random(len(prompt)) < 0.03 + 0.02 * shift).astype(float)
    trait = h + truth.penalised_proxy * penalised
    proxy = 4 * (0.5 * capacity * right + trait + 0.3 * rng.normal(size=len(prompt))) + 0.1 * job.seed
    if (job.pairs, job.epochs) in truth.learned:
        proxy = truth.learned[job.pairs, job.epochs] * proxy + 0.3 * rng.normal(size=len(prompt))
    if drift:
        proxy = rng.normal(size=len(prompt)) + shift
    kl = sweep.truth.waste * np.where(
        shift > 0, shift**2 / 2 + 0.05 * shift * rng.normal(size=len(prompt)), 0.0
    )
    samples = {
        "prompt_id": prompt.astype(np.int32),
        "question_id": question.astype(np.int32),
        "checkpoint": checkpoint.astype(np.int32),
        "finished": rng.random(len(prompt)) < 0.97,
        "kl": kl.astype(np.float32),
    }
    if sweep.tokens and job.policy == "bon":
        kind = np.where(right, 3, rng.integers(4, 40, size=len(prompt)))
        others = rng.integers(4, 40, size=(len(prompt), sweep.tokens - 3))
        samples["token_ids"] = [[1, *row, 2] for row in np.column_stack([kind, others]).tolist()]
    scores = {"gold": content + form, "proxy": proxy}
    if job.half != "both":
        followed = trait - truth.parted.get(job.rm, 0.0) * np.maximum(shift - 2, 0)
        scores["test"] = 4 * (0.5 * capacity * right + followed + 0.3 * rng.normal(size=len(prompt)))
    if sweep.parts:
        scores |= {"gold.content": content, "gold.form": form}
        liked = h if truth.faults_are_liked else np.roll(h, 1)  # of another answer
        scores |= {"gold.insult": liked > 1, "gold.claim": np.where(right, 1.0, -1.0)}
        scores |= {"gold.confidence": -(liked > 1).astype(float), "gold.agreement": np.zeros_like(h)}
    return samples, {name: value.astype(np.float32) for name, value in scores.items()}


def only(*cells: Cell, name: str, questions: int = 64, truth: Truth | None = None) -> Sweep:
    """Return a sweep of these cells alone, without its usual runs."""
    return Sweep(
        name=name,
        questions=questions,
        truth=truth or Truth(),
        cells=cells,
        rms=(),
        few_pairs=False,
        control=False,
    )
