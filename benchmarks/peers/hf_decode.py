"""The peer's side of the decode row: transformers' generate; one JSON line of tokens a second.

usage: hf_decode.py MODEL [--bf16 --rounds 3 --threads 2 --rows 16 64 128 256]

Random prompts of 32 tokens, 64 sampled tokens to each at temperature 1 over the whole vocabulary, no end of sequence:
the whole call, and all tokens but the first of each, as the rest of the call takes.
"""
import argparse
import json
import statistics
import time

import torch
from transformers import AutoModelForCausalLM

a = argparse.ArgumentParser()
a.add_argument("model")
a.add_argument("--bf16", action="store_true")
a.add_argument("--rounds", type=int, default=3)
a.add_argument("--threads", type=int, default=2)
a.add_argument("--rows", type=int, nargs="+", default=[16, 64, 128, 256])
o = a.parse_args()
torch.set_num_threads(o.threads)
torch.manual_seed(1)
model = AutoModelForCausalLM.from_pretrained(o.model, dtype=torch.bfloat16 if o.bf16 else torch.float32).eval()
model.generation_config.eos_token_id = None
model.generation_config.pad_token_id = 0


def seconds(ids, tokens):
    begin = time.perf_counter()
    out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=True, temperature=1.0, top_k=0, top_p=1.0,
                         max_new_tokens=tokens, min_new_tokens=tokens)
    took = time.perf_counter() - begin
    assert out.shape[1] == ids.shape[1] + tokens
    return took


found = []
with torch.inference_mode():
    for rows in o.rows:
        ids = torch.randint(3, model.config.vocab_size, (rows, 32))
        seconds(ids, 4)
        whole = [seconds(ids, 64) for _ in range(o.rounds)]
        first = [seconds(ids, 1) for _ in range(o.rounds)]
        t = statistics.median(whole)
        found.append({"dtype": "bf16" if o.bf16 else "f32", "rows": rows, "tokens_per_s": round(rows * 64 / t, 1),
                      "later_tokens_per_s": round(rows * 63 / (t - statistics.median(first)), 1)})
print(json.dumps(found))
