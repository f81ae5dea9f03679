"""Makes reward_<model>.json: TRL's RewardTrainer step by step, and scores of models with a classification head.

    python tests/golden/make_reward.py [--out tests/golden] [--model NAME …]

Pairs: those of make_dpo.py; RewardTrainer drops pairs with an answer longer than max_length, where others truncate.
The rows with steps stand in this file. Heads are drawn here, as a causal model has none.
"""

import argparse
import tempfile
from pathlib import Path

import make_dpo
import numpy
import peers
import sentencepiece
import torch
import trl
from torch.nn import functional
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification
from trl import RewardConfig, RewardTrainer

BASE = {key: value for key, value in make_dpo.BASE.items() if key not in ("beta", "loss_type")}
MARGINS = [0.0, 0.5, 1.0, 1.5]  # of rows 0, 1, 2, 3, 4, … of the file, in turn
RUNS = {  # name → (what differs from BASE, whether the rows have margins, the models it is run on)
    "plain": ({}, False, ("tiny", "stories260k")),
    "centred": ({"center_rewards_coefficient": 0.01}, False, ("tiny", "stories260k")),
    "margin": ({}, True, ("tiny", "stories260k")),
    "wide": ({"learning_rate": 2e-3}, False, ("tiny",)),
}
STEPWISE = [
    {"prompt": "2 + 3 * 4 =", "completions": ["3 * 4 = 12", "2 + 12 = 14"], "labels": [True, True]},
    {"prompt": "Tom has 3 red balls and finds 2 more .",
     "completions": ["He had 3 .", "3 + 2 = 6", "He has 6 balls ."], "labels": [True, False, False]},
    {"prompt": "the cat sat", "completions": ["and slept ."], "labels": [False]},
    {"prompt": "Ann had 9 apples and ate 4 .", "completions": ["9 - 4 = 6", "No , it is 5 .", "She has 5 ."],
     "labels": [False, True, True], "label": True},
]


def draw_head(width, labels, seed):
    """[labels, width] from normal(0, 1 / √(width + 1)), in multiples of 1/256: exact in JSON, float32 and bfloat16."""
    random = numpy.random.Generator(numpy.random.PCG64(seed))
    head = random.normal(0, (width + 1) ** -0.5, (labels, width))
    return torch.from_numpy(numpy.round(head * 256) / 256)


def save_start(folder, target, tokenizer, auto, head, bias=None):
    """The causal model's trunk with this head, as a folder in the Hugging Face layout."""
    model = auto.from_pretrained(folder, dtype=torch.float32, num_labels=len(head),
                                 pad_token_id=tokenizer.pad_token_id)
    with torch.no_grad():
        model.score.weight.copy_(head)
        if bias is not None:
            model.score.bias.copy_(bias)
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)
    loaded = peers.load_model(target, auto=auto)
    causal = peers.load_model(folder).model.state_dict()
    assert loaded.config.pad_token_id == tokenizer.pad_token_id == tokenizer.unk_token_id
    assert loaded.score.weight.double().equal(head) and (loaded.score.bias is None) == (bias is None)
    assert all(value.equal(causal[key]) for key, value in loaded.model.state_dict().items())


def weighted(ids):
    return sum((i + 1) * token for i, token in enumerate(ids))


def tokenized(rows, tokenizer, max_length):
    """(ids of [chosen, rejected] of the rows that are kept, what the golden says of every row)."""
    kept, table = [], []
    for row in rows:
        chosen, rejected = (tokenizer(row.get("prompt", "") + row[side] + tokenizer.eos_token).input_ids
                            for side in ("chosen", "rejected"))
        assert tokenizer.pad_token_id not in chosen + rejected
        dropped = max(len(chosen), len(rejected)) > max_length
        kept += [] if dropped else [[chosen, rejected]]
        table.append({"chosen": len(chosen), "rejected": len(rejected), "dropped": dropped,
                      "chosen_sum": weighted(chosen), "rejected_sum": weighted(rejected)})
    return kept, table


def score(model, sequences, batch, pad=0):
    """One score per sequence, `batch` of them at a time with padding on the right."""
    scores = []
    for begin in range(0, len(sequences), batch):
        part = [torch.tensor(ids) for ids in sequences[begin:begin + batch]]
        ids = torch.nn.utils.rnn.pad_sequence(part, batch_first=True, padding_value=pad)
        mask = torch.nn.utils.rnn.pad_sequence([torch.ones_like(row) for row in part], batch_first=True)
        with torch.no_grad():
            scores += model(input_ids=ids, attention_mask=mask).logits[:, 0].tolist()
    return scores


