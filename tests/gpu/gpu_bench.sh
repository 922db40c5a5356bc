#!/bin/sh
# gpu_bench.sh DIR [gpu_bench's options] - tables of what this machine's GPU reaches, as Markdown on standard output; with
# PyTorch and transformers at hand (PYTHON, or python3) the same training steps there, in the same run, and the ratios.
# DIR: tree with tests/gpu_bench (build/cuda), or a bundle's libexec.  Nothing else should use the GPU meanwhile.
set -u
programs=$(cd "${1:?usage: gpu_bench.sh DIR [options]}" && pwd)
shift
cd "$(dirname "$0")/../.." || exit 1
program=$programs/tests/gpu_bench
test -e "$program" || program=$programs/gpu_bench
python=${PYTHON:-python3}
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT

start() {
    if [ -n "${ATELIER_LOADER:-}" ]; then
        "$ATELIER_LOADER" --library-path "$ATELIER_LIBRARIES" "$@"
    else
        "$@"
    fi
}
field() { sed -n "s/.*\"$1\": *\"\{0,1\}\([^\",}]*\).*/\1/p"; }

echo "## $(date -u +%Y-%m-%d), $(uname -n), commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
echo
start "$program" --results "$work/results" "$@"
code=$?
test $code -eq 0 || exit $code
test -s "$work/results" || exit 0

echo
if ! "$python" -c 'import torch, transformers; assert torch.cuda.is_available()' 2>/dev/null; then
    echo "PyTorch with CUDA and transformers are not at hand ($python): no comparison."
    exit 0
fi
echo "### Beside PyTorch ($("$python" -c 'import torch; print(torch.__version__)')), the same shapes on the same GPU"
echo
echo "Weights, gradients and moments in bf16, fused AdamW, torch.compile, Liger kernels where installed; the best of the"
echo "settings that fit: attention by SDPA or flash-attn, checkpoints of layers or none."
echo
echo "| shape, sequence | atelier, tokens/s | PyTorch, tokens/s | ratio | PyTorch's setting |"
echo "|---|---|---|---|---|"
while read -r line; do
    shape=$(echo "$line" | field shape) sequence=$(echo "$line" | field sequence)
    ours=$(echo "$line" | field tokens_per_s)
    "$python" tests/bench/peer_torch.py --device cuda --shape "$shape" --sequence "$sequence" \
        --step-tokens "$(echo "$line" | field step_tokens)" >"$work/peer" 2>"$work/peer_log" </dev/null
    theirs=$(tail -n 1 "$work/peer" | field tokens_per_s)
    if [ -n "$theirs" ]; then
        echo "| $shape, $sequence | $ours | $theirs | $(awk "BEGIN { printf \"%.2f\", $ours / $theirs }") |" \
            "$(tail -n 1 "$work/peer" | field setting) |"
    else
        echo "| $shape, $sequence | $ours | failed: $(tail -n 1 "$work/peer_log") | | |"
    fi
done <"$work/results"
