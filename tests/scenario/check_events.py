"""check_events.py FOLDER - what RUN/tensorboard holds is what RUN/metrics.jsonl holds, read by code of its own: framing and CRC32C
of each record, protocol buffers by their wire format, and of a start that goes on the rule by which TensorBoard leaves out
earlier records of later steps.  Says each fault in a line and ends with 1 where there is one.  As a module: read_run."""
import json
import pathlib
import struct
import sys

TABLE = []
for n in range(256):
    for _ in range(8):
        n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
    TABLE.append(n)


def masked_crc(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 255]
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def records(data):
    at = 0
    while at < len(data):
        (length,) = struct.unpack_from("<Q", data, at)
        if struct.unpack_from("<I", data, at + 8)[0] != masked_crc(data[at:at + 8]):
            raise ValueError(f"the CRC of the length at {at} is wrong")
        event = data[at + 12:at + 12 + length]
        if len(event) != length or struct.unpack_from("<I", data, at + 12 + length)[0] != masked_crc(event):
            raise ValueError(f"the CRC of the record at {at} is wrong")
        at += 16 + length
        yield event


def varint(data, at):
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        shift += 7
        if byte < 128:
            return value, at


def fields(data):
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        if key & 7 == 0:
            value, at = varint(data, at)
        elif key & 7 == 2:
            length, at = varint(data, at)
            value, at = data[at:at + length], at + length
        else:
            size = {1: 8, 5: 4}[key & 7]
            value, at = data[at:at + size], at + size
        yield key >> 3, value


def read_run(folder):
    """{tag: {step: value}}; the number of points that a later start left out."""
    curves, num_left = {}, 0
    paths = sorted(pathlib.Path(folder, "tensorboard").glob("events.out.tfevents.*"))
    for path in paths:
        events = list(records(path.read_bytes()))
        if dict(fields(events[0])).get(3) != b"brain.Event:2":
            raise ValueError(f"'{path}' does not begin with its version")
        for event in events[1:]:
            whole = dict(fields(event))
            step = whole.get(2, 0)
            if 7 in whole and dict(fields(whole[7])).get(1) == 1:  # SessionLog, START
                for points in curves.values():
                    for late in [s for s in points if s >= step]:
                        del points[late]
                        num_left += 1
            for number, summary in fields(event):
                if number == 5:
                    for _, value in fields(summary):
                        one = dict(fields(value))
                        curves.setdefault(one[1].decode(), {})[step] = struct.unpack("<f", one[2])[0]
    return curves, num_left, len(paths)


def single(value):
    return struct.unpack("<f", struct.pack("<f", value))[0]


EVENTS = {"validation": {"loss": "valid/loss", "bits_per_byte": "valid/bits_per_byte"},
          "tasks": {"acc": "tasks/acc", "acc_norm": "tasks/acc_norm"}}


def wanted_of(folder):
    """The same from metrics.jsonl."""
    names = {"loss": "train/loss", "grad_norm": "train/grad_norm", "learning_rate": "train/learning_rate",
             "tokens_per_s": "speed/tokens_per_s", "backward_s": "phases/backward_s", "peak_memory_bytes": "memory/peak_bytes"}
    wanted = {}
    for line in open(f"{folder}/metrics.jsonl", encoding="utf-8"):
        record = json.loads(line)
        if "after_step" in record:
            for points in wanted.values():
                for late in [s for s in points if s > record["after_step"] or record["after_step"] == 0]:
                    del points[late]
            continue
        is_validation = record.get("event") == "validation"
        pairs = names if "event" not in record else EVENTS.get(record["event"], {})
        values = record["all"] if record.get("event") == "tasks" else record
        for source in record.get("sources", []) if is_validation else []:
            for key, group in (("loss", "valid_loss"), ("bits_per_byte", "valid_bits_per_byte")):
                if source.get(key) is not None:
                    wanted.setdefault(f"{group}/{source['source']}", {})[record["step"]] = single(source[key])
        for key, tag in pairs.items():
            if values.get(key) is not None:
                wanted.setdefault(tag, {})[record["step"]] = single(values[key])
    return wanted


def differences(curves, wanted):
    """Losses have 17 digits in metrics.jsonl and must be the same; measured ones have six there."""
    found = []
    for tag, points in wanted.items():
        got = curves.get(tag, {})
        if sorted(got) != sorted(points):
            found.append(f"{tag}: steps {sorted(got)} in place of {sorted(points)}")
            continue
        is_exact = tag.startswith(("train/", "valid/loss", "valid_loss/"))
        for step, value in points.items():
            if got[step] != value if is_exact and tag != "train/learning_rate" else abs(got[step] - value) > 1e-5 * abs(value):
                found.append(f"{tag} at step {step}: {got[step]} in place of {value}")
    return found


def main():
    try:
        curves, num_left, num_files = read_run(sys.argv[1])
    except ValueError as error:
        print(error)
        return 1
    found = differences(curves, wanted_of(sys.argv[1]))
    for text in found:
        print(text)
    points = sum(len(p) for p in curves.values())
    print(f"{num_files} files, {len(curves)} curves, {points} points, {num_left} left out by a later start")
    return 1 if found or not curves else 0


if __name__ == "__main__":
    sys.exit(main())
