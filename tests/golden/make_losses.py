"""Makes every preference loss of TRL, in values (losses.json, losses_free.json) and in steps (losses_<model>.json).

    python tests/golden/make_losses.py [--out tests/golden] [--model NAME …]

The values are TRL's own: its trainers are constructed, and a stand-in for the model hands them the log-probs.
The steps are made from the rows of make_dpo.py; unpaired_tiny.jsonl, made here too, holds single answers of them.
"""

import argparse
import json
import os
import random
import tempfile
from math import log
from pathlib import Path
from types import SimpleNamespace

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import make_dpo
import peers
import torch
import trl
from datasets import Dataset
from datasets.utils.logging import disable_progress_bar
from torch.nn.utils.rnn import pad_sequence
from trl import DPOConfig, DPOTrainer, KTOConfig, KTOTrainer
from trl.data_utils import extract_prompt
from trl.experimental.cpo import CPOConfig, CPOTrainer
from trl.experimental.orpo import ORPOConfig, ORPOTrainer
from trl.experimental.tpo import TPOConfig, TPOTrainer

disable_progress_bar()

CONFIG = {DPOTrainer: DPOConfig, KTOTrainer: KTOConfig, CPOTrainer: CPOConfig, ORPOTrainer: ORPOConfig,
          TPOTrainer: TPOConfig}

DPO_LOSSES = {  # name in Luce → (loss_type of DPOTrainer, options that it cannot do without)
    "dpo": ("sigmoid", {}), "hinge": ("hinge", {}), "ipo": ("ipo", {}), "exo": ("exo_pair", {"label_smoothing": 1e-3}),
    "nca": ("nca_pair", {}), "robust": ("robust", {"label_smoothing": 0.1}), "bco_pair": ("bco_pair", {}),
    "sppo": ("sppo_hard", {}), "aot": ("aot", {}), "aot_unpaired": ("aot_unpaired", {}), "apo_zero": ("apo_zero", {}),
    "apo_down": ("apo_down", {}), "discopop": ("discopop", {}), "sft": ("sft", {}),
    "sigmoid_norm": ("sigmoid_norm", {})}
SORTED = ("aot", "aot_unpaired")  # these sort the batch, which makes one loss of it
DIVERGENCES = ({"f_divergence_type": "forward_kl"}, {"f_divergence_type": "js_divergence"},
               {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.5},
               {"f_divergence_type": "alpha_divergence", "f_alpha_divergence_coef": 0.3})
METRICS = ("loss", "grad_norm", "logps/chosen", "logps/rejected", "rewards/chosen", "rewards/rejected",
           "rewards/margins", "kl", "nll_loss", "log_odds_ratio", "log_odds_chosen")
MISMATCHED = [[-41.5, -44.25], [-17.25, -16.5], [-80.75, -83.25]]  # sums by policy and reference: KTO's estimate is 1.5


def make_pairs():
    """Log-probs of the tokens of a dozen pairs and, for TPO, of a third answer; log Σ p² at each token for WPO."""
    generator = random.Random(7)

    def tokens(count, scale=2.0):
        return [min(-1e-4, round(scale * log(1 - generator.random()), 4)) for _ in range(count)]

    def near(answer, spread):
        return [min(-1e-4, round(token + spread * (generator.random() - 0.5), 4)) for token in answer]

    pairs = []
    for chosen, rejected, scale, spread in (
            (5, 7, 2, 1.5), (1, 1, 3, 2), (14, 3, 1.5, 1), (2, 17, 2.5, 2), (6, 6, 2, 0.2), (9, 8, 1, 4)):
        pair = {"chosen": tokens(chosen, scale), "rejected": tokens(rejected, scale)}
        pairs.append(pair | {f"ref_{side}": near(answer, spread) for side, answer in pair.items()})
    same, near_same = tokens(4), tokens(4)
    first, second = tokens(5), tokens(3)
    pairs += [
        {"chosen": same, "rejected": same, "ref_chosen": near_same, "ref_rejected": near_same},  # equal answers
        {"chosen": first, "rejected": second, "ref_chosen": first, "ref_rejected": second},  # policy = reference
        {"chosen": [-250.25] * 10, "rejected": [-24.5] * 4, "ref_chosen": [-10.125] * 10, "ref_rejected": [-25.0] * 4},
        {"chosen": [-0.5] * 2, "rejected": [-301.0] * 8, "ref_chosen": [-0.25] * 2, "ref_rejected": [-0.75] * 8},
        {"chosen": [-1e-4, -2e-4, -1e-3], "rejected": [-3e-4, -1e-4], "ref_chosen": [-2e-4, -1e-4, -3e-4],
         "ref_rejected": [-1e-4, -4e-4]},
        {"chosen": [-2.5, -1e-4, -0.75], "rejected": [-30.0, -4.5], "ref_chosen": [-1.5, -0.125, -9.0],
         "ref_rejected": [-28.5, -6.25]}]
    for pair in pairs:
        for side in ("chosen", "rejected"):
            pair[f"{side}_log_sum_sq_probs"] = [round(-2 * generator.random(), 4) for _ in pair[side]]
        pair["gold"] = tokens(1 + generator.randrange(8))
    return pairs


