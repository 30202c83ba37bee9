"""The true reward ("gold"). Only the stages `preferences` (labels) and `score` (records) may import this package.

words -> answer_key -> parsing -> rubric, behaviour -> rewards
"""
