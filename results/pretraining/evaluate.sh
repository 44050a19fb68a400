#!/bin/sh
# The evaluation of the kept pretraining, every arm with tuned learning rates and three seeds; `make
# pretraining-proof` runs it. It resumes where it was stopped: scores and rates are journals.
#   evaluate.sh DATA      folder:PATH with CIFAR-10 as PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg
set -eu
data=${1:-}
[ -n "$data" ] || { echo "evaluate.sh: which images? Usage: evaluate.sh folder:PATH|cifar10" >&2; exit 2; }
case $data in
    folder:/*|cifar10) ;;
    folder:*) data="folder:$PWD/${data#folder:}" ;;
esac
# Relative, as the journals of scores name the run by its path.
cd "$(dirname "$0")/../.."
run=results/pretraining/run
common="--seeds 3 --supervised-pretraining --threads 1"
designspace evaluate "$run" --task knn --data "$data" $common
designspace evaluate "$run" --task linear --data "$data" $common
designspace evaluate "$run" --task lowshot --labels 0.01 --labels 0.1 --data "$data" $common
designspace evaluate "$run" --task finetune --data "$data" $common
