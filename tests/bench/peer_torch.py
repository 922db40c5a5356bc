#!/usr/bin/env python3
"""peer_torch.py - the peer of `make bench` and `make gpu-bench`: training steps of a Llama in transformers and torch.

One step is what `atelier train` does in one: forward, loss, backward, clipping at global norm 1, AdamW with decay on
matrices only.  Random weights and tokens: the time does not depend on them.  Prints one JSON object: median tokens/s
over the steps after the warm-up, and the peak of memory.

On the CPU the fastest setting found is the defaults with --compile (a C++ compiler is needed); every other is an option,
so that anyone can look for a faster one.  On a GPU (--device cuda) the settings are searched: Liger kernels where they are
installed, each attention that is, micro-batches up to the largest that fits and is faster, checkpoints of layers only
where nothing fits without; the fastest is reported.  All is in bf16 there, moments included, and compiled.
"""

import argparse
import gc
import json
import os
import resource
import statistics
import sys
import time

os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")  # less is lost between blocks

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM, logging


def llama(width, layers, heads, kv_heads, ffn, vocab, tied, theta):
    return {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads,
            "num_key_value_heads": kv_heads, "intermediate_size": ffn, "vocab_size": vocab, "tie_word_embeddings": tied,
            "rms_norm_eps": 1e-5, "max_position_embeddings": 8192,
            "rope_parameters": {"rope_type": "default", "rope_theta": theta}}


SHAPES = {
    "135M": llama(576, 30, 9, 3, 1536, 49152, True, 100000.0),
    "1.2B": llama(2048, 16, 32, 8, 8192, 128256, True, 500000.0),
    "8B": llama(4096, 32, 32, 8, 14336, 128256, False, 500000.0),
    "tiny": llama(64, 2, 4, 2, 96, 131, True, 10000.0),
}


# What tests/bench/shapes.py times beside atelier, by the width of the model and how a batch is divided.
SHAPES |= {
    "256": llama(256, 8, 4, 2, 768, 8192, True, 10000.0),
    "576": llama(576, 30, 9, 3, 1536, 49152, True, 100000.0),
    "768": llama(768, 6, 12, 4, 2048, 32000, True, 10000.0),
    "1024": llama(1024, 2, 16, 4, 2816, 16384, True, 10000.0),
    "2048": llama(2048, 2, 32, 8, 5632, 32000, True, 10000.0),
    "documents": llama(576, 10, 9, 3, 1536, 49152, True, 100000.0),
}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--shape", choices=SHAPES, default="135M")
    parser.add_argument("--dtype", choices=["f32", "bf16", "autocast"], default="f32",
                        help="f32; bf16: weights, gradients and moments in bf16; autocast: f32 weights, bf16 products")
    parser.add_argument("--attention", choices=["sdpa", "eager", "flash_attention_2"], default="sdpa")
    parser.add_argument("--optimizer", choices=["fused", "foreach", "loop"], default="fused")
    parser.add_argument("--compile", action="store_true", help="torch.compile the model")
    parser.add_argument("--lora", type=int, default=0, metavar="RANK",
                        help="train PEFT's pairs of that rank, on every matrix of the layers, in place of the weights")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1, help="sequences of a micro-batch")
    parser.add_argument("--sequence", type=int, default=512)
    parser.add_argument("--step-tokens", type=int, default=0, help="tokens of a step; 0: one micro-batch")
    parser.add_argument("--layers", type=int, default=0, help="fewer for a quick look")
    parser.add_argument("--warmup", type=int, default=2, help="steps that are not counted")
    parser.add_argument("--steps", type=int, default=0, help="steps that are counted; 0: 10, on a GPU 3")
    parser.add_argument("--search", action="store_true", help="look for the best setting, as on a GPU")
    parser.add_argument("--limit-s", type=float, default=600, help="begin no further setting after that many seconds")
    parser.add_argument("--lengths", type=lambda text: [int(part) for part in text.split(",")], default=[], metavar="N,N...",
                        help="tokens of the documents of a batch, each padded to the longest; in place of --batch and --sequence")
    parser.add_argument("--turns", action="store_true",
                        help="after the warm-up run the steps that each line of the input asks for, and print a line for each")
    args = parser.parse_args()
    if args.device == "cuda":
        args.search = True
    if args.search:
        args.dtype, args.compile = "bf16", True
    args.steps = args.steps or (3 if args.device == "cuda" else 10)
    return args


