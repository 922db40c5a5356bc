#!/usr/bin/env python3
"""check_hf.py - what atelier exports as a Hugging Face folder is what transformers then computes with.

For each model: `atelier export --to hf --type f32`, loaded in transformers; then the logits of a sequence, the loss per
token and the perplexity of a token file, once by transformers from the exported folder and once by atelier from the
model itself.  Each comparison also has to notice a model that is a little wrong.
"""

import json
import math
import sys
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy

import atelier_tools as tools

LOGITS_LIMIT = 1e-4
LOSS_LIMIT = 1e-5  # relative
SEQUENCE_TOKENS = 40
DOCUMENT_TOKENS = [31, 1, 2, 17, 40, 5]  # less than any model's positions: one evaluation window holds them all


def export(model_folder, to):
    tools.run(tools.ATELIER, "export", model_folder, "--to", "hf", "--type", "f32", "--out", to)
    return tools.load_hf(to)


def spoil(model):
    """A mistake that is easy to make and hard to see: query and key rows in the interleaved order of GGUF."""
    config = model.config
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    with torch.no_grad():
        for layer in model.model.layers:
            attention = layer.self_attn
            if hasattr(attention, "qkv_proj"):  # queries and keys come first there
                turned = (config.num_attention_heads + config.num_key_value_heads) * head_dim
                weights = [attention.qkv_proj.weight[:turned]]
            else:
                weights = [attention.q_proj.weight, attention.k_proj.weight]
            for weight in weights:
                rows = weight.view(-1, 2, head_dim // 2, weight.shape[1])
                weight.copy_(rows.transpose(1, 2).reshape(weight.shape))
    return model


def mean_loss(model, documents):
    """Mean over the target tokens of all documents, each alone."""
    sums, targets = 0.0, 0
    for document in documents:
        if len(document) > 1:
            ids = torch.as_tensor(document)
            sums += cross_entropy(tools.hf_logits(model, document)[:-1].double(), ids[1:], reduction="sum").item()
            targets += len(document) - 1
    return sums / targets, targets


def check_logits(report, model_folder, exported):
    tokens = tools.random_documents([SEQUENCE_TOKENS], exported.config.vocab_size, seed=1)[0]
    own = tools.program_logits(model_folder, tokens)
    reloaded = tools.program_logits(exported.config._name_or_path, tokens)
    theirs = tools.hf_logits(exported, tokens)
    report.expect(own.shape == theirs.shape, f"shape of the logits {tuple(own.shape)}")
    report.near("logits, atelier against transformers", tools.max_difference(own, theirs), LOGITS_LIMIT)
    report.near("logits, atelier from the export", tools.max_difference(reloaded, theirs), LOGITS_LIMIT)


def check_weights(report, model_folder, exported):
    """An f32 export of an f32 or bf16 model loses nothing: the same bits as transformers reads from the source."""
    source = tools.load_hf(model_folder).state_dict()
    got = exported.state_dict()
    report.expect(source.keys() == got.keys() and all(torch.equal(source[key], got[key]) for key in source),
                  f"{len(source)} tensors, the same bits")


def longrope_of(model):
    """Its rope_parameters, where which factors turn a document depends on lengths; else None."""
    rope = getattr(model.config, "rope_parameters", None) or {}
    return rope if rope.get("rope_type") == "longrope" else None


def check_longrope(report, model_folder, exported, folder):
    """In sequences of the original length documents are turned as transformers turns each alone.  In longer ones all are turned
    as long ones are: so is what comes after this."""
    rope = longrope_of(exported)
    length = rope["original_max_position_embeddings"]
    documents = tools.random_documents([length, 5, 1, length - 6], exported.config.vocab_size, seed=3)
    path = folder / "short.h5"
    tools.write_token_file(path, documents, exported.config.vocab_size, model_folder)
    losses = [json.loads(tools.run(tools.ATELIER, "eval", model_folder, "--data", path, "--sequence-tokens", tokens, "--json"))["loss"]
              for tokens in (length, 2 * length)]
    alone = mean_loss(exported, documents)[0]
    report.near("longrope, short sequences: loss per token", abs(losses[0] / alone - 1), LOSS_LIMIT)
    report.notices("longrope, short documents in long sequences", abs(losses[1] / alone - 1), LOSS_LIMIT)
    rope["original_max_position_embeddings"] = 0  # read at every forward pass


def check_loss(report, model_folder, exported, folder):
    vocab_size = exported.config.vocab_size
    documents = tools.random_documents(DOCUMENT_TOKENS, vocab_size, seed=2)
    path = folder / "eval.h5"
    tools.write_token_file(path, documents, vocab_size, model_folder)
    own = json.loads(tools.run(tools.ATELIER, "eval", model_folder, "--data", path, "--json"))
    if longrope_of(exported):
        check_longrope(report, model_folder, exported, folder)
    loss, targets = mean_loss(exported, documents)
    report.expect(own["target_tokens"] == targets, f"{targets} target tokens")
    report.near("loss per token", abs(own["loss"] / loss - 1), LOSS_LIMIT)
    report.near("perplexity", abs(own["perplexity"] / math.exp(loss) - 1), 10 * LOSS_LIMIT)
    whole, _ = mean_loss(exported, [[token for document in documents for token in document]])
    report.notices("attention across documents", abs(own["loss"] / whole - 1), LOSS_LIMIT)
    return own["loss"], documents


def check_model(report, model_folder, folder):
    folder.mkdir()
    exported = export(model_folder, folder / "hf")
    check_weights(report, model_folder, exported)
    check_logits(report, model_folder, exported)
    own_loss, documents = check_loss(report, model_folder, exported, folder)
    tokens = tools.random_documents([SEQUENCE_TOKENS], exported.config.vocab_size, seed=1)[0]
    own = tools.program_logits(model_folder, tokens)
    wrong = spoil(exported)
    report.notices("interleaved rows, by the logits", tools.max_difference(own, tools.hf_logits(wrong, tokens)),
                   LOGITS_LIMIT)
    report.notices("interleaved rows, by the loss", abs(own_loss / mean_loss(wrong, documents)[0] - 1), LOSS_LIMIT)


def main():
    report = tools.Report()
    models = [Path(word) for word in sys.argv[1:]] or tools.golden_models()
    with tools.scratch() as scratch:
        for number, model_folder in enumerate(models):
            print(f" {model_folder.name}")
            try:
                check_model(report, model_folder.resolve(), Path(scratch) / f"{number}-{model_folder.name}")
            except tools.ProgramFailed as failure:
                report.expect(False, str(failure))
    return report.code()


if __name__ == "__main__":
    sys.exit(main())
