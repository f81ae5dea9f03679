"""Makes sft_<model>.json: TRL's SFTTrainer step by step, on prompt/completion rows and on plain text.

    python tests/golden/make_sft.py [--out tests/golden] [--model NAME …]

Rows of the tiny models: sft_tiny.jsonl (`prompt`, `completion`; one row is dropped, two are truncated) and
sft_text_tiny.jsonl (`text`). Rows of stories260k: the first lines of data/gsm8k-test.jsonl, `question` as the
prompt and " " + `answer` as the completion.
"""

import argparse
from pathlib import Path

import sentencepiece
import torch
import trl
from trl import SFTConfig, SFTTrainer

import peers

STEPS, BATCH = 6, 4
BASE = {"per_device_train_batch_size": BATCH, "max_steps": STEPS, "learning_rate": 1e-3,
        "lr_scheduler_type": "constant", "warmup_steps": 0, "max_grad_norm": 1.0, "weight_decay": 0.0}
VARIANTS = {  # name → (what differs from BASE, kind of rows)
    "base": ({}, "prompt"),
    "accumulation": ({"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}, "prompt"),
    "prompt_scored": ({"completion_only_loss": False}, "prompt"),
    "text": ({}, "text"),
}


def rows_of(name, kind):
    if name != "stories260k":
        return peers.read_jsonl(peers.HERE / ("sft_tiny.jsonl" if kind == "prompt" else "sft_text_tiny.jsonl"))
    problems = peers.read_jsonl(peers.test_data() / "data" / "gsm8k-test.jsonl")[:STEPS * BATCH]
    return [{"prompt": row["question"], "completion": " " + row["answer"]} for row in problems]


def check_rows(rows, folder, tokenizer):
    """The rows avoid the texts that the peers' tokenizer and SentencePiece itself split differently."""
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    for row in rows:
        for text in (row["text"],) if "text" in row else (row["prompt"], row["prompt"] + row["completion"]):
            assert tokenizer(text).input_ids == [tokenizer.bos_token_id] + pieces.encode(text), text


def make_trajectories(name, folder, out):
    tokenizer = peers.load_tokenizer(folder)
    max_length = 512 if name == "stories260k" else 64
    golden = {"peer": peers.versions(trl), "model": name,
              "config": {**BASE, "max_length": max_length, "dtype": "float32", "optimizer": "AdamW(0.9, 0.999, 1e-8)",
                         "attention": peers.ATTENTION}}
    for variant, (changes, kind) in VARIANTS.items():
        if name != "tiny" and variant != "base":
            continue
        rows = rows_of(name, kind)
        check_rows(rows, folder, tokenizer)
        options = {**BASE, **changes, "max_length": max_length}
        trainer, steps = peers.train(SFTTrainer, SFTConfig, folder, rows, options)
        _, exact = peers.train(SFTTrainer, SFTConfig, folder, rows, options, dtype=torch.float64)
        noise = {key: max(abs(a[key] - b[key]) for a, b in zip(steps, exact)) for key in ("loss", "grad_norm")}
        assert STEPS * BATCH <= len(trainer.train_dataset) <= len(rows)
        kept = [{"length": len(row["input_ids"]), "scored": sum(label != -100 for label in row["labels"][1:])}
                for row in trainer.train_dataset]
        golden[variant] = {"changes": changes, "rows": len(rows), "kept": kept,
                           "float32_to_float64": peers.rounded(noise, 2), "steps": steps,
                           "parameters": peers.fingerprint(trainer.model)}
    peers.write_golden(out, f"sft_{name}.json", golden)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=peers.HERE)
    parser.add_argument("--model", nargs="*", choices=["tiny", "tiny_untied", "stories260k"])
    arguments = parser.parse_args()
    for name, folder in peers.models().items():
        if not arguments.model or name in arguments.model:
            make_trajectories(name, folder, arguments.out)


if __name__ == "__main__":
    main()