class Scripted:
    """Stands in for a model: answers each call with the next of its outputs."""

    def __init__(self, *outputs):
        self.outputs = list(outputs)

    def __call__(self, *_, **__):
        return self.outputs.pop(0)


def construct(trainer_class, rows=None, folder=peers.TINY["tiny"], **options):
    """A trainer of TRL with these options; without rows it gets some that are not looked at, as its model is not."""
    rows = rows or [{"prompt": "a", "chosen": " b", "rejected": " c", "reference": " d"}] * 2
    with tempfile.TemporaryDirectory() as output:
        config = CONFIG[trainer_class](
            output_dir=output, use_cpu=True, bf16=False, gradient_checkpointing=False, report_to="none",
            per_device_train_batch_size=2, train_sampling_strategy="sequential", **options)
        return trainer_class(
            model=peers.load_model(folder), args=config, train_dataset=Dataset.from_list(rows),
            processing_class=peers.load_tokenizer(folder))


def inputs_of(answers):
    """A batch as the collators make it: a prompt of one token, then the tokens of each answer, padding on the right."""
    ones = pad_sequence([torch.ones(1 + len(answer), dtype=torch.long) for answer in answers], batch_first=True)
    mask = ones.clone()
    mask[:, 0] = 0
    return {"input_ids": torch.zeros_like(ones), "attention_mask": ones, "completion_mask": mask}


def head_outputs(answers, log_sum_sq_probs=None):
    """What a model with TRL's fused head returns; what only feeds metrics is 0."""
    log_probs = pad_sequence(answers, batch_first=True)
    nothing = torch.zeros_like(log_probs)
    return SimpleNamespace(
        log_probs=log_probs, entropy=nothing, mean_logits=nothing, is_top1=nothing.bool(),
        log_sum_sq_probs=None if log_sum_sq_probs is None else pad_sequence(log_sum_sq_probs, batch_first=True))


def logits_outputs(answers):
    """Logits over two tokens, the first of which has these log-probs; every token of the batch is the first."""
    log_probs = pad_sequence(answers, batch_first=True, padding_value=-1.0)
    log_probs = torch.cat([log_probs, -torch.ones_like(log_probs[:, :1])], 1)
    return SimpleNamespace(logits=torch.stack([log_probs, torch.log(-torch.expm1(log_probs))], -1))


def dpo_loss(trainer, pairs):
    def both(part):
        return [pair[part.format(side)] for side in ("chosen", "rejected") for pair in pairs]

    trainer.ref_model = Scripted(head_outputs(both("ref_{}")))
    model = Scripted(head_outputs(both("{}"), both("{}_log_sum_sq_probs")))
    return trainer._compute_loss(model, inputs_of(both("{}")), False)


def cpo_loss(trainer, pairs):
    """Of CPOTrainer and ORPOTrainer: the whole loss."""
    (pair,) = pairs
    model = Scripted(logits_outputs([pair["chosen"], pair["rejected"]]))
    return trainer.get_batch_loss_metrics(model, cpo_inputs(pair))[0]


def odds_ratio_loss(trainer, pairs):
    """Of ORPOTrainer: the loss without its NLL."""
    (pair,) = pairs
    model = Scripted(logits_outputs([pair["chosen"], pair["rejected"]]))
    chosen, rejected = trainer.concatenated_forward(model, cpo_inputs(pair))[:2]
    return -trainer.odds_ratio_loss(chosen, rejected)[0].mean()


