#!/usr/bin/env python3
"""Make tests/golden/tokenizer/edge.json and components.json: what the package `tokenizers` says.

    make_tokenizer.py FOLDER_OF_TOKENIZERS [data/sample/tokenizer]

edge.json: awkward texts written here, and their ids with each real tokenizer (whose vocabularies are not kept).
components.json: small tokenizers written here, one or more per component, with texts, ids and decoded texts.
The hashes over whole corpora beside them are made by tests/interop/compare_tokenizers.py --golden.
"""
import json
import pathlib
import sys

from tokenizers import Tokenizer

HERE = pathlib.Path(__file__).resolve().parent / "tokenizer"

# [part, times] pairs, joined: so that long texts stay short here.
EDGE = [
    [["", 1]], [[" ", 1]], [["  ", 1]], [["\n", 1]], [["\u0000", 1]], [["a", 1]],
    [["L'été dernier, l\u2019élève n\u2019a pas payé 1\u202f234,56\u00a0€ (n° 2023-1234).", 1]],
    [["Éléve\u0301 de\u0301compose\u0301 : e\u0301a\u0300c\u0327 contre éàç", 1]],
    [["\u0301 un accent sans lettre, puis a\u0323\u0307 et q\u0307\u0323", 1]],
    [["«\u00a0cœur\u00a0» et «\u202fŒuvre\u202f», ŒUVRE, œil, Ÿ", 1]],
    [["ÉTAT CIVIL : ÀÇÉÈÊËÎÏÔÛÙÜŸ ; ARTICLE L1234-5, ALINÉA 2°", 1]],
    [["co\u00adopé\u00adra\u00adtion\u200b et\ufeff zéro\u200dwidth", 1]],
    [["Bonjour 👩‍👩‍👧‍👦, 🇫🇷 ! ❤️ 🏴󠁧󠁢󠁥󠁮󠁧󠁿 ½ ² ³ № ℡", 1]],
    [["ligne un\r\nligne deux\r\n\r\n\r\nligne trois\rfin", 1]],
    [["colonne\tdeux\t\ttrois \t quatre\n\t- cinq", 1]],
    [["avant\u0000après \u0000\u0001\u001f\u007f\u0085\u2028\u2029fin", 1]],
    [["   trois espaces,  deux,     cinq     ", 1]], [["\n\n  \n   a\n \n", 1]],
    [["<s>bonjour</s> <unk> <|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nÇa va ?<|eot_id|>", 1]],
    [["<|im_start|>system\nVous êtes<|im_end|><|endoftext|><think>\n</think><bos><start_of_turn>", 1]],
    [["<|begin_of_text<s</s >< s>[INST] [/INST][INST]<<SYS>>", 1]],
    [["I'M, I'm, l'S, qu'ELLE, 'S 'ſ 'll'LL 've'RE 'd, aujourd'hui, d'\u2019été", 1]],
    [["1234567890 ²³ ٣٤٥ Ⅻ 3,14 1er 2ème 10%", 1]],
    [["日本語のテキスト、한국어 텍스트, Ελληνικά, русский, עברית, العربية, हिन्दी, ไทย", 1]],
    [["don't_stop __init__ C++ a->b; if (x<=1){return \"é\";} https://www.service-public.fr/a?b=1&c=é#d", 1]],
    [["ǅungla ᾳ ʰ ª º Ǆ ΑΣ İstanbul ẞ ﬁ ﬃ ① Ⓐ ㎏", 1]],
    [["\u180e\u200a\u3000\u205f\u1680\u2007x\u00a0\u00a0y", 1]],
    [["\ue000\U0010ffff\ufffd\U0001d400\U000e0001", 1]],
    [["a", 2000]], [["é", 301]], [[" ", 300]], [["\n", 157], ["x", 1]], [["ab", 200]], [["\u2581", 40], ["x\u2581 y", 3]],
    [["e\u0301", 133]], [["0", 150]], [["!", 150]], [["<", 120]], [["mot ", 60]], [["👍", 40]], [["\u0301", 65]],
    [["anticonstitutionnellement", 20]], [["AbCdEfGh", 30]], [["\t \n", 50]], [["a\u0000", 40]],
]

