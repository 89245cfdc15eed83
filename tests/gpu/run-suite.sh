#!/usr/bin/env bash
# All that can be shown of hogpen on one GPU, by one command.
set -uo pipefail

usage() {
  cat << 'HELP'
usage: run-suite.sh [--build DIR] [--out DIR] [--quick] [--seconds N] [--report-only]
       run-suite.sh [--build DIR] --pack DIR

Runs on GPU 0, in less than nine minutes: gpu_suite (T1 to T13), the tests of kernels, trainings of the default model and
of a convnet on the GPU and on CPUs, PyTorch's eager mode beside them, the benchmark elementwise, compute-sanitizer, and the
benchmark gpu. What fails, takes too long or is not there does not stop the rest. All results go to DIR/results.json, all
output to files beside it; a summary says which goals are met. Rates are medians of three runs of some seconds each.

  --build DIR    the build folder. Default: that of the preset cuda; in a packed folder, that folder
  --out DIR      where results go, an empty or new one. Default: gpu-results-DATE in the working directory
  --quick        a twentieth of the kills and additions, fewer and shorter trainings, no compute-sanitizer: two minutes
  --seconds N    the most time for all [520]
  --report-only  only merge what lies in --out
  --pack DIR     run nothing: put what is needed, stripped, into DIR, which then can be copied to a machine with a GPU:
                 DIR/run-suite.sh runs it there

Environment:
  HOGPEN_TORCH_ROOT  a LibTorch with lib/, for example .../site-packages/torch. Default: the torch of HOGPEN_PYTHON
  HOGPEN_PYTHON      the Python whose PyTorch is measured beside hogpen [.venv/bin/python of the tree, else python3]

Fashion-MNIST is /usr/share/datasets/fashion-mnist (Debian's dataset-fashion-mnist); --pack takes it along.

Exit codes:
  0 all goals that were measured are met   1 one is not, a step failed or timed out, or nothing was measured
  2 wrong usage   4 there is no GPU
HELP
}

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
readonly here
die() {
  printf 'run-suite.sh: error: %s\n' "$*" >&2
  exit 2
}

build="" out="" pack="" quick="" only_report="" budget=520
while [[ $# != 0 ]]; do
  case $1 in
    --build | --out | --pack | --seconds) [[ $# -ge 2 ]] || die "$1 wants a value" ;;&
    --build) build=$2 && shift ;;
    --out) out=$2 && shift ;;
    --pack) pack=$2 && shift ;;
    --seconds) budget=$2 && shift ;;
    --quick) quick=yes ;;
    --report-only) only_report=yes ;;
    -h | --help) usage && exit ;;
    *) usage >&2 && die "no such option: $1" ;;
  esac
  shift
done
[[ $budget =~ ^[1-9][0-9]*$ ]] || die "--seconds wants a whole number, not '$budget'"

# A packed folder has the programs beside this script, the tree has them in a build folder.
if [[ -x $here/apps/hogpen ]]; then
  build=${build:-$here} scripts=$here data=$here/fashion-mnist peer=$here/torch_eager.py
else
  tree=$(cd "$here/../.." && pwd)
  build=${build:-$tree/build/cuda} scripts=$here data="" peer=$tree/tests/peers/torch_eager.py
  [[ -n ${HOGPEN_PYTHON:-} || ! -x $tree/.venv/bin/python ]] || HOGPEN_PYTHON=$tree/.venv/bin/python
fi
[[ -d $data ]] || data=/usr/share/datasets/fashion-mnist
python=${HOGPEN_PYTHON:-python3}

readonly most_packed_bytes=$((60 << 20))
readonly system_libraries='lib(c|m|dl|rt|util|pthread|gcc_s|stdc\+\+)\.so|ld-linux'

# What a program needs beside LibTorch and the system's own.
own_libraries() { ldd "$1" | awk '/=> \//{print $3}' | grep -Ev "/torch/lib/|/nvidia/|$system_libraries" | sort -u; }

