#include <array>

#include "apps/program.h"

namespace {

using namespace hogpen;

constexpr const char* kFooter = R"(Examples:
  hogpen train --workers 4 --epochs 10
  hogpen train --help
  hogpen bench queue pool
  hogpen map exp x.npy y.npy
  hogpen frame big.csv --groupby key --agg value:sum,mean
  hogpen info)";

constexpr std::array<AddCommand, 6> kCommands = {add_train, add_eval, add_info, add_bench, add_map, add_frame};

}  // namespace

int main(int argc, char** argv) {
  run_program(kCommands, kFooter, {argv + 1, argv + argc});
}
