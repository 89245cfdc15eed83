#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=cmake/setup.sh
source cmake/setup.sh
# shellcheck source=cmake/training.sh
source cmake/training.sh

usage() {
  cat << 'HELP'
usage: ./quickstart.sh [--cpu|--cuda] [--setup-only] [-- OPTION…]

From a fresh Debian 12 or Ubuntu 24.04 to a trained model: installs the Debian packages, LibTorch and Arrow that are
missing (the latter two go into .venv), builds hogpen, and trains a small network on Fashion-MNIST with four workers.
Whatever is already there is left as it is, so running it again only trains.

  --cpu         build without CUDA kernels, also where a CUDA toolkit is
  --cuda        insist on CUDA kernels; needs nvcc 13 or newer. Default: with them if such an nvcc is found
  --setup-only  install and build, but do not train
  -- OPTION…    passed on to `hogpen train`, for example: -- --epochs 2 --workers 2
                What they, or variables such as HOGPEN_EPOCHS, say is left to them; with --config or --resume, all is

Environment: HOGPEN_TORCH_ROOT    a LibTorch of your own (with include/ and lib/), used instead of .venv
             HOGPEN_ARROW_ROOT    an Arrow C++ of your own, used instead of .venv's pyarrow
             CUDACXX              the nvcc to use
HELP
}

wish="" train=yes
while [[ $# != 0 ]]; do
  case $1 in
    --cpu) wish=cpu ;;
    --cuda) wish=cuda ;;
    --setup-only) train=no ;;
    -h | --help) usage; exit ;;
    --) shift; break ;;
    *) usage >&2; die "no such option: $1 (options for hogpen train stand behind --)" ;;
  esac
  shift
done

install_debian_packages "${build_packages[@]}"
choose_preset "$wish"
ensure_libtorch "$preset"
ensure_arrow
configure "$preset"
build "$preset" hogpen_command
command=build/$preset/apps/hogpen
if [[ $train == no ]]; then
  say "Ready: $command --help"
  exit
fi

choose_training "$@"
say "Training: $command train ${arguments[*]@Q} $*"
exec "$command" train "${arguments[@]}" "$@"