def make_model(args, attention, checkpoints):
    dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float32
    shape = dict(SHAPES[args.shape])
    shape["num_hidden_layers"] = args.layers or shape["num_hidden_layers"]
    shape["max_position_embeddings"] = max(args.sequence, shape["max_position_embeddings"])
    config = LlamaConfig(**shape, use_cache=False)
    with torch.device(args.device):
        model = LlamaForCausalLM._from_config(config, attn_implementation=attention, dtype=dtype).train()
    if args.lora:
        import peft  # of the environment of `make interop`; nothing else here needs it
        model = peft.get_peft_model(model, peft.LoraConfig(r=args.lora, lora_alpha=2 * args.lora, target_modules="all-linear",
                                                           task_type="CAUSAL_LM"))
    if checkpoints:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    return model


def make_optimizer(model, kind):
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.ndim >= 2]
    norms = [p for p in trained if p.ndim < 2]
    how = {"fused": {"fused": True}, "foreach": {"foreach": True}, "loop": {"foreach": False}}[kind]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0.0}]
    return torch.optim.AdamW([group for group in groups if group["params"]],
                             lr=1e-4, betas=(0.9, 0.95), eps=1e-8, **how)


def make_batch(args, batch):
    """Random tokens, each its own target; of documents of unequal lengths also what is padding."""
    vocabulary = SHAPES[args.shape]["vocab_size"]
    if not args.lengths:
        tokens = torch.randint(0, vocabulary, (batch, args.sequence), device=args.device)
        return {"input_ids": tokens, "labels": tokens}
    tokens = torch.randint(0, vocabulary, (len(args.lengths), max(args.lengths)), device=args.device)
    filled = torch.arange(tokens.shape[1]) < torch.tensor(args.lengths)[:, None]
    return {"input_ids": tokens, "labels": tokens.masked_fill(~filled, -100), "attention_mask": filled.long()}


def train_step(model, forward, optimizer, inputs, micros, autocast):
    total = 0.0
    for _ in range(micros):
        with torch.autocast(inputs["input_ids"].device.type, dtype=torch.bfloat16, enabled=autocast):
            loss = forward(**inputs).loss / micros
        loss.backward()
        total = total + loss.detach()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return total.item()  # waits for the device


