"""Names of runs in words: the reward that is optimised, the method, and its settings.

Options without words of their own are named as in the config, so that an option which is added, also by an installed
package, needs no entry here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from analysis.runs.configuration import PLAIN, is_a, option
from rlhf_lab.store.records import Run

GOLD_SDS = "SDs of gold on the initial policy"
PROXY_SDS = "SDs of the proxy within a prompt, initial policy"

BEST_OF_N = "bon"
HEDGED = "hedge:"  # the method hedge:bon:40 is HedgeTune of best-of-n that saw gold of 40 questions
METHODS = {  # options of the policy whose names in words do not follow from the option
    BEST_OF_N: "best-of-n",
    "soft_bon": "soft best-of-n",
    "best_of_poisson": "best-of-Poisson",
    "mbr_bon": "MBR best-of-n",
    "slic": "SLiC",
}
ABBREVIATIONS = {"ppo", "grpo", "rloo", "dpo", "ipo", "kto"}  # parts of an option that are capitals in words

COIN = 0.5  # share of flipped labels at which labels tell nothing: the drift control
PENALTIES = {  # divergence -> the penalty in a title and in a legend
    "reverse_kl": ("KL penalty", "KL"),
    "forward_kl": ("forward-KL penalty", "forward KL"),
    "sqrt_chi2": ("root-chi-squared penalty", "root chi²"),
}
PENALTY_SETTINGS = {"kl_coef", "divergence", "kl_place"}
NOISE = ("temperature", "soft")  # settings of a labeler that are not mentioned where they are off

Words = Callable[[Mapping[str, Any]], str]  # from the settings of an option
COMBINATIONS: dict[str, Words] = {
    "mean": lambda settings: f"mean of {settings['members']}",
    "min": lambda settings: f"min of {settings['members']}",
    "median": lambda settings: f"median of {settings['members']}",
    "uwo": lambda settings: f"UWO of {settings['members']} ({_short(settings['weight'])})",
    "lower_bound": lambda settings: f"mean less {_short(settings['sds'])} SD of {settings['members']}",
    "warm": lambda settings: f"WARM of {settings['members']}",
    "constrained": lambda settings: (
        f"{settings['form']} of {settings['members']} at {_thresholds(settings['thresholds'])}"
    ),
}
SHAPINGS: dict[str, Words] = {
    "clip": lambda settings: f"clipped at {_short(settings['sds'])} SD",
    "mean_std": lambda settings: "mean-std",
    "min_max": lambda settings: "min-max",
    "log_sigmoid": lambda settings: f"log-sigmoid at {_short(settings['quantile'])}",
    "par": lambda settings: "PAR",
    "length_penalty": lambda settings: f"less {_short(settings['per_token'])} SD a token",
    "agreement_penalty": lambda settings: f"less {_short(settings['weight'])} SD for agreement",
}
INTERVENTIONS: dict[str, Words] = {
    "synthetic_data": lambda settings: (
        "more demonstrations"
        if settings["share"] == 0
        else "synthetic data" + ("" if settings["filter"] else ", no filter")
    ),
}


# --- methods ----------------------------------------------------------------------------------------------------


def method(run: Run) -> str:
    """Return the option of a run's policy; of HedgeTune with its rule and the questions it saw gold of."""
    policy = run.config["policy"]
    if run.method == "HedgeTune":
        return f"{HEDGED}{policy['rule']}:{policy['gold_questions']}"
    return BEST_OF_N if run.method == "BestOfN" else run.choices["policy"]


def title(method: str) -> str:
    """Return a method in words."""
    if method.startswith(HEDGED):
        rule, questions = method.removeprefix(HEDGED).rsplit(":", 1)
        return f"HedgeTune of {title(rule)} ({questions} questions)"
    if method in METHODS:
        return METHODS[method]
    words = method.split("_")
    return " ".join(word.upper() if word in ABBREVIATIONS else word for word in words)


def settings(run: Run, size: str, varying: frozenset[str]) -> list[str]:
    """Return the policy's size, the penalty and the method's own settings in words.

    The penalty is always mentioned; the size (empty for none) and other settings only among those `varying`.
    """
    policy = run.config["policy"]
    words = [f"{size} policy"] if size else []
    if is_penalised(run):
        words.append(penalty(policy))
    others = sorted(varying - (PENALTY_SETTINGS if is_a(run, "policy", "Penalised") else set()))
    return words + [f"{name.replace('_', ' ')} {plain(policy[name])}" for name in others if name in policy]


def is_penalised(run: Run) -> bool:
    """Return whether the method penalises a divergence from the reference in its reward or loss."""
    return is_a(run, "policy", "Penalised") and run.config["policy"]["kl_coef"] != 0


def penalty(policy: Mapping[str, Any]) -> str:
    """Return what is penalised, how much and where."""
    words = penalty_title(policy.get("divergence", "reverse_kl"))
    place = " in the loss" if policy.get("kl_place") == "loss" else ""
    return f"{words} {plain(policy['kl_coef'])}{place}"


def penalty_title(divergence: str) -> str:
    """Return a penalty in words, without its coefficient."""
    return PENALTIES[divergence][0] if divergence in PENALTIES else f"{divergence.replace('_', ' ')} penalty"


