"""What runs are called: the reward that is optimised, and the method's settings, in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rlhf_lab.store.records import Run

GOLD_SDS, PROXY_SDS = "SDs of gold on the initial policy", "SDs of the proxy within a prompt, initial policy"
COIN = 0.5  # the share of flipped labels that leaves no information: the drift control
PLAIN = {
    "labeler": "gold_argmax",
    "rm_combination": "single",
    "reward_shaping": "none",
    "intervention": "none",
}  # options without a word
PENALTIES = {  # what is penalised, in words; settings without a word of their own are named as in the config
    "reverse_kl": "KL penalty",
    "forward_kl": "forward-KL penalty",
    "sqrt_chi2": "root-chi-squared penalty",
}
DOSES = ("bonus", "competence", "share", "users")  # of a labeler's bias
PENALTY_SETTINGS = {"kl_coef", "divergence", "kl_place"}

Words = Callable[[Mapping[str, Any]], str]
COMBINATIONS: dict[str, Words] = {
    "mean": lambda of: f"mean of {of['members']}",
    "min": lambda of: f"min of {of['members']}",
    "median": lambda of: f"median of {of['members']}",
    "uwo": lambda of: f"UWO of {of['members']} ({_short(of['weight'])})",
    "lower_bound": lambda of: f"mean less {_short(of['sds'])} SD of {of['members']}",
    "warm": lambda of: f"WARM of {of['members']}",
    "constrained": lambda of: f"{of['form']} of {of['members']} at {_thresholds(of['thresholds'])}",
}
SHAPINGS: dict[str, Words] = {
    "clip": lambda of: f"clipped at {_short(of['sds'])} SD",
    "mean_std": lambda of: "mean-std",
    "min_max": lambda of: "min-max",
    "log_sigmoid": lambda of: f"log-sigmoid at {_short(of['quantile'])}",
    "par": lambda of: "PAR",
    "length_penalty": lambda of: f"less {_short(of['per_token'])} SD a token",
    "agreement_penalty": lambda of: f"less {_short(of['weight'])} SD for agreement",
}
INTERVENTIONS: dict[str, Words] = {
    "synthetic_data": lambda of: (
        "more demonstrations"
        if of["share"] == 0
        else "synthetic data" + ("" if of["filter"] else ", no filter")
    ),
}


def option(run: Run, group: str) -> str:
    """The option of a config group; the plain one in records from before there was the group."""
    return run.choices.get(group, PLAIN[group])


def combination(run: Run) -> str:
    """How reward models become one, in words; empty for a single one."""
    words = _words(run, "rm_combination", COMBINATIONS)
    settings = run.config.get("rm_combination", {})
    if settings.get("seeds") == "pretrain":
        words += " from trunks of their own"
    if settings.get("offset") == "prompt":
        words += ", centred by prompt"
    return words


def shaping(run: Run) -> str:
    """What is made of the proxy before a policy learns from it, in words; empty for nothing."""
    return _words(run, "reward_shaping", SHAPINGS)


def deference(run: Run) -> str:
    """How many demonstrations followed the user, in words; empty where none did so for that."""
    share = run.config.get("task", {}).get("deference", 0.0)
    return f"deference {plain(share)}" if share else ""


def intervention(run: Run) -> str:
    """What was done after SFT, in words; empty for nothing."""
    return _words(run, "intervention", INTERVENTIONS)


def bare(run: Run) -> bool:
    """Whether nothing is done to the reward or to SFT, so that its labels are all that tells a run from others."""
    return not (combination(run) or shaping(run) or intervention(run))


def labels(run: Run) -> str:
    """What is wrong with the comparisons' labels, in words; empty where gold decides."""
    settings = run.config["labeler"]
    rate = settings.get("rate")
    if rate is None:
        name = option(run, "labeler")
        told = [*_doses(settings), *flaws(settings)]
        return "" if name == PLAIN["labeler"] else " ".join(["labels of", name, *told])
    return "coin-flip labels" if rate == COIN else f"{100 * rate:g} % flipped" if rate else ""


