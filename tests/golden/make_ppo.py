"""Makes the values of TRL's PPO trainer: advantages, losses of policy and values, gradients, metrics (ppo.json).

    python tests/golden/make_ppo.py [--out tests/golden]

TRL 1.16 has no PPO: the last version that has, 0.29.1, is run by the python of .deps/peers-ppo, to which this script
hands over. That folder shares all but TRL with .deps/peers (PACKAGES is lib/python3.X/site-packages):

    .deps/peers/bin/python -m venv --without-pip .deps/peers-ppo
    echo "$PWD/.deps/peers/PACKAGES" >.deps/peers-ppo/PACKAGES/peers.pth
    .deps/peers/bin/python -m pip install --no-deps --target .deps/peers-ppo/PACKAGES trl==0.29.1

The numbers are TRL's own: its training loop runs, once, with stand-ins for what asks a model. All
completions are equally long, as it treats shorter ones otherwise than others do. Everything is in float64.
"""

import argparse
import os
import random
import sys
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"
PYTHON = Path(__file__).resolve().parents[2] / ".deps" / "peers-ppo" / "bin" / "python"

import trl

if trl.__version__ != "0.29.1":
    os.execv(PYTHON, [str(PYTHON), *sys.argv])

import peers
import torch
from trl.experimental.ppo import PPOConfig, PPOTrainer, ppo_trainer

COUNT, LENGTH = 5, 4
METRICS = ("loss/policy_avg", "loss/value_avg", "policy/approxkl_avg", "policy/clipfrac_avg", "val/clipfrac_avg",
           "val/ratio", "objective/kl", "objective/non_score_reward", "objective/rlhf_reward")


def make_completions():
    generator = random.Random(11)

    def numbers(low, high):
        return [round(generator.uniform(low, high), 4) for _ in range(LENGTH)]

    def near(values, spread):
        return [round(x + generator.uniform(-spread, spread), 4) for x in values]

    completions = []
    for _ in range(COUNT):
        old, values = numbers(-3, -0.5), numbers(-1, 1)
        completions.append({"logps": near(old, 0.45), "old": old, "ref": near(old, 0.4), "values": near(values, 0.5),
                            "old_values": values, "reward": round(generator.gauss(0, 1), 3)})
    return completions


