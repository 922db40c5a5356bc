#!/bin/sh
# scenario_probe.sh - the bandwidth is measured before the first step where it is asked for: told, warned about, refused;
# and with several nodes (played by the name that Slurm gives a node) the slow one, or the pair, is named, and their network links are
# told, from folders like those of /sys.
# shellcheck source=tests/scenario.sh
. "$(dirname "$0")/scenario.sh"
scenario probe
prepare_sample

# profile NAME GB_S - a site whose nodes should be that fast.
profile() {
    cat >"$work/$1.yaml" <<END
name: $1
default_partition: p
partitions:
  - {name: p, cores_per_node: 4, memory_gb: 16, fabric: omni_path, intra_gb_s: $2, inter_gb_s: $2}
END
}
profile fast 5000
profile modest 0.000001

options() { # PROFILE: the words of a short run
    printf '%s ' "$tiny" --set "run.folder=$work/run" --set "data.train=$work/fiches.h5" --set train.steps=12 \
        --set checkpoint.resume=never --set "slurm.site=$work/$1.yaml"
}

# shellcheck disable=SC2046
run 0 on_ranks 2 "$atelier" train $(options fast)
grep -q '^bandwidth' "$log" && fail "two processes of one CPU host were probed unasked"
# shellcheck disable=SC2046
run 0 on_ranks 2 "$atelier" train $(options modest) --set fabric.probe=on --set fabric.minimum=0.9
expect_output '^bandwidth inside a replica: [0-9.]* GB/s'
# The control: the same machine is refused where more is expected of it.
# shellcheck disable=SC2046
run 2 on_ranks 2 "$atelier" train $(options fast) --set fabric.probe=on --set fabric.minimum=0.9
expect_output '^error: the bandwidth between the ranks is below fabric.minimum'
# shellcheck disable=SC2046
run 0 on_ranks 2 "$atelier" train $(options fast) --set fabric.probe=on
expect_output '^bandwidth inside a replica: .*7500.00 are expected'

# Nodes: the probe runs by itself; of three one is named, of two neither can be.  Each rank gives itself the name: an mpirun
# with several programs (a : b) crashes in Debian 13's Open MPI 5.0.7.
# shellcheck disable=SC2016
on_nodes() { # N ARGUMENT...
    count=$1
    shift
    on_ranks "$count" sh -c 'export SLURMD_NODENAME="n$OMPI_COMM_WORLD_RANK" && exec "$@"' sh "$@"
}
# shellcheck disable=SC2046
run 0 on_nodes 3 "$atelier" train $(options fast)
expect_output '^slowest node: n[0-2], .*--exclude=n[0-2]'
# shellcheck disable=SC2046
run 0 on_nodes 2 "$atelier" train $(options fast)
expect_output '^between n0 and n1: which of the two is slow cannot be told'
expect_output '^warning: no link is active on n0, where the site.s profile says omni_path: .*[(]and so of 1 more node[)]'

# link NODE NAME STATE - of a node, with one node of memory.
link() {
    folder=$work/$1/devices/pci0000:$2/0000:$2:00.0
    mkdir -p "$folder/infiniband/hfi1_$2/ports/1" "$work/$1/class/infiniband" "$work/$1/devices/system/node/node0"
    echo 0 >"$folder/numa_node"
    echo "$3" >"$folder/infiniband/hfi1_$2/ports/1/state"
    echo "100 Gb/sec (4X EDR)" >"$folder/infiniband/hfi1_$2/ports/1/rate"
    echo InfiniBand >"$folder/infiniband/hfi1_$2/ports/1/link_layer"
    ln -s ../.. "$folder/infiniband/hfi1_$2/device"
    ln -s "../../devices/pci0000:$2/0000:$2:00.0/infiniband/hfi1_$2" "$work/$1/class/infiniband/hfi1_$2"
    echo 0 >"$work/$1/devices/system/node/online"
    echo 0-1023 >"$work/$1/devices/system/node/node0/cpulist"
}
for number in 0 1; do
    link n0 $number '4: ACTIVE'
    link n1 $number "$((4 - 3 * number)): $([ $number = 0 ] && echo ACTIVE || echo DOWN)"
done