pack_into() {
  local program original library size
  [[ -x $build/apps/hogpen ]] || die "there is no $build/apps/hogpen: build it first"
  mkdir -p "$pack/apps" "$pack/tests/fake_cuda" "$pack/lib" || exit 2
  for program in apps/hogpen tests/gpu_suite tests/device_memory_test "$build"/tests/*_gpu_test; do
    program=${program#"$build"/}
    [[ -x $build/$program ]] || die "there is no $build/$program: build all targets first"
    original=$build/$program
    # The one that needs no Arrow, where there are two.
    [[ $program != apps/hogpen || ! -x ${original}_without_tables ]] || original+=_without_tables
    strip -o "$pack/$program" "$original" || exit 1
    own_libraries "$original" | while read -r library; do cp -L "$library" "$pack/lib/"; done
  done
  strip -o "$pack/tests/fake_cuda/libcuda.so.1" "$build/tests/fake_cuda/libcuda.so.1" || exit 1
  cp "$scripts/run-suite.sh" "$scripts/suite_report.py" "$peer" "$pack/" || exit 1
  if [[ -d $data ]]; then mkdir -p "$pack/fashion-mnist" && cp "$data"/*.gz "$pack/fashion-mnist/"; fi
  size=$(du --bytes --summarize "$pack" | cut -f1)
  printf '%s: %s MiB\n' "$pack" $((size >> 20))
  ((size < most_packed_bytes)) || die "that is more than $((most_packed_bytes >> 20)) MiB"
}

if [[ -n $pack ]]; then
  pack_into
  exit
fi

[[ -n $out ]] || out=gpu-results-$(date -u +%Y%m%d-%H%M%S)
mkdir -p "$out" || die "cannot make --out $out"
out=$(cd "$out" && pwd)
torch=${HOGPEN_TORCH_ROOT:-$("$python" -c '
import importlib.util as util
spec = util.find_spec("torch")
print(spec.submodule_search_locations[0] if spec else "")' 2> /dev/null)}
libraries_of_others=${LD_LIBRARY_PATH:-}  # for PyTorch, which may be another
[[ -z $torch ]] || export LD_LIBRARY_PATH=$torch/lib:$build/lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

report() { python3 "$scripts/suite_report.py" "$out"; }

if [[ -n $only_report ]]; then
  report
  exit
fi

[[ -z $(ls -A "$out") ]] || die "--out $out is not empty"
scratch=$(mktemp -d) && trap 'rm -rf "$scratch"' EXIT
trap 'exit 130' INT TERM
export TMPDIR=$scratch  # for what is killed, too

# step NAME SECONDS COMMAND…: stdout goes to NAME.json, the rest to NAME.txt; what it is like to steps.tsv.
step() {
  local name=$1 limit=$2 begin=$SECONDS code
  shift 2
  local left=$((budget - SECONDS))
  ((limit < left)) || limit=$left
  if ((limit < 3)); then
    printf '%s\t%s\t%s\t%s\n' "$name" "no time left" 0 0 >> "$out/steps.tsv"
    return
  fi
  printf '==> %s\n' "$name"
  timeout --kill-after=5 "$limit" "$@" > "$out/$name.json" 2> "$out/$name.txt" < /dev/null
  code=$?
  printf '%s\t%s\t%s\t%s\n' "$name" "$code" $((SECONDS - begin)) "$limit" >> "$out/steps.tsv"
}
# skip NAME REASON
skip() { printf '%s\tskipped: %s\t0\t0\n' "$1" "$2" >> "$out/steps.tsv"; }

hogpen=$build/apps/hogpen
convnet="Conv2d(1,10,5) MaxPool2d(2) ReLU Conv2d(10,20,5) Dropout2d MaxPool2d(2) ReLU Flatten \
Linear(320,50) ReLU Dropout Linear(50,10) LogSoftmax"

# train NAME SECONDS OPTION…: from the start to the end alone, with nothing evaluated or saved in between.
train() {
  local name=$1 limit=$2
  shift 2
  if [[ ! -d $data ]]; then
    skip "$name" "there is no $data: apt-get install dataset-fashion-mnist"
    return
  fi
  step "$name" "$limit" "$hogpen" train --data "$data" --run-dir "$scratch/$name" --eval-every 0 --checkpoint-every 0 \
    --json --quiet "$@"
}

kernel_tests() {
  local program name
  for program in "$build"/tests/*_gpu_test; do
    name=$(basename "$program")
    step "$name" 40 "$program" "--gtest_output=json:$out/$name.gtest.json"
  done
}

sanitize() {
  local sanitizer program name
  sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
  for program in "$build"/tests/*_gpu_test; do
    name=sanitized_$(basename "$program")
    if [[ -x $sanitizer ]]; then
      # Not the arrays of 2^32 elements: each access is looked at.
      step "$name" 60 "$sanitizer" --error-exitcode 9 "$program" "--gtest_filter=-*2To32*"
    else
      skip "$name" "there is no compute-sanitizer"
    fi
  done
}

# accuracies EPOCHS: on the GPU and on CPUs.
accuracies() {
  local device
  for device in cuda cpu; do
    train "accuracy_mlp_$device" 60 --device "$device" --workers 4 --lr 0.1 --lr-schedule cosine --epochs "$1"
    train "accuracy_convnet_$device" 60 --device "$device" --workers 4 --model "$convnet" --lr 0.01 --momentum 0.5 \
      --lr-schedule cosine --epochs "$1"
  done
}

# rate NAME WORKERS KIND EPOCHS
rate() {
  train "$1" 40 --device cuda --workers "$2" --workers-as "$3" --epochs "$4" --batch-size 64 --lr 0.1
}

# The epochs that take rate_seconds, by the training of `estimate_epochs` that was the step rate_estimate.
epochs_of_a_rate() {
  python3 - "$out/rate_estimate.json" "$rate_seconds" "$estimate_epochs" << 'PYTHON' 2> /dev/null || echo "$estimate_epochs"
import json, sys
with open(sys.argv[1]) as file:
    took = json.load(file)["seconds_after_first_step"]
seconds, epochs = (int(argument) for argument in sys.argv[2:])
print(min(max(epochs, round(epochs * seconds / took)), 2000))
PYTHON
}

# In turns, so that what changes with time, such as clocks, changes all alike.
rates() {
  local round workers epochs
  rate rate_estimate 1 processes "$estimate_epochs"
  epochs=$(epochs_of_a_rate)
  for ((round = 1; round <= rounds; ++round)); do
    for workers in "${processes[@]}"; do rate "rate_${workers}_processes_$round" "$workers" processes "$epochs"; done
    for workers in "${threads[@]}"; do rate "rate_${workers}_threads_$round" "$workers" threads "$epochs"; done
  done
}

# LibTorch's engine where its CUDA libraries must come before all else, and captured steps of its own kernels.
autograd_in_threads() {
  train autograd_in_threads 60 --device cuda --workers 2 --workers-as threads --engine autograd --epochs 2 \
    --batch-size 64 --lr 0.1
}

scale=1 passes=6 rounds=3 rate_seconds=3 estimate_epochs=20 processes=(1 2 4 8) threads=(4 8)
[[ -z $quick ]] || scale=0.05 passes=3 rounds=1 rate_seconds=1 processes=(1 4) threads=(4)
nvidia-smi -q > "$out/nvidia-smi.txt" 2> /dev/null
step info 30 "$hogpen" info --json
step gpu_suite 260 "$build/tests/gpu_suite" --scale "$scale" --json "$out/gpu_suite.results.json"
kernel_tests
rates
if [[ -d $torch ]]; then
  step torch_eager 40 env LD_LIBRARY_PATH="$libraries_of_others" "$python" "$peer" --seconds 3 --rounds "$rounds"
else
  skip torch_eager "no PyTorch was found"
fi
accuracies "$passes"
autograd_in_threads
step bench_elementwise 60 "$hogpen" bench elementwise --seconds 0.2 --json \
  --filter '(CUDA|/(exp|square), \d+ threads).*, 2\^(10|14|18|22|26|28)$'
[[ -n $quick ]] || sanitize
step bench_gpu 40 "$hogpen" bench gpu --filter 'gpu/(?!train)' --seconds 0.3 --json  # last, since no goal is of it
report
