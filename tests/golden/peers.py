"""What the scripts that make golden values share: the peers (transformers, TRL), run the same way each time.

Importing this module pins what would make numbers wander: one thread, no network, no progress bars.
"""

import itertools
import json
import logging
import math
import os
import tempfile
import warnings
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before torch: a second thread changes the order of sums
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

HERE = Path(__file__).resolve().parent
TINY = {"tiny": HERE / "tiny", "tiny_untied": HERE / "tiny-untied"}
ATTENTION = "eager"

torch.set_num_threads(1)
logging.disable(logging.WARNING)
warnings.filterwarnings("ignore")
transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def test_data():
    """The folder that holds models/ and data/, or None: the environment variable LUCE_TEST_DATA."""
    folder = os.environ.get("LUCE_TEST_DATA")
    return Path(folder) if folder else None


def models():
    """Name → folder of every model whose goldens can be made here."""
    found = dict(TINY)
    if test_data():
        found["stories260k"] = test_data() / "models" / "stories260k"
    return found


def load_model(folder, dtype=torch.float32, auto=AutoModelForCausalLM):
    return auto.from_pretrained(folder, dtype=dtype, attn_implementation=ATTENTION).eval()


def load_exact_model(folder, auto=AutoModelForCausalLM):
    """A Llama in float64 throughout: transformers keeps norms and rotary angles in float32 whatever the dtype."""
    model = auto.from_pretrained(folder, dtype=torch.float64, attn_implementation="sdpa").eval()
    config, rope = model.config, model.config.rope_parameters
    size = config.head_dim
    frequencies = rope["rope_theta"] ** -(torch.arange(0, size, 2, dtype=torch.float64) / size)
    if rope["rope_type"] == "llama3":  # long waves are stretched by `factor`, short ones stay, between them a ramp
        turns = rope["original_max_position_embeddings"] * frequencies / (2 * math.pi)
        low, high = rope["low_freq_factor"], rope["high_freq_factor"]
        keep = ((turns - low) / (high - low)).clamp(0, 1)
        frequencies = frequencies * (keep + (1 - keep) / rope["factor"])
    else:
        assert rope["rope_type"] == "default", rope

    def rotary(x, position_ids):
        angles = position_ids[..., None].double() * frequencies
        angles = torch.cat([angles, angles], -1)
        return angles.cos(), angles.sin()

    def norm(module):
        return lambda x: module.weight * (x * (x.square().mean(-1, keepdim=True) + module.variance_epsilon).rsqrt())

    for module in model.modules():
        if type(module).__name__ == "LlamaRMSNorm":
            module.forward = norm(module)
        elif type(module).__name__ == "LlamaRotaryEmbedding":
            module.forward = rotary
    return model


def load_tokenizer(folder):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.pad_token = tokenizer.unk_token  # attended nowhere; a pad equal to EOS hides mask errors
    return tokenizer


def token_logps(model, ids):
    """log p(ids[t] | ids[:t]) for t = 1 … n−1, in the model's dtype."""
    ids = torch.tensor([ids])
    with torch.no_grad():
        logps = model(input_ids=ids).logits[0, :-1].log_softmax(-1)
    return logps.gather(-1, ids[0, 1:, None])[:, 0].tolist()


def stepwise_ids(tokenizer, row):
    """(ids, tokens of the prompt, index of each step's last token) of a stepwise row, as Luce makes them.

    Prompt and steps are tokenized apart, as TRL did; a newline's tokens stand behind each step, EOS behind the last.
    """
    def tokens(text):
        return tokenizer(text, add_special_tokens=False).input_ids

    prompt = tokenizer(row["prompt"]).input_ids
    ids, ends = list(prompt), []
    for number, step in enumerate(row["completions"], 1):
        ids += tokens(step) + tokens("\n")
        if number == len(row["completions"]):
            ids.append(tokenizer.eos_token_id)
        ends.append(len(ids) - 1)
    return ids, len(prompt), ends


def read_jsonl(path):
    with open(path, encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def rounded(value, digits=9):
    """The value with its floats cut to `digits` significant digits; 9 are all that float32 holds."""
    if isinstance(value, float):
        short = float(f"{value:.{digits}g}")
        return int(short) if short == int(short) and abs(short) < 1e15 else short
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(item, digits) for item in value]
    return value


def dump(value, indent=0):
    """JSON with one line per leaf container, so that a diff shows what changed."""
    flat = json.dumps(value, ensure_ascii=False)
    if not isinstance(value, (dict, list)) or len(flat) + indent <= 110 or is_leaf(value):
        return flat
    pad = " " * (indent + 1)
    if isinstance(value, dict):
        inner = [f"{pad}{json.dumps(key)}: {dump(item, indent + 1)}" for key, item in value.items()]
        return "{\n" + ",\n".join(inner) + "\n" + " " * indent + "}"
    return "[\n" + ",\n".join(pad + dump(item, indent + 1) for item in value) + "\n" + " " * indent + "]"


def is_leaf(value):
    items = value.values() if isinstance(value, dict) else value
    return not any(isinstance(item, (dict, list)) for item in items)


def write_golden(folder, name, value, digits=9):
    text = dump(rounded(value, digits)) + "\n"
    assert len(text.encode()) <= 60_000, (name, len(text))
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / name).write_text(text, encoding="utf-8")
    print(f"{name}: {len(text)} bytes")


def versions(*packages):
    return {package.__name__: package.__version__.split("+")[0] for package in (torch, transformers, *packages)}


def train(trainer_class, config_class, folder, rows, options, dtype=torch.float32, eval_rows=None,
          auto=AutoModelForCausalLM):
    """Trains with one of TRL's trainers, rows in their order; returns (trainer, the log of each step).

    The logged values are the trainer's own, unrounded.
    """
    from datasets import Dataset
    from datasets.utils.logging import disable_progress_bar

    disable_progress_bar()
    with tempfile.TemporaryDirectory() as output:
        config = config_class(
            output_dir=output, use_cpu=True, bf16=False, seed=42, train_sampling_strategy="sequential",
            gradient_checkpointing=False, logging_steps=1, report_to="none", save_strategy="no",
            disable_tqdm=True, optim="adamw_torch", **options)
        trainer = trainer_class(
            model=load_model(folder, dtype, auto), args=config, train_dataset=Dataset.from_list(rows),
            eval_dataset=Dataset.from_list(eval_rows) if eval_rows else None,
            processing_class=load_tokenizer(folder))
        trainer.remove_callback(transformers.trainer_callback.PrinterCallback)
        trainer.train()
    steps = [entry for entry in trainer.state.log_history if "loss" in entry]
    return trainer, [{"step": entry.pop("step"), **entry} for entry in steps]


def fingerprint(model, count=5):
    """Sum and L2 norm of some parameters, spread over the model; k_proj is left out: parts of it are all noise."""
    named = [(name, value) for name, value in model.named_parameters() if "k_proj" not in name]
    picked = named[:1] + [named[i * (len(named) - 1) // (count - 1)] for i in range(1, count)]
    return {name: {"sum": value.double().sum().item(), "norm": value.double().norm().item()}
            for name, value in picked}


def common_prefix(*sequences):
    """Length of the longest prefix that all the sequences share."""
    return sum(1 for _ in itertools.takewhile(lambda items: len(set(items)) == 1, zip(*sequences)))
