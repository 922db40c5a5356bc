#!/bin/sh
# scenario_vocabulary.sh - vocabulary and embedding: more rows than tokens, fewer, tokens added, and the head that is the embedding or
# is not.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario vocabulary
prepare_sample
num_tokens=4096 # of data/sample/tokenizer

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
