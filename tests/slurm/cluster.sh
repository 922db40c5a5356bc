#!/bin/sh
# cluster.sh up [accounts|urgent]|down - a real Slurm on this one machine, for the tests: munged, slurmctld and two nodes n0 and n1 on
# loopback, each with 4 cores and 4 GPUs that are empty files; and, for 'sbatch --test-only' alone, the partitions of
# Jean Zay on nodes that do not exist (jeanzay.conf) behind a filter that refuses what Jean Zay refuses (job_submit.lua).
#
#   tests/slurm/cluster.sh up       root; prints the line to evaluate: export SLURM_CONF=...
#                                   A run file takes its profile with slurm.site: tests/slurm/site.yaml
#   tests/slurm/cluster.sh up accounts   with slurmdbd and MariaDB (database.sh): accounts, QoS and preemption are Slurm's
#   tests/slurm/cluster.sh up urgent     with a partition 'urgent' whose jobs take the nodes from those of 'tiny', without accounts
#   tests/slurm/cluster.sh node n1  (re)start the daemon of one node
#   tests/slurm/cluster.sh controller   start slurmctld again
#   tests/slurm/cluster.sh down     ends its own daemons, by their process ids, and removes its folder
#   ATELIER_SLURM_FOLDER            where it lives: configuration, state, logs; default /tmp/atelier-slurm
#   ATELIER_SLURM_PORT              the first of four TCP ports on loopback; default 21710
#
# Without 'accounts' there is no slurmdbd: Slurm then knows no accounts and enforces no QoS, the filter in
# job_submit.lua stands in for them, and 'sacctmgr' and 'sacct' answer nothing.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=${ATELIER_SLURM_FOLDER:-/tmp/atelier-slurm} # short: the path of a Unix socket holds 107 characters
first_port=${ATELIER_SLURM_PORT:-21710}
unset SLURM_CONF
has_accounts=
has_urgent=
# shellcheck source=tests/slurm/database.sh
. "$here/database.sh"

complain() {
    echo "cluster.sh: $*" >&2
    exit 1
}

# write_conf - slurm.conf and the files beside it.
write_conf() {
    host=$(hostname -s)
    {
        cat <<END
ClusterName=atelier
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$first_port
SlurmUser=root
AuthType=auth/munge
# cred_expire is also how long a requeued job waits before it may start again: 120 s, were it not set
AuthInfo=socket=$folder/munge/socket,cred_expire=5
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool-%n
SlurmctldPidFile=$folder/slurmctld.pid
SlurmdPidFile=$folder/slurmd-%n.pid
SlurmctldLogFile=$folder/slurmctld.log
SlurmdLogFile=$folder/slurmd-%n.log
TmpFS=$folder/tmp-%n
MpiDefault=pmix
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
GresTypes=gpu
JobAcctGatherType=jobacct_gather/none
JobSubmitPlugins=lua
$([ -n "$has_accounts" ] && accounting_conf || echo AccountingStorageType=accounting_storage/none)
# the nodes claim more cores than the machine has
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=2,bf_interval=5,batch_sched_delay=0
# a dead node is noticed within seconds
SlurmdTimeout=12
SlurmctldTimeout=10
InactiveLimit=0
# show nodes that are powered down (jeanzay.conf)
PrivateData=cloud
MinJobAge=300
KillWait=5
ReturnToService=2
MailProg=/bin/true
NodeName=n0 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((first_port + 1)) CPUs=4 RealMemory=1000 Gres=gpu:4 Weight=1
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((first_port + 2)) CPUs=4 RealMemory=1000 Gres=gpu:4 Weight=1
PartitionName=tiny Nodes=n0,n1 Default=YES MaxTime=01:00:00 DefaultTime=00:10:00 State=UP
$([ -z "$has_urgent" ] || urgent_conf)
END
        sed "s|@FOLDER@|$folder|g" "$here/jeanzay.conf"
    } >"$folder/slurm.conf"
    for n in 0 1 2 3; do
        : >"$folder/gpu$n"
    done
    echo "NodeName=n[0-1] Name=gpu File=$folder/gpu[0-3]" >"$folder/gres.conf"
    cp "$here/job_submit.lua" "$folder/job_submit.lua"
    # Slurm starts its cgroup plugin even where nothing uses it, and ends where a container has no cgroups.  Slurm 22 and 23 do
    # not know "disabled": told which plugin it is, it does not look for one.
    case $(slurmd -V) in
    *" 2"[0123].*) echo "CgroupPlugin=cgroup/v1" >"$folder/cgroup.conf" ;;
    *) echo "CgroupPlugin=disabled" >"$folder/cgroup.conf" ;;
    esac
}

