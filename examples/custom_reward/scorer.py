# A reward in another language: {"type": "subprocess", "command": ["python3", "scorer.py"]}.
# Answers each line of standard input with a line of standard output; stderr is for messages.
import json
import sys

for line in sys.stdin:
    batch = json.loads(line)
    rewards = []
    for completion, row in zip(batch["completions"], batch["rows"]):
        answer = (row or {}).get("answer")
        rewards.append(None if answer is None else float(str(answer) in completion))
    print(json.dumps({"rewards": rewards}), flush=True)
