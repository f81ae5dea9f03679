"""Makes the values of TRL's GRPO, RLOO and GMPO trainers: advantages, losses, gradients, metrics (rl.json).

    python tests/golden/make_rl.py [--out tests/golden]

The numbers are TRL's own: its trainers are constructed, and what would run a model or a reward is replaced by one that
hands over the numbers below. Everything is in float64.
"""

import argparse
import math
import os
import random
import tempfile
from pathlib import Path

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import peers
import torch
import trl
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from torch.nn.utils.rnn import pad_sequence
from trl import GRPOConfig, GRPOTrainer, RLOOConfig, RLOOTrainer
from trl.experimental.gmpo import GMPOConfig, GMPOTrainer

GROUP, GROUPS, MAX_LENGTH = 4, 3, 6
WEIGHTS = [1.0, 0.5]
METRICS = ("clip_ratio/low_mean", "clip_ratio/low_min", "clip_ratio/high_mean", "clip_ratio/high_max",
           "clip_ratio/region_mean", "cispo_clip_ratio", "vespo/phi_seq_mean", "kl")
CONFIG = {GRPOTrainer: GRPOConfig, RLOOTrainer: RLOOConfig, GMPOTrainer: GMPOConfig}


def make_completions():
    """Twelve completions: log-probs under the policy, the one that sampled and the reference, and entropies."""
    generator = random.Random(7)
    completions = []
    for number in range(GROUP * GROUPS):
        length = generator.randrange(1, MAX_LENGTH + 1)
        spread = (0.02, 0.3, 1.2)[number % 3]

        def near(values):
            return [min(-1e-3, round(x + spread * (2 * generator.random() - 1), 4)) for x in values]

        logps = [round(-3 * generator.random() - 0.05, 4) for _ in range(length)]
        completions.append({
            "logps": logps, "old": near(logps), "ref": near(logps),
            "entropy": [round(2 * generator.random(), 4) for _ in range(length)], "truncated": number in (2, 7)})
    return completions


def make_rewards():
    """What two reward functions gave each completion; `holes`: the same, where some gave nothing."""
    generator = random.Random(8)
    full = [[round(generator.gauss(0, 1), 3) for _ in range(GROUP * GROUPS)], [1, 0, 1, 1, 0, 0, 0, 1, 0.5, 0.5, 0.5, 0.5]]
    holes = [list(values) for values in full]
    holes[0][1] = holes[1][1] = None  # no reward at all
    holes[0][6] = None  # one function
    for c in (8, 9, 10):  # a group with a single reward
        holes[0][c] = holes[1][c] = None
    return {"full": full, "holes": holes}


class Numbers:
    """Stands in for all that asks a model: the first call gets the log-probs at sampling, the second the reference's."""

    def __init__(self, completions, has_reference):
        def leaves(key):
            return [torch.tensor(c[key], dtype=torch.float64, requires_grad=True) for c in completions]

        self.logps, self.entropy = leaves("logps"), leaves("entropy")
        self.script = [self.padded(leaves("old"))] + ([self.padded(leaves("ref"))] if has_reference else [])

    @staticmethod
    def padded(values):
        return pad_sequence(values, batch_first=True)

    def __call__(self, *_, **__):
        if self.script:
            return self.script.pop(0).detach(), None, None
        return self.padded(self.logps), self.padded(self.entropy), None


def construct(trainer_class, **options):
    """A trainer of TRL that takes the log-probs of sampling from a call of its own, as it does off-policy."""
    rows = [{"prompt": "a"}] * GROUPS
    functions = [lambda **_: None, lambda **_: None]
    with tempfile.TemporaryDirectory() as output:
        config = CONFIG[trainer_class](
            output_dir=output, use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none",
            per_device_train_batch_size=GROUP * GROUPS, num_generations=GROUP, num_iterations=2,
            max_completion_length=MAX_LENGTH, reward_weights=WEIGHTS, **options)
        trainer = trainer_class(
            model=peers.load_model(peers.TINY["tiny"]), reward_funcs=functions, args=config,
            train_dataset=Dataset.from_list(rows), processing_class=peers.load_tokenizer(peers.TINY["tiny"]))
    trainer.model.train()
    trainer.current_gradient_accumulation_steps = 1
    return trainer


def run(trainer_class, completions, rewards, options):
    """(advantages, loss, gradients, metrics) of one step on these completions."""
    trainer = construct(trainer_class, **options)
    numbers = Numbers(completions, trainer.beta != 0)
    eos = trainer.processing_class.eos_token_id
    ids = [[5] * (len(c["logps"]) - 1) + [6 if c["truncated"] else eos] for c in completions]
    generated = ([[3, 4]] * len(ids), ids, [""] * len(ids))
    if trainer_class is not RLOOTrainer:
        generated = (*generated[:2], None, generated[2], None, {}, None, None)
    trainer._generate = lambda *_: generated
    trainer._get_per_token_logps_and_entropies = numbers
    trainer._calculate_rewards = lambda *_: torch.tensor(
        [[math.nan if x is None else x for x in row] for row in zip(*rewards)], dtype=torch.float64)
    inputs = trainer._generate_and_score_completions([{"prompt": "a"}] * len(ids))
    loss = trainer._compute_loss(trainer.model, inputs)
    loss.backward()
    metrics = {name: values[-1] for name, values in trainer._metrics["train"].items() if name in METRICS}
    return inputs["advantages"].tolist(), loss.item(), numbers, metrics