# urgent_conf - a partition of the same nodes that comes first; its jobs have those of the others requeued.
urgent_conf() {
    cat <<END
PartitionName=urgent Nodes=n0,n1 MaxTime=01:00:00 PriorityTier=9 PreemptMode=OFF State=UP
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
END
}

start_controller() {
    SLURM_CONF=$folder/slurm.conf slurmctld || complain "slurmctld did not start: $(tail -n 3 "$folder/slurmctld.log")"
}

start_munge() {
    mkdir -p "$folder/munge"
    dd if=/dev/urandom of="$folder/munge/key" bs=128 count=1 2>/dev/null
    chmod 0400 "$folder/munge/key"
    chown -R munge: "$folder/munge"
    chmod 0755 "$folder/munge"
    setpriv --reuid munge --regid munge --clear-groups munged --socket="$folder/munge/socket" \
        --key-file="$folder/munge/key" --pid-file="$folder/munge/pid" --log-file="$folder/munge/log" \
        --seed-file="$folder/munge/seed" || complain "munged did not start: $(tail -n 3 "$folder/munge/log" 2>/dev/null)"
}

# start_node NAME - the jobs have the daemon's priority, a low one: their runs mostly wait to be stopped, and would take half of the
# machine from the tests beside them.
start_node() {
    mkdir -p "$folder/spool-$1" "$folder/tmp-$1"
    SLURM_CONF=$folder/slurm.conf nice -n 10 slurmd -N "$1" || complain "slurmd $1 did not start: $(tail -n 3 "$folder/slurmd-$1.log")"
}

# wait_for_nodes - until both are idle.
wait_for_nodes() {
    for _ in $(seq 60); do
        [ "$(SLURM_CONF=$folder/slurm.conf sinfo -h -p tiny -t idle -o %D 2>/dev/null)" != 2 ] || return 0
        sleep 0.5
    done
    complain "the nodes did not come up: $(tail -n 3 "$folder/slurmctld.log")"
}

up() {
    [ "$(id -u)" -eq 0 ] || complain "needs root"
    down
    mkdir "$folder" || complain "cannot make '$folder'"
    chmod 0755 "$folder"
    mkdir "$folder/state"
    write_conf
    start_munge
    [ -z "$has_accounts" ] || {
        start_mariadb
        start_slurmdbd
    }
    start_controller
    [ -z "$has_accounts" ] || {
        # The database learns from slurmctld what can be limited, and slurmctld reads the limits when it starts.
        fill_database
        end_process "$folder/slurmctld.pid"
        start_controller
    }
    start_node n0
    start_node n1
    wait_for_nodes
    echo "export SLURM_CONF=$folder/slurm.conf"
}

# end_process FILE - the process whose id is in FILE, if there is one.
end_process() {
    [ -s "$1" ] || return 0
    pid=$(cat "$1")
    kill "$pid" 2>/dev/null || return 0
    for _ in $(seq 50); do
        kill -0 "$pid" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -9 "$pid" 2>/dev/null || true
}

# end_jobs - cancelled, and waited for: what they started ends with them.
end_jobs() {
    export SLURM_CONF="$folder/slurm.conf"
    timeout 5 scancel -u "$(id -un)" 2>/dev/null || return 0
    for _ in $(seq 40); do
        [ -n "$(timeout 5 squeue -h 2>/dev/null)" ] || return 0
        sleep 0.2
    done
}

down() {
    [ -f "$folder/slurm.conf" ] || return 0
    [ -O "$folder" ] || complain "'$folder' belongs to somebody else"
    (end_jobs)
    for daemon in slurmd-n0.pid slurmd-n1.pid slurmctld.pid slurmdbd.pid db/pid munge/pid; do
        end_process "$folder/$daemon"
    done
    rm -rf "$folder"
}

case ${1:-} in
up)
    [ "${2:-}" != accounts ] || has_accounts=yes
    [ "${2:-}" != urgent ] || has_urgent=yes
    up
    ;;
down) down ;;
node) start_node "${2:?which node}" ;;
controller) start_controller ;;
*) complain "usage: cluster.sh up [accounts|urgent]|down|node NAME|controller" ;;
esac
