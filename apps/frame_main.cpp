// hogpen-frame, which is not for users: what `hogpen frame` becomes (frame_early.cpp), with the same command line. It
// loads nothing of LibTorch but c10.
#include <array>

#include "apps/program.h"

int main(int argc, char** argv) {
  static constexpr std::array<hogpen::AddCommand, 1> commands = {hogpen::add_frame};
  hogpen::run_program(commands, "", {argv + 1, argv + argc});
}
