#!/usr/bin/env bash
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
# shellcheck source=cmake/setup.sh
source cmake/setup.sh

usage() {
  cat << 'HELP'
usage: ./test.sh [SUITE…]

Sets up what the tests need (as ./quickstart.sh does, and the Python side of LibTorch besides), builds and runs them.
The last line says how many passed, failed and were skipped. Suites:

  cuda   everything, with the CUDA kernels; their tests are skipped where there is no GPU. Needs nvcc 13 or newer
  cpu    everything, without CUDA
  asan   the same under AddressSanitizer and UndefinedBehaviorSanitizer
  tsan   what runs in threads, under ThreadSanitizer
  lint   the source checks alone, which are also part of cuda and cpu

Without a name: cuda where there is such an nvcc, cpu elsewhere; then asan and tsan, which are built without CUDA.
HELP
}

passed=0 failed=0 skipped=0

# The report of every exit, also that of a set-up step that failed.
report() {
  local status=$? summary
  [[ $status == 0 || $failed != 0 ]] || failed=1
  summary="$passed passed, $failed failed"
  [[ $skipped == 0 ]] || summary+=", $skipped skipped"
  echo "$summary"
  [[ $failed == 0 && $passed != 0 ]] || exit 1
}

# run_tests PRESET CTEST-OPTION…
run_tests() {
  local preset=$1 outcomes more_passed more_failed more_skipped
  shift
  outcomes=$PWD/build/$preset/junit.xml
  rm -f "$outcomes"
  say "Testing build/$preset"
  # The failures are counted from the report; a run that ended badly without one must still count.
  if ! "${fixed_addresses[@]}" ctest --preset "$preset" --output-junit "$outcomes" "$@"; then
    say "Some tests of build/$preset failed: their output stands above"
  fi
  read -r more_passed more_failed more_skipped < <(python3 tests/junit_counts.py "$outcomes")
  passed=$((passed + more_passed))
  failed=$((failed + more_failed))
  skipped=$((skipped + more_skipped))
}

# prepare PRESET [TARGET…]: configures and builds; a failure counts as a failed test and the other suites still run.
prepare() {
  if configure "$1" && build "$@"; then return; fi
  say "build/$1 could not be built"
  failed=$((failed + 1))
  return 1
}

suite_cpu() { ! prepare cpu || run_tests cpu; }

suite_cuda() {
  find_cuda || die "the suite cuda needs CUDA $least_nvcc or newer, but $nvcc_found"
  ! prepare cuda || run_tests cuda
}

suite_asan() { ! prepare asan || run_tests asan; }

# Only the tests that ThreadSanitizer can watch are built: a test is named as its target, or TARGET.threads.
suite_tsan() {
  local targets
  configure tsan || true
  mapfile -t targets < <(ctest --preset tsan --show-only | sed -n 's/^ *Test *#[0-9]*: \([a-z0-9_]*\).*/\1/p' | sort -u)
  ! prepare tsan "${targets[@]}" || run_tests tsan
}

suite_lint() {
  configure cpu
  # The tests of the install need a build; they run with the suites cuda and cpu.
  run_tests cpu --label-regex lint --label-exclude e2e
}

for suite in "$@"; do
  case $suite in
    cpu | asan | tsan | cuda | lint) ;;
    -h | --help) usage; exit ;;
    *) usage >&2; die "no such suite: $suite" ;;
  esac
done
if [[ $# == 0 ]]; then
  if find_cuda; then set -- cuda asan tsan; else set -- cpu asan tsan; fi
fi

trap report EXIT
install_debian_packages "${build_packages[@]}" shellcheck spin
ensure_venv
# Python's side of LibTorch, pandas and polars are what the tests compare with; lint needs the formatter and the measure.
ensure_python_packages "$torch_package" "$arrow_package" numpy safetensors pandas polars clang-format==20.1.8 lizard==1.24.3

# GCC 12's sanitizers cannot lay out their shadow memory where the kernel randomises more than 28 bits of an address.
fixed_addresses=()
! setarch "$(uname -m)" -R true 2> /dev/null || fixed_addresses=(setarch "$(uname -m)" -R)

for suite in "$@"; do
  "suite_$suite"
done
