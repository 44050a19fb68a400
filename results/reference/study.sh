#!/bin/sh
# The reference study, every step of it. `make reference` runs it; it goes on where it was stopped.
#   study.sh DATA [JOBS [PART]]     DATA: cifar10, or folder:PATH    PART: all (default), train, report
set -eu
data=$1 jobs=${2:-2} part=${3:-all}
case $data in
    folder:/*) ;;
    folder:*) data="folder:$PWD/${data#folder:}" ;;
esac
cd "$(dirname "$0")"
setting="--flops 1M±10% --seed 0"
runs="anynetxa anynetxb anynetxc anynetxd anynetxe widths-decreasing regnetx regnety"

space() {
    case $1 in
        anynetx?) echo "AnyNetX$(echo "$1" | cut -c8 | tr a-e A-E)@16" ;;
        widths-decreasing) echo "AnyNetXC-widths-decreasing@16" ;;
        regnetx) echo "RegNetX@16" ;;
        regnety) echo "RegNetY@16" ;;
    esac
}

# Models of a finished run at n even steps of their error, from the best to the worst.
spread() {
    python - "$1" "$2" <<'PYTHON'
import sys

import numpy as np

import designspace

models = designspace.load(sys.argv[1]).models.sort_values("error")
steps = np.linspace(0, len(models) - 1, int(sys.argv[2])).round().astype(int)
print(",".join(str(i) for i in sorted(models.index[steps])))
PYTHON
}

if [ "$part" != report ]; then
    # 1. Eight populations under one budget, and the same short schedule for all, in turns.
    for run in $runs; do
        designspace sample "$(space "$run")" -n 100 $setting --out "$run"
    done
    designspace train $runs --data "$data" --recipe cifar --jobs "$jobs" --epochs 3
fi
[ "$part" = train ] && exit

if [ "$part" = all ]; then
    # 2. How far to trust it: 16 models of two populations five times as long, 8 with three seeds.
    for run in anynetxa regnetx; do
        designspace sample "$(space "$run")" -n 100 $setting --out "long/$run"
        designspace train "long/$run" --data "$data" --recipe cifar --jobs "$jobs" --epochs 15 --only "$(spread "$run" 16)"
        for seed in 1 2; do
            designspace sample "$(space "$run")" -n 100 $setting --out "seeds/$run-$seed"
            designspace train "seeds/$run-$seed" --data "$data" --recipe cifar --jobs "$jobs" --epochs 3 --seed $seed --only "$(spread "$run" 4)"
        done
    done
fi

# 3. The verdicts.
designspace analyze $runs --claims claims.yaml --out report
for run in anynetxa regnetx; do
    [ -d "long/$run" ] || continue
    designspace agree "$run" "long/$run" --json > "report/$run-long.json"
    designspace agree "$run" "seeds/$run-1" "seeds/$run-2" --json > "report/$run-seeds.json"
done
