"""Compares Luce's safetensors reader with the official one on thousands of broken files.

    python tests/golden/check_safetensors.py build/release/bin/core_tests [--cases 20000] [--seed 1]

Writes the files and what the official reader said about each (`cases.txt`), then runs the test that
reads them: Luce must accept nothing that the official reader refuses, and refuse only by a rule of its own
(limits, duplicate and unknown keys, dtypes that it does not compute with).
"""

import argparse
import json
import os
import random
import struct
import subprocess
import tempfile
from pathlib import Path

import safetensors

HOSTILE = [b"0", b"1", b"-1", b"4", b"16", b"1e1", b"1.5", b"4294967296", b"18446744073709551615", b"null", b"[]", b"{}",
           b'""', b'"F32"', b'"F8_E4M3"', b'"U16"', b"\x00", b"\xff", b"\xc3\xa9", b"\\u0000", b"\\ud800", b",", b":", b" ",
           b'"shape":[0]', b'"__metadata__":{"a":"b"}', b'"__metadata__":{"a":1}', b'"data_offsets":[0,0]', b"\n"]


def file_of(header, data):
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    return struct.pack("<Q", len(text)) + text + data


def random_file(rng):
    """A valid file of a few small tensors."""
    sizes = {"F64": 8, "F32": 4, "BF16": 2, "I64": 8, "I16": 2, "U8": 1, "BOOL": 1}
    header, at = {}, 0
    if rng.random() < 0.5:
        header["__metadata__"] = {"format": "pt"}
    for i in range(rng.randrange(4)):
        dtype = rng.choice(list(sizes))
        shape = [rng.randrange(4) for _ in range(rng.randrange(4))]
        end = at + sizes[dtype]
        for n in shape:
            end = at + (end - at) * n
        header[f"t{i}"] = {"dtype": dtype, "shape": shape, "data_offsets": [at, end]}
        at = end
    return file_of(header, bytes(at)), len(json.dumps(header, separators=(",", ":")))


def mutate(rng):
    content, length = random_file(rng)
    kind = rng.randrange(6)
    if kind == 0:  # as it is, or with padding
        return file_of(content[8:8 + length] + b" " * rng.randrange(9), content[8 + length:])
    if kind == 1:  # bits
        content = bytearray(content)
        for _ in range(rng.randrange(1, 4)):
            content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        return bytes(content)
    if kind == 2:  # truncated or longer
        cut = rng.randrange(len(content) + 1)
        return content[:cut] if rng.random() < 0.7 else content + bytes(rng.randrange(1, 9))
    text, data = content[8:8 + length], content[8 + length:]
    a, b = sorted(rng.randrange(length + 1) for _ in range(2))
    if kind == 3:  # a splice
        return file_of(text[:a] + rng.choice(HOSTILE) + text[rng.choice([a, b]):], data)
    if kind == 4:  # one number or text replaced
        starts = [i for i, c in enumerate(text) if c in b'0123456789"[{' and i > 0]
        if not starts:
            return content
        a = rng.choice(starts)
        b = a + 1
        while b < length and text[b:b + 1] not in b",]}:":
            b += 1
        return file_of(text[:a] + rng.choice(HOSTILE) + text[b:], data)
    return file_of(text[:a] + text[b:] + text[a:b], data)


def official(content):
    try:
        safetensors.deserialize(content)
        return "ok"
    except Exception as failure:  # the reader's own exception types differ between versions
        return " ".join(str(failure).split()) or type(failure).__name__


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tests", help="the program core_tests")
    parser.add_argument("--cases", type=int, default=20000)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    with tempfile.TemporaryDirectory() as name:
        folder, accepted = Path(name), 0
        with open(folder / "cases.txt", "w") as cases:
            for i in range(arguments.cases):
                content = mutate(rng)
                (folder / f"{i}.safetensors").write_bytes(content)
                verdict = official(content)
                accepted += verdict == "ok"
                cases.write(f"{i}.safetensors\t{verdict}\n")
        print(f"{arguments.cases} files, of which the official reader accepts {accepted}")
        subprocess.run([arguments.tests, "--gtest_filter=Safetensors.AgreesWithTheOfficialReader"], check=True,
                       env={**os.environ, "LUCE_SAFETENSORS_CASES": name})


if __name__ == "__main__":
    main()
