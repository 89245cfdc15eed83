# Writes a source file that holds the git commit of SOURCE_DIR to OUTPUT, and leaves the file alone when it holds that
# already: nothing is compiled or linked again. Run with cmake -P, with each build.
set(commit unknown)
if(EXISTS ${SOURCE_DIR}/.git)  # Not that of a repository which hogpen was copied into.
  execute_process(COMMAND git --no-optional-locks -C ${SOURCE_DIR} describe --always --dirty --abbrev=12 --exclude=*
                  OUTPUT_VARIABLE found RESULT_VARIABLE failed OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(NOT failed)
    set(commit ${found})
  endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT [[#include "apps/git_commit.h"

namespace hogpen {
const char* const kGitCommit = "@commit@";
}
]] @ONLY)
