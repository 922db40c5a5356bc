#!/bin/sh
# check_gpu_scripts.sh - 'make gpu-check' and 'make gpu-bench' on the host's stand-in for a GPU, at tiny sizes, so that
# they are known to work when a GPU is at hand: training on both devices compared, two ranks on one GPU, every table
# filled but for the figures, and the ways out: no GPU, a part that fails, a GPU that fails.
# SIMT_OUT: tree of 'make simt'.  (Its operations are tested as simt test_ops, test_attention...; here they are stood in for.)
cd "$(dirname "$0")/.." || exit 1
simt=$(cd "${SIMT_OUT:-build/simt}" 2>/dev/null && pwd)
test -x "$simt/atelier" || { echo "the tree of 'make simt' is not built"; exit 77; }
test -x "$simt/tests/gpu_bench" || { echo "'$simt/tests/gpu_bench' is not built"; exit 77; }
work=$(mktemp -d) && trap 'rm -rf "$work"' EXIT
log=$work/log
fail() { echo "$1; its output:"; sed 's/^/    /' "$log"; exit 1; }
export SMALL=1 SIMT_GPUS=1 OMP_NUM_THREADS=1 LIMIT_S=0

# What gpu_check starts, which the bundle takes, is built for a GPU.
started=$(sed -n 's|.*start "[$]tests/\([a-z0-9_]*\)".*|\1|p' tests/gpu/gpu_check.sh | sort -u)
[ "$(echo "$started" | wc -w)" -ge 15 ] || fail "what gpu_check starts was not found: $started"
for name in $started; do
    grep '^CUDA_TESTS' Makefile | grep -qw "$name" || fail "CUDA_TESTS of the Makefile has no $name, which gpu_check starts"
done

# A tree whose long tests are stand-ins that do nothing, or fail where a file says so.
mkdir -p "$work/tree/tests"
ln -s "$simt/atelier" "$work/tree/"
ln -s "$simt"/tests/conformance "$simt"/tests/gpu_* "$work/tree/tests/"
for name in $(echo "$started" | grep '^test_'); do
    printf '#!/bin/sh\ntest ! -e "%s/fails_%s"\n' "$work" "$name" >"$work/tree/tests/$name"
    chmod +x "$work/tree/tests/$name"
done

tests/gpu/gpu_check.sh "$work/tree" >"$log" 2>&1 || fail "gpu_check fails"
grep -q '^32 passed, 0 failed, 1 skipped$' "$log" || fail "gpu_check does not say what it did"
test "$(grep -c 'largest difference' "$log")" -eq 3 || fail "gpu_check does not say how near the losses are"
touch "$work/fails_test_attention"
if tests/gpu/gpu_check.sh "$work/tree" ops attention model >"$log" 2>&1; then fail "gpu_check does not notice a failing test"; fi
grep -q '^failed: attention$' "$log" || fail "gpu_check does not name what failed"
grep -q '^24 passed, 1 failed, 0 skipped$' "$log" || fail "gpu_check stops at what failed"
if SIMT_FAULT=launch:3 tests/gpu/gpu_check.sh "$simt" train >"$log" 2>&1; then
    fail "gpu_check does not notice launches that fail"
fi
grep -q '^failed: a step allocates nothing; losses in f32' "$log" || fail "gpu_check does not name what launches broke"

# No figures: those of a stand-in could be taken for a GPU's.
tests/gpu/gpu_bench.sh "$simt" kernels steps --smoke >"$log" 2>&1 || fail "gpu_bench fails"
for family in 'Matrix products' Attention RMSNorm SwiGLU RoPE embedding cross-entropy AdamW 'gradient norm' 'Training steps'; do
    grep -q "$family" "$log" || fail "gpu_bench has no line for '$family'"
done
test "$(grep -c '| ran |' "$log")" -ge 30 || fail "gpu_bench ran too little"
if grep -qE '\| [0-9.]+ (ms|TFLOP/s|TB/s|%) \| [^|]*[0-9]' "$log"; then fail "gpu_bench prints figures of a smoke run"; fi

