"""atelier_tools.py - what the interop checks share: running the program under test, writing token files for it, reading
models with transformers, and keeping count of what was found."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import h5py
import numpy as np
import torch
import transformers

ROOT = Path(__file__).resolve().parents[2]
OUT = ROOT / os.environ.get("OUT", "build/cpu")
ATELIER = OUT / "atelier"
TOOL_LOGITS = OUT / "tests" / "tool_logits"
GOLDEN = ROOT / "tests" / "golden" / "models"
SKIPPED = 77

transformers.utils.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


class ProgramFailed(Exception):
    """The program under test, or one of its tools, ended with an error; the text has its words."""


class Report:
    """Prints a line per comparison; code() is what the check ends with."""

    def __init__(self):
        self.done = self.failed = 0

    def expect(self, is_right, text):
        self.done += 1
        self.failed += not is_right
        print(f"  {'ok    ' if is_right else 'WRONG '} {text}", flush=True)

    def near(self, what, difference, limit):
        self.expect(difference < limit, f"{what}: {difference:.2e}, limit {limit:g}")

    def notices(self, what, difference, limit):
        """Negative control: something is wrong on purpose, and the comparison must say so."""
        self.expect(difference > limit, f"notices {what}: {difference:.2e}, beyond {limit:g}")

    def code(self):
        print(f"  {self.done - self.failed} of {self.done} comparisons right")
        return 0 if self.done and not self.failed else 1


def golden_models():
    """Folders of the tiny models, and of the sample base model once the repository holds one."""
    folders = sorted(path.parent for path in GOLDEN.glob("*/config.json"))
    return folders + sorted(path.parent for path in (ROOT / "data" / "sample").glob("*/config.json"))


def run(*command, stdin=None, limit_s=600):
    """Standard output of a program that must succeed, within so many seconds."""
    words = [str(word) for word in command]
    done = subprocess.run(words, input=stdin, capture_output=True, timeout=limit_s)
    if done.returncode:
        told = done.stderr.decode(errors="replace")
        raise ProgramFailed(f"'{' '.join(words)}' ended with {done.returncode}:\n{told}")
    return done.stdout


def program_logits(model, tokens, *how):
    """Logits [T, V] of one sequence as the program computes them; how: "stored", with its matrices where the files have them."""
    ids = np.asarray(tokens, dtype="<i4")
    out = run(TOOL_LOGITS, model, *how, stdin=np.int32(len(ids)).tobytes() + ids.tobytes())
    return torch.from_numpy(np.frombuffer(out, dtype="<f4").reshape(len(ids), -1).copy())


def program_perplexity(model, texts):
    """exp of the mean loss over all but the first token of each text, as the program computes it."""
    losses = [torch.nn.functional.cross_entropy(program_logits(model, ids).double()[:-1], torch.tensor(ids[1:]), reduction="none")
              for ids in texts]
    return torch.cat(losses).mean().exp().item()


def load_hf(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32,
                                                             local_files_only=True)


def hf_logits(model, tokens):
    with torch.no_grad():
        return model(input_ids=torch.as_tensor(tokens, dtype=torch.long)[None]).logits[0]


def max_difference(a, b):
    return (a.double() - b.double()).abs().max().item()


def relative_error(got, want):
    return ((got.double() - want.double()).norm() / want.double().norm()).item()


def random_documents(lengths, vocab_size, seed):
    random = np.random.default_rng(seed)
    return [random.integers(0, vocab_size, length) for length in lengths]


def tokenizer_hash(model_folder, scratch_folder):
    """What a token file must carry to fit the model: `atelier prepare` says so.  Anything, without a tokenizer."""
    if not (model_folder / "tokenizer.json").exists():
        return "0" * 64
    text, output, config = (scratch_folder / f"hash.{suffix}" for suffix in ("txt", "h5", "yaml"))
    text.write_text("une phrase\n")
    config.write_text(json.dumps({"prepare": {"tokenizer": str(model_folder), "output": str(output),
                                              "sources": [{"path": str(text)}]}}))
    run(ATELIER, "prepare", config)
    with h5py.File(output) as file:
        value = file.attrs["tokenizer_hash"]
    return value.decode() if isinstance(value, bytes) else str(value)


def write_token_file(path, documents, vocab_size, model_folder, masks=None):
    """A token file as data/tokens/tokens.h describes it, written by h5py."""
    tokens = np.concatenate(documents)
    offsets = np.concatenate([[0], np.cumsum([len(d) for d in documents])])
    texts = {"name": "random tokens", "licence": "none", "url": "", "sha256": "0" * 64}
    counts = {"documents": len(documents), "tokens": len(tokens), "duplicates": 0, "invalid_utf8": 0}
    with h5py.File(path, "w") as file:
        file.attrs["format"] = "atelier-tokens 1"
        file.attrs["tokenizer_hash"] = tokenizer_hash(model_folder, path.parent)
        file.attrs["vocab_size"] = np.int64(vocab_size)
        file.attrs["created_by"] = "tests/interop"
        file.create_dataset("tokens", data=tokens.astype("<u2" if vocab_size <= 65536 else "<u4"))
        file.create_dataset("doc_offsets", data=offsets.astype("<u8"))
        file.create_dataset("doc_source", data=np.zeros(len(documents), "<u4"))
        if masks is not None:
            file.create_dataset("loss_mask", data=np.concatenate(masks).astype("u1"))
        for name, value in texts.items():
            file.create_dataset(f"sources/{name}", data=np.array([value.encode()], dtype=f"S{max(len(value), 1)}"))
        for name, value in counts.items():
            file.create_dataset(f"sources/{name}", data=np.array([value], "<u8"))


def scratch():
    """A folder that is gone when the check ends."""
    return tempfile.TemporaryDirectory(prefix="atelier-interop-")
