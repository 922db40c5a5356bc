#!/bin/sh
# scenario_provenance.sh - what a model was made of, told by the model itself: corpora and the tokens really consumed (on 1
# to 3 ranks, and over a restart, the same), the base model's hash, the card in two languages, in checkpoints and exports.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario provenance
cat >"$work/corpora.yaml" <<'EOF'
prepare:
  tokenizer: data/sample/tokenizer/tokenizer.json
  valid_every: 10
  sources:
    - path: data/sample/fiches.jsonl
      name: "fiches | <b>pratiques</b>"
      licence: "Licence Ouverte 2.0: \"etalab\""
      url: https://huggingface.co/datasets/AgentPublic/service-public
    - path: data/sample/conversations.jsonl
      name: dialogues
      chat: true
EOF
run 0 "$atelier" prepare "$work/corpora.yaml" --set "prepare.output=$work/fiches.h5"

# consumed FOLDER - tokens by corpus, in their order; total FOLDER KEY - a number of the whole run.
consumed() {
    sed -n 's/.*"tokens_consumed": \([0-9]*\).*/\1/p' "$1/provenance.json" | tr '\n' ' '
}
total() {
    json_number "$2" "$1/provenance.json"
}

# expect_sum FOLDER TOKENS - the corpora of a checkpoint add up to what training.json says, and to TOKENS.
expect_sum() {
    sum=0
    for count in $(consumed "$1"); do
        sum=$((sum + count))
    done
    expect "tokens of the corpora of '$1'" "$2" "$sum"
    expect "tokens of '$1/state/training.json'" "$2" "$(json_number tokens_seen "$1/state/training.json")"
}

# --- the same on any number of ranks, and over a restart ---
for ranks in 1 2 3; do
    train 0 $ranks "$work/on$ranks" --set train.steps=6 --set optimizer.learning_rate=3e-3
    expect_sum "$work/on$ranks/step-000006" 3072
    expect "tokens by corpus on $ranks ranks" "$(consumed "$work/on1/step-000006")" "$(consumed "$work/on$ranks/step-000006")"
done
whole=$(consumed "$work/on1/step-000006")
train 0 2 "$work/again" --set train.steps=3
expect_sum "$work/again/step-000003" 1536
[ "$(consumed "$work/again/step-000003")" != "$whole" ] || fail "3 steps consume what 6 do: the comparison sees nothing"
train 0 3 "$work/again" --set train.steps=6
expect_sum "$work/again/step-000006" 3072
expect "tokens by corpus after a restart" "$whole" "$(consumed "$work/again/step-000006")"
train 0 1 "$work/other" --set train.steps=6 --set run.seed=8
[ "$(consumed "$work/other/step-000006")" != "$whole" ] || fail "another order of the data consumes the same: nothing is seen"
expect_complete "$work/again" 6
grep -q '"name": "provenance.json"' "$work/again/step-000006/manifest.json" || fail "the manifest leaves the provenance out"
say "tokens by corpus: $whole on 1, 2 and 3 ranks and over a restart"

# --- a checkpoint of a version that kept none: its run goes on, and says what it does not know ---
cp -r "$work/again" "$work/old"
rm "$work/old/step-000006/provenance.json"
sed -z 's/{[^{}]*"name": "provenance.json"[^{}]*},[[:space:]]*//' "$work/again/step-000006/manifest.json" \
    >"$work/old/step-000006/manifest.json"
run 1 "$atelier" card "$work/old"
expect_output "has no provenance.json: base model, corpora, tokens and cost were not recorded"
train 0 2 "$work/old" --set train.steps=8
expect "tokens of no corpus" 3072 "$(total "$work/old/step-000008" tokens_not_attributed)"
expect "tokens in all" 4096 "$(total "$work/old/step-000008" tokens)"
run 0 "$atelier" card "$work/old"
expect_output "not counted by corpus.* 3,072 "
# A count that was changed is not believed (the control of the sums).
cp -r "$work/again" "$work/changed"
sed -i 's/"tokens_consumed": [0-9]*/"tokens_consumed": 7/' "$work/changed/step-000006/provenance.json"
run 1 "$atelier" card "$work/changed/step-000006"
expect_output "the corpora add up to 14 tokens, the run to 3072"