def make_stepper(args, attention, batch, checkpoints):
    """A function that trains a step and returns its loss, and how many micro-batches a step has."""
    torch.manual_seed(1)
    model = make_model(args, attention, checkpoints)
    forward = torch.compile(model) if args.compile else model
    optimizer, inputs = make_optimizer(model, args.optimizer), make_batch(args, batch)
    micros = max(1, args.step_tokens // (batch * args.sequence))
    return lambda: train_step(model, forward, optimizer, inputs, micros, args.dtype == "autocast"), micros


def take_turns(args):
    """Steps by request, for a driver that runs another program's in between: tests/bench/shapes.py."""
    step, _ = make_stepper(args, args.attention, args.batch, False)
    for _ in range(args.warmup):
        step()
    print("ready", flush=True)
    for line in sys.stdin:
        for _ in range(int(line)):
            start, cpu_start = time.perf_counter(), time.process_time()
            step()
            print(time.process_time() - cpu_start, time.perf_counter() - start, flush=True)


def measure(args, attention, batch, checkpoints):
    """Times one setting; returns what is reported of it."""
    step, micros = make_stepper(args, attention, batch, checkpoints)
    seconds, cpu_seconds, losses = [], [], []
    for _ in range(args.warmup + args.steps):
        start, cpu_start = time.perf_counter(), time.process_time()
        losses.append(step())
        if args.device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    counted = [micros * batch * args.sequence / s for s in seconds[args.warmup:]]
    peak = {"peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024}
    if args.device == "cuda":
        peak["peak_device_mib"] = torch.cuda.max_memory_reserved() >> 20  # what no other program could have had
    return {"tokens_per_s": round(statistics.median(counted), 1), "slowest": round(min(counted), 1),
            "fastest": round(max(counted), 1), "first_step_s": round(seconds[0], 2),
            "cpu_s_per_step": round(statistics.median(cpu_seconds[args.warmup:]), 3),  # all threads; tells a busy machine
            **peak, "first_loss": round(losses[0], 4), "last_loss": round(losses[-1], 4)}


def forget():
    """Gives the memory of a setting back before the next one."""
    gc.collect()
    torch.compiler.reset()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def use_liger():
    """Its norms, gates, rotations, and the head fused with the loss, in place of transformers' own."""
    try:
        from liger_kernel.transformers import apply_liger_kernel_to_llama
    except ImportError:
        return
    apply_liger_kernel_to_llama()


def is_out_of_memory(error):
    """cuBLAS and compiled code say it in their own words."""
    text = str(error)
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in text or "ALLOC_FAILED" in text


def result_line(args, found):
    return json.dumps({"peer": "torch", "torch": torch.__version__, **vars(args), **found})


def try_setting(args, attention, batch, checkpoints):
    """What was measured of one setting, or None where it does not fit."""
    forget()
    try:
        found = measure(args, attention, batch, checkpoints)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        return None
    liger = "Liger" if "liger_kernel" in sys.modules else "no Liger"
    twice = "checkpoints of layers" if checkpoints else "no checkpoints"
    setting = f"{attention}; micro-batch {batch * args.sequence}; {twice}; {liger}"
    print(f"{setting}: {found['tokens_per_s']} tokens/s", file=sys.stderr)
    found |= {"batch": batch, "setting": setting}
    print(result_line(args, found), flush=True)  # a search that is cut keeps it
    return found


def best_batch(args, attention, checkpoints, deadline):
    """Doubles the micro-batch for as long as that fits and is faster; None when not even one sequence fits."""
    batch, most, best = max(1, 4096 // args.sequence), max(1, 16384 // args.sequence), None
    while batch <= most and (best is None or time.monotonic() < deadline):
        found = try_setting(args, attention, batch, checkpoints)
        if found is None:
            if best is not None or batch == 1:
                break
            batch, most = batch // 2, batch - 1
        elif best is not None and found["tokens_per_s"] < best["tokens_per_s"]:
            break
        else:
            best = found
            batch *= 2
    return best


def search(args):
    """The fastest of the settings that are installed here and fit."""
    deadline, best = time.monotonic() + args.limit_s, None
    kinds = ["sdpa"]
    if args.device == "cuda":
        use_liger()
        for kind in ("flash_attention_3", "flash_attention_2"):
            known = getattr(transformers.utils, f"is_{kind.replace('attention', 'attn')}_available", lambda: False)
            if known():
                kinds.insert(0, kind)
    for kind in kinds:
        if best is not None and time.monotonic() > deadline:
            break
        found = best_batch(args, kind, False, deadline) or best_batch(args, kind, True, deadline)
        if found and (best is None or found["tokens_per_s"] > best["tokens_per_s"]):
            best = found
    if best is None:
        raise SystemExit("no setting fits on this device")
    return best


def main():
    args = parse_arguments()
    logging.set_verbosity_error()
    torch.set_num_threads(args.threads)
    if args.device == "cuda":
        torch.set_float32_matmul_precision("high")
    if args.turns:
        return take_turns(args)
    found = search(args) if args.search else measure(args, args.attention, args.batch, False)
    print(result_line(args, found))
    return None


if __name__ == "__main__":
    main()
