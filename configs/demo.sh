#!/bin/sh
# demo.sh - the whole job on two CPU ranks, each command shown before it runs: prepare, train (interrupted once and
# resumed), export, generate.  Called by 'make demo'; needs no network.  OUT is the build folder.
set -eu
cd "$(dirname "$0")/.."
programs=$PWD/${OUT:-build/cpu}
export PATH="$programs:$PATH"
# shellcheck source=configs/ranks.sh
. configs/ranks.sh
steps_before_interruption=12
prompt="Pour renouveler sa carte d'identité, il faut"

# mpirun hides the terminal from its ranks: tell them that there is one.
live=
[ ! -t 2 ] || live="--set run.progress=live"

say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
# show COMMAND... - as it can be typed again, and run.
show() {
    printf '\033[36m$'
    for word in "$@"; do
        case $word in
        *[!A-Za-z0-9_./:=-]*) printf ' "%s"' "$word" ;;
        *) printf ' %s' "$word" ;;
        esac
    done
    printf '\033[0m\n'
    "$@"
}
steps_done() { if [ -f runs/demo/metrics.jsonl ]; then grep -c '"grad_norm"' runs/demo/metrics.jsonl || true; else echo 0; fi; }

# train_interrupted - start, wait for some steps, send SIGUSR1 as a scheduler does before the time limit.
train_interrupted() {
    printf '\033[36m$ mpirun -n 2 atelier train configs/demo.yaml     (SIGUSR1 after %s steps)\033[0m\n' \
        "$steps_before_interruption"
    # shellcheck disable=SC2086
    OMPI_MCA_orte_execute_quiet=1 mpirun -n 2 atelier train configs/demo.yaml $live & # quiet: 75 is not a failure
    job=$!
    while kill -0 "$job" 2>/dev/null && [ "$(steps_done)" -lt "$steps_before_interruption" ]; do sleep 0.2; done
    kill -USR1 "$job" 2>/dev/null || true
    code=0
    wait "$job" || code=$?
    if [ "$code" -ne 75 ]; then
        echo "demo: the interrupted run ended with code $code, 75 was expected" >&2
        exit 1
    fi
    explain_code 75
}

rm -rf runs/demo runs/demo.h5 runs/demo-valid.h5 runs/demo-hf runs/demo.gguf
mkdir -p runs
started=$(date +%s)

say "1. The corpus becomes one token file, with its sources"
show atelier prepare configs/demo.yaml
show atelier inspect runs/demo.h5

say "2. Before: what the base model writes"
show atelier generate data/sample/model --prompt "$prompt" --max-tokens 60 --seed 1

say "3. Fine-tuning on two ranks, parameters sharded; the job is interrupted, saves itself and ends with code 75"
train_interrupted

say "4. The same command again: it goes on where it stopped"
# shellcheck disable=SC2086
show mpirun -n 2 atelier train configs/demo.yaml $live

say "5. Export: a Hugging Face folder (transformers, vLLM) and a GGUF file (llama.cpp, Ollama), read back and compared"
show atelier export runs/demo --to hf --output runs/demo-hf
show atelier export runs/demo --to gguf --type q8_0 --output runs/demo.gguf

say "6. After: what the exported file writes"
show atelier generate runs/demo.gguf --prompt "$prompt" --max-tokens 120 --seed 1

say "Done in $(($(date +%s) - started)) s.  What next"
cat <<'END'
  runs/demo/summary.txt    the run on one page; runs/demo/metrics.jsonl has a line per step
  runs/demo-hf             from transformers import AutoModelForCausalLM; .from_pretrained("runs/demo-hf")
  runs/demo.gguf           llama-cli -m runs/demo.gguf -p "..."     or Ollama: FROM ./runs/demo.gguf
  atelier help config      every key of a run file; configs/ holds more of them
  make test                proves all of this on your machine
END
say "In this terminal 'atelier' is a command after this line"
printf "export PATH='%s':\"\$PATH\"\n" "$(printf '%s\n' "$programs" | sed "s/'/'\\\\''/g")"
