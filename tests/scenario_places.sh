#!/bin/sh
# scenario_places.sh - a FIFO, a folder, an empty or half a file in the place of every file that a run reads: it ends within
# seconds with one line that names the file (a FIFO is never waited for), before it trained anything; or, where the file is not
# needed, it goes on and says so.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario places
prepare_sample
longest_s=60

# A folder with a base model, token files and a run file, and a run in it that was stopped after step 2.
train 0 0 "$work/made" --set train.steps=1
good=$work/good
mkdir "$good"
cp -r "$work/made/step-000001" "$good/base"
rm -rf "$good/base/state" "$good/base/manifest.json"
echo free >"$good/base/LICENSE"
cp "$work/fiches.h5" "$good/tokens.h5"
{
    sed '/^model:/,/^$/d' "$tiny"
    printf '\nmodel:\n  path: PLACE/base\n'
} >"$work/template.yaml"

# place - a fresh copy, its run file with the paths of the copy.
place() {
    rm -rf "$work/place" && cp -r "$good" "$work/place"
    sed "s|PLACE|$work/place|" "$work/template.yaml" >"$work/place/run.yaml"
}
# go RANKS STEPS - code to $code, output to $log; 137 where it had to be killed.
go() {
    ranks=$1 steps=$2
    set -- "$atelier" train "$work/place/run.yaml" --set "run.folder=$work/place/run" \
        --set "data.train=$work/place/tokens.h5" --set "train.steps=$steps"
    if [ "$ranks" -gt 0 ]; then
        set -- mpirun -n "$ranks" "$@"
    fi
    code=0
    timeout -s KILL $longest_s "$@" >"$log" 2>&1 || code=$?
}
# put KIND FILE
put() {
    case $1 in
    fifo) rm -rf "$2" && mkfifo "$2" ;;
    folder) rm -rf "$2" && mkdir "$2" ;;
    empty) rm -rf "$2" && : >"$2" ;;
    half) head -c $(($(wc -c <"$2") / 2)) "$2" >"$2.half" && mv "$2.half" "$2" ;;
    esac
}
# try WHEN KIND FILE [RANKS] - at the first start, or as the run goes on (WHEN: resumed).
try() {
    place
    if [ "$1" = first ]; then
        rm -rf "$work/place/run"
    fi
    put "$2" "$work/place/$3"
    go "${4:-0}" 4
}
# refused WHEN FILE KIND... - one line, which names the file, and nothing was trained.
refused() {
    when=$1 file=$2
    shift 2
    for kind in "$@"; do
        try "$when" "$kind" "$file"
        expect "code with '$file' as $kind" 2 "$code"
        expect "error lines with '$file' as $kind" 1 "$(grep -c '^error: ' "$log")"
        expect_output "^error: .*$work/place/$file"
        if [ -p "$work/place/run/metrics.jsonl" ]; then # it cannot tell
            continue
        fi
        [ "$(last_step "$work/place/run")" -le 2 ] || fail "steps were trained with '$file' as $kind"
    done
}
# said WHEN FILE KIND... - it goes on, and says so.
said() {
    when=$1 file=$2
    shift 2
    for kind in "$@"; do
        try "$when" "$kind" "$file"
        expect "code with '$file' as $kind" 0 "$code"
        expect_output "warning: .*$work/place/$file"
        expect "last step with '$file' as $kind" 4 "$(last_step "$work/place/run")"
    done
}

place
go 0 2
expect "code of an undisturbed run" 0 "$code"
cp -r "$work/place/run" "$good/run"
place
go 0 4
expect "code of an undisturbed run that goes on" 0 "$code"
if grep -Eq '^error|warning:' "$log"; then fail "an undisturbed run says that something is wrong"; fi

for file in run.yaml tokens.h5 base/config.json base/model.safetensors base/tokenizer.json base/tokenizer_config.json \
    base/generation_config.json; do
    refused first $file fifo folder empty half
done
refused first base/LICENSE fifo folder # any text will do
refused first base/README.md fifo folder
said first base/provenance.json fifo half
say "the files of a first start: refused, each named in one line"

for file in manifest.json config.json model.safetensors tokenizer.json provenance.json state/training.json \
    state/master.safetensors; do
    refused resumed "run/step-000002/$file" fifo half
done
refused resumed run/latest fifo folder empty half
refused resumed run/run.json fifo folder empty half
refused resumed run/metrics.jsonl fifo folder
refused resumed run/log.txt fifo folder
refused resumed run/lock folder
said resumed run/history.jsonl fifo folder
said resumed run/ledger.json fifo half
said resumed run/summary.txt fifo folder
for file in run/command run/lock run/metrics.jsonl; do # what the last start left there says nothing
    case $file in
    run/metrics.jsonl) kind=half ;;
    *) kind=fifo ;;
    esac
    try resumed $kind $file
    expect "code with '$file' as $kind" 0 "$code"
done
say "the files of a run that goes on: refused, each named in one line, or said"

for file in tokens.h5 base/model.safetensors base/tokenizer.json run.yaml; do
    try first fifo $file 2
    expect "code with '$file' as a FIFO on two ranks" 2 "$code"
    expect "error lines with '$file' as a FIFO on two ranks" 1 "$(grep -c '^error: ' "$log")"
    expect_output "^error: .*$work/place/$file"
done
expect_no_process
say "on two ranks: one line, none is left behind"