def flaws(labeler: Mapping[str, Any]) -> list[str]:
    """Each flaw of a flawed labeler's settings, in words; none of another's."""
    return [" ".join([name, *_doses(of)]) for name, of in labeler.get("flaws", {}).items()]


def epochs(run: Run) -> str:
    """How often its reward models see each comparison, in words; empty where the job did not ask for that."""
    if not any(override.startswith("rm.epochs=") for override in run.overrides):
        return ""
    count = run.config["rm"]["epochs"]
    return "1 epoch" if count == 1 else f"{count} epochs"


def rankings(run: Run) -> str:
    """How many answers to a prompt were ranked, if not two, and how their pairs were read, in words."""
    answers = run.config["preferences"].get("answers", 2)
    if answers == 2:
        return ""  # one pair a prompt: whole and shuffled are the same
    read = ", pairs shuffled" if run.config["rm"].get("rankings") == "shuffled" else ""
    return f"rankings of {answers}{read}"


def half(run: Run) -> str:
    """Which half of the questions' comparisons were learned from, in words; empty for both."""
    name = run.config["rm"].get("half", "both")
    return "" if name == "both" else f"{name} half of the questions"


def reward(run: Run, most_pairs: int) -> str:
    """What is optimised: size, rule, comparisons, epochs, shaping; and from where."""
    pairs = run.config["preferences"]["pairs"]
    few = f"{pairs:,} pairs" if pairs != most_pairs else ""
    compared = (few, rankings(run), half(run), epochs(run), labels(run))
    initial = (deference(run), intervention(run))  # the policy's, and the writer's of the comparisons
    words = (run.choices["rm"], combination(run), *compared, shaping(run), *initial)
    return ", ".join(word for word in words if word)


def settings(policy: Mapping[str, Any], varying: frozenset[str]) -> list[str]:
    """The policy's size if that is `varying`, the penalty, and the method's own settings among those `varying`."""
    others = sorted(varying - PENALTY_SETTINGS - {"model"})
    size = [f"{policy['model']} policy"] if "model" in varying else []
    words = [f"{name.replace('_', ' ')} {plain(policy[name])}" for name in others]
    return [*size, *([penalty(policy)] if policy.get("kl_coef") else []), *words]


def penalty(policy: Mapping[str, Any]) -> str:
    """What is penalised, how much and where."""
    divergence = policy.get("divergence", "reverse_kl")
    what = PENALTIES.get(divergence, f"{divergence.replace('_', ' ')} penalty")
    where = " in the loss" if policy.get("kl_place") == "loss" else ""
    return f"{what} {plain(policy['kl_coef'])}{where}"


def plain(value: Any) -> str:
    """A setting as it is written."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _doses(labeler: Mapping[str, Any]) -> list[str]:
    return [f"{dose} {plain(labeler[dose])}" for dose in DOSES if dose in labeler]


def _short(number: float) -> str:
    """A number without the zero before its point."""
    return f"{number:g}".removeprefix("0") if 0 < number < 1 else f"{number:g}"


def _thresholds(levels: Sequence[float]) -> str:
    return " ".join(_short(level) for level in dict.fromkeys(levels)) + " SD"


def _words(run: Run, group: str, known: Mapping[str, Words]) -> str:
    """The words of an option; one that an installed package adds is named with its settings."""
    name, of = option(run, group), run.config.get(group, {})
    if name == PLAIN[group]:
        return ""
    if name in known:
        return known[name](of)
    return " ".join([name, *(f"{key} {plain(value)}" for key, value in of.items())])


def labeler_words(run: Run) -> str:
    """Who labelled the pairs, with its numbers; nothing for gold itself."""
    labeler = run.choices["labeler"]
    numbers = (f"{value:g}" for value in run.config["labeler"].values() if isinstance(value, (int, float)))
    return "" if labeler == "gold_argmax" else " ".join([labeler, *numbers])