CHARS = ["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)] + list(
    "▁abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,;:!?'()-éèàçêœ«»’ \n") + ["x̂"]
CHAR_MERGES = [["l", "e"], ["▁", "le"], ["e", "s"], ["▁", "a"], ["o", "n"], ["t", "on"], ["1", "2"], ["é", "t"], ["▁", "▁"],
               ["▁▁", "▁▁"], ["a", "a"], ["aa", "aa"], ["le", "s"], ["▁le", "s"], [".", "."], ["A", "B"]]
BYTES = [chr(c) for c in list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))]
BYTES = BYTES + [chr(256 + i) for i in range(68)]
BYTE_MERGES = [["l", "e"], ["Ġ", "le"], ["Ġ", "a"], ["Ã", "©"], ["t", "Ã©"], ["Ġ", "Ġ"], ["ĠĠ", "ĠĠ"], ["1", "2"], ["a", "a"],
               ["aa", "aa"], ["'", "s"], ["Ċ", "Ċ"], ["le", "s"]]
TEXTS = [
    "", " ", "le mois d'été, les 12 élèves", "  deux  espaces  partout  ", "Ligne 1\n\nLigne 2\t fin", "aaaa aaaaaaa a",
    "<s>le</s> les<s> <mask> x", "le <mask>le<mask>  les_<mask>", "UN ÉTÉ À ABAB ﬁn ① İ e\u0301", "a.b,c!d?? (les) «le»",
    "12345 ½ ² ٣", "日本 🇫🇷", "\u00a0le\u202fles\u3000a", "les--le--", "--les", "le.", ".", "...le...les", "x\u0302 x̂ \u0302",
    "<LE> le <Le>", "le\u2581les", "lé", "A1B22C333",
    "a½b ½a b² c³-¹d «½ (² '³ Ⓐle leⒶ ⅓le a_le 1le", "(¼ '½ «¾ (Ⓐ '_ «\u0301 (\u200d",
]


def vocabulary(tokens, merges):
    tokens = list(dict.fromkeys(tokens + [left + right for left, right in merges]))
    return {token: i for i, token in enumerate(tokens)}


def token(content, number, **flags):
    return dict({"id": number, "content": content, "single_word": False, "lstrip": False, "rstrip": False,
                 "normalized": False, "special": True}, **flags)


