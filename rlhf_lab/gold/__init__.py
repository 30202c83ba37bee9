"""The true reward ("gold"). Only three stages may import this package: `preferences` (labels), `score` (records) and
`given_reward` (the oracle, whose runs are marked `uses_gold`).

words -> guide -> rewards                              (the field guide)
words -> answer_key -> parsing -> rubric, behaviour -> rewards
"""

# The digest of gold of fixed answers (tests/test_gold.py), first as it was, then after each change. A change appends
# its digest, and so raises the VERSION of the stages that ask gold.
DIGESTS = ("46752b1169fe771d",)
GUIDE_DIGESTS = ("01f3731a00bfbcb0",)  # the same of the field guide's gold (tests/test_field_guide.py)
CHANGES = len(DIGESTS) - 1 + len(GUIDE_DIGESTS) - 1
