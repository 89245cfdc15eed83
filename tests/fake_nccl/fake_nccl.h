#pragma once

// What a test asks of the fake NCCL besides NCCL's API, by dlsym.
extern "C" {

/// Lets the next calls of that function fail with this ncclResult_t; 0: no more.
void fake_nccl_fail(const char* function, int result);
/// From now on ncclCommGetAsyncError reports this of every communicator; 0: the truth.
void fake_nccl_async_error(int result);
/// Communicators of this process that were not given back, and how many were given back by ncclCommAbort.
int fake_nccl_live();
int fake_nccl_aborted();
}
