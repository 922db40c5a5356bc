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

# --- tokens added ---
cat >"$work/new.jsonl" <<'END'
{"text": "Le <pv> est joint au <dossier> ; chaque <pv> est signé par le greffier."}
{"text": "Un <dossier> sans <pv> n'est pas complet, et le tribunal le renvoie."}
{"text": "Le juge lit le <pv> du <dossier> avant l'audience publique."}
END
cat >"$work/new.yaml" <<'END'
model:
  add_tokens: [<pv>, <dossier>]
  add_special_tokens: ["<|juge|>"]
train:
  batch_sequences: 3
  micro_sequences: 1
data:
  sequence_tokens: 16
schedule:
  kind: constant
run:
  threads: 1
  log_every: 1
END
# with_new WANTED_CODE RANKS FOLDER [ARGUMENT]... - a base model and tokens beside it.
with_new() {
    new_code=$1 new_ranks=$2 new_folder=$3
    shift 3
    run "$new_code" on_ranks "$new_ranks" "$atelier" train "$work/new.yaml" --set "run.folder=$new_folder" \
        --set "data.train=$work/new.h5" --set "model.path=$work/base" "$@"
}
prepare_new() {
    run "$1" "$atelier" prepare "$work/new.yaml" --set "prepare.tokenizer=$2" --set "prepare.output=$3" \
        --set "prepare.sources=[{path: $work/new.jsonl}]" --set prepare.min_tokens=1
}
prepare_new 0 "$work/base" "$work/new.h5"
# A step that changes next to nothing: what is saved is what the run began with, the same bits on any number of ranks.
for ranks in 0 2 3; do
    with_new 0 $ranks "$work/still-$ranks" --set train.steps=1 --set optimizer.learning_rate=1e-12 \
        --set optimizer.weight_decay=0 --set "parallel.stage=$ranks"
    expect_output "tokens added: ids 4096 to 4098; their rows begin at the mean of the 4096 rows before, 0 of them were padding, the embedding grows from 4096 to 4099 rows"
    cmp "$work/still-0/step-000001/model.safetensors" "$work/still-$ranks/step-000001/model.safetensors" ||
        fail "$ranks ranks begin with other weights"
done
grown=$work/still-0/step-000001
expect "rows" 4099 "$(rows "$grown")"
python3 - "$work/base" "$grown" <<'END' || fail "the rows of the added tokens"
import array, json, math, pathlib, struct, sys
def embedding(folder):
    data = (pathlib.Path(folder) / "model.safetensors").read_bytes()
    size, = struct.unpack("<Q", data[:8])
    entry = json.loads(data[8:8 + size])["model.embed_tokens.weight"]
    assert entry["dtype"] == "F32"
    values = array.array("f", data[8 + size + entry["data_offsets"][0]:8 + size + entry["data_offsets"][1]])
    return entry["shape"], values
(rows, width), base = embedding(sys.argv[1])
shape, grown = embedding(sys.argv[2])
assert shape == [rows + 3, width], shape
assert all(abs(a - b) <= 2e-12 for a, b in zip(grown, base))  # the step moves each by 1e-12 at most
for column in range(width):
    mean = math.fsum(base[column::width]) / rows
    for row in range(rows, rows + 3):
        got = grown[row * width + column]
        assert abs(got - mean) <= 1e-7 * abs(mean) + 2e-12, (row, column, got, mean)
        assert got != base[(rows - 1) * width + column]  # the control: no other row is taken for it
tokenizer = json.load(open(sys.argv[2] + "/tokenizer.json"))
assert [(t["id"], t["content"], t["special"]) for t in tokenizer["added_tokens"][-3:]] == \
    [(4096, "<pv>", False), (4097, "<dossier>", False), (4098, "<|juge|>", True)]
