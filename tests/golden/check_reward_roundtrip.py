"""Loads a reward model's folder in transformers and compares its scores with Luce's.

    python tests/golden/check_reward_roundtrip.py out/reward rows.jsonl scores.json [--tokens] [--tolerance 2e-4]

Rows: {"prompt", "completion"}, scored with EOS behind, or {"input_ids"}. FOLDER holds a LlamaForSequenceClassification
with one label, SCORES one number per row: the score at the row's last token. transformers scores each row alone, and
in batches of 4 with padding on the right.

With --tokens FOLDER holds a LlamaForTokenClassification, SCORES one list per row: a number, or with several labels a
list of that many, for each token of the completion (of input_ids: for all but the first), or for each step's last
token where the row is {"prompt", "completions"}.

Exits 1 with a sentence where the two differ, or where transformers misses or does not know a weight.
"""

import argparse
import json
import sys
from pathlib import Path

import peers
import torch
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification


def load(folder, tokens):
    """The model in float64; leaves with a sentence where the folder is not what Luce should have saved."""
    auto = AutoModelForTokenClassification if tokens else AutoModelForSequenceClassification
    model, report = auto.from_pretrained(folder, dtype=torch.float64, output_loading_info=True)
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        if report.get(what):
            sys.exit(f"{folder}: transformers reports {what}: {sorted(report[what])}")
    wanted = "LlamaForTokenClassification" if tokens else "LlamaForSequenceClassification"
    if model.config.architectures != [wanted]:
        sys.exit(f"{folder}: architectures is {model.config.architectures}, expected {[wanted]}")
    if not tokens and model.config.num_labels != 1:
        sys.exit(f"{folder}: the model has {model.config.num_labels} labels, expected 1")
    if model.config.pad_token_id is None:
        sys.exit(f"{folder}: pad_token_id is missing; transformers then scores no batch")
    return model.eval()


def encode(row, tokenizer, tokens):
    """(ids, the places whose outputs are compared)."""
    if "input_ids" in row:
        ids, places = row["input_ids"], range(1, len(row["input_ids"]))
    elif "completions" in row:
        ids, _, places = peers.stepwise_ids(tokenizer, row)
    else:
        prompt = tokenizer(row["prompt"]).input_ids
        ids = tokenizer(row["prompt"] + row["completion"]).input_ids
        if not row["completion"].endswith(tokenizer.eos_token):
            ids = ids + [tokenizer.eos_token_id]
        places = range(peers.common_prefix(prompt, ids), len(ids))
    return ids, list(places) if tokens else [len(ids) - 1]


def outputs(model, rows, batch):
    """One list of outputs per row, at its places; each output is a list with a number per label."""
    pad, result = model.config.pad_token_id, []
    for begin in range(0, len(rows), batch):
        part = rows[begin:begin + batch]
        longest = max(len(ids) for ids, _ in part)
        ids = torch.tensor([ids + [pad] * (longest - len(ids)) for ids, _ in part])
        mask = torch.tensor([[1] * len(ids) + [0] * (longest - len(ids)) for ids, _ in part])
        with torch.no_grad():
            logits = model(input_ids=ids, attention_mask=mask).logits
        # A model of sequences finds the last token itself, by pad_token_id.
        result += [logits[i, places].tolist() if logits.dim() == 3 else [logits[i].tolist()]
                   for i, (_, places) in enumerate(part)]
    return result


def as_outputs(scores, tokens):
    """Luce's scores of a row in the shape of `outputs`."""
    return [score if isinstance(score, list) else [score] for score in (scores if tokens else [scores])]


def compare(name, ours, theirs, tolerance):
    """Largest difference between the scores of one row."""
    if len(ours) != len(theirs):
        sys.exit(f"{name}: Luce gives {len(ours)} scores, transformers {len(theirs)}")
    worst = 0.0
    for place, (a, b) in enumerate(zip(ours, theirs)):
        if len(a) != len(b):
            sys.exit(f"{name}, score {place}: expected {len(b)} numbers, one per label; Luce gives {len(a)}")
        for x, y in zip(a, b):
            if not abs(x - y) <= tolerance * max(1.0, abs(y)):
                sys.exit(f"{name}, score {place}: Luce gives {x}, transformers {y}; tolerance {tolerance:g}")
            worst = max(worst, abs(x - y))
    return worst


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("rows", type=Path)
    parser.add_argument("scores", type=Path)
    parser.add_argument("--tokens", action="store_true", help="a score for each token of the completion, or each step")
    parser.add_argument("--tolerance", type=float, default=2e-4)
    arguments = parser.parse_args()
    model, rows = load(arguments.folder, arguments.tokens), peers.read_jsonl(arguments.rows)
    scores = json.loads(arguments.scores.read_text())
    if not rows or len(scores) != len(rows):
        sys.exit(f"{arguments.scores} holds scores of {len(scores)} rows, {arguments.rows} holds {len(rows)} rows")
    texts = any("input_ids" not in row for row in rows)
    tokenizer = peers.AutoTokenizer.from_pretrained(arguments.folder) if texts else None
    encoded = [encode(row, tokenizer, arguments.tokens) for row in rows]
    for number, (ids, _) in enumerate(encoded, 1):
        if model.config.pad_token_id in ids:
            sys.exit(f"row {number} holds the padding token, {model.config.pad_token_id}")
    worst = 0.0
    for batch in (1, 4):
        for number, (ours, theirs) in enumerate(zip(scores, outputs(model, encoded, batch)), 1):
            name = f"row {number}, in batches of {batch}"
            worst = max(worst, compare(name, as_outputs(ours, arguments.tokens), theirs, arguments.tolerance))
    print(f"{len(rows)} rows, largest difference {worst:.2g}")


if __name__ == "__main__":
    main()