def advantage_case(algorithm, trainer_class, completions, rewards, options, luce):
    advantages = [run(trainer_class, completions, rewards[name], options)[0] for name in ("full", "holes")]
    return {"algorithm": algorithm, "trl": options, "luce": luce, "full": advantages[0], "holes": advantages[1]}


def loss_case(algorithm, trainer_class, completions, rewards, options, luce):
    _, loss, numbers, metrics = run(trainer_class, completions, rewards["full"], options)
    case = {"algorithm": algorithm, "peer": trainer_class.__name__, "trl": options, "luce": luce,
            "loss": loss, "metrics": metrics,
            "grad_logps": torch.cat([leaf.grad for leaf in numbers.logps]).tolist()}
    if any(leaf.grad is not None for leaf in numbers.entropy):
        case["grad_entropy"] = torch.cat([leaf.grad for leaf in numbers.entropy]).tolist()
    return case


def advantage_cases(completions, rewards):
    for scale in ("group", "batch", "none"):
        yield advantage_case("grpo", GRPOTrainer, completions, rewards, {"scale_rewards": scale}, {"scale_rewards": scale})
    both = {"multi_objective_aggregation": "normalize_then_sum"}
    yield advantage_case("grpo", GRPOTrainer, completions, rewards, both, both)
    for options in ({"beta": 0.0}, {"beta": 0.05}, {"beta": 0.0, "normalize_advantages": True},
                    {"beta": 0.1, "reward_clip_range": [-0.5, 0.75]}):
        yield advantage_case("rloo", RLOOTrainer, completions, rewards, options, options)


def loss_cases(completions, rewards):
    def grpo(algorithm, trl_options=None, luce_options=None, trainer=GRPOTrainer, **both):
        clip = {"epsilon": 0.2, "epsilon_high": 0.28}  # the same bounds for all, and not the same on both sides
        trl_clip, luce_clip = dict(clip), dict(clip)
        if algorithm == "cispo":  # TRL's bound is that of the ratio itself
            trl_clip["epsilon_high"], luce_clip["epsilon_high"] = 1.5, 0.5
        kind = {"gspo": {"loss_type": "grpo", "importance_sampling_level": "sequence"},
                "luspo": {"loss_type": "luspo", "importance_sampling_level": "sequence"}}.get(
                    algorithm, {} if trainer is GMPOTrainer else {"loss_type": algorithm})
        yield loss_case(algorithm, trainer, completions, rewards, kind | trl_clip | (trl_options or {}) | both,
                        luce_clip | (luce_options or {}) | both)

    own = {"use_bias_correction_kl": False}, {"kl_gradient": "own"}
    for algorithm in ("grpo", "bnpo", "dapo", "cispo", "sapo", "vespo", "gspo", "luspo"):
        yield from grpo(algorithm)
        yield from grpo(algorithm, *own, beta=0.3)
        yield from grpo(algorithm, beta=0.3)
    yield from grpo("dr_grpo", scale_rewards="none")
    yield from grpo("dr_grpo", scale_rewards="none", beta=0.3)
    yield from grpo("gmpo", trainer=GMPOTrainer)
    yield from grpo("gmpo", {}, {"kl_gradient": "own"}, trainer=GMPOTrainer, beta=0.3)
    for algorithm in ("grpo", "dapo", "gspo"):
        yield from grpo(algorithm, delta=1.4)
    for algorithm in ("grpo", "bnpo", "dapo", "cispo", "sapo", "vespo", "gspo", "luspo"):
        yield from grpo(algorithm, mask_truncated_completions=True)
    for algorithm in ("bnpo", "dapo", "cispo", "vespo"):  # whose own mean is one over tokens, as TRL's of the bonus
        yield from grpo(algorithm, entropy_coef=0.02)
    yield from grpo("cispo", {"importance_sampling_level": "sequence"}, {"importance_sampling_level": "sequence"})
    yield from grpo("sapo", {"importance_sampling_level": "sequence"}, {"importance_sampling_level": "sequence"},
                    sapo_temperature_pos=0.5, sapo_temperature_neg=2.0)
    yield from grpo("vespo", vespo_k_pos=1.5, vespo_lambda_pos=0.5, vespo_k_neg=0.7, vespo_lambda_neg=1.2)
    for options in ({"beta": 0.0}, {"beta": 0.05}, {"beta": 0.0, "epsilon": 0.1, "epsilon_high": 0.4},
                    {"beta": 0.0, "mask_truncated_completions": True}):
        yield loss_case("rloo", RLOOTrainer, completions, rewards, options, options)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=peers.HERE)
    out = parser.parse_args().out
    disable_progress_bar()
    completions, rewards = make_completions(), make_rewards()
    torch.set_default_dtype(torch.float64)  # constants too
    common = {"peer": peers.versions(trl), "dtype": "float64", "group_size": GROUP,
              "max_completion_length": MAX_LENGTH, "completions": completions, "rewards": rewards, "weights": WEIGHTS}
    peers.write_golden(out, "rl.json", common | {
        "advantages": list(advantage_cases(completions, rewards)), "cases": list(loss_cases(completions, rewards))}, 9)


if __name__ == "__main__":
    main()
