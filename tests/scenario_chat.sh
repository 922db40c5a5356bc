#!/bin/sh
# scenario_chat.sh - conversations and templates as a user meets them: what cannot be done as asked is one line, never a
# crash and never something else.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario chat
model=data/sample/model

# prepare CODE NAME LINES... - a file of conversations named NAME.jsonl, more lines of the prepare section after it.
prepare() {
    wanted=$1 name=$2
    shift 2
    {
        printf 'prepare:\n  tokenizer: %s\n  output: %s\n' "${tokenizer:-$model}" "$work/$name.h5"
        for line in "$@"; do printf '  %s\n' "$line"; done
        printf '  sources:\n    - {path: %s, licence: x, name: s, chat: true}\n' "$work/$name.jsonl"
    } >"$work/$name.yaml"
    rm -f "$work/$name.h5"
    run "$wanted" "$atelier" prepare "$work/$name.yaml"
}

# copy_model NAME - to be changed.
copy_model() {
    rm -rf "${work:?}/$1"
    cp -r "$model" "$work/$1"
}

ok='{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]}'

# --- what is wrong with a conversation is told with its line; the policy leaves it out and counts it
while IFS='|' read -r name reason line; do
    printf '%s\n%s\n' "$ok" "$line" >"$work/$name.jsonl"
    prepare 1 "$name"
    expect_output "line 2: .*$reason.*on_bad_conversation"
    prepare 0 "$name" 'on_bad_conversation: skip'
    expect_output "line 2: .*$reason.*left out"
    expect_output "documents +1,"
    expect_output "conversations +1"
