#pragma once

#include <dlfcn.h>

#include "tests/fake_cuda/fake_driver.h"

namespace hogpen {

/// The fake driver's own functions; null where the driver is real.
template <class Function>
Function* of_fake(const char* name) {
  void* const library = ::dlopen("libcuda.so.1", RTLD_NOW | RTLD_NOLOAD);
  return reinterpret_cast<Function*>(library ? ::dlsym(library, name) : nullptr);
}

}  // namespace hogpen
