# shellcheck shell=sh
# database.sh - sourced by cluster.sh: MariaDB and slurmdbd in the cluster's own folder, for the tests that need accounts,
# QoS and preemption.  MariaDB listens on a socket in that folder alone.
# shellcheck disable=SC2154 # folder, first_port, here and complain are cluster.sh's

# start_mariadb - an empty database of its own, small, without regard for power cuts.
start_mariadb() {
    mkdir "$folder/db"
    mariadb-install-db --no-defaults --datadir="$folder/db/data" --user=root --skip-test-db \
        --auth-root-authentication-method=normal >"$folder/db/install.log" 2>&1 ||
        complain "the database was not made: $(tail -n 3 "$folder/db/install.log")"
    mariadbd --no-defaults --user=root --datadir="$folder/db/data" --socket="$folder/db/socket" --skip-networking \
        --pid-file="$folder/db/pid" --log-error="$folder/db/log" --innodb-buffer-pool-size=32M \
        --innodb-log-file-size=8M --innodb-flush-log-at-trx-commit=0 --innodb-lock-wait-timeout=900 \
        --skip-log-bin --performance-schema=OFF </dev/null >/dev/null 2>&1 &
    for _ in $(seq 100); do
        ! mariadb --no-defaults --socket="$folder/db/socket" -u root -e 'CREATE DATABASE IF NOT EXISTS slurm' 2>/dev/null || return 0
        sleep 0.2
    done
    complain "MariaDB did not start: $(tail -n 3 "$folder/db/log")"
}

# write_database_conf - slurmdbd.conf, which Slurm wants closed to others.
write_database_conf() {
    cat >"$folder/slurmdbd.conf" <<END
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((first_port + 3))
SlurmUser=root
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=root
StorageLoc=slurm
PidFile=$folder/slurmdbd.pid
LogFile=$folder/slurmdbd.log
END
    chmod 0600 "$folder/slurmdbd.conf"
}

# The lines of slurm.conf: limits are enforced, jobs of a higher QoS take the nodes of those of a lower one.
accounting_conf() {
    cat <<END
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((first_port + 3))
AccountingStoragePass=$folder/munge/socket
AccountingStorageEnforce=associations,limits,qos,safe
AccountingStorageTRES=gres/gpu
PriorityType=priority/multifactor
PriorityWeightQOS=10000
PreemptType=preempt/qos
PreemptMode=REQUEUE
END
}

# start_slurmdbd - before slurmctld; sacctmgr answers when it is there.
start_slurmdbd() {
    write_database_conf
    SLURM_CONF=$folder/slurm.conf MYSQL_UNIX_PORT=$folder/db/socket slurmdbd ||
        complain "slurmdbd did not start: $(tail -n 3 "$folder/slurmdbd.log")"
    for _ in $(seq 100); do
        ! SLURM_CONF=$folder/slurm.conf timeout 5 sacctmgr -nP show cluster >/dev/null 2>&1 || {
            manage add cluster atelier
            return 0
        }
        sleep 0.2
    done
    complain "slurmdbd does not answer: $(tail -n 3 "$folder/slurmdbd.log")"
}

# manage WORDS... - of sacctmgr, without questions.
manage() {
    SLURM_CONF=$folder/slurm.conf sacctmgr -iQ "$@" >>"$folder/sacctmgr.log" 2>&1 ||
        complain "sacctmgr $*: $(tail -n 3 "$folder/sacctmgr.log")"
}

# wait_for_registration - until slurmctld has told the database what there is to limit.
wait_for_registration() {
    for _ in $(seq 150); do
        ! SLURM_CONF=$folder/slurm.conf sacctmgr -nP show tres 2>/dev/null | grep -q '^gres|gpu' || return 0
        sleep 0.2
    done
    complain "slurmctld is not registered: $(tail -n 3 "$folder/slurmctld.log")"
}

# fill_database - two projects, of which this user has one; a QoS for short jobs, one for large ones, an urgent one that
# takes nodes from others.
fill_database() {
    wait_for_registration
    manage add qos short MaxWall=00:02:00 MaxSubmitJobsPerUser=2 Priority=10
    manage add qos large MaxTRESPerJob=gres/gpu=4 Priority=10
    manage add qos urgent Priority=100 Preempt=normal,short,large
    manage add account mine Description=project Organization=tests
    manage add account theirs Description=project Organization=tests
    manage add user "$(id -un)" Account=mine DefaultAccount=mine QOS=normal,short,large,urgent DefaultQOS=normal
}