class Run:
    """One rollout and one update of PPOTrainer.train on these completions."""

    def __init__(self, completions, options):
        self.completions, self.metrics, self.advantages, self.script = completions, {}, [], ["old", "ref"]
        self.logps, self.values = (self.leaves(key) for key in ("logps", "values"))
        self.args = PPOConfig(
            output_dir="unused", use_cpu=True, bf16=False, report_to="none", per_device_train_batch_size=COUNT,
            num_mini_batches=1, num_ppo_epochs=1, total_episodes=COUNT, response_length=LENGTH, save_strategy="no",
            num_sample_generations=0, local_rollout_forward_batch_size=COUNT, **options)
        self.args.batch_size = self.args.local_batch_size = self.args.local_mini_batch_size = COUNT
        self.args.num_total_batches = 1

    def leaves(self, key):
        return torch.tensor([c[key] for c in self.completions], dtype=torch.float64, requires_grad=True)

    def selective_log_softmax(self, _, responses):
        """Log-probs of sampling, of the reference, and then of the policy; a response's tokens are its number."""
        if self.script:
            return self.leaves(self.script.pop(0)).detach()
        return self.logps[responses[:, 0] - 1]

    def get_reward(self, model, ids, *_):
        if model == "value":
            values = self.leaves("old_values").detach()
            return torch.cat([values, torch.zeros(COUNT, 1)], 1).unsqueeze(-1), None, None
        return None, torch.tensor([c["reward"] for c in self.completions], dtype=torch.float64), None

    def forward(self, model, ids, _):
        output = SimpleNamespace(logits=torch.zeros(COUNT, LENGTH + 1, 2))
        if model == "reference":
            return output
        values = self.values[ids[:, 1] - 1]
        return output, torch.cat([values, torch.zeros(COUNT, 1)], 1).unsqueeze(-1)

    def masked_whiten(self, values, mask, shift_mean=True):
        if shift_mean:  # advantages, not rewards
            self.advantages = values.tolist()
        return self.whiten(values, mask, shift_mean)

    def backward(self, loss):
        self.loss = loss.item()
        loss.backward()

    def __call__(self):
        accelerator = SimpleNamespace(
            device="cpu", print=lambda *_: None, unwrap_model=lambda model: model, backward=self.backward,
            accumulate=never_closed, gather_for_metrics=lambda value: value)
        model = SimpleNamespace(train=lambda: None, policy="policy", value_model="value")
        nothing = SimpleNamespace(step=lambda: None, zero_grad=lambda: None, get_last_lr=lambda: [0.0],
                                  on_train_begin=lambda *_: control, on_step_end=lambda *_: control,
                                  on_train_end=lambda *_: control)
        control = SimpleNamespace(should_save=False)
        # A prompt of one token, and completions whose tokens are all their own number, from 1; 0 is the pad.
        numbers = torch.arange(1, COUNT + 1).unsqueeze(1)
        trainer = SimpleNamespace(
            args=self.args, accelerator=accelerator, optimizer=nothing, model=model, ref_model="reference",
            reward_model="reward", processing_class=SimpleNamespace(pad_token_id=0, eos_token_id=-1),
            dataloader=[{"input_ids": torch.ones(COUNT, 1, dtype=torch.long)}], train_dataset_len=COUNT,
            state=SimpleNamespace(), callback_handler=nothing, control=control, is_deepspeed_enabled=False,
            stop_token_id=None, lr_scheduler=nothing, log=self.metrics.update)
        self.whiten = ppo_trainer.masked_whiten
        stand_ins = {
            "batch_generation": lambda _, queries, *rest: (torch.cat([queries, numbers.expand(-1, LENGTH)], 1),
                                                           torch.zeros(COUNT, LENGTH, 2)),
            "unwrap_model_for_generation": never_closed, "selective_log_softmax": self.selective_log_softmax,
            "get_reward": self.get_reward, "forward": self.forward, "masked_whiten": self.masked_whiten}
        own = {name: getattr(ppo_trainer, name) for name in stand_ins}
        try:
            vars(ppo_trainer).update(stand_ins)
            PPOTrainer.train(trainer)
        finally:
            vars(ppo_trainer).update(own)
        return self


@contextmanager
def never_closed(model, *_, **__):
    yield model


def case(completions, options, luce):
    run = Run(completions, options)()
    return {"trl": options, "luce": luce, "advantages": sum(run.advantages, []), "loss": run.loss,
            "metrics": {name: run.metrics[name] for name in METRICS},
            "grad_logps": run.logps.grad.flatten().tolist(), "grad_values": run.values.grad.flatten().tolist()}


def cases(completions):
    for options, luce in (
            ({}, {}), ({"gamma": 0.9, "lam": 0.8}, {"gamma": 0.9, "lam": 0.8}),
            ({"whiten_rewards": True}, {"whiten_rewards": True}), ({"kl_coef": 0.0}, {"beta": 0}),
            ({"kl_estimator": "k3", "kl_coef": 0.2}, {"kl_estimator": "k3", "beta": 0.2}),
            ({"cliprange": 0.1, "cliprange_value": 0.4, "vf_coef": 0.5},
             {"epsilon": 0.1, "cliprange_value": 0.4, "vf_coef": 0.5})):
        yield case(completions, options, luce)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=peers.HERE)
    out = parser.parse_args().out
    torch.set_default_dtype(torch.float64)
    completions = make_completions()
    peers.write_golden(out, "ppo.json", {
        "peer": peers.versions(trl), "dtype": "float64", "completions": completions,
        "cases": list(cases(completions))})


if __name__ == "__main__":
    main()
