#!/usr/bin/env bash
# A Slurm of two nodes on this one machine, for the launcher's tests: Debian's packages, real daemons, fake GPUs.
#
#   eval "$(tests/slurm/up.sh FOLDER)"     starts it (root only) with everything it writes in FOLDER; sets SLURM_CONF
#   tests/slurm/down.sh FOLDER             stops it and removes FOLDER
#
# Accounting is on (slurmdbd on MariaDB): only it tells how a job ended that did not end by itself. The daemons listen
# on loopback addresses. Ports: $SLURM_TEST_PORT (default 26817) and the nine after it.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
mkdir -p "$1"
ROOT=$(cd "$1" && pwd)
PORT=${SLURM_TEST_PORT:-26817}
NODES=2 CPUS=8 GPUS=2
HOST=$(hostname -s)
export SLURM_CONF=$ROOT/etc/slurm.conf

fail() {
  echo "error: $*" >&2
  tail -n 5 "$ROOT"/log/*.log >&2 2>/dev/null || true
  exit 1
}

wait_for() { # SECONDS COMMAND...: until the command succeeds
  local until=$((SECONDS + $1))
  shift
  while ! "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -lt "$until" ] || return 1
    sleep 0.2
  done
}

nodes_are_idle() { [ "$(sinfo -h -N -t idle -o %N | sort -u | wc -l)" -eq "$NODES" ]; }

install_packages() {
  local packages=(slurmctld slurmd slurmdbd slurm-client munge mariadb-server)
  dpkg -s "${packages[@]}" >/dev/null 2>&1 && return
  [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || fail "Slurm is not installed, and without root and apt-get it cannot be"
  local policy=/usr/sbin/policy-rc.d # forbids the packages to start daemons of their own
  [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy"; chmod +x "$policy"; trap 'rm -f /usr/sbin/policy-rc.d' EXIT; }
  { apt-get update -qq &&
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}"; } >"$ROOT/apt.log" 2>&1 ||
    fail "Slurm cannot be installed: $(tail -n 1 "$ROOT/apt.log")"
}

write_configuration() {
  mkdir -p "$ROOT"/{etc,log,run,munge,state,gpus,database}
  chmod 755 "$ROOT" "$ROOT"/*
  (umask 077 && head -c 1024 /dev/urandom >"$ROOT/munge/key")
  local i
  for ((i = 0; i < GPUS; i++)); do ln -sfn /dev/null "$ROOT/gpus/gpu$i"; done
  cat >"$SLURM_CONF" <<CONF
ClusterName=tests
SlurmctldHost=$HOST(127.0.0.1)
SlurmctldPort=$PORT
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
CredType=cred/munge
# A job that is queued again waits this long, 120 s by default.
AuthInfo=socket=$ROOT/munge/socket,cred_expire=10
StateSaveLocation=$ROOT/state
SlurmdSpoolDir=$ROOT/spool-%n
SlurmctldPidFile=$ROOT/run/slurmctld.pid
SlurmdPidFile=$ROOT/run/slurmd-%n.pid
SlurmctldLogFile=$ROOT/log/slurmctld.log
SlurmdLogFile=$ROOT/log/slurmd-%n.log
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
MailProg=/bin/true
ReturnToService=2
KillWait=2
GresTypes=gpu
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort=$((PORT + 1))
AccountingStoragePass=$ROOT/munge/socket
AccountingStorageEnforce=limits
CONF
  for ((i = 1; i <= NODES; i++)); do
    mkdir -p "$ROOT/spool-n$i"
    echo "NodeName=n$i NodeHostname=$HOST NodeAddr=127.0.0.1 Port=$((PORT + 3 + i)) CPUs=$CPUS RealMemory=16000 Gres=gpu:a100:$GPUS" >>"$SLURM_CONF"
  done
  echo "PartitionName=main Nodes=ALL Default=YES MaxTime=7-0 State=UP" >>"$SLURM_CONF"
  echo "PartitionName=short Nodes=n1 MaxTime=1-0 State=UP" >>"$SLURM_CONF"
  echo "NodeName=n[1-$NODES] Name=gpu Type=a100 File=$ROOT/gpus/gpu[0-$((GPUS - 1))] Flags=nvidia_gpu_env" >"$ROOT/etc/gres.conf"
  cat >"$ROOT/etc/slurmdbd.conf" <<CONF
AuthType=auth/munge
AuthInfo=socket=$ROOT/munge/socket
DbdHost=localhost
DbdAddr=127.0.0.1
DbdPort=$((PORT + 1))
SlurmUser=root
LogFile=$ROOT/log/slurmdbd.log
PidFile=$ROOT/run/slurmdbd.pid
CommunicationParameters=NoInAddrAny
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort=$((PORT + 2))
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm
CONF
  chmod 600 "$ROOT/etc/slurmdbd.conf"
}

sql() { mariadb --no-defaults --user=root --socket="$ROOT/run/sql.socket" --execute="$1"; }

start_daemons() {
  munged --key-file="$ROOT/munge/key" --socket="$ROOT/munge/socket" --seed-file="$ROOT/munge/seed" \
    --pid-file="$ROOT/run/munged.pid" --log-file="$ROOT/log/munged.log" || fail "munged does not start"
  mariadb-install-db --no-defaults --user=root --datadir="$ROOT/database" --auth-root-authentication-method=normal \
    --skip-test-db >"$ROOT/log/database.log" 2>&1 || fail "the database cannot be made"
  setsid mariadbd --no-defaults --user=root --datadir="$ROOT/database" --socket="$ROOT/run/sql.socket" \
    --pid-file="$ROOT/run/mariadbd.pid" --bind-address=127.0.0.1 --port=$((PORT + 2)) --skip-name-resolve \
    --innodb-buffer-pool-size=64M --innodb-flush-log-at-trx-commit=0 >"$ROOT/log/mariadbd.log" 2>&1 </dev/null &
  wait_for 60 sql "select 1" || fail "the database does not answer"
  sql "create database slurm; create user slurm@127.0.0.1 identified by 'slurm';
       grant all on slurm.* to slurm@127.0.0.1" || fail "the database cannot be set up"
  slurmdbd || fail "slurmdbd does not start"
  wait_for 60 sacctmgr -n list cluster || fail "slurmdbd does not answer"
  sacctmgr -i add cluster tests >"$ROOT/log/accounts.log" 2>&1 || true
  sacctmgr -i add account lab >>"$ROOT/log/accounts.log" 2>&1 || true
  sacctmgr -i add user root account=lab defaultaccount=lab >>"$ROOT/log/accounts.log" 2>&1 || true
  slurmctld || fail "slurmctld does not start"
  local i
  for ((i = 1; i <= NODES; i++)); do slurmd -N "n$i" || fail "slurmd of node n$i does not start"; done
  wait_for 60 nodes_are_idle || fail "the nodes are not ready: $(sinfo -h -N -o '%N %T' | tr '\n' ' ')"
}

install_packages
if ! { [ -e "$SLURM_CONF" ] && timeout 5 scontrol ping 2>/dev/null | grep -q "is UP"; }; then
  write_configuration
  start_daemons >&2
fi
echo "export SLURM_CONF=$SLURM_CONF"