def cpo_inputs(pair):
    batch = {}
    for side in ("chosen", "rejected"):
        inputs = inputs_of([pair[side]])
        batch[f"{side}_input_ids"], batch[f"{side}_attention_mask"] = inputs["input_ids"], inputs["attention_mask"]
        batch[f"{side}_labels"] = inputs["input_ids"].masked_fill(inputs["completion_mask"] == 0, -100)
    return batch


def tpo_loss(trainer, pairs):
    (pair,) = pairs
    answers = [pair["chosen"], pair["rejected"]] + ([pair["gold"]] if trainer.tpo_alpha else [])
    return trainer._compute_loss(Scripted(logits_outputs(answers)), inputs_of(answers), False)


def kto_loss(trainer, answer, ref_answer, label, mismatched):
    inputs, outputs, ref_outputs = inputs_of([answer]), [head_outputs([answer])], [head_outputs([ref_answer])]
    inputs["label"] = torch.tensor([label])
    if trainer.calculate_KL:
        policy, reference = ([torch.tensor([sums[i]]) for sums in mismatched] for i in (0, 1))
        inputs |= {f"KL_{key}": value for key, value in inputs_of(policy).items()}
        outputs, ref_outputs = [head_outputs(policy), *outputs], [head_outputs(reference), *ref_outputs]
    trainer.ref_model = Scripted(*ref_outputs)
    return trainer._compute_loss(Scripted(*outputs), inputs, False)


def finite(value):
    """JSON has no infinity: null says that TRL's value is none, or is no number."""
    return value if abs(value) < float("inf") else None


def gradient_of(loss, answer):
    """d loss / d log-probs of the answer: one number where all tokens have the same, else one per token."""
    (gradient,) = torch.autograd.grad(loss, answer, retain_graph=True, allow_unused=True)
    if gradient is None:
        return 0.0
    if bool((gradient - gradient[0]).abs().max() > 1e-9 * gradient.abs().max()):
        return [finite(value) for value in gradient.tolist()]
    return finite(gradient[0].item())


def tensors_of(pair, dtype, sides):
    return {key: torch.tensor(answer, dtype=dtype, requires_grad=key in sides) for key, answer in pair.items()}


def case(loss, trainer_class, compute, options, pairs, dtype=torch.float64, sides=("chosen", "rejected"), **shown):
    """One entry of `cases`: the loss of each pair, or for losses that sort the batch of all, and its gradients."""
    trainer = construct(trainer_class, **options)
    shown_options = {key: value for key, value in options.items() if key != "loss_type"}
    result = {"loss": loss, "peer": f"{trainer_class.__name__} {options.get('loss_type', '')}".strip(),
              "options": shown_options | shown}
    if dtype == torch.float32 or trainer_class is ORPOTrainer:  # which casts the mean log-probs
        result["dtype"] = "float32"
    leaves = [tensors_of(pair, dtype, sides) for pair in pairs]
    if loss in SORTED:
        mean = compute(trainer, leaves)
        result["mean"], losses = mean.item(), [mean] * len(pairs)
    else:
        losses = [compute(trainer, [pair]) for pair in leaves]
        result["losses"] = [finite(value.item()) for value in losses]
    for side in sides:
        result[f"grad_{side}"] = [gradient_of(value, pair[side]) for value, pair in zip(losses, leaves)]
    return result


def kto_case(loss, options, mismatched, pairs):
    """As `case`, with the chosen answers as the desirable ones: each side has its own losses."""
    trainer = construct(KTOTrainer, **options, loss_type=loss)
    result = {"loss": loss, "peer": f"KTOTrainer {loss}", "options": options}
    for side, label in (("chosen", True), ("rejected", False)):
        leaves = [tensors_of(pair, torch.float64, (side,)) for pair in pairs]
        losses = [kto_loss(trainer, pair[side], pair[f"ref_{side}"], label, mismatched) for pair in leaves]
        result[f"losses_{side}"] = [value.item() for value in losses]
        result[f"grad_{side}"] = [gradient_of(value, pair[side]) for value, pair in zip(losses, leaves)]
    if trainer.calculate_KL:
        result |= {"mismatched": mismatched, "kl": trainer._metrics["eval"]["kl"][-1]}
    return result


