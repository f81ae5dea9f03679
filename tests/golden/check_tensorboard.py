#!/usr/bin/env python3
"""Reads TensorBoard event files with the `tensorboard` package.

check_tensorboard.py FOLDER                  prints {"scalars": {tag: [[step, value], ...]},
                                             "text": {tag: [[step, text], ...]},
                                             "histograms": {tag: [[step, bins], ...]}} as JSON
check_tensorboard.py FOLDER METRICS.jsonl    compares the scalars with every row of the metrics
                                             file and exits 1 where they differ

FOLDER is searched for events.out.tfevents.* at any depth.
"""

import json
import math
import os
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

TOLERANCE = 2.0**-23  # scalars are stored as float32
NOT_DRAWN = {"step", "epoch"}


def read_events(folder):
    """Merges all event files under `folder`, in the order of their names."""
    found = {"scalars": {}, "text": {}, "histograms": {}}
    files = sorted(
        os.path.join(path, name)
        for path, _, names in os.walk(folder)
        for name in names
        if name.startswith("events.out.tfevents.")
    )
    if not files:
        sys.exit(f"{folder}: expected a file events.out.tfevents.*, found none")
    for file in files:
        events = EventAccumulator(file, size_guidance={"scalars": 0, "tensors": 0, "histograms": 0})
        events.Reload()
        if events.file_version != 2.0:
            sys.exit(f"{file}: expected file version 2, got {events.file_version}")
        tags = events.Tags()
        for tag in tags["scalars"]:
            points = [[event.step, event.value] for event in events.Scalars(tag)]
            found["scalars"].setdefault(tag, []).extend(points)
        for tag in tags["histograms"]:
            points = [
                [event.step, list(zip(event.histogram_value.bucket_limit, event.histogram_value.bucket))]
                for event in events.Histograms(tag)
            ]
            found["histograms"].setdefault(tag, []).extend(points)
        for tag in tags["tensors"]:
            plugin = events.SummaryMetadata(tag).plugin_data.plugin_name
            for event in events.Tensors(tag):
                value = tensor_util.make_ndarray(event.tensor_proto)
                if plugin == "text":
                    text = value.reshape(-1)[0].decode("utf-8")
                    found["text"].setdefault(tag, []).append([event.step, text])
                elif plugin == "scalars":
                    found["scalars"].setdefault(tag, []).append([event.step, float(value)])
    return found


def expected_scalars(metrics):
    """Tag -> points, as metrics.jsonl has them."""
    points = {}
    with open(metrics, encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            for name, value in row.items():
                if name in NOT_DRAWN:
                    continue
                tag = "eval/" + name[5:] if name.startswith("eval_") else "train/" + name
                points.setdefault(tag, []).append([row["step"], value])
    return points


def same(expected, got):
    if expected is None:
        return not math.isfinite(got)
    return abs(expected - got) <= TOLERANCE * abs(expected) + 1e-37


def compare(expected, got):
    """Sentences about every difference."""
    got = {tag: points for tag, points in got.items() if tag != "train/epoch"}
    for tag in sorted(expected.keys() - got.keys()):
        yield f"{tag} is in the metrics file and not in the events"
    for tag in sorted(got.keys() - expected.keys()):
        yield f"{tag} is in the events and not in the metrics file"
    for tag in sorted(expected.keys() & got.keys()):
        if [step for step, _ in expected[tag]] != [step for step, _ in got[tag]]:
            yield f"{tag}: steps differ"
            continue
        for (step, want), (_, have) in zip(expected[tag], got[tag]):
            if not same(want, have):
                yield f"{tag} at step {step}: expected {want}, got {have}"


def main(arguments):
    if len(arguments) not in (1, 2):
        sys.exit(__doc__)
    found = read_events(arguments[0])
    if len(arguments) == 1:
        json.dump(found, sys.stdout, indent=1)
        print()
        return 0
    expected = expected_scalars(arguments[1])
    differences = list(compare(expected, found["scalars"]))
    for line in differences:
        print(line)
    count = sum(len(points) for points in expected.values())
    print(f"{len(expected)} tags, {count} points: {len(differences)} differences")
    return 1 if differences or not expected else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
