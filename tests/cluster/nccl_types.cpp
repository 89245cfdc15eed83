// Compiled where nccl.h is: what hogpen declares instead of it is the same.
#include <nccl.h>

#include <cstddef>

#include "runtime/cluster/nccl_library.h"

namespace hogpen::nccl {

static_assert(sizeof(Communicator) == sizeof(ncclComm_t));
static_assert(sizeof(UniqueId) == sizeof(ncclUniqueId));
static_assert(kSuccess == ncclSuccess && kInProgress == ncclInProgress);
static_assert(kSum == ncclSum && kAverage == ncclAvg);
static_assert(kUint8 == ncclUint8 && kFloat32 == ncclFloat32 && kFloat64 == ncclFloat64);
static_assert(sizeof(ncclResult_t) == sizeof(int) && sizeof(ncclDataType_t) == sizeof(int));
static_assert(sizeof(ncclRedOp_t) == sizeof(int));
static_assert(kUndefined == NCCL_CONFIG_UNDEF_INT);
// A later NCCL may have a larger one; it takes this one by its size and version.
static_assert(NCCL_VERSION_CODE != kVersion || sizeof(Config) == sizeof(ncclConfig_t));
static_assert(offsetof(Config, magic) == offsetof(ncclConfig_t, magic));
static_assert(offsetof(Config, version) == offsetof(ncclConfig_t, version));
static_assert(offsetof(Config, blocking) == offsetof(ncclConfig_t, blocking));
static_assert(offsetof(Config, net_name) == offsetof(ncclConfig_t, netName));
static_assert(offsetof(Config, comm_name) == offsetof(ncclConfig_t, commName));
static_assert(offsetof(Config, nvlink_centric_sched) == offsetof(ncclConfig_t, nvlinkCentricSched));

}  // namespace hogpen::nccl