def penalty_legend(divergence: str) -> str:
    """Return a penalty in as few words as a legend has room for."""
    return PENALTIES[divergence][1] if divergence in PENALTIES else divergence.replace("_", " ")


# --- rewards ----------------------------------------------------------------------------------------------------


def reward(run: Run, size: str, most_pairs: int) -> str:
    """Return the reward in words: size, rule, comparisons, epochs, labels, shaping, initial policy.

    The number of comparisons is mentioned where it is not `most_pairs`.
    """
    pairs = run.config["preferences"]["pairs"]
    words = (
        size,
        given(run),
        combination(run),
        f"{pairs:,} pairs" if pairs != most_pairs else "",
        rankings(run),
        half(run),
        epochs(run),
        labels(run),
        shaping(run),
        deference(run),
        intervention(run),
    )
    return ", ".join(word for word in words if word)


def given(run: Run) -> str:
    """Return what a policy optimises in the place of a learned reward, in words; empty for a learned reward."""
    name = option(run, "reward")
    return "" if name == PLAIN["reward"] else f"{name.replace('_', ' ')} as the reward"


def combination(run: Run) -> str:
    """Return how reward models become one, in words; empty for a single one."""
    words = _option_words(run, "rm_combination", COMBINATIONS)
    config = run.config.get("rm_combination", {})
    if config.get("seeds") == "pretrain":
        words += " from trunks of their own"
    if config.get("offset") == "prompt":
        words += ", centred by prompt"
    return words


def shaping(run: Run) -> str:
    """Return how the proxy is reshaped before a policy learns from it, in words; empty for not at all."""
    return _option_words(run, "reward_shaping", SHAPINGS)


def deference(run: Run) -> str:
    """Return the share of demonstrations that were written to follow the user, in words; empty for none."""
    share = run.config.get("task", {}).get("deference", 0.0)
    return f"deference {plain(share)}" if share else ""


def intervention(run: Run) -> str:
    """Return what was done after SFT, in words; empty for nothing."""
    return _option_words(run, "intervention", INTERVENTIONS)


def plain_but_for_labels(run: Run) -> bool:
    """Return whether nothing is done to the reward or after SFT, so that only its labels set a run apart."""
    return not (combination(run) or shaping(run) or intervention(run))


def labels(run: Run) -> str:
    """Return what is wrong with the labels of the comparisons, in words; empty where gold decides."""
    labeler = run.config["labeler"]
    if is_a(run, "labeler", "Flip"):
        rate = labeler["rate"]
        return "coin-flip labels" if rate == COIN else f"{100 * rate:g} % flipped" if rate else ""
    name = option(run, "labeler")
    return (
        "" if name == PLAIN["labeler"] else " ".join(["labels of", name, *_doses(labeler), *flaws(labeler)])
    )


def labeler_words(run: Run) -> str:
    """Return the labeler's option and its numbers; empty for gold itself."""
    name = run.choices["labeler"]
    numbers = (f"{value:g}" for value in run.config["labeler"].values() if isinstance(value, (int, float)))
    return "" if name == PLAIN["labeler"] else " ".join([name, *numbers])


def flaws(labeler: Mapping[str, Any]) -> list[str]:
    """Return each flaw in the settings of a flawed labeler, in words; none of another labeler."""
    return [" ".join([name, *_doses(flaw)]) for name, flaw in labeler.get("flaws", {}).items()]


def _doses(labeler: Mapping[str, Any]) -> list[str]:
    """The settings of a labeler, its noise only where there is some."""
    return [
        f"{name} {plain(value)}"
        for name, value in labeler.items()
        if not isinstance(value, Mapping) and (value or name not in NOISE)
    ]


def epochs(run: Run) -> str:
    """Return how often reward models see each comparison, in words; empty where the job did not ask for that."""
    if not any(override.startswith("rm.epochs=") for override in run.overrides):
        return ""
    count = run.config["rm"]["epochs"]
    return "1 epoch" if count == 1 else f"{count} epochs"


def rankings(run: Run) -> str:
    """Return how many answers to a prompt were ranked, and how their pairs were read, in words; empty for pairs."""
    answers = run.config["preferences"].get("answers", 2)
    if answers == 2:
        return ""  # one pair a prompt: whole and shuffled are the same
    shuffled = ", pairs shuffled" if run.config["rm"].get("rankings") == "shuffled" else ""
    return f"rankings of {answers}{shuffled}"


def half(run: Run) -> str:
    """Return the half of the questions whose comparisons were learned from, in words; empty for both halves."""
    name = run.config["rm"].get("half", "both")
    return "" if name == "both" else f"{name} half of the questions"


def plain(value: Any) -> str:
    """Return a setting as it is written in a config."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _short(number: float) -> str:
    """A number without the zero before its point."""
    return f"{number:g}".removeprefix("0") if 0 < number < 1 else f"{number:g}"


def _thresholds(levels: Sequence[float]) -> str:
    return " ".join(_short(level) for level in dict.fromkeys(levels)) + " SD"


def _option_words(run: Run, group: str, known: Mapping[str, Words]) -> str:
    """The words of an option; without words of its own, its name and its settings."""
    name, config = option(run, group), run.config.get(group, {})
    if name == PLAIN[group]:
        return ""
    if name in known:
        return known[name](config)
    return " ".join([name, *(f"{key} {plain(value)}" for key, value in config.items())])
