# Decides whether the CUDA kernels are built, and sets HOGPEN_HAS_CUDA.
include(CheckLanguage)
set(hogpen_least_nvcc 13)  # the CUDA that LibTorch 2.11 is made of
set(HOGPEN_HAS_CUDA OFF)

string(TOUPPER "${HOGPEN_CUDA}" hogpen_cuda_wish)
if(NOT hogpen_cuda_wish MATCHES "^(AUTO|ON|OFF)$")
  message(FATAL_ERROR "HOGPEN_CUDA is '${HOGPEN_CUDA}': say AUTO, ON or OFF")
endif()

if(NOT hogpen_cuda_wish STREQUAL "OFF")
  if(NOT CMAKE_CUDA_COMPILER AND NOT DEFINED ENV{CUDACXX})
    # CMake itself looks on PATH alone, where NVIDIA's packages do not put nvcc.
    find_program(HOGPEN_NVCC nvcc HINTS ENV CUDA_HOME ENV CUDA_PATH PATHS /usr/local/cuda PATH_SUFFIXES bin)
    if(HOGPEN_NVCC)
      set(CMAKE_CUDA_COMPILER ${HOGPEN_NVCC})
    endif()
  endif()
  if(NOT CMAKE_CUDA_ARCHITECTURES)
    set(CMAKE_CUDA_ARCHITECTURES 75-virtual 90)  # other GPUs' drivers compile the PTX; nvcc 13 has none older
  endif()
  check_language(CUDA)
  set(hogpen_cuda_trouble "no nvcc was found")
  if(CMAKE_CUDA_COMPILER)
    enable_language(CUDA)
    # CMake 3.25 knows no C++20 flag for nvcc 13, and the kernels need none.
    set(CMAKE_CUDA_STANDARD 17)
    set(CMAKE_CUDA_EXTENSIONS OFF)
    if(CMAKE_CUDA_COMPILER_VERSION VERSION_LESS hogpen_least_nvcc)
      set(hogpen_cuda_trouble "${CMAKE_CUDA_COMPILER} is of CUDA ${CMAKE_CUDA_COMPILER_VERSION}")
    else()
      set(HOGPEN_HAS_CUDA ON)
    endif()
  endif()
  if(NOT HOGPEN_HAS_CUDA AND hogpen_cuda_wish STREQUAL "ON")
    message(FATAL_ERROR "HOGPEN_CUDA=ON needs nvcc ${hogpen_least_nvcc} or newer, but ${hogpen_cuda_trouble}: "
                        "put one on PATH, or set CUDACXX, or configure with HOGPEN_CUDA=OFF")
  endif()
endif()
message(STATUS "hogpen: CUDA kernels ${HOGPEN_HAS_CUDA} (HOGPEN_CUDA=${HOGPEN_CUDA})")
