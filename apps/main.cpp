#include <c10/util/Exception.h>

#include <array>
#include <exception>
#include <new>

#include "apps/cli.h"
#include "apps/output.h"
#include "runtime/core/error.h"
#include "runtime/core/log.h"

namespace {

using namespace hogpen;

enum ExitCode { kDone = 0, kFailed = 1, kUsage = 2, kWorkerDied = 3, kNoDevice = 4, kNoProgress = 5 };

constexpr const char* kCommandFooter = R"(Examples:
  hogpen train --workers 4 --epochs 10
  hogpen train --help
  hogpen bench queue pool
  hogpen map exp x.npy y.npy
  hogpen frame big.csv --groupby key --agg value:sum,mean
  hogpen info)";

int run(const Arguments& arguments) {
  CLI::App program("hogpen: trains one model in shared memory with many workers", "hogpen");
  configure(program);
  program.set_version_flag("--version", "hogpen " HOGPEN_VERSION, "Show the version");
  program.footer(kCommandFooter);
  const std::array commands = {add_train(program), add_eval(program), add_info(program),
                               add_bench(program), add_map(program),  add_frame(program)};
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

}  // namespace

int main(int argc, char** argv) {
  try {
    secure_standard_streams();
    return run({argv + 1, argv + argc});
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
