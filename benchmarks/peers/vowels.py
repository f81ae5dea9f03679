"""A reward for both sides of the GRPO benchmark: the share of lower-case vowels in a completion.

As a program it is a scorer for `luce train`: lines of JSON in, lines of JSON out (docs/online_rewards.md).
"""
import json
import sys


def vowels(completions, **_):
    return [sum(c in "aeiou" for c in text) / max(1, len(text)) for text in completions]


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps({"rewards": vowels(json.loads(line)["completions"])}), flush=True)
