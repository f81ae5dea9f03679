"""Makes tests/golden/tokens.json: what transformers and TRL make of texts and rows.

    LUCE_TEST_DATA=... python tests/golden/make_tokens.py [--out tests/golden/tokens.json] [--check]

The ids of texts are transformers' (LlamaTokenizer), or SentencePiece's own for texts with a leading
or a repeated space, where the two differ. Rows go through the trainers' own preparation and, for
pairs, the collator. `--check` compares with the file instead of writing it.
Needs torch, transformers, trl, datasets, sentencepiece; written with trl 1.16.0, transformers 5.23.0.
"""

import argparse
import gzip
import json
import logging
import os
import re
import shutil
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import datasets
import sentencepiece
from transformers import AutoTokenizer
from trl import DPOTrainer, SFTTrainer
from trl.data_utils import extract_prompt
from trl.trainer.dpo_trainer import DataCollatorForPreference

ROOT = Path(__file__).parent
CONFIG = {
    "tokenizer_class": "LlamaTokenizer",
    "add_bos_token": True,
    "add_eos_token": False,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
}
FLAGS = {"lstrip": False, "rstrip": False, "single_word": False, "normalized": False}
ADDED = CONFIG | {
    "added_tokens_decoder": {
        "352": FLAGS | {"content": "<left>", "lstrip": True, "special": True},
        "353": FLAGS | {"content": "<right>", "rstrip": True, "special": True},
        "354": FLAGS | {"content": "<word>", "single_word": True, "special": True},
        "355": FLAGS | {"content": "<plain>", "special": False},
        "356": FLAGS | {"content": "<plain>er", "special": False},
    },
    "pad_token": "</s>",
}

TEXTS = [
    "", "a", "Hello world", "The little fox went to the river.", "the  fox", " the fox", "the fox ", "   ",
    "a  b   c    d", "\n", "\n\nHuman: what did the fox see?\n\nAssistant:", "tab\there", "\r\n", "don't \"stop\"",
    "</s>", "the fox</s>", "the fox </s> and the cat", "the</s>fox", "<s>the fox", "<s> <s>x</s>\n\ny", "a<unk>b",
    "</s></s>", "</s >", "<0x0A>", "caf\u00e9", "\u6f22\u5b57 and kana \u3072\u3089", "\U0001f642\U0001f44d\U0001f3fd",
    "\u2581x", "a\u2581b", "\u3000wide", "\ufb01ne", "e\u0301", "\u200b", "3.14159, 2,000 and 10 %", "x = y[0] ** 2;",
    "A very long word: " + "abcdefghij" * 12,
]
ADDED_TEXTS = ["a <left> b", "a<left>b", "<left>", "\n <left> <left>x", "a <right>  b", "a<right>\n\nb<right>", "a <word> b",
               "a<word>b", "<word>", "_<word>", "(<word>)", "x <plain>er y", "<plain><plain>er</s>", "the<plain> fox"]

