"""The peer's side of the start-up benchmark: prints a line when TRL's DPOTrainer has finished its first step.

usage: trl_first_step.py MODEL PAIRS.jsonl
"""
import sys

import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from trl import DPOConfig, DPOTrainer

model_path, pairs = sys.argv[1:]
torch.set_num_threads(2)
tokenizer = AutoTokenizer.from_pretrained(model_path)
if tokenizer.pad_token is None:
    tokenizer.pad_token = tokenizer.unk_token


class Tell(TrainerCallback):
    def on_step_end(self, args, state, control, **kw):
        print("first step", flush=True)


trainer = DPOTrainer(
    model=AutoModelForCausalLM.from_pretrained(model_path, dtype=torch.float32),
    args=DPOConfig(output_dir="/tmp/luce_peer_first_step", use_cpu=True, per_device_train_batch_size=4, max_steps=1,
                   max_length=512, beta=0.1, learning_rate=1e-4, lr_scheduler_type="constant", report_to="none",
                   save_strategy="no", bf16=False, gradient_checkpointing=False, disable_tqdm=True),
    train_dataset=load_dataset("json", data_files=pairs, split="train"), processing_class=tokenizer, callbacks=[Tell()])
trainer.train()
