#!/bin/sh
# scenario_vocabulary.sh - vocabulary and embedding: more rows than tokens, fewer, tokens added, and the head that is the embedding or
# is not.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario vocabulary
command -v python3 >/dev/null || skip "no python3, which changes the models"
prepare_sample
num_tokens=4096 # of data/sample/tokenizer

# edit FILE CODE [ARGUMENT...] - Python with the JSON of the file as `root`, which is written back; `words` are the arguments.
edit() {
    python3 - "$@" <<'END' || fail "the JSON file was not changed"
import json, sys
path, code, words = sys.argv[1], sys.argv[2], sys.argv[3:]
root = json.load(open(path, encoding="utf-8"))
exec(code)
json.dump(root, open(path, "w", encoding="utf-8"), ensure_ascii=False)
END
}

# --- an embedding with more rows than the tokenizer has tokens: padding ---
# Half of the rows are padding and a new model finds all as likely: a text that may hold such an id ends, or shows it, at once.
train 0 0 "$work/padded" --set model.architecture.vocab_size=$((2 * num_tokens)) --set train.steps=1
padded=$work/padded/step-000001
rows() {
    "$atelier" inspect "$1" --json >"$work/inspect.json" && json_number vocab_size "$work/inspect.json"
}
expect "rows of the checkpoint" $((2 * num_tokens)) "$(rows "$padded")"
run 0 "$atelier" generate "$padded" --prompt "Le" --max-tokens 200 --temperature 100 --top-p 1 --ignore-end
[ "$(wc -c <"$log")" -gt 600 ] || fail "200 tokens of a model with padding rows are $(wc -c <"$log") bytes"
run 0 "$atelier" generate "$work/padded/step-000001" --prompt "Le" --max-tokens 200 --temperature 100 --top-p 1 --ignore-end
cp "$log" "$work/checkpoint.txt"
run 0 "$atelier" export "$padded" --to hf --type f32 --out "$work/padded-hf"
expect "rows of the folder" $((2 * num_tokens)) "$(rows "$work/padded-hf")"
run 0 "$atelier" export "$padded" --to gguf --type f32 --out "$work/padded.gguf"
for file in "$work/padded-hf" "$work/padded.gguf"; do
    run 0 "$atelier" generate "$file" --prompt "Le" --max-tokens 200 --temperature 100 --top-p 1 --ignore-end
    cmp "$log" "$work/checkpoint.txt" || fail "'$file' does not write what the checkpoint writes"
done
grep -aq '\[PAD8191\]' "$work/padded.gguf" || fail "the last row has no token in the GGUF file"
! grep -q PAD "$log" || fail "the text of a padding row was written"
# A model read back from GGUF is trained with its padding, and loses none of it.
sed '/^model:/,/^$/d' "$tiny" >"$work/from_model.yaml"
run 0 "$atelier" train "$work/from_model.yaml" --set "run.folder=$work/again" --set "data.train=$work/fiches.h5" \
    --set "model.path=$work/padded.gguf" --set train.steps=1
expect "rows of a model trained from GGUF" $((2 * num_tokens)) "$(rows "$work/again/step-000001")"
say "twice as many rows as tokens: kept in checkpoints, folder and GGUF; 200 tokens drawn at temperature 100, none of them padding"

# --- a tokenizer with more tokens than the embedding has rows: refused, with a way on, wherever such an id could come up ---
train 0 0 "$work/plain" --set train.steps=1
cp -r "$work/plain/step-000001" "$work/base"
rm -rf "$work/base/state" "$work/base/manifest.json"
cp -r "$work/base" "$work/short"
edit "$work/short/tokenizer.json" 'for i, text in enumerate(words): root["added_tokens"].append(
    dict(id=4096 + i, content=text, single_word=False, lstrip=False, rstrip=False, normalized=False, special=False))' \
    '<new>' '<newer>'
short="the tokenizer has tokens up to id 4097, the model's embedding 4096 rows: '<new>' \(4096\) and 1 more have none; "
refused() {
    expect_output "$short"
    expect "lines that say so" 1 "$(grep -cE "$short" "$log")"
}
run 1 "$atelier" prepare "$tiny" --set "prepare.tokenizer=$work/short" --set "prepare.output=$work/short.h5"
refused
mkdir "$work/tokenizer" && cp "$work/short"/tokenizer*.json "$work/tokenizer" # of no model: nothing to compare with
run 0 "$atelier" prepare "$tiny" --set "prepare.tokenizer=$work/tokenizer" --set "prepare.output=$work/short.h5"
for ranks in 0 2; do
    run 2 on_ranks $ranks "$atelier" train "$work/from_model.yaml" --set "run.folder=$work/refused" \
        --set "data.train=$work/short.h5" --set "model.path=$work/short"
    refused
done
run 2 "$atelier" plan "$work/from_model.yaml" --ranks 1 --set "data.train=$work/short.h5" --set "model.path=$work/short"
refused
run 2 "$atelier" eval "$work/short" --data "$work/short.h5"
refused
run 1 "$atelier" export "$work/short" --to gguf --out "$work/short.gguf"
refused
run 2 "$atelier" generate "$work/short" --prompt "un <new> texte"
expect_output "^error: $short"
run 0 "$atelier" generate "$work/short" --prompt "un texte" --max-tokens 2 # as models are published: said, the token is not used
expect_output "^warning: $short"
run 0 "$atelier" generate "$work/base" --prompt "un <new> texte" --max-tokens 2
! grep -q "rows" "$log" || fail "a tokenizer that fits is told not to"
say "a tokenizer with more tokens than rows: refused by prepare, train, plan, eval, export and generate, with the token's name"