def apart(a, b):
    return max(abs(x - y) for x, y in zip(a, b, strict=True))


def make_scores(start, pairs, pad):
    """Scores of the kept pairs by the untrained model, each sequence alone and in padded batches of four."""
    sequences = [ids for pair in pairs for ids in pair]
    single, exact = (load(start, auto=AutoModelForSequenceClassification)
                     for load in (peers.load_model, peers.load_exact_model))
    float32, float32_padded = score(single, sequences, 1), score(single, sequences, 4, pad)
    exact_alone, exact_padded = score(exact, sequences, 1), score(exact, sequences, 4, pad)
    assert apart(exact_alone, exact_padded) < 1e-12 and apart(float32, float32_padded) < 1e-5
    assert apart(float32, exact_alone) < 1e-4

    def in_pairs(values):
        return [values[i:i + 2] for i in range(0, len(values), 2)]

    return {"float32_to_exact": peers.rounded(apart(float32, exact_alone), 2),
            "float32_to_padded": peers.rounded(apart(float32, float32_padded), 2),
            "exact_to_padded": peers.rounded(apart(exact_alone, exact_padded), 2),
            "exact": in_pairs(exact_alone), "float32": in_pairs(float32), "float32_padded": in_pairs(float32_padded)}


def make_run(start, rows, eval_rows, pairs, changes, max_length):
    options = {**BASE, **changes, "max_length": max_length}

    def run(dtype):
        return peers.train(RewardTrainer, RewardConfig, start, rows, options, dtype=dtype, eval_rows=eval_rows,
                           auto=AutoModelForSequenceClassification)

    trainer, steps = run(torch.float32)
    _, exact = run(torch.float64)
    assert [[row["chosen_ids"], row["rejected_ids"]] for row in trainer.train_dataset] == pairs
    assert len(steps) == make_dpo.STEPS
    noise = {key: apart([step[key] for step in steps], [step[key] for step in exact])
             for key in ("loss", "margin", "grad_norm")}
    parameters = peers.fingerprint(trainer.model)
    assert "score.weight" in parameters
    result = {"changes": changes, "float32_to_float64": peers.rounded(noise, 2), "steps": steps,
              "parameters": parameters}
    if eval_rows:
        result["eval"] = {key: value for key, value in trainer.evaluate().items()
                          if not any(word in key for word in ("runtime", "per_second", "preparation"))}
    return result


def stepwise_rows(folder, tokenizer):
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    result = []
    for row in STEPWISE:
        for text in (row["prompt"], *row["completions"], "\n"):
            assert tokenizer(text, add_special_tokens=False).input_ids == pieces.encode(text), text
        ids, prompt, ends = peers.stepwise_ids(tokenizer, row)
        assert tokenizer.pad_token_id not in ids
        result.append({**row, "label": row.get("label", all(row["labels"])), "input_ids": ids, "prompt_length": prompt,
                       "step_ends": ends})
    return result


def gradient_norms(model, loss):
    named = dict(model.named_parameters())
    gradients = dict(zip(named, torch.autograd.grad(loss, list(named.values()), retain_graph=True)))
    picked = ("model.embed_tokens.weight", "score.weight", "score.bias")
    norms = {key: gradients[key].norm().item() for key in picked}
    return {**norms, "all": torch.stack([value.norm() for value in gradients.values()]).norm().item()}


def token_losses(model, rows, kind):
    """(logits, losses) per row, each at the places that the loss reads: step ends, or all tokens of the completion."""
    logits, losses = [], []
    for row in rows:
        ids = torch.tensor([row["input_ids"]])
        places = row["step_ends"] if kind == "process" else range(row["prompt_length"], ids.shape[1])
        logits.append(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits[0, list(places)])
        if kind == "process":  # class 1 is a right step
            labels = torch.tensor([int(right) for right in row["labels"]])
            losses.append(functional.cross_entropy(logits[-1], labels, reduction="none"))
        else:
            label = torch.full((len(places),), float(row["label"]), dtype=logits[-1].dtype)
            losses.append(functional.binary_cross_entropy_with_logits(logits[-1][:, 0], label, reduction="none"))
    return logits, losses


