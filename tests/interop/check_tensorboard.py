#!/usr/bin/env python3
"""check_tensorboard.py - event files as TensorBoard itself reads them: a run with run.tensorboard that was started again and did
steps again has, in TensorBoard's EventAccumulator, the points of metrics.jsonl and no other, losses bit by bit.  Controls: a
file with one byte changed, the second start's file taken away, and the second start without its SessionLog record, after
which TensorBoard shows the lost steps."""

import shutil
import struct
import sys
from pathlib import Path

from tensorboard.backend.event_processing import event_accumulator

import atelier_tools as tools

sys.path.insert(0, str(tools.ROOT / "tests" / "scenario"))
import check_events  # noqa: E402

WORK = tools.ROOT / "build" / "tmp" / "interop" / "tensorboard"
report = tools.Report()


def train(steps):
    tools.run(tools.ATELIER, "train", str(tools.ROOT / "tests/scenario/tiny.yaml"), "--set", f"run.folder={WORK / 'run'}", "--set",
                  f"data.train={WORK / 'fiches.h5'}", "--set", f"data.valid={WORK / 'fiches-valid.h5'}", "--set",
                  "run.tensorboard=true", "--set", "checkpoint.every_steps=4", "--set", "valid.every_steps=2", "--set",
                  f"train.steps={steps}")


def read(folder):
    """As check_events.read_run has it: {tag: {step: value}}."""
    accumulator = event_accumulator.EventAccumulator(str(folder / "tensorboard"),
                                                     size_guidance={event_accumulator.SCALARS: 0, event_accumulator.TENSORS: 0})
    accumulator.Reload()
    curves = {}
    for tag in accumulator.Tags()["scalars"]:
        curves[tag] = {event.step: event.value for event in accumulator.Scalars(tag)}
    return curves


def copy(name):
    shutil.rmtree(WORK / name, ignore_errors=True)
    shutil.copytree(WORK / "run", WORK / name)
    return WORK / name, sorted((WORK / name / "tensorboard").iterdir())


def differs(name, folder):
    found = check_events.differences(read(folder), check_events.wanted_of(folder))
    report.expect(found, f"notices {name}: {found[0][:110] if found else 'it does not'}")


def main():
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    tools.run(tools.ATELIER, "prepare", str(tools.ROOT / "tests/scenario/tiny.yaml"), "--set", f"prepare.output={WORK / 'fiches.h5'}")
    train(8)
    shutil.rmtree(WORK / "run" / "step-000008")
    (WORK / "run" / "latest").write_text("step-000004\n")
    train(12)

    curves = read(WORK / "run")
    found = check_events.differences(curves, check_events.wanted_of(WORK / "run"))
    report.expect(not found, f"{sum(map(len, curves.values()))} points of {len(curves)} curves {found[:1]}")
    own, num_left, _ = check_events.read_run(WORK / "run")
    report.expect(num_left > 0, f"{num_left} points of steps that were done again are left out")
    report.expect(own == curves, "tests/scenario/check_events.py reads as TensorBoard does")

    folder, files = copy("changed")
    data = bytearray(files[0].read_bytes())
    data[len(data) // 2] ^= 1
    files[0].write_bytes(data)
    differs("a byte changed", folder)
    folder, files = copy("cut")
    files[1].unlink()
    differs("the second start's file taken away", folder)
    folder, files = copy("unsaid")
    data = files[1].read_bytes()
    (first,) = struct.unpack_from("<Q", data, 0)
    (second,) = struct.unpack_from("<Q", data, 16 + first)
    files[1].write_bytes(data[:16 + first] + data[32 + first + second:])
    steps = event_steps(folder)
    report.expect(len(steps) > len(set(steps)), f"notices a second start without its SessionLog: steps {steps}")
    return report.code()


def event_steps(folder):
    accumulator = event_accumulator.EventAccumulator(str(folder / "tensorboard"))
    accumulator.Reload()
    return [event.step for event in accumulator.Scalars("train/loss")]


if __name__ == "__main__":
    sys.exit(main())
