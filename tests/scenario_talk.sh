#!/bin/sh
# scenario_talk.sh - a conversation in the terminal: an answer follows from all that was said, as `generate --messages` of the same
# messages writes it; /reset, /exit, end of input; Ctrl-C ends an answer and not the program; what no longer fits is said.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario talk
model=data/sample/model
greedy='--temperature 0 --max-tokens 12'

# talk CODE [OPTION]... - the lines of $work/input are said; answers to $work/answers, the rest to $log.
talk() {
    wanted=$1
    shift
    # shellcheck disable=SC2086 # two words each
    "$atelier" chat "$model" $greedy "$@" <"$work/input" >"$work/answers" 2>"$log"
    expect "code of chat $*" "$wanted" "$?"
}

# answered FILE.json [OPTION]... - what generate makes of these messages.
answered() {
    file=$1
    shift
    # shellcheck disable=SC2086
    "$atelier" generate "$model" $greedy --messages "$file" "$@" 2>"$log" || fail "generate --messages $file"
}

# --- the second answer knows the first; after /reset it does not.  An answer may have several lines: what more is said is cut off
printf 'Bonjour\n' >"$work/input"
talk 0
first=$(cat "$work/answers")
printf 'Encore une fois' >"$work/input"
talk 0 # the end of input, and no line's end
alone=$(cat "$work/answers")
printf 'Bonjour\nEncore une fois\n/reset\nEncore une fois\n/exit\nnot said\n' >"$work/input"
talk 0
expect_output "^note: a new conversation"
said=$(cat "$work/answers")
after_first=${said#"$first
"}
second=${after_first%"
$alone"}
[ -n "$first" ] || fail "no answer"
expect "all answers" "$first
$second
$alone" "$said"
[ "$second" != "$alone" ] || fail "the conversation before changes nothing: '$second'"
quoted=$(printf '%s\n' "$first" | sed 's/["\\]/\\&/g' | awk 'NR > 1 { printf "\\n" } { printf "%s", $0 }')
printf '[{"role": "user", "content": "Bonjour"}, {"role": "assistant", "content": "%s"}, {"role": "user", "content": "Encore une fois"}]' \
    "$quoted" >"$work/both.json"
printf '{"messages": [{"role": "user", "content": "Encore une fois"}]}' >"$work/alone.json"
expect "the second answer" "$(answered "$work/both.json")" "$second"
expect "the answer after /reset" "$(answered "$work/alone.json")" "$alone"
expect "of standard input" "$(answered "$work/alone.json")" "$(answered - <"$work/alone.json")"
say "a conversation: each answer follows from all turns, as generate writes it; /reset, /exit, end of input"

# --- the system's message
printf 'Encore une fois\n' >"$work/input"
talk 0 --system "Tu es un chat."
expect "with a system" "$(answered "$work/alone.json" --system "Tu es un chat.")" "$(cat "$work/answers")"
[ "$(cat "$work/answers")" != "$alone" ] || fail "the system's message changes nothing"
printf '[{"role": "system", "content": "x"}, {"role": "user", "content": "y"}]' >"$work/system.json"
run 2 "$atelier" generate "$model" --messages "$work/system.json" --system z
expect_output "begins with a message of the system: leave out --system"
for nothing in '[]' '{"messages": []}'; do # the message of --system alone is no conversation of the file
    printf '%s' "$nothing" >"$work/nothing.json"
    run 2 "$atelier" generate "$model" --messages "$work/nothing.json" --chat chatml --system z
    expect_output "error: '.*nothing.json' has no messages"
done
run 2 "$atelier" generate "$model" --prompt a --system z
expect_output "give --chat auto too"

# --- prompts of files, and what is wrong with them
printf 'La carte' >"$work/prompt.txt"
for words in "--prompt-file $work/prompt.txt" "--prompt-file -"; do
    # shellcheck disable=SC2086
    "$atelier" generate "$model" $greedy $words <"$work/prompt.txt" >"$work/text" 2>"$log" || fail "generate $words"
    expect "$words" "$("$atelier" generate "$model" --temperature 0 --max-tokens 12 --prompt "La carte")" "$(cat "$work/text")"
done
# The line end that closes a file is not part of it; control: one more is.
for end in '\n' '\r\n'; do
    printf 'La carte%b' "$end" >"$work/ended.txt"
    expect "a prompt with a closing line end" "$(cat "$work/text")" "$("$atelier" generate "$model" --temperature 0 --max-tokens 12 --prompt-file "$work/ended.txt")"
done
printf 'La carte\n\n' >"$work/ended.txt"
[ "$("$atelier" generate "$model" --temperature 0 --max-tokens 12 --prompt-file "$work/ended.txt")" != "$(cat "$work/text")" ] ||
    fail "a prompt that ends with an empty line is the same as without"
: >"$work/empty.txt"
echo >"$work/line.txt"
run 2 "$atelier" generate "$model" --prompt ""
expect_output "^error: the prompt of --prompt is empty: there is nothing to go on from"
for file in empty line; do
    run 2 "$atelier" generate "$model" --prompt-file "$work/$file.txt" --chat auto
    expect_output "^error: the prompt of '.*$file.txt' is empty"
done
# A name of the Hub, and a folder of older files: the way out; control: another path that is not there says no such thing.
run 2 "$atelier" generate org/model-1B --prompt a
expect_output "'org/model-1B': No such file.*nothing is downloaded.*hf download"
adapt org/model-1B
run 2 "$atelier" plan "$tiny" --ranks 1
expect_output "nothing is downloaded"
run 2 "$atelier" generate "$work/org/model-1B" --prompt a
! grep -q 'downloaded' "$log" || fail "a path is taken for a name of the Hub"
mkdir -p "$work/older" && cp "$model/config.json" "$work/older" && : >"$work/older/pytorch_model.bin"
run 2 "$atelier" generate "$work/older" --prompt a
expect_output "neither model.safetensors nor .*; pytorch_model.bin is not read.*save_pretrained"
printf '\357\273\277La carte' >"$work/marked.txt" # a byte order mark is no text
expect "a prompt after a byte order mark" "$(cat "$work/text")" "$("$atelier" generate "$model" --temperature 0 --max-tokens 12 --prompt-file "$work/marked.txt")"
{ printf '\357\273\277' && cat "$work/alone.json"; } >"$work/marked.json"
expect "messages after a byte order mark" "$(answered "$work/alone.json")" "$(answered "$work/marked.json")"
run 2 "$atelier" chat "$model" --adapter "$work/none"
expect_output "error: '.*none' is not there"
run 2 "$atelier" generate "$model"
expect_output "no prompt: give --prompt TEXT, --prompt-file FILE or --messages FILE"
run 2 "$atelier" generate "$model" --prompt a --prompt-file b
expect_output "exclude each other"
run 2 "$atelier" generate "$model" --prompt-file "$work/none"
expect_output "cannot open .*none"
while IFS='|' read -r reason messages; do
    printf '%s' "$messages" >"$work/bad.json"
    run 2 "$atelier" generate "$model" --messages "$work/bad.json"
    expect_output "error: .*$reason"
done <<'LINES'
has no messages|[]
message 1 of .*bad.json.*has 'tool_calls', which is not read here|[{"role": "assistant", "content": "", "tool_calls": []}]
message 2 of .*bad.json.*content|[{"role": "user", "content": "a"}, {"role": "user"}]
does not write 'tools'|{"messages": [{"role": "user", "content": "a"}], "tools": []}
has 'thinking', which the chat template|{"messages": [{"role": "user", "content": "a"}], "chat_template_kwargs": {"thinking": true}}
has 'message', which is not read here|{"messages": [{"role": "user", "content": "a"}], "message": "b"}
bad.json|{"messages": [
LINES
say "prompts of files and of standard input; messages: what is not read is refused by name"

# --- other commands than the two are told; // begins a message
printf '/quit\n//quit\n' >"$work/input"
talk 0
expect_output "'/quit' is not a command"
expect "notes" 1 "$(grep -c . "$log")"
[ -s "$work/answers" ] || fail "a message with // has no answer"
run 2 "$atelier" chat "$model" --adapter a --base b
expect_output "give one of them"

# --- a model without a tokenizer is not asked
cp -r "$model" "$work/mute"
rm "$work/mute/tokenizer.json"
for words in "generate $work/mute --prompt a" "chat $work/mute"; do
    # shellcheck disable=SC2086 # words
    run 2 "$atelier" $words
    expect_output "error: .*mute' has neither tokenizer.json nor tekken.json: it cannot read or write text"
done

# --- what no longer fits is left out, and said: 1024 positions
long=$(head -c 1500 data/sample/fiches-validation.jsonl | tr -cd 'a-z ')
{ for _ in 1 2 3 4 5 6; do printf '%s\n' "$long"; done; } >"$work/input"
talk 0
expect_output "note: the oldest [0-9]+ messages are left out from here on: .* 1024 tokens"
{ for _ in 1 2 3 4 5 6 7 8; do printf '%s ' "$long"; done; printf '\nBonjour\n'; } >"$work/input"
talk 1 # one message alone is too long: not all that was said by a program is answered
expect_output "error: the prompt has [0-9]+ tokens, the model 1024 positions"
expect "the answer after it" "$first" "$(cat "$work/answers")"
# The same in the middle of a conversation: it stays whole, and the next answer is the one that it has without that message.
{ printf 'Bonjour\n' && sed -n 1p "$work/input" && printf 'Encore une fois\n'; } >"$work/between"
mv "$work/between" "$work/input"
talk 1
expect_output "error: the message alone has [0-9]+ tokens, the model 1024 positions"
! grep -q "are left out from here on" "$log" || fail "the conversation is cut for a message that does not fit"
expect "the answers around it" "$first
$second" "$(cat "$work/answers")"
# A NUL would cut its line: it is not said at all.
printf 'Bon\0jour\nBonjour\n' >"$work/input"
talk 1
expect_output "error: line 1 of the input holds a NUL byte at column 4"
expect "the answer after the line with a NUL" "$first" "$(cat "$work/answers")"
say "a conversation that outgrows the model: the oldest turns go, which is said"

# --- Ctrl-C: the answer ends, the program does not
long='--temperature 1 --seed 3 --max-tokens 900'
printf 'Bonjour\n' >"$work/input"
# shellcheck disable=SC2086 # two words each
"$atelier" chat "$model" $long <"$work/input" >"$work/whole" 2>"$log" || fail "chat $long"
mkfifo "$work/said"
# shellcheck disable=SC2086
"$atelier" chat "$model" $long <"$work/said" >"$work/answers" 2>"$log" &
chat=$!
exec 3>"$work/said"
printf 'Bonjour\n' >&3
for _ in $(seq 100); do
    [ -s "$work/answers" ] && break
    sleep 0.05
done
for _ in 1 2 3; do
    kill -INT $chat || fail "Ctrl-C ended the program"
    sleep 0.05
done
kill -0 $chat 2>/dev/null || fail "Ctrl-C ended the program"
printf '/exit\n' >&3
exec 3>&-
wait $chat
expect "the code after /exit" 0 "$?"
[ "$(wc -c <"$work/answers")" -lt "$(wc -c <"$work/whole")" ] || fail "the answer is not shorter for Ctrl-C"
say "Ctrl-C: an answer ends, the program goes on"
