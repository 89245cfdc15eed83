#include "apps/program.h"

#include <c10/util/Exception.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <vector>

#include "apps/build.h"
#include "apps/output.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"

namespace hogpen {
namespace {

enum ExitCode { kDone = 0, kFailed = 1, kUsage = 2, kWorkerDied = 3, kNoDevice = 4, kNoProgress = 5 };

int run(std::span<const AddCommand> commands_to_add, const char* footer, const Arguments& arguments) {
  CLI::App program("hogpen: trains one model in shared memory with many workers", "hogpen");
  configure(program);
  program.set_version_flag("--version", fmt::format("hogpen {}", kBuild.version), "Show the version");
  program.footer(footer);
  std::vector<Command> commands;
  for (const AddCommand add : commands_to_add) commands.push_back(add(program));
  try {
    parse(program, arguments);
    for (const Command& command : commands) {
      if (command.parser->parsed()) return command.run(arguments);
    }
  } catch (const CLI::CallForHelp&) {
    write_stdout(program.help());
    return kDone;
  } catch (const CLI::CallForVersion& version) {
    write_stdout(std::string(version.what()) + "\n");
    return kDone;
  }
  write_stderr(program.help());
  return kUsage;
}

int fail(ExitCode code, const std::string& message, const std::string& hint = {}) {
  log_line(LogLevel::error, message);
  if (!hint.empty()) write_stderr("hint: " + hint + "\n");
  return code;
}

int exit_code_of(std::span<const AddCommand> commands, const char* footer, const Arguments& arguments) {
  try {
    secure_standard_streams();
    return run(commands, footer, arguments);
  } catch (const UsageError& error) {
    return fail(kUsage, error.what(), error.hint());
  } catch (const FormatError& error) {
    return fail(kUsage, error.what(), error.hint());
  } catch (const WorkerError& error) {
    return fail(kWorkerDied, error.what(), error.hint());
  } catch (const DeviceError& error) {
    return fail(kNoDevice, error.what(), error.hint());
  } catch (const TimeoutError& error) {
    return fail(kNoProgress, error.what(), error.hint());
  } catch (const Error& error) {
    return fail(kFailed, error.what(), error.hint());
  } catch (const c10::Error& error) {
    return fail(kFailed, error.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    return fail(kFailed, "out of memory");
  } catch (const std::exception& error) {
    return fail(kFailed, error.what());
  }
}

}  // namespace

void run_program(std::span<const AddCommand> commands, const char* footer, const Arguments& arguments) {
  const int code = exit_code_of(commands, footer, arguments);
  if (*kBuild.sanitizer != 0) std::exit(code);  // LeakSanitizer looks at the end.
  std::fflush(nullptr);                         // NCCL and MKL print, too.
  ::_exit(code);                                // The destructors of LibTorch's globals take 0.1 s.
}

}  // namespace hogpen