assert json.load(open(sys.argv[2] + "/tokenizer_config.json"))["added_tokens_decoder"]["4098"]["special"] is True
assert json.load(open(sys.argv[2] + "/provenance.json"))["model"]["added_tokens"] == ["<pv>", "<dossier>", "<|juge|>"]
END
grep -q 'Tokens added to the vocabulary: .*pv.*dossier.*juge' "$grown/README.md" || fail "the model card does not name the added tokens"
say "3 tokens added: the same bits on 1, 2 and 3 ranks, their rows the mean of the others"

# Trained, stopped, gone on with: the same bits; another list is another run.
with_new 0 0 "$work/straight" --set train.steps=4
with_new 0 0 "$work/halves" --set train.steps=2
with_new 2 2 "$work/halves" --set train.steps=4 --set "model.add_tokens=[<pv>]"
expect_output 'was trained with model.add_tokens .*<pv>.*<dossier>.*, the run file now says .*<pv>.*: it would be another run'
with_new 2 0 "$work/halves" --set train.steps=4 --set model.add_special_tokens=null
with_new 0 0 "$work/halves" --set train.steps=4
! grep -q "tokens added" "$log" || fail "a run that goes on adds tokens again"
cmp "$work/straight/step-000004/model.safetensors" "$work/halves/step-000004/model.safetensors" || fail "weights differ after a resume"
for form in hf gguf; do
    exported=$work/new-$form
    [ $form = hf ] || exported=$exported.gguf
    run 0 "$atelier" export "$work/straight/step-000004" --to $form --type f32 --out "$exported"
    expect_output "read back, its logits differ"
    prepare_new 1 "$exported" "$work/again.h5" # it has them
    expect_output "model.add_tokens: tokenizer '.*': '<pv>' cannot be added: it is token 4096 already; leave it out of the list"
    run 0 "$atelier" prepare "$work/new.yaml" --set "prepare.tokenizer=$exported" --set "prepare.output=$work/again.h5" \
        --set "prepare.sources=[{path: $work/new.jsonl}]" --set model.add_tokens=null --set model.add_special_tokens=null
    run 0 "$atelier" eval "$work/straight/step-000004" --data "$work/again.h5" # the same tokenizer, by its hash
done
say "a resume gives the same bits, another list is refused, both exports have the tokens"

# Token files of another vocabulary are refused, either way.
run 2 "$atelier" train "$work/from_model.yaml" --set "run.folder=$work/refused" --set "data.train=$work/new.h5" --set "model.path=$work/base"
expect_output "token file '.*new.h5' has a vocabulary of 4099, the model one of 4096; .*model.add_tokens"
with_new 2 0 "$work/refused" --set "data.train=$work/fiches.h5"
expect_output "another tokenizer than the model's: .*, and the same model.add_tokens"
with_new 2 0 "$work/refused" --set "model.add_tokens=[<pv>, <|pad|>]"
expect_output "'<|pad\|>' cannot be added: it is token 4095 already"
run 2 "$atelier" plan "$work/new.yaml" --set "data.train=$work/new.h5" --set "model.path=$work/base" --set "model.add_tokens=[<pv>, <pv>]"
expect_output "'model.add_tokens' has '<pv>', which is listed before"
run 0 "$atelier" plan "$work/new.yaml" --ranks 1 --set "data.train=$work/new.h5" --set "model.path=$work/base"
expect_output "4099"
# Files of the base that list its tokens alone are not copied beside the others.
cp -r "$work/base" "$work/lists"
echo '{"<x>": 1}' >"$work/lists/added_tokens.json"
echo '{}' >"$work/lists/preprocessor_config.json"
with_new 0 0 "$work/listed" --set train.steps=1 --set "model.path=$work/lists"
expect_output "the base's added_tokens.json, which lacks them, is not copied"
[ ! -e "$work/listed/step-000001/added_tokens.json" ] || fail "a list without the added tokens was copied"
[ -e "$work/listed/step-000001/preprocessor_config.json" ] || fail "another small file was not copied"
# A tokenizer that was extended by hand: its tokens get rows.
run 0 "$atelier" prepare "$work/new.yaml" --set "prepare.tokenizer=$work/short" --set "prepare.output=$work/named.h5" \
    --set "prepare.sources=[{path: $work/new.jsonl}]" --set "model.add_tokens=[<new>, <newer>]" --set model.add_special_tokens=null