# --- from a base model: hash, licence, its own card kept apart ---
mkdir "$work/base"
cp "$work"/on1/step-000006/*.json "$work"/on1/step-000006/model.safetensors "$work/base"
rm "$work/base/manifest.json" "$work/base/provenance.json"
printf -- '---\nlicense: apache-2.0\n---\n# The card of the base model\n' >"$work/base/README.md"
echo "free" >"$work/base/LICENSE"
sed '/^model:/,/^data:/{/^data:/!d}' "$tiny" >"$work/from_model.yaml"
for steps in 2 4 6; do # each start deletes the checkpoint that it was resumed from
    run 0 on_ranks 2 "$atelier" train "$work/from_model.yaml" --set "model.path=$work/base" --set "run.folder=$work/tuned" \
        --set "data.train=$work/fiches.h5" --set "data.valid=$work/fiches-valid.h5" --set train.steps=$steps \
        --set checkpoint.keep=1 --set checkpoint.every_steps=1
done
tuned=$work/tuned/step-000006
hash=$(sha256sum "$work/base/model.safetensors" | cut -d ' ' -f 1)
grep -q "\"sha256\": \"$hash\"" "$tuned/provenance.json" || fail "the hash of the base model is not $hash"
expect_sum "$tuned" 3072
for file in LICENSE README.base.md README.md provenance.json; do
    [ -s "$tuned/$file" ] || fail "the checkpoint of the third start has no '$file'"
done
cmp -s "$tuned/README.base.md" "$work/base/README.md" || fail "the base model's card was changed"
grep -q "The card of the base model" "$tuned/README.md" && fail "the base model's card was copied as the new model's"
grep -q "$hash" "$tuned/README.md" || fail "the card does not name the base model's hash"

# --- the card ---
run 0 "$atelier" card "$tuned" --lang fr
expect_output "^## Données d'entraînement"
expect_output "À compléter"
expect_output "^## Projet : résumé du contenu d'entraînement"
cp "$log" "$work/fr.md"
run 0 "$atelier" card "$work/tuned" --out "$work/en.md" # of a run folder: its newest checkpoint
cmp -s "$work/en.md" "$tuned/README.md" || fail "the card on request is not the one of the checkpoint"
expect "validation told in the card" "$(sed -n 's/.*"event": "validation", "step": 6, "loss": \([0-9.]*\).*/\1/p' "$work/tuned/metrics.jsonl" |
    awk '{ printf "%.3f", $1 }')" \
    "$(sed -n 's/^| Validation loss | \([0-9.]\{5\}\).* at step 6 .*/\1/p' "$work/en.md")"
run 2 "$atelier" card "$tuned" --out "$work/en.md"
expect_output "exists already"
run 2 "$atelier" card "$tuned" --lang de
run 1 "$atelier" card "$work/base"
expect_output "no provenance.json"

# --- exports carry it ---
run 0 "$atelier" export "$tuned" --to hf --out "$work/hf"
for file in README.md README.base.md provenance.json; do
    cmp -s "$tuned/$file" "$work/hf/$file" || fail "'$file' of the export is not the checkpoint's"
done
run 0 "$atelier" export "$tuned" --to gguf --type f32 --out "$work/model.gguf"
run 0 "$atelier" inspect "$work/model.gguf"
expect_output "general.license  *apache-2.0"
expect_output "general.base_model.0.name  *base"
expect_output "general.dataset.1.name  *dialogues"
# A second generation knows of the first.
run 0 "$atelier" train "$work/from_model.yaml" --set "model.path=$work/hf" --set "run.folder=$work/second" \
    --set "data.train=$work/fiches.h5" --set train.steps=1
run 0 "$atelier" card "$work/second"
expect_output "^### Earlier training, in the base model: hf"
say "the card is in the checkpoint and in what was exported; the base model's stands beside it"

python=${ATELIER_VENV:-.venv-light}/bin/python
"$python" -c 'import yaml' 2>/dev/null || python=python3
if ! "$python" -c 'import yaml' 2>/dev/null; then
    say "no Python package yaml: the front matter was not read by another program"
    exit 0
fi
for card in "$work/en.md" "$work/fr.md"; do
    run 0 "$python" -c 'import sys, yaml
text = open(sys.argv[1], encoding="utf-8").read()
empty, front, body = text.split("---\n", 2)
data = yaml.safe_load(front)
assert empty == "" and body.lstrip().startswith("<!--"), text[:40]
assert data["base_model"] == "base" and data["license"] == "apache-2.0", data
assert data["datasets"] == ["AgentPublic/service-public"] and data["language"] == ["fr"], data
assert data["library_name"] == "transformers" and "atelier" in data["tags"], data' "$card"
done
say "the front matter is YAML"
