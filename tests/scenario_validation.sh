#!/bin/sh
# scenario_validation.sh - a validation of a few sequences takes some of every source, tells the loss of each, and they are those of
# `eval`; on any number of ranks.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario validation
sed 's/"text": "/"text": "encore : /' data/sample/fiches.jsonl >"$work/more.jsonl"
cat >"$work/sources.yaml" <<END
prepare:
  tokenizer: data/sample/tokenizer
  output: $work/sources.h5
  valid_share: 0.3
  sources:
    - {path: data/sample/fiches.jsonl, name: fiches}
    - {path: data/sample/fiches-validation.jsonl, name: few, valid_share: 0.6}
    - {path: $work/more.jsonl, name: more}
END
run 0 "$atelier" prepare "$work/sources.yaml"

# of_source NAME FOLDER - its losses in the order of the validations.
of_source() {
    sed -n "s/.*\"event\": \"validation\".*{\"source\": \"$1\", \"loss\": \\([^,]*\\), \"bits_per_byte\": [0-9.]*, \"target_tokens\": \\([0-9]*\\)}.*/\\1 \\2/p" \
        "$2/metrics.jsonl"
}

# train_sources RANKS FOLDER [ARGUMENT...]
train_sources() {
    ranks=$1 folder=$2
    shift 2
    train 0 "$ranks" "$folder" --set "data.train=$work/sources.h5" --set "data.valid=$work/sources-valid.h5" "$@"
}

# --- of all sequences each source has the loss that eval says ---
train_sources 0 "$work/all" --set valid.sequences=0
expect_output '^    fiches +loss [0-9.]+  \([0-9]+ tokens\)$'
run 0 "$atelier" eval "$work/all" --data "$work/sources-valid.h5" --sequence-tokens 64 --json
cp "$log" "$work/eval.json"
for name in fiches few more; do
    of_source "$name" "$work/all" >"$work/told"
    expect "validations with a loss of '$name'" 2 "$(wc -l <"$work/told")"
    told=$(tail -n 1 "$work/told")
    sed -n "/\"$name\": {/,/}/p" "$work/eval.json" >"$work/part.json"
    expect "targets of '$name'" "$(json_number target_tokens "$work/part.json")" "${told#* }"
    echo "1 ${told% *}" >"$work/a"
    echo "1 $(json_number loss "$work/part.json")" >"$work/b"
    is_within "$work/a" "$work/b" 1e-5 || fail "'$name': ${told% *} in training, $(cat "$work/b") by eval"
    echo "1 $(head -n 1 "$work/told")" >"$work/a" # the control: before the first step
    if is_within "$work/a" "$work/b" 1e-5; then
        fail "the loss of '$name' before training is that after it: the comparison sees nothing"
    fi
done
say "losses of three sources are those of eval"

# --- a few sequences: some of each source, the same ones in eval; control: others of another number of them ---
train_sources 0 "$work/some" --set valid.sequences=8
for name in fiches few more; do
    of_source "$name" "$work/some" | grep -qv ' 0$' || fail "8 sequences have nothing of '$name'"
done
for count in 8 9; do
    run 0 "$atelier" eval "$work/some" --data "$work/sources-valid.h5" --sequence-tokens 64 --sequences "$count" --json
    expect "sources that $count sequences lack" 0 "$(grep -c '"target_tokens": 0' "$log")"
    : >"$work/a" && : >"$work/b"
    for name in fiches few more; do
        sed -n "/\"$name\": {/,/}/p" "$log" >"$work/part.json"
        echo "$name $(json_number loss "$work/part.json") $(json_number target_tokens "$work/part.json")" >>"$work/a"
        echo "$name $(of_source "$name" "$work/some" | tail -n 1)" >>"$work/b"
    done
    if [ "$count" = 8 ]; then
        is_within "$work/a" "$work/b" 1e-5 || fail "eval of 8 sequences: $(cat "$work/a"), in training $(cat "$work/b")"
        expect "targets of 8 sequences" "$(cut -d ' ' -f 3 "$work/b")" "$(cut -d ' ' -f 3 "$work/a")"
    elif [ "$(cut -d ' ' -f 3 "$work/b")" = "$(cut -d ' ' -f 3 "$work/a")" ]; then
        fail "9 sequences have the targets of 8: the comparison sees nothing"
    fi
