// hogpen-frame: what `hogpen frame` becomes (frame_early.cpp). It loads no LibTorch.
#include <array>

#include "apps/program.h"

int main(int argc, char** argv) {
  static constexpr std::array<hogpen::AddCommand, 1> commands = {hogpen::add_frame};
  hogpen::run_program(commands, "", {argv + 1, argv + argc});
}
