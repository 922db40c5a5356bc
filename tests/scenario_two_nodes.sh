#!/bin/sh
# scenario_two_nodes.sh - two nodes on one machine: network namespaces joined by a link that lets so many bits through in a second (tc),
# with a rank in each, which reach one another by Open MPI's TCP alone.  The run gives the bytes of the same run on one node, and the link
# carries what plan counts.
# OVERLAP=1 (make nodes): how much of the exchanges is hidden, with half a minute of computing.  Of those that the list of exchanges
# (plan --schedule) has beside layers that compute, at least 60 % of their time on the link is, on a machine that others load: a step
# waits longer than over a link without limit, but for less than all of them.  What was measured (78 to 87 %; the goal is 80 %) is in
# train/ranks/NOTES.md.  Control: at stage 0, where nothing computes beside the sum of gradients, a step waits for as good as all.
# Skipped, with the reason, where namespaces cannot be made (containers, users other than root), or 'ip' or 'tc' are missing.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"

RATE_MBIT=${RATE_MBIT:-25} # without OVERLAP
micro=8 steps=3
[ -z "${OVERLAP:-}" ] || micro=64 steps=6
settings="--set train.micro_sequences=$micro --set train.batch_sequences=$((2 * micro)) --set model.architecture.layers=16
    --set parallel.replicas=2 --set parallel.wire=f32 --set train.steps=$steps --set checkpoint.every_steps=0 --set fabric.probe=off"

# --- inside: the first node is this namespace ---

# connect - a second namespace, and a link to it, without limit as yet.
connect() {
    mount -t tmpfs none /run && mkdir -p /run/netns && hostname node-a || exit 1
    ip netns add node-b || exit 1
    ip link set lo up
    ip link add link-a type veth peer name link-b netns node-b || exit 1
    ip addr add 10.77.0.1/24 dev link-a
    ip link set link-a up
    ip netns exec node-b sh -c 'ip link set lo up && ip addr add 10.77.0.2/24 dev link-b && ip link set link-b up' || exit 1
}

# limit MBIT - of both directions.
limit() {
    tc qdisc replace dev link-a root tbf rate "$1mbit" burst 64kb latency 500ms &&
        ip netns exec node-b tc qdisc replace dev link-b root tbf rate "$1mbit" burst 64kb latency 500ms || exit 1
}

# link_bytes - that the first node has sent.
link_bytes() {
    awk '/^ *link-a:/ { sub(/.*:/, ""); print $9 }' /proc/net/dev
}

# on_nodes FOLDER [ARGUMENT...] - a rank on each.
on_nodes() {
    folder=$1
    shift
    # shellcheck disable=SC2086
    run 0 mpirun --mca plm rsh --mca plm_rsh_agent "$PWD/$work/agent" --mca btl tcp,self \
        --mca oob_tcp_if_include 10.77.0.0/24 --mca btl_tcp_if_include 10.77.0.0/24 \
        --host 10.77.0.1:1,10.77.0.2:1 -n 2 "$atelier" train "$tiny" --set "run.folder=$folder" \
        --set "data.train=$work/fiches.h5" --set "data.valid=$work/fiches-valid.h5" $settings "$@"
}

if [ "${1:-}" = inside ]; then
    work=$2 log=$2/last.log
    unset OMPI_MCA_btl
    export OMPI_MCA_mpi_yield_when_idle=0 # a rank a node: nobody waits for its core
    connect
    [ -z "${OVERLAP:-}" ] || for stage in 0 1; do
        on_nodes "$work/free$stage" --set "parallel.stage=$stage"
    done
    if [ -n "${OVERLAP:-}" ]; then # by which a forward is twice as long as its values of the layers are on the link
        RATE_MBIT=$(sed -n 's/^{"step": [2-9],.*"forward_s": \([0-9.e-]*\),.*/\1/p' "$work/free1/metrics.jsonl" | sort -g |
            awk 'NR == 1 { printf "%d", 8 * 1.48 / (0.5 * $1) }')
        echo "$RATE_MBIT" >"$work/rate"
    fi
    limit "$RATE_MBIT"
    [ -z "${OVERLAP:-}" ] || on_nodes "$work/limited0" --set parallel.stage=0
    before=$(link_bytes)
    on_nodes "$work/limited1" --set parallel.stage=1
    echo $(($(link_bytes) - before)) >"$work/sent"
    exit 0
