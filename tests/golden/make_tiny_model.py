"""Makes the two tiny random Llama models that the tests use: tests/golden/tiny and tests/golden/tiny-untied.

    python tests/golden/make_tiny_model.py [--out tests/golden] [--tokenizer tests/data/files/tiny.model]

tiny         one safetensors file, tied head, config in the new spelling (`dtype`, `rope_parameters`)
tiny-untied  shards and an index, own head, biases, heads × head_dim ≠ hidden size, llama3 RoPE,
             config in the old spelling (`torch_dtype`, `rope_theta`, `rope_scaling`)

The same seed gives the same bytes. Weights are far larger than a trained model's at birth
(standard deviation 0.2), so that log-probs are far from uniform and a wrong term is seen.
Needs numpy, torch, transformers, sentencepiece.
"""

import argparse
import json
import shutil
from pathlib import Path

import numpy
import sentencepiece
import torch
import transformers
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM, LlamaTokenizer

TOKENIZER_CONFIG = {
    "tokenizer_class": "LlamaTokenizer",
    "add_bos_token": True,
    "add_eos_token": False,
    "bos_token": "<s>",
    "eos_token": "</s>",
    "unk_token": "<unk>",
}


def randomize(model, seed):
    """Weights ~ N(0, 0.2), biases ~ N(0, 0.1), norms ~ 1 + N(0, 0.1), drawn in the order of their names."""
    generator = numpy.random.Generator(numpy.random.PCG64(seed))  # torch's differs between CPUs by an ulp
    with torch.no_grad():
        for name, parameter in sorted(model.named_parameters()):
            noise = torch.from_numpy(generator.standard_normal(parameter.shape)).float()
            if name.endswith("norm.weight"):
                parameter.copy_(1 + 0.1 * noise)
            else:
                parameter.copy_(noise * (0.1 if name.endswith("bias") else 0.2))


def make(folder, tokenizer, seed, options, old_spelling=False, shard="1GB"):
    """Writes one model folder and checks that transformers reads it back; its size in bytes."""
    vocab_size = sentencepiece.SentencePieceProcessor(model_file=str(tokenizer)).vocab_size()
    config = LlamaConfig(
        vocab_size=vocab_size, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        head_dim=8, max_position_embeddings=128, rms_norm_eps=1e-5, initializer_range=0.2, **options)
    model = LlamaForCausalLM(config).float()
    randomize(model, seed)
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, max_shard_size=shard)
    if old_spelling:
        written = json.loads((folder / "config.json").read_text())
        rope = written.pop("rope_parameters")
        written["torch_dtype"] = written.pop("dtype")
        written["rope_theta"] = rope.pop("rope_theta")
        written["rope_scaling"] = rope
        (folder / "config.json").write_text(json.dumps(written, indent=2, sort_keys=True) + "\n")
    shutil.copyfile(tokenizer, folder / "tokenizer.model")
    (folder / "tokenizer_config.json").write_text(json.dumps(TOKENIZER_CONFIG, indent=2) + "\n")
    for path in folder.iterdir():
        path.chmod(0o644)

    loaded = AutoModelForCausalLM.from_pretrained(folder)
    for (name, a), (_, b) in zip(model.named_parameters(), loaded.named_parameters()):
        assert torch.equal(a, b), name
    assert loaded.config.rope_parameters == config.rope_parameters
    ids = LlamaTokenizer.from_pretrained(folder)("the cat sat", return_tensors="pt").input_ids
    assert ids[0, 0] == 1 and ids.max() < vocab_size
    log_probs = loaded(ids).logits.log_softmax(-1)
    size = sum(path.stat().st_size for path in folder.iterdir())
    print(f"{folder}: vocabulary {vocab_size}, {model.num_parameters()} parameters, {size} bytes, "
          f"log-probs {log_probs.min():.2f} … {log_probs.max():.2f}")
    return size


def main():
    transformers.utils.logging.disable_progress_bar()
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=here)
    parser.add_argument("--tokenizer", type=Path, default=here.parent / "data" / "files" / "tiny.model")
    arguments = parser.parse_args()
    size = make(arguments.out / "tiny", arguments.tokenizer, 1,
                {"hidden_size": 32, "intermediate_size": 88, "tie_word_embeddings": True})
    # With these numbers the four frequencies of a head meet all three branches of the llama3 rule.
    rope = {"rope_type": "llama3", "rope_theta": 500.0, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
    size += make(arguments.out / "tiny-untied", arguments.tokenizer, 2,
                 {"hidden_size": 24, "intermediate_size": 56, "tie_word_embeddings": False,
                  "rope_parameters": rope, "attention_bias": True, "mlp_bias": True}, old_spelling=True, shard="60KB")
    assert size <= 300_000, size


if __name__ == "__main__":
    main()
