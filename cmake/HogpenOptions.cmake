# The flags every target of hogpen is compiled with, as one INTERFACE target: nothing leaks into a consumer.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)

if(PROJECT_IS_TOP_LEVEL)
  if(NOT CMAKE_BUILD_TYPE AND NOT CMAKE_CONFIGURATION_TYPES)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
  endif()
  # A file that includes LibTorch compiles for 10 s and more.
  find_program(HOGPEN_CCACHE ccache DOC "Compiler launcher, used if found")
  if(HOGPEN_CCACHE)
    foreach(language IN ITEMS CXX CUDA)
      if(NOT DEFINED CMAKE_${language}_COMPILER_LAUNCHER)
        set(CMAKE_${language}_COMPILER_LAUNCHER ${HOGPEN_CCACHE})
      endif()
    endforeach()
  endif()
  # GCC 12 is the compiler that hogpen is tested with. Another may warn of more, which must not stop its users.
  if(NOT DEFINED CMAKE_COMPILE_WARNING_AS_ERROR AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU"
     AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    set(CMAKE_COMPILE_WARNING_AS_ERROR ON)
  endif()
endif()

add_library(hogpen_options INTERFACE)
# Designated initialisers leave out what keeps its default: -Wextra would complain of each.
set(warnings -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wno-missing-field-initializers)
target_compile_options(hogpen_options INTERFACE "$<$<COMPILE_LANGUAGE:CXX>:${warnings}>")
# What the dynamic linker has resolved before a fork, it need not resolve in each worker.
target_link_options(hogpen_options INTERFACE LINKER:-z,now)

if(HOGPEN_SANITIZER STREQUAL "address")
  set(sanitizer_flags -fsanitize=address,undefined -fno-sanitize-recover=undefined)
  target_compile_definitions(hogpen_options INTERFACE _GLIBCXX_ASSERTIONS)
elseif(HOGPEN_SANITIZER STREQUAL "thread")
  # GCC's TSan does not model atomic_thread_fence and says so as a warning; no fence stands in hogpen's own code.
  set(sanitizer_flags -fsanitize=thread -Wno-error=tsan)
elseif(NOT HOGPEN_SANITIZER STREQUAL "")
  message(FATAL_ERROR "HOGPEN_SANITIZER is '${HOGPEN_SANITIZER}': leave it empty, or say address or thread")
endif()
if(HOGPEN_SANITIZER)
  # GCC 12 warns of LibTorch's headers once they are instrumented: std::optional, "maybe uninitialized".
  # -O1 halves the time that LibTorch's headers take to compile, and stack traces stay readable.
  target_compile_options(hogpen_options INTERFACE
    "$<$<COMPILE_LANGUAGE:CXX>:${sanitizer_flags};-fno-omit-frame-pointer;-O1;-g1;-Wno-maybe-uninitialized>")
  target_compile_definitions(hogpen_options INTERFACE HOGPEN_SANITIZED=1)
  target_link_options(hogpen_options INTERFACE ${sanitizer_flags})
endif()