fi

scenario two_nodes
[ "$(open_mpi_version)" = 4 ] || skip "two nodes were not tried with this Open MPI: 4 is wanted"
for tool in ip tc unshare; do
    command -v $tool >/dev/null 2>&1 || skip "there is no '$tool': install iproute2 and util-linux to run ranks on two nodes"
done
alone="unshare --net --mount --uts --pid --fork --mount-proc"
$alone sh -c 'ip link add link-a type veth peer name link-b && tc qdisc add dev link-a root tbf rate 1mbit burst 64kb latency 500ms' >"$log" 2>&1 ||
    skip "namespaces with a rate limit cannot be made here: $(tail -n 1 "$log")"
prepare_sample

# What mpirun starts on the other node in place of ssh.
cat >"$work/agent" <<'END'
#!/bin/sh
shift
exec ip netns exec node-b unshare --uts sh -c 'hostname node-b; exec sh -c "$1"' sh "$*"
END
chmod +x "$work/agent"
$alone "$0" inside "$work" || fail "the ranks on two nodes"

# The same bytes as on one node; the link carried the exchanges of the steps, and beside them masters at the start and less.
# shellcheck disable=SC2086
train 0 2 "$work/one" $settings --set parallel.stage=1
model=$(printf 'step-%06d/model.safetensors' "$steps")
cmp "$work/one/$model" "$work/limited1/$model" || fail "two nodes gave other bytes than one"
# shellcheck disable=SC2086
run 0 "$atelier" plan "$tiny" --ranks 2 --set "data.train=$work/fiches.h5" $settings --set parallel.stage=1 --schedule "$work/list" --json
across=$(json_number across "$log")
sent=$(cat "$work/sent")
awk -v sent="$sent" -v planned="$((steps * across))" 'BEGIN { exit !(sent > planned && sent < 1.2 * planned + 4e6) }' ||
    fail "the link carried $sent bytes in $steps steps of $across"
say "two nodes: the bytes of one; the link carried $sent bytes in $steps steps of $across"
[ -n "${OVERLAP:-}" ] || exit 0

RATE_MBIT=$(cat "$work/rate")

# waits FOLDER - the least that a step but the first waited for exchanges, in seconds: what else the machine does only adds to it.
waits() {
    sed -n 's/^{"step": [2-9],.*"comm_s": \([0-9.e-]*\),.*/\1/p' "$work/$1/metrics.jsonl" | sort -g | head -n 1
}

# Beside nothing: new values of the embedding and of the first layer, which the forward begins with, and what the step ends with.
alone=$(awk -F '\t' 'NR > 1 && ($3 == "reduce" || $4 == "embedding" || ($3 == "forward" && $4 == "layer 0")) { sum += $8 } END { print sum }' "$work/list")
for stage in 0 1; do
    say "stage $stage: a step waits $(waits "free$stage") s without limit, $(waits "limited$stage") s at $RATE_MBIT Mbit/s"
done
awk -v more="$(waits limited1)" -v least="$(waits free1)" -v all="$across" -v alone="$alone" -v rate="$RATE_MBIT" 'BEGIN {
    second = rate * 125000
    hidden = 1 - (more - least - alone / second) / ((all - alone) / second)
    printf "hidden: %.0f %% of %.2f s of exchanges that have something beside them\n", 100 * hidden, (all - alone) / second
    exit !(hidden >= 0.6)
}' || fail "less than 60 % is hidden"
awk -v more="$(waits limited0)" -v least="$(waits free0)" -v all="$across" -v rate="$RATE_MBIT" 'BEGIN {
    exit !(more - least > 0.8 * all / (rate * 125000))
}' || fail "the control: a sum with nothing beside it was hidden"
say "all as expected"