PAIRS = [
    {"prompt": "Human: What did the fox see?\n\nAssistant:", "chosen": " The fox saw a boat.", "rejected": " No."},
    {"prompt": "The fox", "chosen": "es were happy", "rejected": " was sad"},  # the boundary falls inside a token
    {"prompt": "The fox ", "chosen": "saw it.", "rejected": "did not."},  # a prompt that ends with a space
    {"prompt": "the", "chosen": "re he is</s>", "rejected": "y</s>"},  # EOS is there already
    {"prompt": "", "chosen": "A good day", "rejected": "A bad day"},
    {"prompt": "Say nothing.", "chosen": "", "rejected": " Nothing."},
    {"prompt": "Same?", "chosen": " Yes", "rejected": " Yes"},
    {"prompt": "caf\u00e9 \u6f22", "chosen": "\u5b57", "rejected": "\U0001f642"},
    {"prompt": "one two three four five six seven eight nine ten eleven", "chosen": " a", "rejected": " b"},  # dropped
    {"prompt": "Tell me more about the bear.", "chosen": " Once there was a bear who liked honey more than bread.",
     "rejected": " No, I do not know anything at all about it, he said to her."},  # cut
    {"prompt": "a</s>", "chosen": "b", "rejected": "c"},
    {"chosen": "\n\nHuman: hi\n\nAssistant: good day", "rejected": "\n\nHuman: hi\n\nAssistant: bad day"},
    {"chosen": "the bear sang", "rejected": "the bird sang"},  # parts inside a word
    {"chosen": "Yes", "rejected": "No"},  # no common start
    {"chosen": "caf\u00e9", "rejected": "caf\u00e8"},  # parts inside a character's bytes
]
PROMPTS = [
    {"prompt": "Human: hi\n\nAssistant:", "completion": " The sun is up."},
    {"prompt": "the", "completion": "y"},
    {"prompt": "", "completion": "A good day"},
    {"prompt": "Say", "completion": ""},
    {"prompt": "The fox ", "completion": "saw it.</s>"},
    {"prompt": "one two three four five six seven eight nine ten eleven", "completion": " a"},  # dropped
    {"prompt": "Tell me", "completion": " that the bear liked honey more than anything else in the garden."},  # cut
]
STORIES = [{"text": text} for text in
           ["The fox sat.", "", "a</s>", "Once there was a bear who liked honey more than anything else, they said."]]
MAX_LENGTH = 32


def load(folder, model, config):
    folder = Path(folder)
    shutil.copy(model, folder / "tokenizer.model")
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return AutoTokenizer.from_pretrained(folder)


def encode(tokenizer, pieces, texts):
    out = []
    for text in texts:
        ids = tokenizer(text)["input_ids"]
        if re.search("^[ \u2581]|[ \u2581]{2}", text):
            ids = [1] + pieces.encode(text)
        out.append({"text": text, "ids": ids})
    return out


def dataset(rows):
    return datasets.Dataset.from_list(rows)


def our_split(row):
    """TRL's own rule, but where one side is a prefix of the other the prompt is all of the shorter side,
    and a divergence at the first character is an empty prompt."""
    if "prompt" in row:
        return row
    a, b = row["chosen"], row["rejected"]
    if a.startswith(b) or b.startswith(a):
        n = min(len(a), len(b))
        return {"prompt": a[:n], "chosen": a[n:], "rejected": b[n:]}
    if a[:1] != b[:1]:
        return {"prompt": "", "chosen": a, "rejected": b}
    return extract_prompt(row)


def prepare_pairs(tokenizer, rows, max_length):
    """[row from 1, prompt ids, chosen ids, rejected ids] of the rows that TRL keeps."""
    rows = [our_split(row) | {"row": i + 1} for i, row in enumerate(rows)]
    trainer = SimpleNamespace(_tokenizer=tokenizer)
    args = SimpleNamespace(max_length=max_length, truncation_mode="keep_start", dataset_num_proc=None)
    prepared = DPOTrainer._prepare_dataset(trainer, dataset(rows), tokenizer, args, "train")
    collate = DataCollatorForPreference(pad_token_id=0, max_length=max_length)
    out = []
    for example in prepared:
        batch = collate([example])
        sides = []
        for side in range(2):
            n = int(batch["attention_mask"][side].sum())
            ids, mask = batch["input_ids"][side][:n].tolist(), batch["completion_mask"][side][:n].tolist()
            prompt = mask.index(1)
            assert all(mask[prompt:])
            sides.append((ids[:prompt], ids[prompt:]))
        assert sides[0][0] == sides[1][0]
        out.append([example["row"], sides[0][0], sides[0][1], sides[1][1]])
    return out


