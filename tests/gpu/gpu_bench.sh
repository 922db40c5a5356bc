#!/bin/sh
# gpu_bench.sh DIR [PART...] [gpu_bench's options] - tables of what this machine's GPU reaches, as Markdown on standard
# output, each line as soon as it is known, ready for tests/bench/RESULTS.md.  Nothing else should use the GPU meanwhile.
# DIR: tree with tests/gpu_bench (build/cuda), or a bundle's libexec.  Parts, all of them by default:
#   kernels  every family of operations
#   steps    whole steps of 1.2 B and 8 B at 2048, 4096, 8192 tokens
#   peer     the same steps by PyTorch and transformers, where PYTHON (or python3) has them, and the ratios; those at 4096 tokens
#            first; without 'steps' those are timed first, for a ratio is one of the same run
# A part that takes longer than limits.sh says is cut: what it printed stands, the next one begins, and this ends with 1.
# Options: --shape 8B or 1.2B, --sequence N: these steps alone; --smoke: tiny sizes and no figures.
#   PEER_LIMIT_S  after how many seconds PyTorch begins no further setting of a shape and sequence (default 60)
#   LIMIT_S       see limits.sh
set -u
programs=$(cd "${1:?usage: gpu_bench.sh DIR [PART...] [options]}" && pwd)
shift
parts=
while :; do
    case ${1:-} in
    kernels | steps | peer) parts="$parts $1" && shift ;;
    *) break ;;
    esac
done
parts=${parts:-kernels steps peer}
cd "$(dirname "$0")/../.." || exit 1
program=$programs/tests/gpu_bench
test -e "$program" || program=$programs/gpu_bench
python=${PYTHON:-python3}
device=${PEER_DEVICE:-cuda} # cpu: for a test of this script
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
# shellcheck source=tests/gpu/limits.sh
. tests/gpu/limits.sh

start() {
    if [ -n "${ATELIER_LOADER:-}" ]; then
        limited "$ATELIER_LOADER" --library-path "$ATELIER_LIBRARIES" "$program" "$@"
    else
        limited "$program" "$@"
    fi
}
# table PART ARGUMENTS... - a part's table, line by line; 1 where it was cut, which is said, or failed.
table() {
    begin_part "$1"
    shift
    start "$@"
    code=$?
    if is_cut $code; then
        printf '\n(cut after %s s, the limit of this part; LIMIT_S: others)\n' "$part_limit"
        cut=1
    elif [ $code -ne 0 ]; then
        exit 1
    fi
}
wanted() { case " $parts " in *" $1 "*) ;; *) false ;; esac }
field() { sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/p"; }

# fastest - of lines of JSON that with the most tokens/s.
fastest() {
    awk 'match($0, /"tokens_per_s": *[0-9.]+/) {
            rate = substr($0, RSTART, RLENGTH); sub(/.*: */, "", rate)
            if (rate + 0 > best) { best = rate + 0; line = $0 }
        }
        END { if (best) print line }'
}

# peer SHAPE SEQUENCE STEP_TOKENS TOKENS_PER_S - one line of the comparison: with the fastest of the settings that were timed.
peer() {
    limited "$python" tests/bench/peer_torch.py --device "$device" --search --shape "$1" --sequence "$2" --step-tokens "$3" \
        --limit-s "${PEER_LIMIT_S:-60}" >"$work/settings" 2>"$work/peer_log" </dev/null
    if is_cut $?; then cut=1 && echo "cut, for this part has $part_limit s" >>"$work/peer_log"; fi
    fastest <"$work/settings" >"$work/peer"
    theirs=$(tail -n 1 "$work/peer" | field tokens_per_s)
    if [ -n "$theirs" ]; then
        echo "| $1, $2 | $4 | $theirs | $(awk "BEGIN { printf \"%.2f\", $4 / $theirs }") |" \
            "$(tail -n 1 "$work/peer" | field peak_device_mib | awk '{ printf "%.1f GiB", $1 / 1024 }') |" \
            "$(tail -n 1 "$work/peer" | field setting) |"
    else
        echo "| $1, $2 | $4 | failed: $(tail -n 1 "$work/peer_log" | tr '|' '/') | | | |"
    fi
}

compare() {
    begin_part peer
    echo
    if ! limited "$python" -c "import torch, transformers; assert '$device' == 'cpu' or torch.cuda.is_available()" 2>/dev/null; then
        echo "PyTorch with CUDA and transformers are not at hand ($python): no comparison."
        return
    fi
    echo "### Beside PyTorch ($("$python" -c 'import torch; print(torch.__version__)')), the same shapes on the same GPU"
    echo
    echo "Weights, gradients and moments in bf16, fused AdamW, torch.compile, Liger kernels where installed; the best of"
    echo "the settings that fit: attention by SDPA or flash-attn, checkpoints of layers or none."
    echo
    echo "| shape, sequence | atelier, tokens/s | PyTorch, tokens/s | ratio | PyTorch's memory | PyTorch's setting |"
    echo "|---|---|---|---|---|---|"
    { grep '"sequence": 4096,' "$work/results"; grep -v '"sequence": 4096,' "$work/results"; } >"$work/ordered"
    while read -r line; do
        peer "$(echo "$line" | field shape)" "$(echo "$line" | field sequence)" "$(echo "$line" | field step_tokens)" \
            "$(echo "$line" | field tokens_per_s)"
    done <"$work/ordered"
}

test -e "$program" || { echo "no GPU: these programs were built without CUDA" && exit 77; }
begin_part kernels
start --list >"$work/gpu" 2>&1
code=$?
if [ $code -ne 0 ]; then
    cat "$work/gpu"
    test $code -ne 77 || exit 77
    exit 1
fi
commit=${ATELIER_COMMIT:-$(git rev-parse --short HEAD 2>/dev/null || echo unknown)}
echo "## $(date -u +%Y-%m-%d), $(uname -n), commit $commit"
echo
cut=0
if wanted kernels; then table kernels --kernels "$@"; fi
if wanted steps || wanted peer; then table steps --steps --results "$work/results" "$@"; fi
if wanted peer && [ -s "$work/results" ]; then compare; fi
exit $cut