done <<'LINES'
empty|is empty|{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": " \n"}]}
noanswer|nothing to learn|{"messages": [{"role": "user", "content": "q"}]}
unlearnt|nothing to learn|{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r", "weight": 0}]}
beside|'train' beside the messages|{"train": false, "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]}
question|of the user, is empty|{"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "r"}]}
kwargs|'chat_template_kwargs'|{"chat_template_kwargs": {"enable_thinking": false}, "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]}
none|without messages|{"messages": []}
half|'weight' that is neither|{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r", "weight": 0.5}]}
both|says both|{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r", "weight": 0, "train": true}]}
userone|only the assistant|{"messages": [{"role": "user", "content": "q", "loss_mask": 1}, {"role": "assistant", "content": "r"}]}
role|role 'human'|{"messages": [{"role": "human", "content": "q"}, {"role": "assistant", "content": "r"}]}
norole|no string 'role'|{"messages": [{"content": "q"}, {"role": "assistant", "content": "r"}]}
nocontent|no string 'content'|{"messages": [{"role": "user"}, {"role": "assistant", "content": "r"}]}
parts|several parts|{"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}, {"type": "text", "text": "q"}]}, {"role": "assistant", "content": "r"}]}
calls|'tool_calls'|{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r", "tool_calls": [{"id": 1}]}]}
refusal|'refusal'|{"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r", "refusal": "non"}]}
tools|'tools'.* a file|{"tools": [{"name": "f"}], "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "r"}]}
LINES

# --- what can be written and teaches nothing, or is too long, may be kept: said and counted
for name in empty noanswer unlearnt question; do
    prepare 0 "$name" 'on_bad_conversation: keep'
    expect_output "line 2: .*, kept"
    expect_output "documents +2,"
    expect_output "kept +1 conversations"
done
prepare 1 role 'on_bad_conversation: keep' # not what no template writes
expect_output "line 2: .*role 'human'"
printf '%s\n' "$ok" "${ok%%\"r\"*}\"r r r r r r r r r\"}]}" >"$work/long.jsonl"
prepare 1 long 'max_conversation_tokens: 16'
expect_output "line 2: the conversation has [0-9]+ tokens, more than prepare.max_conversation_tokens, 16"
prepare 0 long 'max_conversation_tokens: 16' 'on_bad_conversation: skip'
expect_output "documents +1,"
prepare 0 long 'max_conversation_tokens: 16' 'on_bad_conversation: keep'
expect_output "documents +2,"
prepare 0 long # control: without a limit nothing is said
! grep -q "more than" "$log" || fail "a conversation is too long without a limit"

# --- the name of who speaks, which this template does not write, is told; that of a tool is not meant; control: without names
printf '%s\n' '{"messages": [{"role": "user", "name": "Jeanne", "content": "q"}, {"role": "assistant", "name": "", "content": "r"}]}' >"$work/named.jsonl"
prepare 0 named
expect_output "names +of 1 messages are left out: the chat template does not write who speaks"
sed 's/"name": "Jeanne", //' "$work/named.jsonl" >"$work/nameless.jsonl"
prepare 0 nameless
! grep -q "^names" "$log" || fail "names are told where there are none"

# --- what a weight of nothing leaves: the same tokens, fewer of them learnt
cat >"$work/weights.jsonl" <<'LINES'
{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b", "train": false}, {"role": "user", "content": "c", "weight": 0}, {"role": "assistant", "content": [{"type": "text", "text": "d"}], "weight": 1, "tool_calls": null}]}
LINES
prepare 0 weights
printf '%s\n' "$ok" >"$work/ok.jsonl"
prepare 0 ok

# --- a template that cannot be run exactly is refused, with the way out
copy_model dated
rm -f "$work/dated/chat_template.jinja"
sed "s/\"chat_template\": \"/&{{ strftime_now('%d') }}/" "$model/tokenizer_config.json" >"$work/dated/tokenizer_config.json"
tokenizer=$work/dated
prepare 1 ok
expect_output "present date.*choose chatml"
prepare 0 ok 'chat_template: chatml'
expect_output "the model's own chat template writes them otherwise"
prepare 1 ok 'date: 2026-02-31'
expect_output "the date '2026-02-31' is not one"
prepare 0 ok 'date: 2026-01-31' 'train_on: all'
run 0 "$atelier" inspect "$work/ok.h5"
expect_output "chat_date +2026-01-31"
expect_output "chat_train_on +all"
tokenizer=$model
prepare 0 ok 'chat_template: chatml' # control: where both write the same, nothing is said
! grep -q otherwise "$log" || fail "a template that is the same is said to differ"

# --- a field that the template reads is written; one that nobody reads does no harm
copy_model named
rm -f "$work/named/chat_template.jinja"
sed "s/'<|im_end|>'/(message['mood'] or '') + &/" "$model/tokenizer_config.json" >"$work/named/tokenizer_config.json"
printf '%s\n' '{"messages": [{"role": "user", "content": "q", "mood": "gay"}, {"role": "assistant", "content": "r"}]}' \
    >"$work/mood.jsonl"
for which in named:16 model:14; do
    tokenizer=$work/named
    [ "$which" = named:16 ] || tokenizer=$model
    prepare 0 mood
    expect_output "documents +1, ${which#*:} tokens"
done

# --- a template in a file of its own counts, for generate as well
copy_model own
sed '/"chat_template"/d' "$model/tokenizer_config.json" >"$work/own/tokenizer_config.json"
run 0 "$atelier" generate "$work/own" --chat auto --prompt Bonjour --max-tokens 3

# --- a template of the user's own choice, from a file
printf '%s' "{% for m in messages %}{{ '<|im_start|>' + m.role + ': ' + m.content + '<|im_end|>' }}{% endfor %}" \
    >"$work/mine.jinja"
prepare 0 ok "chat_template: $work/mine.jinja"
expect_output "written as 'file'.*the model's own chat template writes them otherwise"
run 0 "$atelier" inspect "$work/ok.h5"
expect_output "chat_style +file"
prepare 1 ok "chat_template: $work/none.jinja"
expect_output "none.jinja"
prepare 2 ok "chat_template: alpaca"
expect_output "expected auto .* a path"
run 0 "$atelier" generate "$model" --chat "$work/mine.jinja" --prompt Bonjour --max-tokens 3

# --- a table's columns hold a null for each argument of the other tools: none of them is written, as none is in the lines the table
# is made of; a null of a line is one
printf '%s' "{{ tools | tojson }}{% for m in messages %}{{ '<|im_start|>' + m.role + ': ' + (m.content or '') }}\
{% for c in m.tool_calls or [] %}{{ c | tojson }}{% endfor %}{{ '<|im_end|>' }}{% endfor %}" >"$work/calls.jinja"
# shown NAME FILE - the text of what was prepared of FILE.
shown() {
    cat >"$work/$1.yaml" <<END
prepare:
  tokenizer: $model
  output: $work/$1.h5
  chat_template: $work/calls.jinja
  sources:
    - {path: $2, name: s, chat: true}
END
    run 0 "$atelier" prepare "$work/$1.yaml"
    cp "$log" "$work/$1.log"
    run 0 "$atelier" inspect "$work/$1.h5" --show 2 --tokenizer "$model"
    sed -n '/^sample 0/,$p' "$log" | grep -v '^  read from ' >"$work/$1.shown" # the places differ
}
shown lines tests/golden/parquet/tools.jsonl
shown table tests/golden/parquet/tools.parquet
cmp "$work/lines.shown" "$work/table.shown" || fail "calls of a table are not those of its lines"
grep -q '^nulls  *6 left out of tools and calls' "$work/table.log" || fail "nulls of a table are not counted"
! grep -q '^nulls' "$work/lines.log" || fail "nulls of lines are counted"
sed 's/{"city": "Lyon"}/{"city": "Lyon", "symbol": null}/' tests/golden/parquet/tools.jsonl >"$work/meant.jsonl"
shown meant "$work/meant.jsonl"
! cmp -s "$work/lines.shown" "$work/meant.shown" || fail "a null of a line is not written"

# --- tools, calls, thoughts and several templates: those that have a place in the template are written
copy_model tools
rm -f "$work/tools/chat_template.jinja"
cat >"$work/tools.py" <<'PY'
import json, sys
config = json.load(open(sys.argv[1]))
turns = ("{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}{% if m.reasoning_content %}{{ m.reasoning_content + '\n' }}"
         "{% endif %}{{ m.content or '' }}{% for c in m.tool_calls or [] %}{{ c.function.name }}{% endfor %}{{ '<|im_end|>\n' }}"
         "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")
config["chat_template"] = [{"name": "default", "template": turns}, {"name": "tool_use", "template": "{{ tools | tojson }}" + turns}]
json.dump(config, open(sys.argv[1], "w"))
PY
if command -v python3 >/dev/null; then
    python3 "$work/tools.py" "$work/tools/tokenizer_config.json"
    tokenizer=$work/tools
    cat >"$work/called.jsonl" <<'LINES'
{"tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}], "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": null, "tool_calls": [{"function": {"name": "f"}}]}, {"role": "tool", "content": "3"}, {"role": "assistant", "reasoning_content": "so", "content": "r"}]}
LINES
    sed 's/"name": "f"}}\]/"name": "f", "arguments": {"x": [1e400]}}}]/' "$work/called.jsonl" >"$work/huge.jsonl"
    prepare 1 huge # it would be written as another number, or as a text
    expect_output "line 1: .*message 2 has the field 'tool_calls' with a number that is beyond"
    prepare 0 called
    sed 's/"tools"/"tools2"/' "$work/called.jsonl" >"$work/untold.jsonl" # control: without tools another template writes less
    tokens=$(grep -o '[0-9]* tokens' "$log" | head -n 1)
    prepare 0 untold
    ! grep -q " $tokens" "$log" || fail "tools change nothing"
    python3 -c 'import json,sys; line = json.loads(sys.stdin.read()); line["tools"] = json.dumps(line["tools"]); print(json.dumps(line))' \
        <"$work/called.jsonl" >"$work/string.jsonl" # tools as a string of JSON
    prepare 0 string
    expect_output " $tokens"
    sed 's/"content": "q"/"content": [{"type": "text", "text": "q"}, {"type": "image"}]/' "$work/called.jsonl" >"$work/image.jsonl"
    prepare 1 image
    expect_output "line 1: message 1 has a content .*of other than text"
    sed 's/"reasoning_content"/"reasoning"/' "$work/called.jsonl" >"$work/thought.jsonl" # another name of the same
    prepare 0 thought
    expect_output " $tokens"
    tokenizer=$model
fi

# --- no end-of-sequence token is asked for where only conversations are written
copy_model endless
sed '/"eos_token"/d' "$model/tokenizer_config.json" >"$work/endless/tokenizer_config.json"
tokenizer=$work/endless
prepare 0 ok
printf '{"text": "un"}\n' >"$work/text.jsonl"
printf 'prepare:\n  tokenizer: %s\n  output: %s\n  sources:\n    - {path: %s, licence: x, name: s}\n' "$tokenizer" \
    "$work/text.h5" "$work/text.jsonl" >"$work/text.yaml"
run 1 "$atelier" prepare "$work/text.yaml"
expect_output "no end-of-sequence token .*prepare.document_ends"
tokenizer=$model

# --- a bos that the template uses as a marker is said, where documents get it
copy_model marked
sed 's/"bos_token": ".*"/"bos_token": "<|im_start|>"/' "$model/tokenizer_config.json" >"$work/marked/tokenizer_config.json"
printf '{"text": "un"}\n' >"$work/text.jsonl"
for which in marked:0 plain:1; do
    tokenizer=$model
    [ "$which" = plain:1 ] || tokenizer=$work/marked
    printf 'prepare:\n  tokenizer: %s\n  output: %s\n  sources:\n    - {path: %s, licence: x, name: s}\n' "$tokenizer" \
        "$work/text.h5" "$work/text.jsonl" >"$work/text.yaml"
    run 0 "$atelier" prepare "$work/text.yaml"
    grep -q "chat template opens turns" "$log"
    expect "$which: the marker is said" "${which#*:}" "$?"
done
tokenizer=$model

# --- what was learnt is what engines stop at: a base model tuned on conversations
# tune NAME MODEL DATA - two steps; the checkpoint is $work/NAME/step-000002.
tune() {
    printf 'run: {folder: %s, threads: 1}\nmodel: {path: %s}\ntrain: {steps: 2, batch_sequences: 2}\n' "$work/$1" "$2" \
        >"$work/$1.train.yaml"
    printf 'data: {train: %s, sequence_tokens: 64}\ncheckpoint: {every_steps: 1}\n' "$3" >>"$work/$1.train.yaml"
    run 0 "$atelier" train "$work/$1.train.yaml"
}
prepare_chats() {
    cp data/sample/conversations.jsonl "$work/chats.jsonl"
    prepare 0 chats "$@"
}
prepare_chats
tune tuned "$model" "$work/chats.h5"
expect_output "conversations end the assistant's turn with '<.im_end.>' .4094.*beside 4092"
tuned=$work/tuned/step-000002
for file in generation_config.json config.json; do
    expect "$file" '[4094,4092]' "$(tr -d ' \n' <"$tuned/$file" | grep -o '"eos_token_id":[^]]*]' | cut -d: -f2)"
done
grep -q '"eos_token": "<|im_end|>"' "$tuned/tokenizer_config.json" || fail "tokenizer_config.json names another end"
run 0 "$atelier" export "$tuned" --to gguf --out "$work/tuned.gguf"
run 0 "$atelier" inspect "$work/tuned.gguf"
expect_output "eos_token_id +4094"
expect_output "eot_token_id +4092"
run 0 "$atelier" export "$tuned" --to hf --out "$work/tuned-hf"
cmp "$tuned/generation_config.json" "$work/tuned-hf/generation_config.json" || fail "the export has other end tokens"
printf '{"text": "un deux trois quatre cinq six sept huit neuf dix"}\n' >"$work/plain.jsonl"
printf 'prepare:\n  tokenizer: %s\n  output: %s\n  sources:\n    - {path: %s, licence: x, name: s}\n' "$model" \
    "$work/plain.h5" "$work/plain.jsonl" >"$work/plain.yaml"
run 0 "$atelier" prepare "$work/plain.yaml"
tune plain "$model" "$work/plain.h5" # control: text alone changes nothing
cmp "$work/plain/step-000002/generation_config.json" "$model/generation_config.json" ||
    fail "training on text changed the end tokens"

# --- conversations written in two ways are not mixed; the same way under two names is one
copy_model begins
rm -f "$work/begins/chat_template.jinja"
sed 's/"chat_template": "/&{{ bos_token }}/' "$model/tokenizer_config.json" >"$work/begins/tokenizer_config.json"
for which in begins:2 model:0; do
    tokenizer=$work/begins
    [ "$which" = begins:2 ] || tokenizer=$model
    prepare_chats
    mv "$work/chats.h5" "$work/own.h5"
    prepare_chats 'chat_template: chatml'
    printf 'run: {folder: %s, threads: 1}\nmodel: {path: %s}\ntrain: {steps: 1, batch_sequences: 2}\n' "$work/mix-$which" \
        "$tokenizer" >"$work/mix.yaml"
    printf 'data: {train: [{path: %s}, {path: %s}], sequence_tokens: 64}\n' "$work/own.h5" "$work/chats.h5" >>"$work/mix.yaml"
    run "${which#*:}" "$atelier" train "$work/mix.yaml"
    [ "$which" != begins:2 ] || expect_output "written in different ways .'own' and 'chatml'"
done
tokenizer=$model

# --- the template goes into a model that has none, and the class of the tokenizer into one that keeps its pipeline
copy_model base
rm -f "$work/base/chat_template.jinja"
sed -e '/"chat_template"/d' -e 's/PreTrainedTokenizerFast/LlamaTokenizer/' "$model/tokenizer_config.json" \
    >"$work/base/tokenizer_config.json"
tokenizer=$work/base
prepare 1 chats
expect_output "has no chat template"
prepare_chats 'chat_template: chatml'
tune based "$work/base" "$work/chats.h5"
expect_output "the model has no chat template: the checkpoints get that of the data, 'chatml'"
expect_output "tokenizer_class 'LlamaTokenizer' is written as 'PreTrainedTokenizerFast'"
based=$work/based/step-000002
grep -q "im_start" "$based/chat_template.jinja" || fail "no chat template in the checkpoint"
grep -q '"chat_template": ".*im_start' "$based/tokenizer_config.json" || fail "no chat template in tokenizer_config.json"
grep -q '"tokenizer_class": "PreTrainedTokenizerFast"' "$based/tokenizer_config.json" || fail "the class is kept"
run 0 "$atelier" generate "$based" --chat auto --prompt Bonjour --max-tokens 3
run 0 "$atelier" export "$work/base" --to hf --out "$work/base-hf"
expect_output "tokenizer_class 'LlamaTokenizer'"
run 0 "$atelier" export "$model" --to hf --out "$work/model-hf"
! grep -q tokenizer_class "$log" || fail "a class that is kept is said to change"
tokenizer=$model

# --- what GGUF cannot say of added tokens is noted
copy_model strips
tr -d '\n' <"$model/tokenizer.json" | sed 's/\("content": *"<|pad|>"[^}]*"lstrip": *\)false/\1true/' >"$work/strips/tokenizer.json"
grep -q '"lstrip": *true' "$work/strips/tokenizer.json" || fail "no lstrip in the changed tokenizer"
run 0 "$atelier" export "$work/strips" --to gguf --out "$work/strips.gguf"
expect_output "1 added token, '<.pad.>' first.*lstrip, rstrip, single_word"
run 0 "$atelier" export "$model" --to gguf --out "$work/model.gguf"
! grep -q "added token" "$log" || fail "tokens without such flags are noted"

# --- generate
copy_model bare
rm -f "$work/bare/chat_template.jinja"
sed '/"chat_template"/d' "$model/tokenizer_config.json" >"$work/bare/tokenizer_config.json"
run 2 "$atelier" generate "$work/bare" --chat auto --prompt Bonjour --max-tokens 3
expect_output "error: --chat 'auto' of '.*bare': the tokenizer has no chat template"
run 0 "$atelier" generate "$work/bare" --chat chatml --prompt Bonjour --max-tokens 3
run 0 "$atelier" generate "$model" --chat auto --prompt Bonjour --max-tokens 3
run 2 "$atelier" generate "$model"
expect_output "error: no prompt: give --prompt TEXT"

# --- small words
run 0 "$atelier" help help
expect_output "usage: atelier help"
run 0 "$atelier" inspect "$model/tokenizer.json"
for type in auto torch.bfloat16; do
    copy_model typed
    sed -e '/"torch_dtype"/d' -e "s/\"dtype\": \"[a-z0-9]*\"/\"dtype\": \"$type\"/" "$model/config.json" >"$work/typed/config.json"
    grep -q "\"$type\"" "$work/typed/config.json" || fail "no dtype in the sample's config.json"
    run 0 "$atelier" generate "$work/typed" --prompt a --max-tokens 1
done
copy_model pointers
pointer='version https://git-lfs.github.com/spec/v1
oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
size 12345'
printf '%s\n' "$pointer" >"$work/pointers/model.safetensors"
run 2 "$atelier" generate "$work/pointers" --prompt a
expect_output "is a git-lfs pointer"
for name in config.json x.gguf x.h5 x.safetensors; do
    printf '%s\n' "$pointer" >"$work/$name"
    run 1 "$atelier" inspect "$work/$name"
    expect_output "$name' is a git-lfs pointer"
done
printf '%s\n' "$pointer" >"$work/pointer.jsonl"
prepare 1 pointer
expect_output "is a git-lfs pointer"
say "conversations and templates: said, counted or refused"