with_new 0 0 "$work/named" --set train.steps=1 --set "model.path=$work/short" --set "data.train=$work/named.h5" \
    --set "model.add_tokens=[<newer>, <new>]" --set model.add_special_tokens=null
expect "rows" 4098 "$(rows "$work/named/step-000001")"
# Padding rows come first: two of the three tokens take those that are there.
train 0 0 "$work/two-rows" --set train.steps=1 --set model.architecture.vocab_size=4098
with_new 0 0 "$work/padding" --set train.steps=1 --set "model.path=$work/two-rows"
expect_output "the mean of the 4096 rows before, 2 of them were padding, the embedding grows from 4098 to 4099 rows"
# A new model has them from its beginning, and goes on with them.
for steps in 1 2; do
    train 0 0 "$work/born" --set train.steps=$steps --set "data.train=$work/new.h5" --set data.valid=null \
        --set data.sequence_tokens=16 --set train.batch_sequences=2 --set "model.add_tokens=[<pv>, <dossier>]" \
        --set "model.add_special_tokens=[<|juge|>]"
done
expect_output "resumed from"
expect "rows" 4099 "$(rows "$work/born/step-000002")"
train 2 0 "$work/small" --set model.architecture.vocab_size=4000
expect_output "model.architecture.vocab_size is 4000, fewer rows than '.*' has tokens \(4096\)"
say "token files of another vocabulary are refused; padding rows come first; a new model may add tokens too"

# --- the head: the embedding, or a matrix of its own ---
first_loss() {
    losses "$1" | head -n 1
}
still="--set train.steps=1 --set optimizer.learning_rate=1e-12 --set optimizer.weight_decay=0 --set model.add_tokens=null
    --set model.add_special_tokens=null --set data.train=$work/fiches.h5"
# shellcheck disable=SC2086 # words between spaces
for ranks in 0 2; do
    with_new 0 $ranks "$work/apart-$ranks" $still --set model.tied_head=false
    expect_output "model.tied_head: the head begins as a copy of the embedding, and is trained apart from it"
    cmp "$work/apart-0/step-000001/model.safetensors" "$work/apart-$ranks/step-000001/model.safetensors" || fail "$ranks ranks: other bits"
done
apart=$work/apart-0/step-000001
grep -q '"tie_word_embeddings": false' "$apart/config.json" || fail "config.json says that the head is tied"
grep -aq 'lm_head.weight' "$apart/model.safetensors" || fail "the head is not in the checkpoint"
# shellcheck disable=SC2086
with_new 0 0 "$work/tied" $still
! grep -q "tied_head" "$log" || fail "something is said of a head that stays as it is"
! grep -aq 'lm_head.weight' "$work/tied/step-000001/model.safetensors" || fail "a tied model has a head of its own"
expect "first loss, with a copy for the head" "$(first_loss "$work/tied")" "$(first_loss "$work/apart-0")"
# Back again, while they are equal; a run that trained them apart cannot be tied.
cp -r "$apart" "$work/equal" && rm -rf "$work/equal/state" "$work/equal/manifest.json"
edit "$work/equal/config.json" 'root["tie_word_embeddings"] = False'
python3 - "$work/equal/model.safetensors" <<'END' || fail "the head was not made equal"
import json, struct, sys
data = bytearray(open(sys.argv[1], "rb").read())
size, = struct.unpack("<Q", data[:8])
header, at = json.loads(data[8:8 + size]), 8 + size
(a, b), (c, d) = (header[name]["data_offsets"] for name in ("model.embed_tokens.weight", "lm_head.weight"))
data[at + c:at + d] = data[at + a:at + b]
open(sys.argv[1], "wb").write(data)
END
# shellcheck disable=SC2086
for ranks in 0 2; do
    with_new 0 $ranks "$work/back-$ranks" $still --set model.tied_head=true --set "model.path=$work/equal"
    expect_output "model.tied_head: the head, equal to the embedding, is the embedding from here on"
    ! grep -aq 'lm_head.weight' "$work/back-$ranks/step-000001/model.safetensors" || fail "the head is still there"
