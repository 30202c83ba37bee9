"""The words for a job in progress lines and tables."""

from rlhf_lab.commands.jobs import Job, Words

PPO = ("policy=ppo", "policy.steps=60")


def job(index, *overrides):
    return Job(index, ("replicate=r0", *overrides), {"policy": "ppo", "rm": "3k"}, {}, None, None)


JOBS = [
    job(0, "policy=bon", "rm=3k"),
    job(1, *PPO, "rm=3k"),
    job(2, *PPO, "rm=25k"),
    job(3, *PPO, "rm=25k", "preferences.pairs=100"),
]


def test_a_label_leaves_out_what_all_share_and_what_an_option_brings():
    assert [Words(JOBS).label(one) for one in JOBS] == [
        "policy=bon rm=3k",
        "policy=ppo rm=3k",
        "policy=ppo rm=25k",
        "policy=ppo rm=25k preferences.pairs=100",
    ]


def test_the_only_job_is_called_by_its_method_and_reward_model():
    assert Words([JOBS[1]]).label(JOBS[1]) == "policy=ppo rm=3k"


def test_what_several_jobs_share():
    assert Words(JOBS).telling(JOBS[2:]) == "policy=ppo rm=25k"
