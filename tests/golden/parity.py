"""Makes every golden file again with the Python peers, compares, and takes Luce's output back to the peers.

    python tests/golden/parity.py [--luce build/release/bin/luce] [--update] [--only NAME …]

Goldens: each make_*.py is run with `--out FOLDER` and what it wrote is compared with the committed file; JSON within
the tolerances below, anything else byte for byte. `--update` writes the committed files instead.
Luce (with --luce): training runs against TRL's trajectories, saved models against transformers, event files against
tensorboard. Values of stories260k need LUCE_TEST_DATA and are skipped by name without it. `--only` takes parts of
names of the table's rows. Exits 1 when a row failed.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
FILES = HERE.parent / "data" / "files"

# |a − b| ≤ tolerance · max(1, |b|), by the key of the value, else by the file. Integers and text are compared exactly.
# Two correct float32 runs of a trajectory (other SIMD width, other order of sums) were seen to differ by 7e-6.
KEY_TOLERANCE = {"exact_logps": 1e-8, "rates": 1e-8, "pair_logps_float64": 1e-5}
FILE_TOLERANCE = {"dpo_stories260k.json": 3e-5, "losses_stories260k.json": 3e-5, "reward_stories260k.json": 3e-5}
TOLERANCE = 1e-5
NOISE = {  # describes rounding errors: any value is right
    "float32_to_float64", "float64_to_exact", "float32_to_exact", "float32_to_padded", "exact_to_padded"}

# Luce against TRL's trajectory: absolute for values up to 1, then relative.
STEP_TOLERANCE = {"grad_norm": 1e-3}
STEP_DEFAULT = 1e-4

WHOLE_FILE = {"make_tokens.py": "tokens.json"}  # a maker of one file, which needs LUCE_TEST_DATA

# A maker that runs another version of a peer, which it finds by itself: skipped by name where there is none.
OTHER_PEERS = {"make_ppo.py": ("ppo.json", HERE.parents[1] / ".deps" / "peers-ppo" / "bin" / "python")}

ENVIRONMENT = {  # large blocks from the heap: the peers at their best
    "MALLOC_MMAP_THRESHOLD_": "8589934592", "MALLOC_TRIM_THRESHOLD_": "17179869184", "MALLOC_TOP_PAD_": "268435456"}


class Table:
    """One row per comparison, printed as it comes."""

    def __init__(self):
        self.failed = []

    def add(self, name, figure, problem=None):
        figure = f"{figure:.2g}" if isinstance(figure, float) else str(figure)
        print(f"{'FAILED' if problem else 'ok':8}{name:50}{figure}", flush=True)
        if problem:
            self.failed.append(name)
            print(f"        {problem}", flush=True)

    def skip(self, name, why):
        print(f"{'skipped':8}{name:50}{why}", flush=True)


def run(*command, **options):
    """(exit code, stdout, last lines of stdout and stderr)."""
    done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          env={**os.environ, **ENVIRONMENT}, **options)
    return done.returncode, done.stdout, "\n        ".join((done.stdout + done.stderr).strip().splitlines()[-8:])


def difference(fresh, committed, tolerance, path=""):
    """(largest scaled difference, first problem or None) of two JSON values."""
    if isinstance(committed, dict) and isinstance(fresh, dict):
        if list(committed) != list(fresh):
            return 0.0, f"{path}: keys {sorted(set(committed) ^ set(fresh))} differ, or their order does"
        pairs = [(fresh[key], committed[key], KEY_TOLERANCE.get(key, tolerance), f"{path}/{key}")
                 for key in committed if key not in NOISE]
    elif isinstance(committed, list) and isinstance(fresh, list):
        if len(committed) != len(fresh):
            return 0.0, f"{path}: {len(committed)} values became {len(fresh)}"
        pairs = [(a, b, tolerance, f"{path}/{i}") for i, (a, b) in enumerate(zip(fresh, committed))]
    elif isinstance(fresh, float) or isinstance(committed, float):
        if not isinstance(fresh, (int, float)) or not isinstance(committed, (int, float)):
            return 0.0, f"{path}: {committed} became {fresh}"
        scaled = abs(fresh - committed) / max(1.0, abs(committed))
        return scaled, None if scaled <= tolerance else f"{path}: {committed} became {fresh} (tolerance {tolerance:g})"
    else:
        return 0.0, None if fresh == committed else f"{path}: {committed!r} became {fresh!r}"
    largest, problem = 0.0, None
    for pair in pairs:
        figure, found = difference(*pair)
        largest, problem = max(largest, figure), problem or found
    return largest, problem


def check_goldens(table, wanted, update):
    """Runs every maker; compares what it wrote, and finds committed goldens that none of them wrote."""
    written = set()
    for script in sorted([*HERE.glob("make_*.py"), *FILES.glob("make_*.py")]):
        home, single = script.parent, WHOLE_FILE.get(script.name, "")
        row = f"goldens {script.name}"
        if not wanted(row):
            continue
        if single and not os.environ.get("LUCE_TEST_DATA"):
            table.skip(single, "LUCE_TEST_DATA is not set")
            written.add(home / single)
            continue
        if script.name in OTHER_PEERS and not OTHER_PEERS[script.name][1].exists():
            golden, python = OTHER_PEERS[script.name]
            table.skip(golden, f"there is no {python.parents[1].relative_to(HERE.parents[1])}")
            written.add(home / golden)
            continue
        with tempfile.TemporaryDirectory() as folder:
            target = home if update else Path(folder)
            code, _, tail = run(sys.executable, script, "--out", target / single)
            table.add(row, "made" if code == 0 else f"exit code {code}", tail if code else None)
            for path in sorted(Path(folder).rglob("*")):
                if path.is_dir():
                    continue
                name = path.relative_to(folder)
                written.add(home / name)
                compare_file(table, str(name), path, home / name)
    if update or not wanted(""):
        return
    for path in sorted(HERE.glob("*.json")):
        if path in written:
            continue
        if "stories260k" in path.name and not os.environ.get("LUCE_TEST_DATA"):
            table.skip(path.name, "LUCE_TEST_DATA is not set")
        else:
            table.add(path.name, "-", "no make_*.py writes this file")


def compare_file(table, name, fresh, committed):
    if not committed.exists():
        table.add(name, "-", "not committed: run parity with --update")
    elif fresh.suffix == ".json":
        table.add(name, *difference(json.loads(fresh.read_text()), json.loads(committed.read_text()),
                                    FILE_TOLERANCE.get(name, TOLERANCE)))
    else:
        same = fresh.read_bytes() == committed.read_bytes()
        table.add(name, "same bytes" if same else "-", None if same else "the bytes differ")


def trajectories():
    """(golden file, key in it, task, loss, rows) of the runs that Luce repeats."""
    def lines(path, count=None):
        return path.read_text(encoding="utf-8").splitlines(keepends=True)[:count]

    pairs = lines(HERE / "pairs_tiny.jsonl", json.loads((HERE / "dpo_tiny.json").read_text())["rows"]["count"])
    dpo = {"type": "dpo", "beta": 0.1}
    yield "dpo_tiny.json", "base", "preference", dpo, pairs
    yield "dpo_tiny.json", "sft_mixture", "preference", [dpo, {"type": "sft", "weight": 0.2}], pairs
    yield "dpo_tiny.json", "cosine", "preference", dpo, pairs
    yield "dpo_tiny.json", "weight_decay", "preference", dpo, pairs
    yield "dpo_tiny_untied.json", "base", "preference", dpo, pairs
    yield "dpo_tiny_untied.json", "weight_decay", "preference", dpo, pairs
    yield "sft_tiny.json", "base", "sft", {"type": "sft"}, lines(HERE / "sft_tiny.jsonl")
    yield "sft_tiny.json", "prompt_scored", "sft", {"type": "sft"}, lines(HERE / "sft_tiny.jsonl")
    yield "sft_tiny.json", "text", "sft", {"type": "sft"}, lines(HERE / "sft_text_tiny.jsonl")
    if os.environ.get("LUCE_TEST_DATA"):
        import make_dpo
        import make_sft

        published = make_dpo.published_rows(make_dpo.HH_ROWS)
        questions = make_sft.rows_of("stories260k", "prompt")
        yield "dpo_stories260k.json", "base", "preference", dpo, [json.dumps(row) + "\n" for row in published]
        yield "sft_stories260k.json", "base", "sft", {"type": "sft"}, [json.dumps(row) + "\n" for row in questions]


def model_folder(golden):
    name = golden.split("_", 1)[1].removesuffix(".json")
    if name == "stories260k":
        return Path(os.environ["LUCE_TEST_DATA"]) / "models" / name
    return HERE / name.replace("_", "-")


def luce_config(golden, variant, task, loss, rows, output):
    options = {**golden["config"], **golden[variant]["changes"]}
    data = {"train": str(rows), "max_length": options["max_length"], "shuffle": False}
    if "completion_only_loss" in options:
        data["completion_only_loss"] = options["completion_only_loss"]
    train = {key: options[key] for key in ("max_steps", "learning_rate", "lr_scheduler_type", "warmup_steps",
                                           "weight_decay", "max_grad_norm")}
    return {"task": task, "model": {"dtype": "float32"}, "data": data, "loss": loss,
            "train": {**train, "batch_size": options["per_device_train_batch_size"], "seed": 42, "logging_steps": 1},
            "output_dir": str(output)}


def compare_steps(golden, logged):
    """(largest difference, first problem) between TRL's steps and the lines of Luce's metrics.jsonl."""
    by_step = {entry["step"]: entry for entry in logged if "loss" in entry}
    largest, problem = 0.0, None
    for expected in golden:
        step = expected["step"]
        if step not in by_step:
            return largest, f"step {step} is not in metrics.jsonl"
        for key, value in expected.items():
            if key == "rewards/accuracies" and abs(expected["rewards/margins"]) < 1e-6:
                continue  # policy and reference are equal: a tie, broken by rounding
            if key not in by_step[step]:
                problem = problem or f"step {step}: {key} is missing"
                continue
            scaled = abs(by_step[step][key] - value) / max(1.0, abs(value))
            largest = max(largest, scaled)
            if not scaled <= STEP_TOLERANCE.get(key, STEP_DEFAULT):
                problem = problem or f"step {step}: {key} is {by_step[step][key]}, TRL's is {value}"
    return largest, problem


def check_round_trip(table, name, luce, model):
    code, output, tail = run(sys.executable, HERE / "check_roundtrip.py", luce, model)
    table.add(name, output.strip() if code == 0 else "-", tail if code else None)


def check_trainings(table, wanted, luce, folder):
    for file, variant, task, loss, lines in trajectories():
        name = f"train {file.removesuffix('.json')} {variant}"
        if not wanted(name):
            continue
        golden = json.loads((HERE / file).read_text())
        output = folder / f"{file.removesuffix('.json')}-{variant}"
        rows, config = output.with_suffix(".jsonl"), output.with_suffix(".json")
        rows.write_text("".join(lines), encoding="utf-8")
        settings = luce_config(golden, variant, task, loss, rows, output)
        settings["model"]["path"] = str(model_folder(file))
        config.write_text(json.dumps(settings, indent=2))
        code, _, tail = run(luce, "train", config)
        if code:
            table.add(name, f"exit code {code}", tail)
            continue
        logged = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
        table.add(name, *compare_steps(golden[variant]["steps"], logged))
        if variant == "base":
            check_round_trip(table, f"{name}: transformers", luce, output)
            code, _, tail = run(sys.executable, HERE / "check_tensorboard.py", output, output / "metrics.jsonl")
            table.add(f"{name}: tensorboard", "read" if code == 0 else "-", tail if code else None)


def check_rewards(table, wanted, luce, folder):
    """Reward training from the start that TRL had, and the saved model's scores in transformers."""
    import make_dpo
    import make_reward
    import torch
    from transformers import AutoModelForSequenceClassification

    for name in ["tiny"] + (["stories260k"] if os.environ.get("LUCE_TEST_DATA") else []):
        file = f"reward_{name}.json"
        golden, model = json.loads((HERE / file).read_text()), model_folder(file)
        source = HERE / "pairs_tiny.jsonl"
        if name == "tiny":
            lines = [json.loads(line) for line in source.read_text(encoding="utf-8").splitlines()]
        else:
            lines = make_dpo.published_rows(golden["rows"]["count"])
        lines = lines[:golden["rows"]["count"]]
        start = folder / f"start-{name}"
        for run_name in ("plain", "centred", "margin", "wide"):
            row = f"train reward {name} {run_name}"
            if run_name not in golden or not wanted(row):
                continue
            if not start.exists():
                make_reward.save_start(model, start, peers_tokenizer(model), AutoModelForSequenceClassification,
                                       torch.tensor([golden["start_head"]], dtype=torch.float64))
                for tokenizer_file in ("tokenizer.model", "tokenizer_config.json"):
                    shutil.copy(model / tokenizer_file, start / tokenizer_file)
            margins = golden["rows"]["margins"] if run_name == "margin" else [0]
            output = folder / f"reward-{name}-{run_name}"
            rows, config = output.with_suffix(".jsonl"), output.with_suffix(".json")
            rows.write_text("".join(json.dumps(line | {"margin": margins[i % len(margins)]}) + "\n"
                                    for i, line in enumerate(lines)), encoding="utf-8")
            loss = {"type": "bradley_terry", "center_rewards_coefficient":
                    golden[run_name]["changes"].get("center_rewards_coefficient", 0)}
            settings = luce_config(golden, run_name, "reward", loss, rows, output)
            settings["model"]["path"] = str(start)
            config.write_text(json.dumps(settings, indent=2))
            code, _, tail = run(luce, "train", config)
            if code:
                table.add(row, f"exit code {code}", tail)
                continue
            logged = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
            table.add(row, *compare_steps(golden[run_name]["steps"], logged))
            if run_name == "plain":
                fitting = [line for line, ids in zip(lines, golden["tokenized"]) if not ids["dropped"]]
                check_scores(table, f"{row}: transformers", luce, output, fitting)