def reference_cases(pairs):
    """DPOTrainer and KTOTrainer."""
    def dpo(loss, dtype=torch.float64, **options):
        kind, needed = DPO_LOSSES[loss]
        return case(loss, DPOTrainer, dpo_loss, {"loss_type": kind, **needed, **options}, pairs, dtype)

    for loss in DPO_LOSSES:
        if loss == "sft":
            yield dpo(loss)  # has no β
        else:
            yield dpo(loss, beta=0.1)
            yield dpo(loss, beta=0.5)
    yield dpo("exo", beta=0.1, label_smoothing=0.1)
    yield dpo("robust", beta=0.5, label_smoothing=0.3)
    yield dpo("aot", beta=0.1, label_smoothing=0.1)
    yield dpo("aot_unpaired", beta=0.1, label_smoothing=0.1)
    yield dpo("discopop", beta=0.1, discopop_tau=1.0)
    for loss in ("dpo", "ipo", "hinge", "sigmoid_norm"):
        for divergence in DIVERGENCES:  # TRL has a clamp for float32, none for float64
            alpha = "f_alpha_divergence_coef" in divergence
            yield dpo(loss, dtype=torch.float32 if alpha else torch.float64, beta=0.1, **divergence)
    for loss, alpha in (("dpo", 0.5), ("dpo", 0.0), ("sigmoid_norm", 0.5)):
        yield dpo(loss, beta=0.1, ld_alpha=alpha)
    for loss in ("dpo", "ipo", "sppo"):  # hinge fails in TRL: the weight is multiplied into what relu has saved
        yield dpo(loss, beta=0.1, use_weighting=True)
    lower = [[policy - 4, reference] for policy, reference in MISMATCHED]
    yield kto_case("kto", {"beta": 0.1}, MISMATCHED, pairs)
    yield kto_case("kto", {"beta": 0.5, "desirable_weight": 0.75, "undesirable_weight": 1.5}, MISMATCHED, pairs)
    yield kto_case("kto", {"beta": 0.1}, lower, pairs)
    yield kto_case("apo_zero_unpaired", {"beta": 0.1}, None, pairs)
    yield kto_case("apo_zero_unpaired", {"beta": 0.5}, None, pairs)


def free_cases(pairs):
    """CPOTrainer, ORPOTrainer and TPOTrainer, which have no reference model."""
    def cpo(loss, kind, **options):
        form = {"form": kind} if loss == "cpo" else {}
        return case(loss, CPOTrainer, cpo_loss, {"loss_type": kind, **options}, pairs, **form)

    def orpo(compute, part, **options):
        return case("orpo", ORPOTrainer, compute, options, pairs, part=part)

    def tpo(form, **options):
        sides = ("chosen", "rejected", "gold") if options["tpo_alpha"] else ("chosen", "rejected")
        return case("tpo", TPOTrainer, tpo_loss, {"loss_type": form, **options}, pairs, sides=sides, form=form)

    for form in ("sigmoid", "hinge", "ipo"):
        yield cpo("cpo", form, beta=0.1, cpo_alpha=0.0)
        yield cpo("cpo", form, beta=0.1, cpo_alpha=0.25)
        yield cpo("cpo", form, beta=0.5, cpo_alpha=0.0)
    yield cpo("cpo", "sigmoid", beta=0.1, cpo_alpha=0.0, label_smoothing=0.1)
    for beta in (0.1, 0.5, 2.0):
        yield cpo("simpo", "simpo", beta=beta, simpo_gamma=0.5, cpo_alpha=0.0)
    yield cpo("simpo", "simpo", beta=2.0, simpo_gamma=0.5, cpo_alpha=0.25)
    yield cpo("simpo", "simpo", beta=2.0, simpo_gamma=0.5, cpo_alpha=0.0, label_smoothing=0.1)
    for alpha in (0.25, -0.25):
        yield cpo("alphapo", "simpo", beta=2.0, simpo_gamma=0.5, alpha=alpha, cpo_alpha=0.0)
    for beta in (0.1, 0.5):
        yield orpo(odds_ratio_loss, "odds_ratio", beta=beta)
    yield orpo(cpo_loss, "total", beta=0.1)
    for form in ("sigmoid", "hinge", "ipo", "tpo-l"):
        gamma = {"tpo_l_gamma": 0.5} if form == "tpo-l" else {}
        for beta, alpha in ((0.1, 0.0), (0.5, 0.0), (0.1, 1.0)):
            yield tpo(form, beta=beta, tpo_alpha=alpha, **gamma)
        if form in ("sigmoid", "tpo-l"):
            yield tpo(form, beta=0.1, tpo_alpha=0.0, label_smoothing=0.1, **gamma)


