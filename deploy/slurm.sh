#!/bin/bash
# The main job, or another, on Slurm: `ray symmetric-run` starts Ray on every node, runs the command on the first, and
# stops Ray at the end.
#   sbatch deploy/slurm.sh
#   sbatch --nodes=4 deploy/slurm.sh weft launch --address auto --ps 1 --workers 4 examples/between_graph.py
# From the folder of the checkout, which all nodes must see, with its virtual environment (VENV=... names another).
#SBATCH --job-name=weft
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=4
#SBATCH --time=00:30:00
set -euo pipefail

if (($# == 0)); then
    set -- python examples/train_digits.py --mode cluster --address auto
fi
. "${VENV:-.venv}/bin/activate"

# No listener of this cluster answers without the token. It lies in the home folder, which the nodes share, and is read there.
export RAY_AUTH_MODE=token
if [[ ! -e ~/.ray/auth_token ]]; then
    ray get-auth-token --generate >/dev/null
fi

# Two jobs may have a node each of one machine: the port is this job's own.
port=$((20000 + SLURM_JOB_ID % 10000))
# All names are read: a pipe that ends after the first may end scontrol by SIGPIPE, and this script with it.
nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes%%$'\n'*}
export RAY_gcs_rpc_server_reconnect_timeout_s=${RAY_gcs_rpc_server_reconnect_timeout_s:-10} # so long nodes look for the head when the job is over; Ray's own is a minute
export RAY_worker_niceness=0 # Ray would run the tasks at nice 15, behind all else on their node
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300 # seconds; nodes with a slow shared disk take long to start Ray
# The command's own exit code is kept: Ray's launcher, a driver of the cluster that it stops, may end with another. The first
# node, where the command runs, is the one that runs this script.
result=$(mktemp)
srun --kill-on-bad-exit=0 ray symmetric-run --address "$head:$port" --min-nodes "$SLURM_JOB_NUM_NODES" \
    --num-cpus "$SLURM_CPUS_PER_TASK" --disable-usage-stats \
    -- bash -c 'code=0; "${@:2}" || code=$?; echo $code >"$1"' run "$result" "$@" || true
code=$(<"$result")
rm "$result"
exit "${code:-1}" # 1: it never ran, and the output says why
