#include "apps/cli.h"
#include "runtime/core/error.h"

namespace hogpen {

Command add_frame(CLI::App& program) {
  CLI::App* parser = program.add_subcommand("frame", "Look at, group and convert tables (not in this build)");
  parser->allow_extras();
  return {parser, [](const Arguments&) -> int {
            throw UsageError("this hogpen was built without Apache Arrow, which `hogpen frame` needs",
                             "pip install pyarrow into the Python of the build, and configure it again");
          }};
}

}  // namespace hogpen
