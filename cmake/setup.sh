# shellcheck shell=bash
# Sourced by quickstart.sh and test.sh from the root of the tree: sets up what a build needs. Each step says in one line
# what it does, and does nothing when it is done already.

readonly torch_package=torch==2.11.0
# All that libtorch_cpu.so of the CUDA wheel needs to load; the other 2 GB of its dependencies serve GPUs and Python.
readonly cpu_packages=("$torch_package" nvidia-cuda-runtime==13.0.96 nvidia-cuda-cupti==13.0.85)
# Carries Arrow C++, headers and libraries: for Frame. Of its Python side nothing is used.
readonly arrow_package=pyarrow==26.0.1
# shellcheck disable=SC2034  # for those who source this file
readonly build_packages=(g++ cmake ninja-build python3 python3-venv libcli11-dev libgtest-dev nlohmann-json3-dev
                         libtomlplusplus-dev zlib1g-dev dataset-fashion-mnist)
readonly least_nvcc=13
readonly venv=$PWD/.venv

say() { printf '==> %s\n' "$*"; }

die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

as_root() {
  if [[ $(id -u) == 0 ]]; then
    "$@"
  elif command -v sudo > /dev/null; then
    local never_ask=()
    [[ -t 0 ]] || never_ask=(-n)
    sudo "${never_ask[@]}" "$@"
  else
    return 1
  fi
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "$@"
}