done
expect "first loss, tied again" "$(first_loss "$work/tied")" "$(first_loss "$work/back-0")"
# shellcheck disable=SC2086
with_new 0 0 "$work/moved" $still --set model.tied_head=false --set train.steps=2 --set optimizer.learning_rate=1e-3
# shellcheck disable=SC2086
for ranks in 0 2; do
    with_new 2 $ranks "$work/refused" $still --set model.tied_head=true --set "model.path=$work/moved/step-000002"
    expect_output "model.tied_head is true, yet in '.*': the stored head differs from the embedding in [0-9]+ of 4096 rows, first row [0-9]+"
done
# shellcheck disable=SC2086
with_new 2 0 "$work/moved" $still --set train.steps=4 --set optimizer.learning_rate=1e-3
expect_output "was trained with model.tied_head false, the run file now says auto: it would be another run"
with_new 0 0 "$work/both" --set train.steps=1 --set model.tied_head=false # with tokens that are added: the mean in both
expect "rows" 4099 "$(rows "$work/both/step-000001")"
for form in hf gguf; do
    exported=$work/both-$form
    [ $form = hf ] || exported=$exported.gguf
    run 0 "$atelier" export "$work/both/step-000001" --to $form --type f32 --out "$exported"
    expect_output "read back, its logits differ"
    grep -aqE 'lm_head.weight|output.weight' "$exported" 2>/dev/null || grep -aq 'lm_head.weight' "$exported/model.safetensors" ||
        fail "'$exported' has no head of its own"
done
run 2 "$atelier" train "$tiny" --set "run.folder=$work/refused" --set "data.train=$work/fiches.h5" --set model.tied_head=false
expect_output "'model.tied_head' is false, which would have no effect: it is read only with model.path"
say "the head untied and tied again: the same first loss, what differs is refused, both exports follow"

# Both of the two in a folder, or neither.
edit "$work/equal/config.json" 'root["tie_word_embeddings"] = True'
run 0 "$atelier" generate "$work/equal" --prompt Le --max-tokens 1
expect_output "^warning: '.*equal' stores the head beside the embedding that it is tied to: they are equal, one of them is kept"
# lacks MODEL TIED NAME PATTERN - a tensor under another name is not there.
lacks() {
    rm -rf "$work/lacks" && cp -r "$1" "$work/lacks"
    edit "$work/lacks/config.json" "root['tie_word_embeddings'] = $2"
    sed "s/$3/$(printf %s "$3" | tr e x)/" "$1/model.safetensors" >"$work/lacks/model.safetensors"
    run 2 "$atelier" generate "$work/lacks" --prompt Le
    expect_output "^error: model '.*lacks': $4"
}
lacks "$work/equal" False lm_head.weight "tensor 'lm_head.weight' is missing, and tie_word_embeddings is false: set it to true"
lacks "$work/equal" True model.embed_tokens.weight "tensor 'model.embed_tokens.weight' is missing, and tie_word_embeddings is true: 'lm_head.weight' alone is there"
lacks "$work/base" True model.embed_tokens.weight "tensor 'model.embed_tokens.weight' is missing, and so is 'lm_head.weight'"
say "both, or neither, of embedding and head in a folder: said in a line"

