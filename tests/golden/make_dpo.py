"""Makes dpo_<model>.json, dpo_loss.json and lr_schedules.json: TRL's DPOTrainer step by step, losses, learning rates.

    python tests/golden/make_dpo.py [--out tests/golden] [--model NAME …]

Rows of stories260k: the first 33 lines of data/hh-harmless-test.jsonl.gz, as published (the prompt is implicit).
Rows of the tiny models: pairs_tiny.jsonl (the prompt is explicit); its last 4 rows are for evaluation only.
"""

import argparse
import gzip
import itertools
import json
from pathlib import Path

import numpy
import sentencepiece
import torch
import trl
from transformers import get_scheduler
from trl import DPOConfig, DPOTrainer
from trl.data_utils import extract_prompt

import peers

STEPS, BATCH, EVAL_ROWS = 8, 4, 4
HH_ROWS = 33
BASE = {"per_device_train_batch_size": BATCH, "max_steps": STEPS, "beta": 0.1, "loss_type": ["sigmoid"],
        "learning_rate": 1e-4, "lr_scheduler_type": "constant", "warmup_steps": 0, "max_grad_norm": 1.0,
        "weight_decay": 0.0}
VARIANTS = {  # name → (what differs from BASE, the models it is run on)
    "base": ({}, ("tiny", "tiny_untied", "stories260k")),
    "sft_mixture": ({"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.2]}, ("tiny",)),
    "accumulation": ({"per_device_train_batch_size": 2, "gradient_accumulation_steps": 2}, ("tiny",)),
    "cosine": ({"lr_scheduler_type": "cosine", "warmup_steps": 3, "learning_rate": 1e-3}, ("tiny",)),
    "weight_decay": ({"weight_decay": 1.0, "learning_rate": 1e-3}, ("tiny", "tiny_untied")),
}


def published_rows(count):
    with gzip.open(peers.test_data() / "data" / "hh-harmless-test.jsonl.gz", "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in itertools.islice(file, count)]


def check_rows(rows, folder, tokenizer):
    """No row may depend on anything but the documented rules: the peers' special cases, the tokenizers' differences."""
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    for number, row in enumerate(rows):
        if "prompt" not in row:
            chosen, rejected = row["chosen"], row["rejected"]
            assert chosen[0] == rejected[0], (number, "diverges at once")
            assert not chosen.startswith(rejected) and not rejected.startswith(chosen), (number, "a prefix")
            row = extract_prompt(row)
        for text in (row["prompt"], row["prompt"] + row["chosen"], row["prompt"] + row["rejected"]):
            assert tokenizer(text).input_ids == [tokenizer.bos_token_id] + pieces.encode(text), (number, text)


def tokenized(trainer, rows, tokenizer, max_length):
    """What the trainer made of each row: lengths before truncation, and sums that change if a token does."""
    def weighted(ids):
        return sum((i + 1) * token for i, token in enumerate(ids))

    def key(ids):
        return tuple(ids["prompt_ids"] + ids["chosen_ids"]), tuple(ids["prompt_ids"] + ids["rejected_ids"])

    kept = {key(ids) for ids in trainer.train_dataset}
    result = []
    for row in rows:
        row = extract_prompt(row) if "prompt" not in row else row
        eos = tokenizer.eos_token
        prompt, chosen, rejected = (tokenizer(row["prompt"] + end).input_ids
                                    for end in ("", row["chosen"] + eos, row["rejected"] + eos))
        begin = min(peers.common_prefix(prompt, chosen), peers.common_prefix(prompt, rejected))
        dropped = begin >= max_length
        assert dropped != ((tuple(chosen), tuple(rejected)) in kept)
        result.append({
            "prompt": begin, "chosen": len(chosen) - begin, "rejected": len(rejected) - begin,
            "merged": len(prompt) - begin, "truncated": max(len(chosen), len(rejected)) > max_length,
            "dropped": dropped, "chosen_sum": weighted(chosen), "rejected_sum": weighted(rejected)})
    return result


def pair_logps(folder, dataset, max_length):
    """Summed log-probs of [chosen, rejected] under the untrained model in float64, for each row that is kept."""
    model, result = peers.load_model(folder, torch.float64), []
    for row in dataset:
        begin = len(row["prompt_ids"])
        result.append([sum(peers.token_logps(model, (row["prompt_ids"] + row[side])[:max_length])[begin - 1:])
                       for side in ("chosen_ids", "rejected_ids")])
    return result


def make_trajectories(name, folder, out):
    tokenizer = peers.load_tokenizer(folder)
    if name == "stories260k":
        max_length = 512
        rows, eval_rows = published_rows(HH_ROWS), None
        source = {"file": "data/hh-harmless-test.jsonl.gz", "first": 0, "count": HH_ROWS}
    else:
        max_length = 64
        rows = peers.read_jsonl(peers.HERE / "pairs_tiny.jsonl")
        rows, eval_rows = rows[:-EVAL_ROWS], rows[-EVAL_ROWS:]
        source = {"file": "pairs_tiny.jsonl", "first": 0, "count": len(rows), "eval_count": EVAL_ROWS}
    check_rows(rows, folder, tokenizer)
    golden = {"peer": peers.versions(trl), "model": name, "rows": source,
              "config": {**BASE, "max_length": max_length, "dtype": "float32", "optimizer": "AdamW(0.9, 0.999, 1e-8)",
                         "attention": peers.ATTENTION}}
    for variant, (changes, where) in VARIANTS.items():
        if name not in where:
            continue
        options = {**BASE, **changes, "max_length": max_length}
        with_eval = eval_rows if variant == "base" else None
        trainer, steps = peers.train(DPOTrainer, DPOConfig, folder, rows, options, eval_rows=with_eval)
        _, exact = peers.train(DPOTrainer, DPOConfig, folder, rows, options, dtype=torch.float64)
        noise = {key: max(abs(a[key] - b[key]) for a, b in zip(steps, exact))
                 for key in ("loss", "rewards/margins", "grad_norm")}
        if variant == "base":
            table = tokenized(trainer, rows, tokenizer, max_length)
            assert any(row["truncated"] and not row["dropped"] for row in table)
            assert sum(not row["dropped"] for row in table) == STEPS * BATCH < len(table)
            golden["tokenized"] = table
            golden["pair_logps_float64"] = pair_logps(folder, trainer.train_dataset, max_length)
        names = {id(parameter): key for key, parameter in trainer.model.named_parameters()}
        groups = [(group["weight_decay"] > 0, [names[id(p)] for p in group["params"]])
                  for group in trainer.optimizer.param_groups]
        golden[variant] = {"changes": changes, "float32_to_float64": peers.rounded(noise, 2),
                           "steps": steps, "parameters": peers.fingerprint(trainer.model)}
        if variant == "weight_decay":
            for field, wanted in (("decayed", True), ("not_decayed", False)):
                golden[variant][field] = sorted(key for decays, keys in groups if decays == wanted for key in keys)
        if with_eval:
            figures = trainer.evaluate()
            golden[variant]["eval"] = {key: value for key, value in figures.items()
                                       if not any(word in key for word in ("runtime", "per_second", "preparation"))}
    peers.write_golden(out, f"dpo_{name}.json", golden)


def make_losses(out):
    """−(1−ε) log σ(βΔ) − ε log σ(−βΔ) and its gradient, in closed form: TRL 1.16 ignores ε for `sigmoid`."""
    chosen = numpy.array([-35.25, -120.5, -4.0, -80.0, -2500.0, -1.0])
    rejected = numpy.array([-40.75, -118.0, -9.5, -80.0, -100.0, -2401.0])
    ref_chosen = numpy.array([-36.0, -119.75, -4.0, -80.0, -100.0, -1.0])
    ref_rejected = numpy.array([-39.5, -121.0, -9.5, -79.0, -100.0, -1.0])
    ratio = (chosen - ref_chosen) - (rejected - ref_rejected)
    cases = []
    for beta in (0.1, 0.5):
        for smoothing in (0.0, 0.1, 0.3):
            z = beta * ratio
            losses = (1 - smoothing) * numpy.logaddexp(0, -z) + smoothing * numpy.logaddexp(0, z)
            slope = beta * (smoothing - numpy.exp(-numpy.logaddexp(0, z)))  # d loss / d chosen = −d loss / d rejected
            cases.append({"beta": beta, "label_smoothing": smoothing, "losses": losses.tolist(),
                          "grad_chosen": slope.tolist(), "mean": losses.mean()})
    peers.write_golden(out, "dpo_loss.json", {
        "chosen_logps": chosen.tolist(), "rejected_logps": rejected.tolist(),
        "ref_chosen_logps": ref_chosen.tolist(), "ref_rejected_logps": ref_rejected.tolist(), "cases": cases})


def make_schedules(out, steps=20):
    """The learning rate used by step k = 1 … 20 for a base of 1, by transformers' schedulers."""
    cases = []
    for schedule in ("constant", "constant_with_warmup", "linear", "cosine"):
        for warmup in (0, 5, 0.12):
            if schedule == "constant" and warmup:
                continue
            count = DPOConfig(output_dir="unused", use_cpu=True, bf16=False,
                              warmup_steps=warmup).get_warmup_steps(steps)
            optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
            scheduler = get_scheduler(schedule, optimizer, num_warmup_steps=count, num_training_steps=steps)
            rates = []
            for _ in range(steps):
                rates.append(optimizer.param_groups[0]["lr"])
                optimizer.step()
                scheduler.step()
            cases.append({"schedule": schedule, "warmup": warmup, "warmup_steps": count, "rates": rates})
    peers.write_golden(out, "lr_schedules.json", {"peer": peers.versions(), "steps": steps, "cases": cases})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=peers.HERE)
    parser.add_argument("--model", nargs="*", choices=["tiny", "tiny_untied", "stories260k"])
    arguments = parser.parse_args()
    for name, folder in peers.models().items():
        if not arguments.model or name in arguments.model:
            make_trajectories(name, folder, arguments.out)
    make_losses(arguments.out)
    make_schedules(arguments.out)


if __name__ == "__main__":
    main()