done
train_sources 2 "$work/ranks" --set valid.sequences=8
for name in fiches few more; do
    of_source "$name" "$work/some" >"$work/a"
    of_source "$name" "$work/ranks" >"$work/b"
    expect "targets of '$name' on two ranks" "$(cut -d' ' -f2 "$work/a")" "$(cut -d' ' -f2 "$work/b")"
    sed 's/^/1 /' "$work/a" >"$work/c"
    sed 's/^/1 /' "$work/b" >"$work/d"
    is_within "$work/c" "$work/d" 1e-5 || fail "'$name' on two ranks: the losses differ by $worst"
done
say "8 sequences: some of each source, the same on one rank and on two"

# --- one source: the loss of all is its own ---
prepare_sample
train 0 0 "$work/one"
if grep -q '"sources"' "$work/one/metrics.jsonl"; then
    fail "one source is told as several"
fi

# --- what an earlier preparation kept for validation is not left beside an output that has all of its texts; control: another share ---
again() {
    code_again=$1
    shift
    run "$code_again" "$atelier" prepare "$tiny" --set "prepare.output=$work/twice.h5" \
        --set 'prepare.sources=[{path: data/sample/fiches-validation.jsonl}]' "$@"
}
again 0 --set prepare.valid_every=2
cp "$work/twice.h5" "$work/first.h5"
again 1 --set prepare.valid_every=0
expect_output "error: '.*twice-valid.h5' is there from an earlier preparation.*remove it"
cmp "$work/twice.h5" "$work/first.h5" || fail "a refused preparation changed its output"
again 0 --set prepare.valid_every=3
rm "$work/twice-valid.h5"
again 0 --set prepare.valid_every=0

# --- bits per byte: by the bytes of the texts themselves, which are all learnt; control: by their characters ---
run 0 "$atelier" prepare "$tiny" --set "prepare.output=$work/held.h5" --set prepare.valid_every=0 \
    --set 'prepare.sources=[{path: data/sample/fiches-validation.jsonl}]'
train 0 2 "$work/bits" --set "data.valid=$work/held.h5" --set valid.sequences=0
line=$(grep '"event": "validation"' "$work/bits/metrics.jsonl" | tail -n 1)
part() {
    printf '%s\n' "$line" | sed -n "s/.*\"$1\": \([0-9.]*\).*/\1/p"
}
# The texts have no escapes but of line feeds and quotes, a byte each.
sed 's/.*"text": "//; s/"}$//; s/", "[a-z_]*": ".*$//; s/\\n/N/g; s/\\"/Q/g' data/sample/fiches-validation.jsonl | tr -d '\n' >"$work/texts"
bytes=$(wc -c <"$work/texts")
characters=$(LC_ALL=C.UTF-8 wc -m <"$work/texts")
for count in "$bytes" "$characters"; do
    awk -v l="$(part loss)" -v t="$(part target_tokens)" -v n="$count" 'BEGIN { printf "1 %.9g\n", l * t / log(2) / n }' >"$work/of-$count"
done
echo "1 $(part bits_per_byte)" >"$work/a"
is_within "$work/a" "$work/of-$bytes" 1e-6 || fail "bits per byte: $(cat "$work/a"), by the texts $(cat "$work/of-$bytes")"
if is_within "$work/a" "$work/of-$characters" 1e-3; then
    fail "bits per byte are those per character: the comparison sees nothing"
fi
say "$(part bits_per_byte) bits per byte of $bytes bytes"

# --- eval says the same of the model that was saved, by source too; control: of other texts it says something else ---
run 0 "$atelier" eval "$work/bits" --data "$work/held.h5" --sequence-tokens 64 --json
echo "1 $(json_number bits_per_byte "$log")" >"$work/b"
is_within "$work/b" "$work/a" 1e-6 || fail "eval: $(cat "$work/b") bits per byte, the validation $(cat "$work/a")"
expect "bits per byte of the one source and of all" "2 1" \
    "$(sed -n 's/.*"bits_per_byte": \([0-9.]*\).*/\1/p' "$log" | sort | uniq -c | awk '{ n += $1; k++ } END { print n, k }')"
run 0 "$atelier" eval "$work/bits" --data "$work/held.h5" --sequence-tokens 64
expect_output '^source +loss/token +perplexity +bits/byte +target tokens$'
expect_output "^all .* $(awk '{ printf "%.4f", $2 }' "$work/b") "
run 0 "$atelier" eval "$work/bits" --data "$work/fiches.h5" --sequence-tokens 64 --json
echo "1 $(json_number bits_per_byte "$log")" >"$work/c"
if is_within "$work/c" "$work/a" 1e-6; then
    fail "other texts have the same bits per byte"
fi
