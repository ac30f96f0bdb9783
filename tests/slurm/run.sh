#!/bin/sh
# A SLURM cluster of one machine, this one, and checks.py on it, or a workflow:
# sh tests/slurm/run.sh FOLDER-WITH-PYTHON [SNAKEMAKE ARGUMENT...]
# Needs root, Debian's slurm-wlm and munge, and Python's snakemake-executor-plugin-slurm. All state is in a temporary folder, but for
# two files in /etc/slurm, where the jobs look for them; they go at the end.
set -eu
bin=$(cd "$1" && pwd)
shift
cd "$(dirname "$0")/../.."

for program in slurmctld slurmd munged squeue; do
    command -v "$program" >/dev/null || { echo "test-slurm: $program is missing: apt-get install slurm-wlm munge" >&2; exit 1; }
done
[ "$(id -u)" = 0 ] || { echo "test-slurm: needs root, to start munged and slurmd" >&2; exit 1; }
"$bin/python" -c "import snakemake_executor_plugin_slurm" 2>/dev/null || {
    echo "test-slurm: the plugin is missing: $bin/python -m pip install snakemake-executor-plugin-slurm" >&2
    exit 1
}

conf=/etc/slurm/slurm.conf
if [ -e $conf ]; then echo "test-slurm: $conf exists: this machine is part of a cluster, use that one" >&2; exit 1; fi
state=$(mktemp -d /tmp/sibp-slurm.XXXXXX)
chmod 755 "$state"
host=$(hostname -s)
export PATH="$bin:/usr/sbin:/sbin:$PATH"
daemons=""
stop() {
    for daemon in $daemons; do
        if [ -f "$state/$daemon.pid" ]; then kill "$(cat "$state/$daemon.pid")" 2>/dev/null || true; fi
    done
    sleep 1
    rm -rf "$state" $conf /etc/slurm/gres.conf
}
trap stop EXIT INT TERM

dd if=/dev/urandom of="$state/munge.key" bs=1024 count=1 2>/dev/null
chmod 600 "$state/munge.key"
munged --force --key-file="$state/munge.key" --socket="$state/munge.socket" --pid-file="$state/munged.pid" \
    --log-file="$state/munged.log" --seed-file="$state/munge.seed"
mkdir -p /etc/slurm
cat >$conf <<CONF
ClusterName=sibp
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=16817
SlurmdPort=16818
AuthType=auth/munge
AuthInfo=socket=$state/munge.socket
SlurmUser=root
StateSaveLocation=$state/slurmctld
SlurmdSpoolDir=$state/slurmd
SlurmctldPidFile=$state/slurmctld.pid
SlurmdPidFile=$state/slurmd.pid
SlurmctldLogFile=$state/slurmctld.log
SlurmdLogFile=$state/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
SchedulerParameters=sched_interval=1,defer
GresTypes=gpu
NodeName=$host NodeAddr=127.0.0.1 CPUs=$(nproc) RealMemory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo) Gres=gpu:1 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE State=UP
CONF
echo "NodeName=$host Name=gpu File=/dev/null" >/etc/slurm/gres.conf # a GPU in name only: jobs that ask for it run one at a time
mkdir "$state/slurmctld" "$state/slurmd"
daemons="slurmctld slurmd munged"
slurmctld
slurmd -N "$host"
i=0
until sinfo --noheader --format=%T 2>/dev/null | grep -q idle; do
    i=$((i + 1))
    if [ $i -gt 60 ]; then tail -n 20 "$state"/*.log >&2; exit 1; fi
    sleep 0.5
done
echo "test-slurm: $(sinfo --noheader --format='%N has %c CPUs, %G, is %T')"
if [ $# = 0 ]; then
    "$bin/python" tests/slurm/checks.py "$state"
else
    "$bin/snakemake" --workflow-profile profiles/slurm --slurm-status-command squeue "$@"
fi
