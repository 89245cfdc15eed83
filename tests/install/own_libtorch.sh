#!/usr/bin/env bash
# A user's own LibTorch, given by HOGPEN_TORCH_ROOT, is used, and no Python is asked for one. Configures only.
# usage: own_libtorch.sh CMAKE SOURCE INCLUDE LIB SCRATCH
set -euo pipefail
cmake=$1 source=$2 include=$3 lib=$4 scratch=$5
rm -rf "$scratch"
mkdir -p "$scratch/libtorch"
ln -s "$include" "$scratch/libtorch/include"
ln -s "$lib" "$scratch/libtorch/lib"
"$cmake" -G Ninja -S "$source" -B "$scratch/build" -DHOGPEN_CUDA=OFF -DHOGPEN_TESTS=OFF -DHOGPEN_PYTHON=/bin/false \
  -DHOGPEN_TORCH_ROOT="$scratch/libtorch" > "$scratch/log" || { cat "$scratch/log"; exit 1; }
grep -q "$scratch/libtorch/lib/libtorch_cpu.so" "$scratch/build/build.ninja"
# Where there is none, the error says what to do.
if "$cmake" -G Ninja -S "$source" -B "$scratch/none" -DHOGPEN_CUDA=OFF -DHOGPEN_TESTS=OFF -DHOGPEN_PYTHON=/bin/false \
  -DHOGPEN_TORCH_ROOT="$scratch/no/such" > "$scratch/log" 2>&1; then
  echo "it found a LibTorch where none is"
  exit 1
fi
grep -q "set HOGPEN_TORCH_ROOT to a LibTorch" "$scratch/log"
