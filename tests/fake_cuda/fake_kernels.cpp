// The kernels of update.h for the fake driver, whose memory the host can use: they run on the host, when launched.
// Linked into a test, they stand in the place of hogpen's own.
#include "tests/fake_cuda/fake_kernels.h"

#include <atomic>
#include <cmath>

#include "kernels/update.h"

namespace hogpen::kernels {
namespace {

thread_local CUstream_st* last_stream = nullptr;

/// Enqueues an update, unless the loss is no number then.
template <class Update>
void enqueue_update(const float* loss, CUstream_st* stream, const Update& update) {
  last_stream = stream;
  enqueue(stream, [=] {
    if (loss == nullptr || std::isfinite(*loss)) update();
  });
}

}  // namespace

CUstream_st* stream_of_last_launch() {
  return last_stream;
}

void sgd_cuda(Write write, float* parameters, const float* gradients, float* momentum_buffer, std::size_t n,
              const SgdScalars* scalars, const float* loss, CUstream_st* stream) {
  enqueue_update(loss, stream, [=] { sgd(write, parameters, gradients, momentum_buffer, n, *scalars); });
}

void adam_cuda(Write write, float* parameters, const float* gradients, float* exp_avg, float* exp_avg_sq, std::size_t n,
               const AdamScalars* scalars, const float* loss, CUstream_st* stream) {
  enqueue_update(loss, stream, [=] { adam(write, parameters, gradients, exp_avg, exp_avg_sq, n, *scalars); });
}

void adamw_cuda(Write write, float* parameters, const float* gradients, float* exp_avg, float* exp_avg_sq,
                std::size_t n, const AdamScalars* scalars, const float* loss, CUstream_st* stream) {
  enqueue_update(loss, stream, [=] { adamw(write, parameters, gradients, exp_avg, exp_avg_sq, n, *scalars); });
}

void adagrad_cuda(Write write, float* parameters, const float* gradients, float* sum, std::size_t n,
                  const AdagradScalars* scalars, const float* loss, CUstream_st* stream) {
  enqueue_update(loss, stream, [=] { adagrad(write, parameters, gradients, sum, n, *scalars); });
}

void rmsprop_cuda(Write write, float* parameters, const float* gradients, float* square_avg, float* momentum_buffer,
                  std::size_t n, const RmspropScalars* scalars, const float* loss, CUstream_st* stream) {
  enqueue_update(loss, stream,
                 [=] { rmsprop(write, parameters, gradients, square_avg, momentum_buffer, n, *scalars); });
}

void begin_step_cuda(std::int64_t* steps, const double* next_lr, double* lr, std::int64_t* step, const float* loss,
                     CUstream_st* stream) {
  enqueue_update(loss, stream, [=] {
    const std::int64_t number = std::atomic_ref(*steps).fetch_add(1) + 1;
    if (step != nullptr) *step = number;
    *lr = *next_lr;
  });
}

void merge_cuda(Write to_center, Write to_replica, float* center, float* replica, float* base, std::size_t n,
                CUstream_st* stream) {
  enqueue_update(nullptr, stream, [=] { merge(to_center, to_replica, center, replica, base, n); });
}

}  // namespace hogpen::kernels
