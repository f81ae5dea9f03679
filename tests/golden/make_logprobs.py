"""Makes logprobs_<model>.json and greedy_<model>.json: log-probs and greedy continuations by transformers in float64.

    python tests/golden/make_logprobs.py [--out tests/golden] [--model NAME …]

stories260k is made where LUCE_TEST_DATA names the folder with models/ and data/.
"""

import argparse
from pathlib import Path

import numpy
import torch

import peers

TINY_TEXT = ("the cat sat on the mat and looked at the rain . the dog was happy and ran to the park with a red ball . "
             "one day a little girl found a small box in the old house .")


def sequences(name, folder, tokenizer):
    """(label, token ids) of lengths 1 … the context: text, random ids, with and without BOS."""
    random = numpy.random.Generator(numpy.random.PCG64(7))
    config = peers.load_model(folder).config
    context, vocabulary = config.max_position_embeddings, config.vocab_size

    def noise(n, bos=True):
        ids = random.integers(3, vocabulary, n).tolist()
        return [tokenizer.bos_token_id] + ids[1:] if bos else ids

    if name != "stories260k":
        text = tokenizer(TINY_TEXT).input_ids
        assert len(text) >= 20, len(text)
        return [("one token", [tokenizer.bos_token_id]), ("two tokens", noise(2)), ("text", text[:context]),
                ("text, no BOS", text[1:18]), ("with EOS inside", noise(9) + [tokenizer.eos_token_id] + noise(8)),
                ("random", noise(61)), ("random, no BOS", noise(33, bos=False)), ("whole context", noise(context))]
    problems = peers.read_jsonl(peers.test_data() / "data" / "gsm8k-test.jsonl")
    story = "Once upon a time, there was a little girl named Lily. She loved to play outside in the park."
    long = " ".join(row["question"] for row in problems[:8])
    unusual = "Zoë paid 12 €… “naïve” — 猫 \t\n  two  spaces"
    return [("one token", [tokenizer.bos_token_id]), ("two tokens", noise(2)), ("story", tokenizer(story).input_ids),
            ("question", tokenizer(problems[0]["question"]).input_ids[:150]),
            ("answer, no BOS", tokenizer(problems[1]["answer"]).input_ids[1:90]),
            ("byte fallback", tokenizer(unusual).input_ids), ("random", noise(257)),
            ("text, whole context", tokenizer(long).input_ids[:context]), ("random, whole context", noise(context))]


def make_logprobs(name, folder, out):
    tokenizer = peers.load_tokenizer(folder)
    model, exact = peers.load_model(folder, torch.float64), peers.load_exact_model(folder)
    single = peers.load_model(folder, torch.float32)
    rows, difference, single_difference = [], 0.0, 0.0
    for label, ids in sequences(name, folder, tokenizer):
        assert len(ids) <= model.config.max_position_embeddings
        row = {"label": label, "length": len(ids), "input_ids": ids, "logps": peers.token_logps(model, ids),
               "exact_logps": peers.token_logps(exact, ids)}
        for a, b, c in zip(row["logps"], row["exact_logps"], peers.token_logps(single, ids)):
            difference, single_difference = max(difference, abs(a - b)), max(single_difference, abs(c - b))
        rows.append(row)
    assert difference < 2e-4, difference  # from rotary angles in float32, at positions near 512
    peers.write_golden(out, f"logprobs_{name}.json", {
        "peer": peers.versions(), "model": name, "attention": peers.ATTENTION,
        "float64_to_exact": float(f"{difference:.2g}"), "float32_to_exact": float(f"{single_difference:.2g}"),
        "rows": rows}, digits=10)


def make_greedy(name, folder, out, new_tokens):
    tokenizer, model = peers.load_tokenizer(folder), peers.load_model(folder, torch.float64)
    prompts = ["Once upon a time"] if name == "stories260k" else ["the cat sat", "one day"]
    rows = []
    for prompt in prompts:
        ids = tokenizer(prompt).input_ids
        fresh, gap = [], float("inf")
        for _ in range(new_tokens):
            with torch.no_grad():
                best = model(input_ids=torch.tensor([ids + fresh])).logits[0, -1].topk(2)
            gap = min(gap, (best.values[0] - best.values[1]).item())
            fresh.append(best.indices[0].item())
            if fresh[-1] == tokenizer.eos_token_id:
                break
        rows.append({"prompt": prompt, "prompt_ids": ids, "new_ids": fresh,
                     "text": tokenizer.decode(ids + fresh, skip_special_tokens=True), "smallest_gap": gap})
    peers.write_golden(out, f"greedy_{name}.json", {
        "peer": peers.versions(), "model": name, "dtype": "float64", "max_new_tokens": new_tokens, "rows": rows})


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=peers.HERE)
    parser.add_argument("--model", nargs="*", choices=["tiny", "tiny_untied", "stories260k"])
    arguments = parser.parse_args()
    for name, folder in peers.models().items():
        if arguments.model and name not in arguments.model:
            continue
        make_logprobs(name, folder, arguments.out)
        make_greedy(name, folder, arguments.out, 120 if name == "stories260k" else 40)


if __name__ == "__main__":
    main()