def peers_tokenizer(model):
    import peers

    return peers.load_tokenizer(model)


def check_scores(table, name, luce, model, pairs):
    """Scores of a saved reward model against transformers', each row alone and in padded batches."""
    rows, scores = model / "rows.jsonl", model / "scores.json"
    answers = [{"prompt": pair.get("prompt", ""), "completion": pair["chosen"]} for pair in pairs if "prompt" in pair]
    if not answers:
        answers = [{"input_ids": [1 + (7 * i + 3 * j) % 400 for j in range(5 + 9 * i)]} for i in range(9)]
    rows.write_text("".join(json.dumps(answer) + "\n" for answer in answers), encoding="utf-8")
    code, output, tail = run(luce, "score", model, rows)
    if code:
        table.add(name, "-", tail)
        return
    scores.write_text(json.dumps([json.loads(line)["scores"][0] for line in output.splitlines()]))
    code, output, tail = run(sys.executable, HERE / "check_reward_roundtrip.py", model, rows, scores)
    table.add(name, output.strip() if code == 0 else "-", tail if code else None)


def check_models(table, wanted, luce, folder):
    """Models as they were given, a model that Luce made, and greedy text."""
    names = ["tiny", "tiny_untied"] + (["stories260k"] if os.environ.get("LUCE_TEST_DATA") else [])
    for name in names:
        if wanted(f"logprobs {name}"):
            check_round_trip(table, f"logprobs {name}", luce, model_folder(f"_{name}.json"))
        # A random model's bytes are no valid UTF-8, and each decoder replaces those in its own way.
        if name == "stories260k" and wanted(f"generate {name}"):
            check_greedy(table, luce, name)
    if wanted("init"):
        made = folder / "init"
        code, _, tail = run(luce, "init", HERE / "tiny-untied" / "config.json", made, "--tokenizer",
                            HERE / "tiny-untied" / "tokenizer.model", "--seed", 5)
        if code:
            table.add("init", f"exit code {code}", tail)
        else:
            check_round_trip(table, "init: transformers", luce, made)