# --- a base that has tekken.json and no tokenizer.json ---
golden=tests/golden/tekken
run 0 "$atelier" prepare "$tiny" --set "prepare.tokenizer=$golden" --set "prepare.output=$work/tekken.h5"
run 0 "$atelier" prepare "$tiny" --set "prepare.tokenizer=$golden/tekken.json" --set "prepare.output=$work/tekken2.h5"
cmp "$work/tekken.h5" "$work/tekken2.h5" || fail "the file and its folder give different token files"
train 0 0 "$work/new-tekken" --set "model.tokenizer=$golden" --set "data.train=$work/tekken.h5" --set data.valid=null --set train.steps=1
cp -r "$work/new-tekken/step-000001" "$work/tekken"
rm -rf "$work/tekken/state" "$work/tekken/manifest.json" "$work/tekken"/tokenizer*.json
cp "$golden/tekken.json" "$work/tekken"
go_tekken() {
    go_code=$1 go_folder=$2
    shift 2
    run "$go_code" "$atelier" train "$work/from_model.yaml" --set "run.folder=$go_folder" --set "data.train=$work/tekken.h5" \
        --set "model.path=$work/tekken" --set data.valid=null --set train.steps=2 "$@"
}
go_tekken 0 "$work/from-tekken" --set train.steps=1
go_tekken 0 "$work/from-tekken"
expect_output "resumed from"
made=$work/from-tekken/step-000002
cmp "$golden/tekken.json" "$made/tekken.json" || fail "tekken.json was not copied"
[ -s "$made/tokenizer.json" ] || fail "the checkpoint has no tokenizer.json"
run 0 "$atelier" export "$made" --to hf --type f32 --out "$work/tekken-hf"
cmp "$golden/tekken.json" "$work/tekken-hf/tekken.json" || fail "tekken.json was not exported"
for model in "$work/tekken" "$work/tekken-hf"; do
    run 0 "$atelier" export "$model" --to gguf --type f32 --out "$work/tekken.gguf"
    expect_output "read back, its logits differ"
    run 0 "$atelier" eval "$work/tekken.gguf" --data "$work/tekken.h5" # the same tokenizer, by its hash
    grep -aq 'tokenizer.ggml.pre.*tekken' "$work/tekken.gguf" || fail "the GGUF file names another procedure"
    rm "$work/tekken.gguf"
done
run 0 "$atelier" plan "$work/from_model.yaml" --ranks 1 --set "data.train=$work/tekken.h5" --set "model.path=$work/tekken"
run 0 "$atelier" inspect "$golden/tekken.json" --json
expect "tokens of tekken.json" 724 "$(json_number vocab_size "$log")"
# Beside a tokenizer.json: that is read, and said where the two are not one.
cp "$work/tekken-hf/tokenizer.json" "$work/tekken"
go_tekken 0 "$work/twins"
! grep -q "tekken.json" "$log" || fail "two forms of one tokenizer are told to differ"
sed 's/"default_vocab_size":724/"default_vocab_size":723/' "$golden/tekken.json" >"$work/tekken/tekken.json"
go_tekken 0 "$work/not-twins"
expect_output "tekken.json' is not the tokenizer of tokenizer.json, which is read \(it has 723 tokens, tokenizer.json 724\)"
rm "$work/tekken/tokenizer.json"
go_tekken 2 "$work/refused"
expect_output "error: .*another tokenizer than the model's|has a vocabulary of 724, the model one of"
# Tokens added: tekken.json cannot hold them.
cp "$golden/tekken.json" "$work/tekken"
run 0 "$atelier" prepare "$work/new.yaml" --set "prepare.tokenizer=$work/tekken" --set "prepare.output=$work/tekken-new.h5" \
    --set "prepare.sources=[{path: $work/new.jsonl}]"
with_new 0 0 "$work/tekken-new" --set train.steps=1 --set "model.path=$work/tekken" --set "data.train=$work/tekken-new.h5"
expect_output "the base's tekken.json, which lacks them, is not copied"
[ ! -e "$work/tekken-new/step-000001/tekken.json" ] || fail "a tekken.json without the added tokens was copied"
say "tekken.json: read, copied, made into tokenizer.json and GGUF; beside tokenizer.json what differs is said"
end_scenario