# on_linked_nodes NODE1 ARGUMENT... - the second node is the first once more, or n1.
# shellcheck disable=SC2016
on_linked_nodes() {
    second=$1
    shift
    on_ranks 2 sh -c 'export SLURMD_NODENAME="n$OMPI_COMM_WORLD_RANK" ATELIER_SYSFS="$1/$([ "$OMPI_COMM_WORLD_RANK" = 0 ] && echo n0 || echo "$2")"
        shift 2 && exec "$@"' sh "$PWD/$work" "$second" "$@"
}
# Two whole nodes: one line, and nothing is wrong with it.
# shellcheck disable=SC2046
run 0 on_linked_nodes n0 "$atelier" train $(options modest)
expect_output '^links of a node: 2 active [(]hfi1_0, hfi1_1; 100 Gbit/s each[)], each the nearest of 0 to 1 rank$'
grep -q '^warning: .*link' "$log" && fail "there is nothing wrong with these links"
# A link of the second is down, and the profile expects more than is left.
# shellcheck disable=SC2046
run 0 on_linked_nodes n1 "$atelier" train $(options fast)
expect_output '^warning: n1 has 1 active link where n0 has 2 [(]without: hfi1_1[)]: .*--exclude=n1'
expect_output '^warning: n0 has 2 active links, which carry 25 GB/s for its ranks, where the site.s profile expects 5000 [(]inter_gb_s[)]'
grep -q '^warning: n1 has 1 active link' "$work/run/log.txt" || fail "log.txt does not tell of the link that is down"
# The environment leaves one of them; two ranks on one node are told nothing, for nothing crosses.
# shellcheck disable=SC2046
UCX_NET_DEVICES=eth0 run 0 on_linked_nodes n0 "$atelier" train $(options modest)
expect_output "^warning: 'UCX_NET_DEVICES=eth0' leaves 0 of 2 active links of n0 to its 1 rank, and none to 1 of them: unset it"
# shellcheck disable=SC2046
ATELIER_SYSFS="$work/n1" run 0 on_ranks 2 "$atelier" train $(options modest) --set fabric.probe=on
grep -q 'links of a node' "$log" && fail "links were told of a run on one node"
# doctor has them one by one, of any number of nodes.
ATELIER_SYSFS="$work/n1" run 0 "$atelier" doctor --folder "$work"
expect_output '^ok +link +hfi1_0: active, 100 Gbit/s, NUMA 0, nearest of rank 0$'
expect_output '^warning +link +hfi1_1: down, NUMA 0$'
expect_output '^ok +links +links of a node: 1 active [(]hfi1_0; 100 Gbit/s[)], each the nearest of 1 rank; down on every node: hfi1_1'

# The same with a GPU each (the kernels' stand-in): the nearest link is that of its board, and a rank bound to the other socket is told.
gpu_atelier=${SIMT_OUT:-build/simt}/atelier
[ -x "$gpu_atelier" ] || {
    say "no '$gpu_atelier': the links of GPUs were not looked at (make simt)"
    exit 0
}
link far 0 '4: ACTIVE'
link far 1 '4: ACTIVE'
mkdir -p "$work/far/bus/pci/devices" "$work/far/devices/system/node/node1"
for gpu in 0 1; do
    place=devices/pci0000:$gpu/0000:1$gpu:00.0
    mkdir -p "$work/far/$place"
    echo $gpu >"$work/far/$place/numa_node"
    ln -s "../../../$place" "$work/far/bus/pci/devices/0000:1$gpu:00.0"
done
echo 1022-1023 >"$work/far/devices/system/node/node1/cpulist" # wherever this test runs, it is not there
# shellcheck disable=SC2016,SC2046
run 0 on_ranks 2 sh -c 'export SLURMD_NODENAME="n$OMPI_COMM_WORLD_RANK" ATELIER_SYSFS="$1" && shift && exec "$@"' sh "$PWD/$work/far" \
    "$gpu_atelier" train $(options modest) --set run.device=cuda --set train.steps=1 --set checkpoint.every_steps=0
expect_output '^links of a node: 2 active [(]hfi1_0, hfi1_1; 100 Gbit/s each[)], each the nearest of 0 to 1 rank$'
expect_output '^warning: rank 1 on n1 is bound to processors of another socket than its GPU.s [(]NUMA 1[)]: start with srun --distribution=block:block'
grep -q 'more rank' "$log" && fail "the first rank is bound to no other socket than its GPU's"
say "bandwidth, slow nodes and links are told"