def prepare_sft(tokenizer, rows, max_length, completion_only_loss):
    """[row from 1, ids before the first scored token, scored ids]; no token is scored without one before it."""
    trainer = SimpleNamespace(_tokenizer=tokenizer, completion_only_loss=completion_only_loss, chat_template=None)
    args = SimpleNamespace(max_length=max_length, truncation_mode="keep_start", dataset_num_proc=None,
                           dataset_text_field="text", assistant_only_loss=False, shuffle_dataset=False, seed=0)
    rows = [row | {"row": i + 1} for i, row in enumerate(rows)]
    out = []
    for row in rows:  # one at a time, so that a dropped row is seen
        prepared = SFTTrainer._prepare_dataset(trainer, dataset([row]), tokenizer, args, False, None, "train")
        for example in prepared:
            ids, labels = example["input_ids"], example["labels"]
            prompt = max(1, sum(label == -100 for label in labels))
            assert labels[prompt:] == ids[prompt:]
            out.append([row["row"], ids[:prompt], ids[prompt:]])
    return out


def fnv(numbers):
    """64-bit FNV-1a of 32-bit little-endian numbers."""
    value = 0xCBF29CE484222325
    for number in numbers:
        for byte in int(number).to_bytes(4, "little"):
            value = (value ^ byte) * 0x100000001B3 % 2**64
    return f"{value:016x}"


def make(data):
    golden = {"config": CONFIG, "added_config": ADDED, "max_length": MAX_LENGTH}
    model = ROOT.parent / "data" / "files" / "tiny.model"
    with tempfile.TemporaryDirectory() as folder:
        tiny = load(folder, model, CONFIG)
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(model))
        golden["encode"] = encode(tiny, pieces, TEXTS)
        golden["pairs"] = {"rows": PAIRS, "kept": prepare_pairs(tiny, PAIRS, MAX_LENGTH)}
        golden["prompts"] = {"rows": PROMPTS, "kept": prepare_sft(tiny, PROMPTS, MAX_LENGTH, True),
                             "kept_whole": prepare_sft(tiny, PROMPTS, MAX_LENGTH, False)}
        golden["stories"] = {"rows": STORIES, "kept": prepare_sft(tiny, STORIES, MAX_LENGTH, None)}
    with tempfile.TemporaryDirectory() as folder:
        added = load(folder, model, ADDED)
        golden["encode_added"] = [{"text": text, "ids": added(text)["input_ids"]} for text in ADDED_TEXTS]
    unigram = ROOT.parent / "data" / "files" / "tiny-unigram.model"
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(unigram))
    golden["encode_unigram"] = [{"text": text, "ids": pieces.encode(text)} for text in TEXTS if "<" not in text]

    golden["real"] = {}
    for name in ["stories260k", "llama2-tokenizer"]:
        folder = data / "models" / name
        tokenizer = AutoTokenizer.from_pretrained(folder)
        pieces = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        golden["real"][name] = [fnv(entry["ids"]) for entry in encode(tokenizer, pieces, TEXTS)]
    tokenizer = AutoTokenizer.from_pretrained(data / "models" / "stories260k")
    with gzip.open(data / "data" / "hh-harmless-test.jsonl.gz", "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for _, line in zip(range(200), file)]
    kept = prepare_pairs(tokenizer, rows, 512)
    golden["hh"] = {"rows": 200, "max_length": 512, "kept": [
        [row, fnv([number for ids in sides for number in [len(ids), *ids]])] for row, *sides in kept]}
    return golden


def dump(golden):
    """JSON with one entry a line."""
    text = json.dumps(golden, indent=1, ensure_ascii=True)
    return re.sub(r"\[[^\[\]{}]*\]", lambda m: re.sub(r"\s*\n\s*", " ", m[0]).replace("[ ", "[").replace(" ]", "]"), text) + "\n"


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default=ROOT / "tokens.json", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    if "LUCE_TEST_DATA" not in os.environ:
        sys.exit("set LUCE_TEST_DATA to the folder that holds models/ and data/")
    datasets.disable_progress_bars()
    logging.disable(logging.WARNING)
    made = dump(make(Path(os.environ["LUCE_TEST_DATA"])))
    if options.check:
        sys.exit(0 if options.out.read_text() == made else f"{options.out} differs from what is made now")
    options.out.write_text(made)