def check_greedy(table, luce, name):
    golden = json.loads((HERE / f"greedy_{name}.json").read_text())
    problem = None
    for row in golden["rows"]:
        command = [luce, "generate", model_folder(f"_{name}.json"), "--prompt", row["prompt"], "--temperature", "0",
                   "--max-new-tokens", golden["max_new_tokens"]]
        done = subprocess.run([str(part) for part in command], stdin=subprocess.DEVNULL, capture_output=True)
        text, expected = done.stdout.decode("utf-8", "replace"), row["text"][len(row["prompt"]):] + "\n"
        if done.returncode:
            problem = done.stderr.decode("utf-8", "replace")
        elif text != expected:
            problem = problem or f"{row['prompt']!r}: expected {expected!r}, got {text!r}"
    table.add(f"generate {name}", "same text" if not problem else "-", problem)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--luce", type=Path, help="the luce program; without it only the goldens are checked")
    parser.add_argument("--update", action="store_true", help="rewrite the committed goldens")
    parser.add_argument("--only", nargs="*", default=[], help="parts of names of the rows to run")
    arguments = parser.parse_args()

    def wanted(name):
        return not arguments.only or any(part in name for part in arguments.only)

    if arguments.luce and not arguments.luce.is_file():
        sys.exit(f"{arguments.luce}: no such program; ./run build makes it")
    table = Table()
    check_goldens(table, wanted, arguments.update)
    if arguments.luce:
        luce = arguments.luce.resolve()
        with tempfile.TemporaryDirectory() as folder:
            check_models(table, wanted, luce, Path(folder))
            check_trainings(table, wanted, luce, Path(folder))
            if wanted("train reward"):
                check_rewards(table, wanted, luce, Path(folder))
        fuzz = luce.parent / "core_tests"
        if fuzz.exists() and wanted("safetensors"):
            code, output, tail = run(sys.executable, HERE / "check_safetensors.py", fuzz, "--cases", 4000)
            table.add("safetensors: official reader", "agrees" if code == 0 else "-", tail if code else None)
    if not os.environ.get("LUCE_TEST_DATA"):
        table.skip("rows of stories260k", "LUCE_TEST_DATA is not set")
    if table.failed:
        sys.exit(f"{len(table.failed)} failed: {', '.join(table.failed)}")
    print("all agree")


if __name__ == "__main__":
    main()
