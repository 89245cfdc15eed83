// Compiled where cuda.h is: what hogpen declares instead of it is the same.
#include <cuda.h>

#include <cstddef>

#include "runtime/memory/cuda_driver.h"

namespace hogpen::cuda {

static_assert(sizeof(Device) == sizeof(CUdevice));
static_assert(sizeof(Address) == sizeof(CUdeviceptr));
static_assert(sizeof(Allocation) == sizeof(CUmemGenericAllocationHandle));
static_assert(sizeof(Stream) == sizeof(CUstream) && sizeof(Uuid) == sizeof(CUuuid));
static_assert(sizeof(IpcHandle) == sizeof(CUipcMemHandle));
static_assert(sizeof(Location) == sizeof(CUmemLocation));
static_assert(sizeof(AllocationProperties) == sizeof(CUmemAllocationProp));
static_assert(offsetof(AllocationProperties, handle_types) == offsetof(CUmemAllocationProp, requestedHandleTypes));
static_assert(offsetof(AllocationProperties, location) == offsetof(CUmemAllocationProp, location));
static_assert(offsetof(AllocationProperties, flags) == offsetof(CUmemAllocationProp, allocFlags));
static_assert(sizeof(AccessRights) == sizeof(CUmemAccessDesc));
static_assert(offsetof(AccessRights, flags) == offsetof(CUmemAccessDesc, flags));
static_assert(kDeviceMemory == CU_MEM_LOCATION_TYPE_DEVICE && kDeviceMemory == CU_MEM_ALLOCATION_TYPE_PINNED);
static_assert(kFileDescriptor == CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
static_assert(kReadOnly == CU_MEM_ACCESS_FLAGS_PROT_READ && kReadWrite == CU_MEM_ACCESS_FLAGS_PROT_READWRITE);
static_assert(kLeastGranularity == CU_MEM_ALLOC_GRANULARITY_MINIMUM);
static_assert(kVirtualMemory == CU_DEVICE_ATTRIBUTE_VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED);
static_assert(kCanGiveDescriptors == CU_DEVICE_ATTRIBUTE_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED);
static_assert(kLazyPeerAccess == CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
static_assert(kForAllGpus == (CU_MEMHOSTALLOC_PORTABLE | CU_MEMHOSTALLOC_DEVICEMAP));
static_assert(kInvalidValue == CUDA_ERROR_INVALID_VALUE && kOutOfMemory == CUDA_ERROR_OUT_OF_MEMORY &&
              kNotFound == CUDA_ERROR_NOT_FOUND);
static_assert(kNotReady == CUDA_ERROR_NOT_READY);
static_assert(kNonBlocking == CU_STREAM_NON_BLOCKING && kNoTiming == CU_EVENT_DISABLE_TIMING);
static_assert(kRelaxedCapture == CU_STREAM_CAPTURE_MODE_RELAXED);

}  // namespace hogpen::cuda
