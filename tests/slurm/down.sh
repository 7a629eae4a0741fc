#!/usr/bin/env bash
# Stop the Slurm that up.sh started in FOLDER, each daemon by the process id that it wrote there, and remove FOLDER.
set -uo pipefail
[ $# = 1 ] || { echo "usage: $0 FOLDER" >&2; exit 2; }
ROOT=$(cd "$1" 2>/dev/null && pwd) || exit 0
export SLURM_CONF=$ROOT/etc/slurm.conf

stop() { # NAME: the daemons of that name, in the order in which they depend on one another
  local file id
  for file in "$ROOT"/run/"$1"*.pid; do
    id=$(cat "$file" 2>/dev/null) || continue
    grep -qa "${1%-}" "/proc/$id/cmdline" 2>/dev/null || continue # its number may be another's by now
    kill "$id"
    for _ in $(seq 100); do
      kill -0 "$id" 2>/dev/null || break
      sleep 0.1
    done
    kill -KILL "$id" 2>/dev/null
  done
}

if timeout 5 scontrol ping 2>/dev/null | grep -q "is UP"; then
  timeout 10 scancel --user="$(id -un)" # no job may outlive its cluster
  for _ in $(seq 100); do
    [ -n "$(timeout 5 squeue -h)" ] || break
    sleep 0.1
  done
fi
for name in slurmd- slurmctld slurmdbd mariadbd munged; do stop "$name"; done
[ -e "$SLURM_CONF" ] && rm -rf "$ROOT"
