"""Makes the two SentencePiece models that the tests use.

    python tests/data/files/make_tiny_tokenizers.py [--out tests/data/files]

tiny.model          BPE with byte fallback and no normalization, as Llama's: 259 special and byte
                    pieces and 93 learned ones
tiny-unigram.model  unigram without byte fallback, with a small character map (ﬁ becomes fi, …) and
                    two user-defined symbols

Needs sentencepiece and protobuf. The same version gives the same bytes.
"""

import argparse
import io
import tempfile
from pathlib import Path

import sentencepiece
from sentencepiece import sentencepiece_model_pb2

SENTENCES = """\
The little fox went to the river and sat under the old tree.
Human: What did the fox see by the river?
Assistant: The fox saw a red boat, three ducks and a sleeping cat.
Mia and her brother found a small blue stone near the house.
"Is this stone yours?" asked Mia. "No, it is not mine," said the man.
They were happy, so they sang a song and walked home in the rain.
Human: Can you tell me a short story about a bear?
Assistant: Once there was a bear who liked honey more than anything else.
The bear was sad because the bees were gone, but then it saw a flower.
I think the best answer is the one that is kind and true.
Bad weather made the children stay inside and read books all day long.
Good morning! The sun is up and the birds are singing in the garden.
She gave the bread to the hungry bird and the bird was not afraid of her.
That was a good day, he said, and they all went to sleep.
"""
RULES = "FB01\t66 69\n2026\t2E 2E 2E\n2019\t27\n41 30A\tC5\n"  # from, to: code points in hex


def train(out, name, rules="", **options):
    model = io.BytesIO()
    with tempfile.NamedTemporaryFile("w", suffix=".tsv") as file:
        if rules:
            file.write(rules)
            file.flush()
            options["normalization_rule_tsv"] = file.name
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(SENTENCES.splitlines()), model_writer=model, num_threads=1, minloglevel=2,
            **options)
    proto = sentencepiece_model_pb2.ModelProto.FromString(model.getvalue())
    proto.normalizer_spec.ClearField("normalization_rule_tsv")  # the name of a temporary file
    (out / name).write_bytes(proto.SerializeToString())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default=Path(__file__).parent, type=Path)
    out = parser.parse_args().out
    train(out, "tiny.model", model_type="bpe", vocab_size=352, byte_fallback=True, character_coverage=1.0,
          normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
          allow_whitespace_only_pieces=True)
    train(out, "tiny-unigram.model", model_type="unigram", vocab_size=72, rules=RULES,
          user_defined_symbols=["[a]", "[ab]"], hard_vocab_limit=False)