def make_token_model(folder, tokenizer, rows, kind):
    """Logits and loss of an untrained process or outcome model in float64, and the loss's gradient."""
    labels, seed = {"process": (2, 17), "outcome": (1, 19)}[kind]
    width = peers.load_model(folder).config.hidden_size
    head, bias = draw_head(width, labels, seed), draw_head(width, labels, seed + 1)[:, 0]
    with tempfile.TemporaryDirectory() as start:
        save_start(folder, start, tokenizer, AutoModelForTokenClassification, head, bias)
        single, exact = (load(start, auto=AutoModelForTokenClassification)
                         for load in (peers.load_model, peers.load_exact_model))
    logits, losses = token_losses(exact, rows, kind)
    with torch.no_grad():
        other, _ = token_losses(single, rows, kind)
    difference = (torch.cat(logits) - torch.cat(other)).abs().max().item()
    assert difference < 1e-4, difference
    over_places, over_rows = torch.cat(losses).mean(), torch.stack([loss.mean() for loss in losses]).mean()
    return {"head": head.tolist(), "bias": bias.tolist(), "float32_to_exact": peers.rounded(difference, 2),
            "logits": [(row if kind == "process" else row[:, 0]).tolist() for row in logits],
            "losses": [loss.tolist() for loss in losses],
            "mean_of_all": {"loss": over_places.item(), "grad_norms": gradient_norms(exact, over_places)},
            "mean_of_rows": {"loss": over_rows.item(), "grad_norms": gradient_norms(exact, over_rows)}}


def make_file(name, folder, out):
    tokenizer, eval_rows, eval_count = peers.load_tokenizer(folder), [], {}
    if name == "stories260k":
        file, max_length = "data/hh-harmless-test.jsonl.gz", 512
        rows = make_dpo.published_rows(make_dpo.HH_ROWS)
    else:
        file, max_length = "pairs_tiny.jsonl", 64
        rows = peers.read_jsonl(peers.HERE / file)
        rows, eval_rows = rows[:-make_dpo.EVAL_ROWS], rows[-make_dpo.EVAL_ROWS:]
        eval_count = {"eval_count": len(eval_rows)}
    make_dpo.check_rows(rows + eval_rows, folder, tokenizer)
    pairs, table = tokenized(rows, tokenizer, max_length)
    eval_pairs, eval_table = tokenized(eval_rows, tokenizer, max_length)
    assert len(pairs) < len(rows) and len(eval_pairs) == len(eval_rows)
    head = draw_head(peers.load_model(folder).config.hidden_size, 1, seed=13)
    golden = {"peer": peers.versions(trl), "model": name,
              "rows": {"file": file, "first": 0, "count": len(rows), **eval_count, "margins": MARGINS},
              "config": {**BASE, "max_length": max_length, "dtype": "float32", "optimizer": "AdamW(0.9, 0.999, 1e-8)",
                         "attention": peers.ATTENTION},
              "start_head": head[0].tolist(), "tokenized": table + eval_table}
    with tempfile.TemporaryDirectory() as start:
        save_start(folder, start, tokenizer, AutoModelForSequenceClassification, head)
        golden["scores"] = make_scores(start, pairs, tokenizer.pad_token_id)
        for run, (changes, with_margin, where) in RUNS.items():
            if name not in where:
                continue
            train_rows, test_rows = rows, eval_rows
            if with_margin:
                train_rows, test_rows = ([{**row, "margin": MARGINS[i % len(MARGINS)]} for i, row in enumerate(part)]
                                         for part in (rows, eval_rows))
            golden[run] = make_run(start, train_rows, test_rows, pairs, changes, max_length)
    golden["stepwise"] = stepwise_rows(folder, tokenizer)
    for kind in ("process", "outcome"):
        golden[kind] = make_token_model(folder, tokenizer, golden["stepwise"], kind)
    peers.write_golden(out, f"reward_{name}.json", golden)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=peers.HERE)
    parser.add_argument("--model", nargs="*", choices=["tiny", "stories260k"])
    arguments = parser.parse_args()
    for name, folder in peers.models().items():
        if name != "tiny_untied" and (not arguments.model or name in arguments.model):
            make_file(name, folder, arguments.out)


if __name__ == "__main__":
    main()
