"""The peer's side of the reward benchmark: TRL's RewardTrainer on the CPU, one JSON line of figures at the end.

usage: trl_reward.py MODEL PAIRS.jsonl [--steps 12 --warmup 2 --batch 8 --max-length 512 --center 0.01 --threads 2]
                     [--eval PAIRS.jsonl]

MODEL is a causal model, whose head is replaced by a random one of a single output, or a model with such a head. With
--eval the model is evaluated after the last step: "accuracy", "eval_pairs". Pairs longer than --max-length are
dropped, not cut: "pairs" says how many are left.
"""
import argparse
import json
import resource
import tempfile
import time

import torch
from datasets import load_dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, TrainerCallback
from trl import RewardConfig, RewardTrainer

a = argparse.ArgumentParser()
a.add_argument("model")
a.add_argument("pairs")
a.add_argument("--steps", type=int, default=12)
a.add_argument("--warmup", type=int, default=2)
a.add_argument("--batch", type=int, default=8)
a.add_argument("--max-length", type=int, default=512)
a.add_argument("--center", type=float)
a.add_argument("--threads", type=int, default=2)
a.add_argument("--bf16", action="store_true")
a.add_argument("--lr", type=float, default=1e-5)
a.add_argument("--no-shuffle", action="store_true")
a.add_argument("--eval")
o = a.parse_args()
torch.set_num_threads(o.threads)
torch.manual_seed(0)

tokenizer = AutoTokenizer.from_pretrained(o.model)
if tokenizer.pad_token is None:
    tokenizer.pad_token = tokenizer.unk_token
model = AutoModelForSequenceClassification.from_pretrained(
    o.model, num_labels=1, pad_token_id=tokenizer.pad_token_id, dtype=torch.float32)


class Clock(TrainerCallback):
    times: list = []

    def on_step_end(self, args, state, control, **kw):
        self.times.append(time.perf_counter())


with tempfile.TemporaryDirectory() as output:
    config = RewardConfig(
        output_dir=output, use_cpu=True, per_device_train_batch_size=o.batch, max_steps=o.steps,
        max_length=o.max_length, center_rewards_coefficient=o.center, learning_rate=o.lr,
        lr_scheduler_type="constant", logging_steps=1, report_to="none", save_strategy="no", bf16=o.bf16,
        gradient_checkpointing=False, disable_tqdm=True,
        train_sampling_strategy="sequential" if o.no_shuffle else "random")
    trainer = RewardTrainer(
        model=model, args=config, train_dataset=load_dataset("json", data_files=o.pairs, split="train"),
        eval_dataset=load_dataset("json", data_files=o.eval, split="train") if o.eval else None,
        processing_class=tokenizer, callbacks=[Clock()])
    begin = time.perf_counter()
    trainer.train()
    found = {}
    if o.eval:
        found = {"accuracy": trainer.evaluate()["eval_accuracy"], "eval_pairs": len(trainer.eval_dataset)}
t = Clock.times
timed = t[o.steps - 1] - t[o.warmup - 1]
tokens = [h for h in trainer.state.log_history if "loss" in h]
print(json.dumps(found | {
    "peer": "trl", "steps": o.steps, "pairs": len(trainer.train_dataset),
    "pairs_per_s": o.batch * (o.steps - o.warmup) / timed, "s_per_step": timed / (o.steps - o.warmup),
    "total_s": t[-1] - begin, "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    "num_tokens": tokens[-1].get("num_tokens"), "losses": [round(h["loss"], 6) for h in tokens]}))
