#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "models/trainer.h"
#include "runtime/memory/arena.h"

namespace hogpen::detail {

/// The Arenas of a training, with their initial or resumed values, and what is known once they are there.
struct TrainMemory {
  Arena model;
  Arena optimizer_state;
  struct Facts {
    std::int64_t flat_numel = 0;
    Engine engine = Engine::automatic;    ///< what computes the steps: never automatic
    std::size_t worker_bytes_on_gpu = 0;  ///< of a worker's own numbers, as far as they are known before
  } facts;
};

/// Rows of private optimizer state: one a worker; in mode sync one for all.
[[nodiscard]] int optimizer_copies(const TrainerOptions& options);

/// Builds the model and passes one sample through it, so that one that does not fit the data ends here, and not in
/// every worker. Where workers are processes this happens in a child: it takes tensor operations, and the launcher must
/// do none. `record` is the state.json of the checkpoint to resume, if there is one.
///
/// Throws: UsageError for a model that does not fit the data or the engine; what `run_isolated` and `load_safetensors`
/// throw.
[[nodiscard]] TrainMemory make_train_memory(const ModelFactory& factory, const std::string& description,
                                            const Dataset& data, const TrainerOptions& options,
                                            const nlohmann::json& record);

}  // namespace hogpen::detail