# install_debian_packages NAME…: those that are missing; the package lists are fetched only when they are of no use.
install_debian_packages() {
  if ! command -v apt-get > /dev/null; then
    say "Not a Debian or Ubuntu: the counterparts of these packages must be installed: $*"
    return
  fi
  local missing=() name status
  for name in "$@"; do
    status=$(dpkg-query --show --showformat='${db:Status-Status}' "$name" 2> /dev/null || true)
    [[ $status == installed ]] || missing+=("$name")
  done
  if [[ ${#missing[@]} == 0 ]]; then
    say "Debian packages: all $# are there"
    return
  fi
  say "Installing Debian packages: ${missing[*]}"
  apt_install "${missing[@]}" && return
  as_root env DEBIAN_FRONTEND=noninteractive apt-get update --quiet && apt_install "${missing[@]}" && return
  die "could not install them; as root: apt-get update && apt-get install ${missing[*]}"
}

nvcc_major() { "$1" --version 2> /dev/null | sed -n 's/.*release \([0-9]*\)\..*/\1/p'; }

# Prints the path of the first nvcc found, new enough or not.
find_nvcc() {
  local candidate
  for candidate in "${CUDACXX:-}" "$(command -v nvcc)" "${CUDA_HOME:-}/bin/nvcc" "${CUDA_PATH:-}/bin/nvcc" \
                   /usr/local/cuda/bin/nvcc; do
    if [[ -n $candidate && -x $candidate && -n $(nvcc_major "$candidate") ]]; then
      echo "$candidate"
      return
    fi
  done
}

# Looks for a CUDA toolkit that is new enough: sets CUDACXX to its nvcc, and `nvcc_found` to a clause for people.
find_cuda() {
  local nvcc
  nvcc=$(find_nvcc)
  nvcc_found="no nvcc is on PATH or in /usr/local/cuda"
  [[ -n $nvcc ]] || return 1
  nvcc_found="$nvcc is of CUDA $(nvcc_major "$nvcc")"
  [[ $(nvcc_major "$nvcc") -ge $least_nvcc ]] || return 1
  export CUDACXX=$nvcc
}

# choose_preset WISH: sets `preset` to cpu or cuda and says why. WISH is cpu, cuda or empty.
choose_preset() {
  preset=cpu
  if [[ $1 == cpu ]]; then
    say "Without CUDA kernels, as --cpu asks"
  elif find_cuda; then
    preset=cuda
    say "With CUDA kernels: $nvcc_found (--cpu leaves them out)"
  elif [[ $1 == cuda ]]; then
    die "--cuda needs CUDA $least_nvcc or newer, but $nvcc_found: install the CUDA toolkit, or leave --cuda out"
  else
    say "Without CUDA kernels: $nvcc_found (--cuda insists; it needs CUDA $least_nvcc or newer)"
  fi
}

pip_install() {
  local quiet=()
  [[ -t 1 ]] || quiet=(--quiet)
  "$venv/bin/python" -m pip install --no-input --disable-pip-version-check "${quiet[@]}" "$@"
}

ensure_venv() {
  if "$venv/bin/python" -m pip --version > /dev/null 2>&1; then
    say "Python environment .venv: there"
    return
  fi
  say "Making the Python environment .venv"
  # --clear: what is there, if anything, is the rest of an interrupted run or of another Python.
  python3 -m venv --clear "$venv"
}

# ensure_python_packages [--no-deps] REQUIREMENT…: installs what is missing, and repairs what an interrupted pip left.
ensure_python_packages() {
  local no_deps=() check=("$venv/bin/python" cmake/python_packages.py) report broken
  if [[ $1 == --no-deps ]]; then
    no_deps=(--no-deps)
    shift
  else
    check+=(--deps)
  fi
  report=$("${check[@]}" "$@")
  if [[ -z $report ]]; then
    say "Python packages: all there ($*)"
    return
  fi
  mapfile -t broken < <(sed -n 's/^broken //p' <<< "$report")
  if [[ ${#broken[@]} != 0 ]]; then
    say "Repairing Python packages: ${broken[*]}"
    pip_install --ignore-installed --no-deps "${broken[@]}"
  fi
  if grep -q '^missing ' <<< "$report"; then
    say "Installing Python packages: $*"
    pip_install "${no_deps[@]}" "$@"
  fi
  report=$("${check[@]}" "$@")
  [[ -z $report ]] || die "pip ended without error, yet: ${report//$'\n'/; } (remove .venv and run this again)"
}

# ensure_libtorch PRESET: into .venv, unless HOGPEN_TORCH_ROOT names a LibTorch of the user's own.
ensure_libtorch() {
  if [[ -n ${HOGPEN_TORCH_ROOT:-} ]]; then
    [[ -e $HOGPEN_TORCH_ROOT/lib/libtorch_cpu.so ]] ||
      die "HOGPEN_TORCH_ROOT=$HOGPEN_TORCH_ROOT has no lib/libtorch_cpu.so"
    say "LibTorch: $HOGPEN_TORCH_ROOT (HOGPEN_TORCH_ROOT)"
    return
  fi
  ensure_venv
  if [[ $1 == cuda ]]; then
    ensure_python_packages "$torch_package"
  else
    ensure_python_packages --no-deps "${cpu_packages[@]}"
  fi
}

# ensure_arrow: into .venv, unless HOGPEN_ARROW_ROOT names an Arrow of the user's own.
ensure_arrow() {
  if [[ -n ${HOGPEN_ARROW_ROOT:-} ]]; then
    say "Arrow: $HOGPEN_ARROW_ROOT (HOGPEN_ARROW_ROOT)"
    return
  fi
  ensure_venv
  ensure_python_packages --no-deps "$arrow_package"
}

# Compile jobs: a file that includes LibTorch takes up to 1.3 GB, so memory may allow fewer than the CPUs do.
build_jobs() {
  local cpus kilobytes jobs
  cpus=$(nproc)
  kilobytes=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)
  jobs=$((kilobytes / 2000000))
  jobs=$((jobs < cpus ? jobs : cpus))
  echo "${CMAKE_BUILD_PARALLEL_LEVEL:-$((jobs > 1 ? jobs : 1))}"
}

configure() {
  local python=python3
  [[ ! -x $venv/bin/python ]] || python=$venv/bin/python
  say "Configuring build/$1"
  # Said each time, because CMake's cache would keep those of an earlier run.
  cmake --preset "$1" --log-level=WARNING -DHOGPEN_PYTHON="$python" -DHOGPEN_TORCH_ROOT="${HOGPEN_TORCH_ROOT:-}" \
    -DHOGPEN_ARROW_ROOT="${HOGPEN_ARROW_ROOT:-}"
}

# build PRESET [TARGET…]: all targets when none is named.
build() {
  local preset=$1 jobs targets=()
  shift
  jobs=$(build_jobs)
  [[ $# == 0 ]] || targets=(--target "$@")
  say "Building build/$preset with $jobs jobs"
  cmake --build "build/$preset" --parallel "$jobs" "${targets[@]}"
}
