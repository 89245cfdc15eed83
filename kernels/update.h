#pragma once

#include <cstddef>
#include <cstdint>

struct CUstream_st;  // *cudaStream_t: this header needs no CUDA

/// Optimizer updates: one fused pass over parameters, gradients and state.
///
/// Formulas, and the order of rounding, are those of torch.optim (2.11) of the same name. Scalars are doubles, as
/// there, and become float once, before the loop; no product is contracted into an FMA. So results are equal to the bit
/// on every CPU and on the GPU.
///
/// Dtypes: float32. Sharing: parameters and state may be shared memory that other workers update at the same time;
/// gradients and scalars are the caller's own.
/// Requires: pointers aligned to 4 bytes (an aligned float never tears); arrays of n elements that do not overlap.
namespace hogpen::kernels {

/// How an update writes memory that other workers are writing too.
enum class Write {
  plain,   ///< ordinary stores: the one allowed data race of hogpen. A concurrent update may be lost.
  atomic,  ///< compare-and-swap for each element: no update is lost. Tens of times slower an element, on the CPU.
};

struct SgdScalars {
  double lr = 0.0;
  double momentum = 0.0;
  double dampening = 0.0;
  double weight_decay = 0.0;
  bool nesterov = false;
  std::int64_t step = 1;  ///< from 1; the first takes the gradient undampened
};

/// With momentum 0, `momentum_buffer` is neither read nor written and may be null.
void sgd(Write write, float* parameters, const float* gradients, float* momentum_buffer, std::size_t n,
         const SgdScalars& scalars);

struct AdamScalars {
  double lr = 0.0;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;
  std::int64_t step = 1;  ///< from 1
};

/// Weight decay is an L2 penalty. Source: Kingma and Ba, "Adam", 2014, algorithm 1.
void adam(Write write, float* parameters, const float* gradients, float* exp_avg, float* exp_avg_sq, std::size_t n,
          const AdamScalars& scalars);

/// Weight decay shrinks the parameters. Source: Loshchilov and Hutter, "Decoupled Weight Decay", 2017, algorithm 2.
void adamw(Write write, float* parameters, const float* gradients, float* exp_avg, float* exp_avg_sq, std::size_t n,
           const AdamScalars& scalars);

struct AdagradScalars {
  double lr = 0.0;
  double lr_decay = 0.0;
  double eps = 1e-10;
  double weight_decay = 0.0;
  std::int64_t step = 1;  ///< from 1
};

/// Source: Duchi, Hazan and Singer, "Adaptive Subgradient Methods", 2011, with the diagonal matrix.
void adagrad(Write write, float* parameters, const float* gradients, float* sum, std::size_t n,
             const AdagradScalars& scalars);

struct RmspropScalars {
  double lr = 0.0;
  double alpha = 0.99;
  double eps = 1e-8;
  double momentum = 0.0;
  double weight_decay = 0.0;
};

/// With momentum 0, `momentum_buffer` is neither read nor written and may be null.
/// Source: Tieleman and Hinton, "Neural Networks for Machine Learning", lecture 6.5, 2012.
void rmsprop(Write write, float* parameters, const float* gradients, float* square_avg, float* momentum_buffer,
             std::size_t n, const RmspropScalars& scalars);

/// Merges a replica of the parameters into the center: `center += replica - base`, then `replica = base = center`, in
/// one pass. `base` is what the replica was after its last merge. Where nobody else wrote the center since, it becomes
/// the replica to the bit.
///
/// With `to_center` atomic no other worker's update of the center is lost, with `to_replica` atomic none of the
/// replica. Sharing: `base` is used by one merge at a time.
void merge(Write to_center, Write to_replica, float* center, float* replica, float* base, std::size_t n);

/// The updates on the GPU, asynchronous on `stream` (a cudaStream_t; null is the default stream). They may be captured
/// in a CUDA graph: `scalars` and `loss` are read when an update runs, not when it is launched, so every replay takes
/// the learning rate and the step that stand there then. Where `*loss` is NaN or infinite, nothing is written; with
/// `loss` null, every update is made.
///
/// Device: arrays and `loss` are memory of the current device; `scalars` too, or page-locked memory of the host. 16
/// bytes a load and store where all arrays are aligned to 16 bytes. `Write::atomic` then adds to four parameters at
/// once; state, and AdamW's parameters, are exchanged one by one. Accuracy: the CPU's bits, but for numbers
/// below 1.2e-38, which the GPU's atomic additions take for 0. Requires: `*scalars` and `*loss` stay as they are until
/// the update is done; a null `momentum_buffer` if, and only if, momentum is 0. Throws: std::runtime_error with CUDA's
/// own text when the launch fails, or when hogpen was built without CUDA.
void sgd_cuda(Write write, float* parameters, const float* gradients, float* momentum_buffer, std::size_t n,
              const SgdScalars* scalars, const float* loss, CUstream_st* stream);
void adam_cuda(Write write, float* parameters, const float* gradients, float* exp_avg, float* exp_avg_sq, std::size_t n,
               const AdamScalars* scalars, const float* loss, CUstream_st* stream);
void adamw_cuda(Write write, float* parameters, const float* gradients, float* exp_avg, float* exp_avg_sq,
                std::size_t n, const AdamScalars* scalars, const float* loss, CUstream_st* stream);
void adagrad_cuda(Write write, float* parameters, const float* gradients, float* sum, std::size_t n,
                  const AdagradScalars* scalars, const float* loss, CUstream_st* stream);
void rmsprop_cuda(Write write, float* parameters, const float* gradients, float* square_avg, float* momentum_buffer,
                  std::size_t n, const RmspropScalars* scalars, const float* loss, CUstream_st* stream);

/// Begins a step of the updates on the GPU, asynchronous on `stream` and to be captured, as they are: adds 1 to
/// `*steps`, which other workers may be counting in too, and sets `*step` to the sum and `*lr` to `*next_lr`: members
/// of the scalars that the step's updates take. Where `*loss` is NaN or infinite, nothing is written.
///
/// Device: `next_lr` may be page-locked memory of the host, so that the host can change it between two replays; all
/// else is memory of the current device. Accuracy: no step is lost. Requires: `*next_lr` stays as it is until the
/// kernel has run; `step` is null for scalars that have none. Throws: as `sgd_cuda`.
void begin_step_cuda(std::int64_t* steps, const double* next_lr, double* lr, std::int64_t* step, const float* loss,
                     CUstream_st* stream);

/// `merge` on the GPU, asynchronous on `stream`. Device, Throws: as `sgd_cuda`.
void merge_cuda(Write to_center, Write to_replica, float* center, float* replica, float* base, std::size_t n,
                CUstream_st* stream);

}  // namespace hogpen::kernels
