#include "apps/build.h"

namespace hogpen {

const Build kBuild = {.version = HOGPEN_VERSION,
                      .type = HOGPEN_BUILD_TYPE,
                      .compiler = HOGPEN_COMPILER,
                      .sanitizer = HOGPEN_SANITIZER,
                      .has_cuda = HOGPEN_HAS_CUDA == 1};

}  // namespace hogpen
