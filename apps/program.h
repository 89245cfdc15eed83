#pragma once

#include <span>

#include "apps/cli.h"

namespace hogpen {

using AddCommand = Command (*)(CLI::App&);

/// Does what the command line says, reports what went wrong, and ends the process with an exit code: without the
/// destructors of globals. `footer` stands below --help.
[[noreturn]] void run_program(std::span<const AddCommand> commands, const char* footer, const Arguments& arguments);

}  // namespace hogpen
