"""Loads a model folder in transformers and compares its log-probs with `luce logprobs`.

    python tests/golden/check_roundtrip.py build/release/bin/luce out/dpo [--tolerance 2e-4]

MODEL may be any folder that Luce wrote (a trained model, a checkpoint, `luce init`) or that it reads. The rows are
random token ids of lengths 1 … the context and, where a tokenizer lies beside the weights, prompt/completion texts.
Exits 1 with a sentence where the two differ, or where transformers misses or does not know a weight.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy
import torch
from transformers import AutoModelForCausalLM

import peers


def load(folder):
    model, report = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64, output_loading_info=True)
    tied = {"lm_head.weight"} if model.config.tie_word_embeddings else set()
    for what in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        wrong = set(report.get(what, ())) - tied
        if wrong:
            sys.exit(f"{folder}: transformers reports {what}: {sorted(wrong)}")
    return model.eval()


def id_rows(config):
    """(row for Luce, token ids, index of the first scored token) of random sequences."""
    random = numpy.random.Generator(numpy.random.PCG64(11))
    context = min(config.max_position_embeddings, 512)
    for length in sorted({1, 2, 7, 33, context // 2, context - 1, context}):
        ids = random.integers(0, config.vocab_size, length).tolist()
        yield {"input_ids": ids}, ids, 1


def text_rows(folder, config):
    """The same of prompt/completion texts; only the completion and EOS are scored."""
    tokenizer = peers.load_tokenizer(folder)
    for row in peers.read_jsonl(peers.HERE / "sft_tiny.jsonl"):
        prompt = tokenizer(row["prompt"]).input_ids
        ids = tokenizer(row["prompt"] + row["completion"]).input_ids + [tokenizer.eos_token_id]
        # Luce refuses to score a completion whose first token swallows the prompt's last.
        if len(ids) <= config.max_position_embeddings and ids[:len(prompt)] == prompt:
            yield row, ids, len(prompt)


def compare(luce, folder, model, rows, tolerance):
    """Largest difference between the log-probs of Luce and of transformers."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "rows.jsonl"
        file.write_text("".join(json.dumps(row) + "\n" for row, _, _ in rows), encoding="utf-8")
        done = subprocess.run([luce.resolve(), "logprobs", folder, file], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"luce logprobs ended with code {done.returncode}:\n{done.stderr}")
    lines = done.stdout.splitlines()
    if len(lines) != len(rows):
        sys.exit(f"luce logprobs printed {len(lines)} lines for {len(rows)} rows")
    worst = 0.0
    for line, (row, ids, first) in zip(lines, rows):
        name = f"{json.dumps(row, ensure_ascii=False):.60} …"
        ours, theirs = json.loads(line), peers.token_logps(model, ids)[first - 1:]
        if len(ours) != len(theirs):
            sys.exit(f"{name}: luce gives {len(ours)} log-probs, transformers {len(theirs)}")
        for position, (a, b) in enumerate(zip(ours, theirs)):
            if not abs(a - b) <= tolerance:
                sys.exit(f"{name}, value {position}: luce gives {a}, transformers {b}; tolerance {tolerance:g}")
            worst = max(worst, abs(a - b))
    return worst


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("luce", type=Path)
    parser.add_argument("model", type=Path)
    parser.add_argument("--tolerance", type=float, default=2e-4)
    arguments = parser.parse_args()
    model = load(arguments.model)
    files = [list(id_rows(model.config))]
    if (arguments.model / "tokenizer.model").exists():
        files.append(list(text_rows(arguments.model, model.config)))
    worst = max(compare(arguments.luce, arguments.model, model, rows, arguments.tolerance) for rows in files)
    print(f"{sum(map(len, files))} rows, largest difference {worst:.2g}")


if __name__ == "__main__":
    main()
