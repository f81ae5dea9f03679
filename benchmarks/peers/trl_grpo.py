"""TRL's side of the GRPO rows: GRPOTrainer with its built-in generation, on the CPU.

usage: trl_grpo.py MODEL PROMPTS.jsonl [--steps 3 --warmup 1 --prompts 8 --group 8 --new-tokens 64 --bf16]
prints one line of JSON: seconds a step, completion tokens a second, peak memory
"""
import argparse
import json
import resource
import tempfile
import time

import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import GRPOConfig, GRPOTrainer

from vowels import vowels


class StepTimes(TrainerCallback):
    def __init__(self):
        self.ends = []

    def on_step_end(self, args, state, control, **_):
        self.ends.append(time.perf_counter())


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("prompts_file")
    for name, value in (("steps", 3), ("warmup", 1), ("prompts", 8), ("group", 8), ("new-tokens", 64)):
        parser.add_argument("--" + name, type=int, default=value)
    parser.add_argument("--bf16", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(2)
    tokenizer = AutoTokenizer.from_pretrained(args.model)
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.unk_token
    dtype = torch.bfloat16 if args.bf16 else torch.float32
    times = StepTimes()
    with tempfile.TemporaryDirectory() as out:
        config = GRPOConfig(
            output_dir=out, use_cpu=True, bf16=args.bf16, per_device_train_batch_size=args.prompts * args.group,
            num_generations=args.group, max_completion_length=args.new_tokens, max_steps=args.steps, beta=0.0,
            temperature=1.0, learning_rate=1e-5, lr_scheduler_type="constant", gradient_checkpointing=False,
            logging_steps=1, save_strategy="no", report_to="none", disable_tqdm=True)
        trainer = GRPOTrainer(
            model=AutoModelForCausalLM.from_pretrained(args.model, dtype=dtype), args=config, reward_funcs=vowels,
            train_dataset=load_dataset("json", data_files=args.prompts_file, split="train").select_columns(["prompt"]),
            processing_class=tokenizer, callbacks=[times])
        trainer.train()
    seconds = (times.ends[-1] - times.ends[args.warmup - 1]) / (args.steps - args.warmup)
    print(json.dumps({"s_per_step": seconds, "tokens_per_s": args.prompts * args.group * args.new_tokens / seconds,
                      "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


if __name__ == "__main__":
    main()
