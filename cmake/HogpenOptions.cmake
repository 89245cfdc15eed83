# The flags every target of hogpen is compiled with, as one INTERFACE target: nothing leaks into a consumer.
set(CMAKE_CXX_STANDARD 20)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "Build type" FORCE)
endif()

add_library(hogpen_options INTERFACE)
target_compile_options(hogpen_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wpedantic;-Wshadow;-Wconversion;-Wno-sign-conversion;-Werror>
  $<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>)

if(HOGPEN_SANITIZER STREQUAL "address")
  set(sanitizer_flags -fsanitize=address,undefined -fno-sanitize-recover=undefined)
elseif(HOGPEN_SANITIZER STREQUAL "thread")
  # GCC's TSan does not model atomic_thread_fence and says so as a warning; no fence stands in hogpen's own code.
  set(sanitizer_flags -fsanitize=thread -Wno-error=tsan)
elseif(NOT HOGPEN_SANITIZER STREQUAL "")
  message(FATAL_ERROR "HOGPEN_SANITIZER is '${HOGPEN_SANITIZER}': leave it empty, or say address or thread")
endif()
if(HOGPEN_SANITIZER)
  target_compile_options(hogpen_options INTERFACE
    "$<$<COMPILE_LANGUAGE:CXX>:${sanitizer_flags};-fno-omit-frame-pointer;-g1>")
  target_compile_definitions(hogpen_options INTERFACE HOGPEN_SANITIZED=1)
  target_link_options(hogpen_options INTERFACE ${sanitizer_flags})
endif()