def make_values(out):
    pairs = make_pairs()
    differences = (("chosen", "rejected"), ("ref_chosen", "ref_rejected"), ("chosen", "ref_chosen"),
                   ("rejected", "ref_rejected"))
    for a, b in differences:  # what is sorted has no ties, which would leave the gradient to the order of rows
        assert len({round(sum(pair[a]) - sum(pair[b]), 9) for pair in pairs}) == len(pairs), (a, b)
    try:
        torch.set_default_dtype(torch.float64)  # constants too
        for name, cases in (("losses.json", reference_cases), ("losses_free.json", free_cases)):
            peers.write_golden(out, name, {"peer": peers.versions(trl), "dtype": "float64", "pairs": pairs,
                                           "cases": list(cases(pairs))})
    finally:
        torch.set_default_dtype(torch.float32)


def rows_of(name, folder):
    """(source, name → rows) for the trajectories; `source` says how to make the same rows without this script."""
    if name == "tiny":
        file, max_length = "pairs_tiny.jsonl", 64
        published = peers.read_jsonl(peers.HERE / file)
        count = len(published) - make_dpo.EVAL_ROWS
    else:
        file, max_length = "data/hh-harmless-test.jsonl.gz", 512
        published, count = make_dpo.published_rows(make_dpo.HH_ROWS + 7), make_dpo.HH_ROWS
    explicit = [row if "prompt" in row else extract_prompt(row) for row in published]
    lines = comparable(explicit, folder, max_length)[:make_dpo.STEPS * make_dpo.BATCH]
    free = [explicit[line] for line in lines]
    following = free[1:] + free[:1]
    # KTOTrainer puts whole answers behind other prompts before it truncates; Luce reads no more than it keeps.
    tokenizer = peers.load_tokenizer(folder)
    whole = [line for line in lines
             if all(len(tokenizer(explicit[line]["prompt"] + explicit[line][side] + tokenizer.eos_token).input_ids)
                    <= max_length for side in ("chosen", "rejected"))]
    rows = {
        "pairs": published[:count], "free": free,
        "promptless": [{"prompt": "", **{side: row["prompt"] + row[side] for side in ("chosen", "rejected")}}
                       for row in free],
        "triples": [{**row, "reference": gold["chosen"]} for row, gold in zip(free, following)],
        "unpaired": [{"prompt": row["prompt"], "completion": row["rejected" if i % 3 == 1 else "chosen"],
                      "label": i % 3 != 1} for i, row in enumerate(explicit[line] for line in whole)]}
    source = {"file": file, "pairs": {"first": 0, "count": count}, "free": {"lines": lines},
              "promptless": "the rows of free with an empty prompt and the prompt in front of both answers",
              "triples": "the rows of free, reference = chosen of the next one, for the last of the first",
              "unpaired": {"lines": whole, "rule": "row i of these: its rejected with label false where i % 3 = 1, "
                                                   "else its chosen with label true"}}
    assert comparable(rows["promptless"], folder, max_length) == list(range(len(lines)))
    assert comparable(rows["triples"], folder, max_length, TPOTrainer) == list(range(len(lines)))
    return source, rows, max_length


def comparable(rows, folder, max_length, trainer_class=CPOTrainer):
    """Numbers of the rows that this trainer tokenizes, truncates and keeps as DPOTrainer does."""
    def cut(row, side):
        """(ids, length of the prompt) of prompt and answer, after truncation."""
        if f"{side}_labels" in row:  # CPO truncates while it tokenizes
            return tuple(row[f"{side}_input_ids"]), row[f"{side}_labels"].count(-100)
        return tuple(row["prompt_ids"] + row[f"{side}_ids"])[:max_length], len(row["prompt_ids"])

    def keys(trainer):
        return [(cut(row, "chosen"), cut(row, "rejected")) for row in trainer.train_dataset]

    known = set(keys(construct(DPOTrainer, rows, folder, max_length=max_length)))
    found = keys(construct(trainer_class, rows, folder, max_length=max_length))
    return [number for number, key in enumerate(found) if key in known]


