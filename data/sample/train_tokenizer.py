"""Train the sample tokenizer: byte-level BPE, 4096 tokens, Llama 3 layout.

Usage, from the repository root:
    python data/sample/train_tokenizer.py CORPORA_FOLDER

CORPORA_FOLDER holds the JSON Lines files named in SOURCES, compressed with
zstd (the `zstd` command must be installed). Needs the package `tokenizers`.
The same input gives the same tokenizer, byte for byte.
"""

import io
import json
import subprocess
import sys
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models
from tokenizers import pre_tokenizers, processors, trainers

HERE = Path("data/sample")
OUT = HERE / "tokenizer"
VOCABULARY = 4096
SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>", "<|im_start|>", "<|im_end|>", "<|pad|>"]
BOS, EOS, _, _, PAD = SPECIAL
# (file, keep one document in n): administrative sheets weigh most.
SOURCES = [
    ("service_public_particuliers.jsonl.zst", 1),
    ("service_public_professionnels.jsonl.zst", 1),
    ("code_du_travail.jsonl.zst", 4),
    ("contributions_chat.jsonl.zst", 4),
]
PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


def texts(corpora):
    """Yield every training text, always in the same order."""
    for name, step in SOURCES:
        with subprocess.Popen(["zstd", "-dcq", str(corpora / name)], stdout=subprocess.PIPE) as zstd:
            for number, line in enumerate(io.TextIOWrapper(zstd.stdout, encoding="utf-8")):
                if number % step:
                    continue
                document = json.loads(line)
                if "messages" in document:
                    yield from (message["content"] for message in document["messages"])
                else:
                    yield document["text"]
        if zstd.returncode:
            sys.exit(f"cannot read {name}")
    with open(HERE / "fiches.jsonl", encoding="utf-8") as lines:
        for document in map(json.loads, lines):
            yield document["title"] + "\n\n" + document["text"]


def train(corpora):
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PATTERN), behavior="isolated", invert=False),
        pre_tokenizers.ByteLevel(add_prefix_space=False, trim_offsets=True, use_regex=False),
    ])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - len(SPECIAL),
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[],
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts(corpora), trainer)
    # Special tokens take the last ids, as in Llama 3.
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in SPECIAL])
    assert tokenizer.get_vocab_size() == VOCABULARY
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A {BOS}:1 $B:1",
        special_tokens=[(BOS, tokenizer.token_to_id(BOS))],
    )
    return tokenizer


def write_json(name, value):
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    (OUT / name).write_text(text, encoding="utf-8")


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    tokenizer = train(Path(sys.argv[1]))
    OUT.mkdir(parents=True, exist_ok=True)
    tokenizer.save(str(OUT / "tokenizer.json"))
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False}
    write_json("tokenizer_config.json", {
        "added_tokens_decoder": {
            str(tokenizer.token_to_id(t)): {"content": t, **flags, "special": True} for t in SPECIAL
        },
        "bos_token": BOS,
        "chat_template": CHAT_TEMPLATE,
        "clean_up_tokenization_spaces": False,
        "eos_token": EOS,
        "model_input_names": ["input_ids", "attention_mask"],
        "model_max_length": 1024,
        "pad_token": PAD,
        "tokenizer_class": "PreTrainedTokenizerFast",
    })
    named = {"bos_token": BOS, "eos_token": EOS, "pad_token": PAD}
    write_json("special_tokens_map.json", {
        **{key: {"content": t, **flags} for key, t in named.items()},
        "additional_special_tokens": ["<|im_start|>", "<|im_end|>"],
    })
    (OUT / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")


if __name__ == "__main__":
    main()