# What does not end is cut: the other checks of its part are not begun, the next part is; what was printed of a table stands.
rm "$work/fails_test_attention"
printf '#!/bin/sh\nexec sleep 300\n' >"$work/tree/tests/test_attention"
since=$(date +%s)
if LIMIT_S=4 tests/gpu/gpu_check.sh "$work/tree" attention model >"$log" 2>&1; then fail "gpu_check does not notice what hangs"; fi
grep -q "^FAILED  attention: cut after [0-9]* s, for the part 'attention' has 4 s" "$log" || fail "gpu_check does not cut what hangs"
grep -q '^7 passed, 3 failed, 0 skipped$' "$log" || fail "gpu_check does not go on after what it cut"
mkdir "$work/slow"
cat >"$work/slow/gpu_bench" <<'END'
#!/bin/sh
case $1 in
--list) echo "a GPU" ;;
--kernels) echo "| first | row |" && exec sleep 300 ;;
--steps) echo "| step | row |" ;;
esac
END
chmod +x "$work/slow/gpu_bench"
LIMIT_S=4 tests/gpu/gpu_bench.sh "$work/slow" kernels steps >"$log" 2>&1
test $? -eq 1 || fail "gpu_bench does not say that it was cut"
tr '\n' ' ' <"$log" | grep -q '| first | row |  (cut after 4 s, .*) | step | row |' || fail "gpu_bench does not keep what it has"
test $(($(date +%s) - since)) -lt 120 || fail "the limits of parts do not hold"
# The sum of all limits is 15 minutes.
(. tests/gpu/limits.sh && for part in ops attention model train ranks; do limit_of $part; done) | awk '{ s += $1 } END { print s }' >"$log"
grep -qx 180 "$log" || fail "the limits of gpu_check are not 3 minutes"
(. tests/gpu/limits.sh && for part in kernels steps peer; do limit_of $part; done) | awk '{ s += $1 } END { print s }' >"$log"
grep -qx 720 "$log" || fail "the limits of gpu_bench are not 12 minutes"

# The steps fit into an H200 by their plan; those of 8 billion do not into half of it.
SIMT_MEMORY_BYTES=139G "$simt/tests/gpu_bench" --plan >"$log" || fail "a step of the benchmark does not fit into 139 GiB"
test "$(grep -c 'twice |$' "$log")" -eq 6 || fail "the plan has not six lines"
if SIMT_MEMORY_BYTES=70G "$simt/tests/gpu_bench" --plan --shape 8B >"$log"; then fail "8 B fit into 70 GiB"; fi

# The look before a build: no GPU, one that nvidia-smi lists, one that is a device alone; and make asks it before it compiles.
mkdir "$work/bin" "$work/dev"
look() { PATH="$work/bin:$PATH" DEVICES="$work/dev" tests/gpu/look.sh >"$log" 2>&1; }
lists() { printf '#!/bin/sh\n%s\n' "$1" >"$work/bin/nvidia-smi" && chmod +x "$work/bin/nvidia-smi"; }
lists 'echo "No devices were found"; exit 6'
look
test $? -eq 77 || fail "the look does not say 77 where there is no GPU"
grep -q '^no GPU: ' "$log" || fail "the look does not say that there is no GPU"
touch "$work/dev/nvidia0"
look || fail "a device is not seen"
rm "$work/dev/nvidia0"
lists 'echo "GPU 0: NVIDIA H100 80GB HBM3 (UUID: GPU-0)"'
look || fail "what nvidia-smi lists is not seen"
sed -n '/^gpu-check gpu-bench:/{n;p;}' Makefile | grep -q 'tests/gpu/look.sh' || fail "make compiles before it looks for a GPU"

# Without a GPU, and with words that are none of theirs.
for script in gpu_check gpu_bench; do
    SIMT_GPUS=0 tests/gpu/$script.sh "$simt" >"$log" 2>&1
    test $? -eq 77 || fail "$script does not skip without a GPU"
    grep -q '^no GPU: ' "$log" || fail "$script does not say that there is no GPU"
    if tests/gpu/$script.sh "$simt" everything >"$log" 2>&1; then fail "$script takes any word for a part"; fi
done