def runs():
    """(name, trainer, rows, what differs from the configuration) of each trajectory."""
    for loss, (kind, needed) in DPO_LOSSES.items():
        faster = {"learning_rate": 1e-3} if loss in SORTED else {}  # until the order differs from the reference's
        yield loss, DPOTrainer, "pairs", {"loss_type": [kind], **needed, **faster}
    for name, changes in (("js_divergence", {"f_divergence_type": "js_divergence"}), ("ld_alpha", {"ld_alpha": 0.5}),
                          ("use_weighting", {"use_weighting": True}),
                          ("sync_ref_model", {"sync_ref_model": True, "ref_model_sync_steps": 2,
                                              "ref_model_mixup_alpha": 0.6})):
        yield name, DPOTrainer, "pairs", {"loss_type": ["sigmoid"], **changes}
    for form in ("sigmoid", "hinge", "ipo"):
        yield f"cpo_{form}", CPOTrainer, "free", {"loss_type": form, "cpo_alpha": 0.0}
    yield "cpo_sigmoid_nll", CPOTrainer, "free", {"loss_type": "sigmoid", "cpo_alpha": 1.0}
    simpo = {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 0.5, "cpo_alpha": 0.0}
    yield "simpo", CPOTrainer, "free", simpo
    yield "simpo_nll", CPOTrainer, "free", {**simpo, "cpo_alpha": 1.0}
    yield "alphapo", CPOTrainer, "free", {**simpo, "alpha": 0.25}
    yield "orpo", ORPOTrainer, "free", {}
    yield "orpo_promptless", ORPOTrainer, "promptless", {}
    yield "kto", KTOTrainer, "unpaired", {"loss_type": "kto"}
    yield "kto_weighted", KTOTrainer, "unpaired", {"loss_type": "kto", "desirable_weight": 0.75,
                                                   "undesirable_weight": 1.5}
    yield "apo_zero_unpaired", KTOTrainer, "unpaired", {"loss_type": "apo_zero_unpaired"}
    for form in ("sigmoid", "hinge", "ipo", "tpo-l"):
        yield f"tpo_{form.removeprefix('tpo-')}", TPOTrainer, "triples", {"loss_type": form, "tpo_alpha": 1.0}


def make_trajectories(name, folder, out):
    source, rows, max_length = rows_of(name, folder)
    if name == "tiny":
        text = "".join(json.dumps(row) + "\n" for row in rows["unpaired"])
        (out / "unpaired_tiny.jsonl").write_text(text, encoding="utf-8")
    base = {key: value for key, value in make_dpo.BASE.items() if key != "loss_type"} | {"max_length": max_length}
    golden = {"peer": peers.versions(trl), "model": name, "rows": source,
              "config": {**base, "dtype": "float32", "optimizer": "AdamW(0.9, 0.999, 1e-8)",
                         "attention": peers.ATTENTION}, "runs": {}}
    for run, trainer_class, kind, changes in runs():
        options = {**base, **changes}
        steps, exact = (peers.train(trainer_class, CONFIG[trainer_class], folder, rows[kind], options, dtype=dtype)[1]
                        for dtype in (torch.float32, torch.float64))
        assert len(steps) == make_dpo.STEPS, run
        noise = {key: max(abs(a[key] - b[key]) for a, b in zip(steps, exact))
                 for key in ("loss", "rewards/margins", "grad_norm")}
        golden["runs"][run] = {"trainer": trainer_class.__name__, "rows": kind, "changes": changes,
                               "float32_to_float64": peers.rounded(noise, 2),
                               **{key: [step[key] for step in steps] for key in METRICS if key in steps[0]}}
    peers.write_golden(out, f"losses_{name}.json", golden)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=peers.HERE)
    parser.add_argument("--model", nargs="*", choices=["tiny", "stories260k"])
    arguments = parser.parse_args()
    make_values(arguments.out)
    for name, folder in peers.models().items():
        if name != "tiny_untied" and (not arguments.model or name in arguments.model):
            make_trajectories(name, folder, arguments.out)


if __name__ == "__main__":
    main()
