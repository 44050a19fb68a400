#!/bin/sh
# The reference study, every step of it. `make reference` runs it; it goes on where it was stopped.
#   study.sh DATA [JOBS [PART]]     DATA: folder:PATH, or cifar10    PART: all (default), train, report
# In the environment, for a study of one's own: OUT=FOLDER where it lies (else here, beside this script),
# N=100 models of each space (else 64), the same each time.
set -eu
usage() { echo "study.sh: $1. Usage: study.sh folder:PATH|cifar10 [JOBS [all|train|report]]" >&2; exit 2; }
data=${1:-} jobs=${2:-2} part=${3:-all} n=${N:-64} here=$(cd "$(dirname "$0")" && pwd) download=
case $data in
    '') usage "which images? The kept study has CIFAR-10 as PATH/train/CLASS/*.jpg and PATH/test/CLASS/*.jpg" ;;
    folder:/*) ;;
    folder:*) data="folder:$PWD/${data#folder:}" ;;
    cifar10) download=--download ;;
esac
case $part in all|train|report) ;; *) usage "there is no part '$part'" ;; esac
command -v designspace > /dev/null || usage "designspace is not on PATH; \`make reference\` sees to that"
mkdir -p "${OUT:-$here}"
cd "${OUT:-$here}"
if [ -n "${OUT:-}" ]; then cp -n "$here/claims.yaml" "$here/regnety-400mf.yaml" .; fi
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

# Of the first 64 models of a run, once trained, n at even steps of their error, best to worst.
spread() {
    python - "$1" "$2" <<'PYTHON'
import sys

import numpy as np

import designspace

models = designspace.load_run(sys.argv[1]).to_frame().dropna(subset="error").sort_values("error")
models = models[models.index < 64]
steps = np.linspace(0, len(models) - 1, int(sys.argv[2])).round().astype(int)
print(",".join(str(i) for i in sorted(models.index[steps])))
PYTHON
}

trained() { [ -s "$1/trials.jsonl" ]; }

# What two or more runs of the same models agree in, as a file that is whole or not there.
agree() {
    file=$1; shift
    designspace agree "$@" --json > "$file.part"
    mv "$file.part" "$file"
}

if [ "$part" != report ]; then
    # 1. Eight populations under one budget, and the same short schedule for all, in turns.
    for run in $runs; do
        designspace sample "$(space "$run")" -n $n $setting --out "$run"
    done
    designspace train $runs --data "$data" $download --recipe cifar --jobs "$jobs" --epochs 3
fi

if [ "$part" != report ]; then
    # 2. How far to trust it: 16 models of two populations five times as long, 8 with three seeds.
    for run in anynetxa regnetx; do
        designspace sample "$(space "$run")" -n $n $setting --out "long/$run"
        designspace train "long/$run" --data "$data" $download --recipe cifar --jobs "$jobs" --epochs 15 --only "$(spread "$run" 16)"
        for seed in 1 2; do
            designspace sample "$(space "$run")" -n $n $setting --out "seeds/$run-$seed"
            designspace train "seeds/$run-$seed" --data "$data" $download --recipe cifar --jobs "$jobs" --epochs 3 --seed $seed --only "$(spread "$run" 4)"
        done
    done
fi
[ "$part" = train ] && exit

if [ "$part" = all ]; then
    # 3. The loop: what AnyNetXA alone shows, its own narrower space, and whether that is better.
    designspace analyze anynetxa --out loop/findings
    [ -f loop/refined.yaml ] || designspace refine loop/findings --out loop/refined.yaml --name refined
    if [ -f loop/refined.yaml ]; then
        designspace sample loop/refined.yaml -n 64 $setting --out loop/refined
        designspace train loop/refined --data "$data" $download --recipe cifar --jobs "$jobs" --epochs 3
    fi
fi

# 4. The verdicts.
designspace analyze $runs --claims claims.yaml --out report
for run in anynetxa regnetx; do
    if trained "long/$run"; then agree "report/$run-long.json" "$run" "long/$run"; fi
    if trained "seeds/$run-2"; then
        agree "report/$run-seeds.json" "$run" "seeds/$run-1" "seeds/$run-2"
    fi
done
if trained loop/refined; then designspace analyze anynetxa loop/refined --out loop/report; fi

# 5. Asked once the verdicts were known: what squeeze-and-excitation does alone, in RegNetY's own space.
if [ "$part" = all ]; then
    designspace sample RegNetX-constrained@16 -n $n $setting --out se/regnetx-constrained
    designspace train se/regnetx-constrained --data "$data" $download --recipe cifar --jobs "$jobs" --epochs 3
fi
if trained se/regnetx-constrained; then designspace analyze se/regnetx-constrained regnety --out se/report; fi

# 6. Models of four times the budget: from the findings, the published shape, the best model drawn.
#    Chosen above all, so the test set may be opened now: it is the one place where it is.
if [ "$part" = all ]; then
    #    (Each parameter's best value, scaled, comes no nearer than 5.4M multiply-adds: so the search.)
    mkdir -p derived
    designspace derive --family regnety --from report --population regnety --flops 4M --search 500 --name from-findings --out derived/from-findings.yaml
    designspace derive --from regnety-400mf.yaml --flops 4M --name from-published --out derived/from-published.yaml
    designspace derive --from regnety:best --flops 4M --name from-best-drawn --out derived/from-best-drawn.yaml
    for seed in 0 1 2; do
        designspace gather derived/from-findings.yaml derived/from-published.yaml derived/from-best-drawn.yaml --out "derived/seed-$seed"
    done
    for seed in 0 1 2; do
        designspace train "derived/seed-$seed" --data "$data" $download --recipe cifar --jobs "$jobs" --epochs 3 --seed $seed --val test
    done
    designspace export derived/from-findings.yaml --to vissl --to torchvision --out exported/from-findings
    designspace export regnety --best 5 --to vissl --to torchvision --out exported/best-drawn
    designspace derive --family regnety --flops 256G --imagenet --out derived/regnety-256gf.yaml
    designspace export derived/regnety-256gf.yaml --to vissl --to torchvision --out exported/regnety-256gf
fi