MODELS = {
    "chars": {"type": "BPE", "unk_token": "<unk>", "fuse_unk": True, "byte_fallback": True, "ignore_merges": False,
              "vocab": vocabulary(CHARS, CHAR_MERGES), "merges": CHAR_MERGES},
    "bytes": {"type": "BPE", "unk_token": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
              "vocab": vocabulary(BYTES, BYTE_MERGES), "merges": [" ".join(pair) for pair in BYTE_MERGES]},
}
BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
SPM_DECODER = {"type": "Sequence", "decoders": [
    {"type": "Replace", "pattern": {"String": "▁"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"},
    {"type": "Strip", "content": " ", "start": 1, "stop": 0}]}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


def replace(pattern, content, kind="Regex"):
    return {"type": "Replace", "pattern": {kind: pattern}, "content": content}


def metaspace(**fields):
    return dict({"type": "Metaspace", "replacement": "▁"}, **fields)


def components():
    """(name, model name, changes to the model, the rest of the tokenizer.json)"""
    behaviours = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
    for behaviour in behaviours:
        for invert in (False, True):
            yield f"split {behaviour} {invert}", "chars", {}, {"pre_tokenizer": split("[aeé -]", behaviour, invert)}
        yield f"split string {behaviour}", "chars", {}, {"pre_tokenizer": split("le", behaviour, kind="String")}
        yield f"punctuation {behaviour}", "chars", {}, {"pre_tokenizer": {"type": "Punctuation", "behavior": behaviour}}
    for individual in (False, True):
        yield f"digits {individual}", "chars", {}, {"pre_tokenizer": {"type": "Digits", "individual_digits": individual}}
    yield "white space", "chars", {}, {"pre_tokenizer": {"type": "WhitespaceSplit"}}
    for scheme in ("always", "first", "never"):
        for cut in (False, True):
            yield f"metaspace {scheme} {cut}", "chars", {}, {
                "pre_tokenizer": metaspace(prepend_scheme=scheme, split=cut), "decoder": metaspace(prepend_scheme=scheme)}
    yield "metaspace old", "chars", {}, {"pre_tokenizer": metaspace(add_prefix_space=True, str_rep="▁"),
                                         "decoder": metaspace(add_prefix_space=True)}
    yield "metaspace first after split", "chars", {}, {"pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        split("\\n"), metaspace(prepend_scheme="first")]}}
    for prefix in (False, True):
        for regex in (False, True):
            yield f"byte level {prefix} {regex}", "bytes", {}, {
                "pre_tokenizer": dict(BYTE_LEVEL, add_prefix_space=prefix, use_regex=regex), "decoder": BYTE_LEVEL}
    yield "smollm", "bytes", {}, {"decoder": BYTE_LEVEL, "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
        {"type": "Digits", "individual_digits": True}, dict(BYTE_LEVEL, use_regex=True)]}}
    yield "ignore merges", "bytes", {"ignore_merges": True}, {"pre_tokenizer": dict(BYTE_LEVEL, use_regex=True),
                                                              "decoder": BYTE_LEVEL}
    word = "[^\\r\\n\\p{L}\\p{N}]?"
    upper, lower = "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]", "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
    end = "?(?i:'s|'t|'re|'ve|'m|'ll|'d)?"[1:]
    o200k = (f"{word}{upper}*{lower}+{end}|{word}{upper}+{lower}*{end}|\\p{{N}}{{1,3}}| ?[^\\s\\p{{L}}\\p{{N}}]+[\\r\\n/]*|"
             "\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+")
    for name, pattern in (("o200k", o200k), ("words", "\\w+|[^\\w\\s]+"), ("boundary", "\\b[a-z]+\\b"), ("no boundary", "\\B[a-z]"), ("word set", "[ \\w]"), ("no word set", "[^\\w]"),
                          ("word alone", "\\w"),
                          ("hex", "\\h+"), ("not word", "\\W"), ("space class", "[^\\S\\n]+"), ("script", "\\p{Greek}+|\\p{Han}"),
                          ("line", "^.+$"), ("unicode escape", "[\\u00A0\\u202f]|\\d\\D")):
        yield f"regex {name}", "bytes", {}, {"decoder": BYTE_LEVEL, "pre_tokenizer": {
            "type": "Sequence", "pretokenizers": [split(pattern), BYTE_LEVEL]}}
    for name in ("NFC", "NFKC", "Lowercase"):
        yield name, "bytes", {}, {"normalizer": {"type": name}, "pre_tokenizer": BYTE_LEVEL, "decoder": BYTE_LEVEL}
    for left in (False, True):
        for right in (False, True):
            yield f"strip {left} {right}", "chars", {}, {
                "normalizer": {"type": "Strip", "strip_left": left, "strip_right": right}, "decoder": SPM_DECODER}
    spm = {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"}, replace(" ", "▁", "String")]}
    yield "llama 2", "chars", {}, {"normalizer": spm, "decoder": SPM_DECODER}
    pads = [replace("\\((?=[ \\w])", "( "), replace("'(?=[ \\w])", "' "), replace("«(?=[ \\w])", "« "), replace("\\\n(?=[ \\w])", "\n ")]
    yield "padding", "chars", {}, {"normalizer": {"type": "Sequence", "normalizers": pads + [replace("[ \\u00A0]", "▁")]},
                                   "decoder": {"type": "Sequence", "decoders": [
                                       {"type": "ByteFallback"}, metaspace(prepend_scheme="always"), {"type": "Fuse"},
                                       replace("( ", "(", "String"), replace("[.]{2,}", "…")]}}
    yield "no fallback", "chars", {"byte_fallback": False}, {}
    yield "no fallback, unknown not fused", "chars", {"byte_fallback": False, "fuse_unk": False}, {}
    yield "no unknown", "chars", {"byte_fallback": False, "unk_token": None}, {}
    yield "strip decoder", "chars", {}, {"decoder": {"type": "Strip", "content": "e", "start": 1, "stop": 0}}
    yield "template", "chars", {}, {"normalizer": spm, "post_processor": {"type": "Sequence", "processors": [
        {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
        {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}},
            {"SpecialToken": {"id": "</s>", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
         "special_tokens": {name: {"id": name, "ids": [i], "tokens": [name]} for name, i in (("<s>", 1), ("</s>", 2))}}]},
        "decoder": SPM_DECODER}
    for flag in ("single_word", "lstrip", "rstrip", "normalized"):
        # A special token whose normalised form differs is not left out when decoding by tokenizers 0.23; by us it is.
        for special in (False,) if flag == "normalized" else (False, True):
            yield f"added {flag} {special}", "chars", {}, {
                "normalizer": spm, "decoder": SPM_DECODER,
                "added_tokens": [token("<s>", 1), token("<mask>", 400, special=special, **{flag: True})]}
    yield "added strips both", "chars", {}, {"added_tokens": [
        token("<s>", 1, rstrip=True), token("les", 333, special=False, lstrip=True), token("--", 401, lstrip=True, rstrip=True)]}
    yield "added lower case", "chars", {}, {"normalizer": {"type": "Lowercase"}, "added_tokens": [
        token("<le>", 400, normalized=True, special=False), token("<Le>", 401, normalized=False, special=False)]}
    yield "added longest", "chars", {}, {"added_tokens": [
        token("--", 400, special=False), token("-", 65, special=False), token("--l", 401, special=True), token("le--", 402)]}


def complete(model, changes, rest):
    """A whole tokenizer.json.  Ids of added tokens that are not in the vocabulary follow it, in order."""
    base = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [token("<s>", 1), token("</s>", 2)]
            if model == "chars" else [], "normalizer": None, "pre_tokenizer": None, "post_processor": None, "decoder": None}
    base.update(rest)
    base["model"] = dict(MODELS[model], **changes)
    vocab, following = base["model"]["vocab"], len(base["model"]["vocab"])
    added = []
    for one in base["added_tokens"]:
        number = vocab.get(one["content"], following)
        following += number == following
        added.append(dict(one, id=number))
    base["added_tokens"] = added
    return base


def answers(tokenizer, texts):
    """Ids with special tokens parsed in the text, and with special tokens taken as text (None where the same)."""
    tokenizer.encode_special_tokens = False
    parsed = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    tokenizer.encode_special_tokens = True
    plain = [tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    tokenizer.encode_special_tokens = False
    return parsed, [None if one == other else one for one, other in zip(plain, parsed)]


def make_components():
    cases = []
    for name, model, changes, rest in components():
        whole = complete(model, changes, rest)
        tokenizer = Tokenizer.from_str(json.dumps(whole))
        parsed, plain = answers(tokenizer, TEXTS)
        around = tokenizer.encode("le").ids
        kept = {key: value for key, value in whole.items() if key not in ("model", "version", "truncation", "padding")}
        cases.append({"name": name, "model": model, "changes": changes, "tokenizer": kept, "ids": parsed, "plain": plain, "with_special": around,
                      "decoded": [tokenizer.decode(ids, skip_special_tokens=False) for ids in parsed],
                      "skipped": [tokenizer.decode(ids) for ids in parsed]})
    return {"models": MODELS, "texts": TEXTS, "cases": cases}


def make_edge(folders):
    texts = ["".join(part * times for part, times in text) for text in EDGE]
    result = {"texts": EDGE, "tokenizers": {}}
    for folder in folders:
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        parsed, plain = answers(tokenizer, texts)
        name = "sample" if folder.parent.name == "sample" else folder.name
        result["tokenizers"][name] = {"ids": parsed, "plain": plain}
    return result


def write(path, data):
    """One line per text, so that a change shows."""
    text = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    path.write_text(text.replace("],[", "],\n[").replace('},{"name"', '},\n{"name"') + "\n")


def main():
    folders = [path for path in sorted(pathlib.Path(sys.argv[1]).iterdir()) if (path / "tokenizer.json").exists()]
    folders += [pathlib.Path(path) for path in sys.argv[2:]]
    HERE.mkdir(exist_ok=True)
    write(HERE / "edge.json", make_edge(folders))
    write(HERE / "components.json", make_components())


if __name__ == "__main__":
    main()
