#include "apps/cli.h"
#include "apps/data.h"
#include "runtime/core/error.h"

namespace hogpen {
namespace {

[[noreturn]] void no_arrow(const std::string& what) {
  throw UsageError("this hogpen was built without Apache Arrow, which " + what + " needs",
                   "pip install pyarrow into the Python of the build, and configure it again");
}

}  // namespace

NamedData open_table(const DataChoice& choice) {
  no_arrow("the table " + choice.name);
}

Command add_frame(CLI::App& program) {
  CLI::App* parser = program.add_subcommand("frame", "Look at, group and convert tables (not in this build)");
  parser->preparse_callback([](std::size_t) { no_arrow("`hogpen frame`"); });  // whatever its options are
  return {parser, {}};
}

}  // namespace hogpen
