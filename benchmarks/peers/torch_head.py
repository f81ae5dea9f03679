"""The peer's side of the head rows: TRL's functions in eager torch; one JSON line of milliseconds a shape.

usage: torch_head.py [--rounds 15 --threads 2]

Forward and backward of the scored log-probs through logits and selective_log_softmax, and the forward pass with
log-probs and entropy. All rows at once, as the trainer computes them.
"""
import argparse
import json
import statistics
import time

import torch
from trl.trainer.utils import entropy_from_logits, selective_log_softmax

a = argparse.ArgumentParser()
a.add_argument("--rounds", type=int, default=15)
a.add_argument("--threads", type=int, default=2)
a.add_argument("--bf16", action="store_true")
o = a.parse_args()
torch.set_num_threads(o.threads)
torch.manual_seed(1)
dtype = torch.bfloat16 if o.bf16 else torch.float32


def median(fn):
    for _ in range(2):
        fn()
    times = []
    for _ in range(o.rounds):
        begin = time.perf_counter()
        fn()
        times.append(time.perf_counter() - begin)
    return round(statistics.median(times) * 1e3, 4)


rows = []
for m, d, v in [(376, 288, 32000), (1024, 576, 49152)]:
    hidden = torch.randn(1, m, d, dtype=dtype, requires_grad=True)
    weight = (torch.randn(v, d) * 0.05).to(dtype).requires_grad_(True)
    targets = torch.randint(v, (1, m))

    def forward_backward():
        hidden.grad = weight.grad = None
        selective_log_softmax(hidden @ weight.T, targets).sum().backward()

    def forward():
        with torch.no_grad():
            logits = hidden @ weight.T
            selective_log_softmax(logits, targets), entropy_from_logits(logits)

    rows.append({"M": m, "D": d, "V": v, "ms": median(forward_backward), "forward_entropy_ms": median(forward)})
print(json.dumps(rows))
