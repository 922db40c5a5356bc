#!/bin/sh
# scenario_probe.sh - the bandwidth is measured before the first step where it is asked for: told, warned about, refused;
# and with several nodes (played by the name that Slurm gives a node) the slow one, or the pair, is named.
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
