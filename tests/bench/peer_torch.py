#!/usr/bin/env python3
"""peer_torch.py - the peer of `make bench`: a training step of the SmolLM2-135M shape in transformers and torch.

One step is what `atelier train` does in one: forward, loss, backward, clipping at global norm 1, AdamW with decay on
matrices only.  Random weights and tokens: the time does not depend on them.  Prints one JSON object: median tokens/s
over the steps after the warm-up, and the peak of the process's memory.  The fastest setting found is the defaults with
--compile (a C++ compiler is needed); every other is an option, so that anyone can look for a faster one.
"""

import argparse
import json
import resource
import statistics
import time

import torch
from transformers import LlamaConfig, LlamaForCausalLM, logging

SHAPE = {"hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3,
         "intermediate_size": 1536, "vocab_size": 49152, "tie_word_embeddings": True, "rms_norm_eps": 1e-5,
         "max_position_embeddings": 8192, "rope_parameters": {"rope_type": "default", "rope_theta": 100000.0}}


def parse_arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dtype", choices=["f32", "bf16", "autocast"], default="f32",
                        help="f32; bf16: weights, gradients and moments in bf16; autocast: f32 weights, bf16 products")
    parser.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa")
    parser.add_argument("--optimizer", choices=["fused", "foreach", "loop"], default="fused")
    parser.add_argument("--compile", action="store_true", help="torch.compile the model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--sequence", type=int, default=512)
    parser.add_argument("--layers", type=int, default=SHAPE["num_hidden_layers"], help="fewer for a quick look")
    parser.add_argument("--warmup", type=int, default=2, help="steps that are not counted")
    parser.add_argument("--steps", type=int, default=10, help="steps that are counted")
    return parser.parse_args()


def make_model(args):
    dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float32
    config = LlamaConfig(**SHAPE | {"num_hidden_layers": args.layers}, use_cache=False)
    return LlamaForCausalLM._from_config(config, attn_implementation=args.attention, dtype=dtype).train()


def make_optimizer(model, kind):
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    norms = [p for p in model.parameters() if p.ndim < 2]
    how = {"fused": {"fused": True}, "foreach": {"foreach": True}, "loop": {"foreach": False}}[kind]
    return torch.optim.AdamW([{"params": matrices, "weight_decay": 0.1}, {"params": norms, "weight_decay": 0.0}],
                             lr=1e-4, betas=(0.9, 0.95), eps=1e-8, **how)


def train_step(model, forward, optimizer, tokens, autocast):
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss = forward(input_ids=tokens, labels=tokens).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return loss.item()


def main():
    args = parse_arguments()
    logging.set_verbosity_error()
    torch.set_num_threads(args.threads)
    torch.manual_seed(1)
    model = make_model(args)
    forward = torch.compile(model) if args.compile else model
    optimizer = make_optimizer(model, args.optimizer)
    tokens = torch.randint(0, SHAPE["vocab_size"], (args.batch, args.sequence))
    seconds, cpu_seconds, losses = [], [], []
    for _ in range(args.warmup + args.steps):
        start, cpu_start = time.perf_counter(), time.process_time()
        losses.append(train_step(model, forward, optimizer, tokens, args.dtype == "autocast"))
        seconds.append(time.perf_counter() - start)
        cpu_seconds.append(time.process_time() - cpu_start)
    counted = [args.batch * args.sequence / s for s in seconds[args.warmup:]]
    print(json.dumps({
        "peer": "torch", "torch": torch.__version__, **vars(args),
        "tokens_per_s": round(statistics.median(counted), 1), "slowest": round(min(counted), 1),
        "fastest": round(max(counted), 1), "first_step_s": round(seconds[0], 2),
        "cpu_s_per_step": round(statistics.median(cpu_seconds[args.warmup:]), 3),  # all threads; tells a busy machine
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        "first_loss": round(losses[0], 4), "last_loss": round(losses[-1], 4)}))


if __name__ == "__main__":
    main()
