// The parameters of a model, their optimizer state and its buffers, spread over ranks: initial values, files,
// hashes.
#ifndef STAGEWRIGHT_RUNTIME_TRAIN_MODELSTATE_H
#define STAGEWRIGHT_RUNTIME_TRAIN_MODELSTATE_H

#include "runtime/exec/Executor.h"

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace stagewright::runtime {

/// The ranks of this process, and how to reach the others.
struct LocalRanks {
  const Executable &executable;
  Mesh mesh;
  std::vector<Executor *> executors;    ///< [ranks] null: in another process
  Communicator *communicator = nullptr; ///< null: all ranks are here
  bool isFirst() const { return executors[0] != nullptr; }
};

/// Draws the weights of the local ranks, the same on all replicas: element i of a parameter is value i of the
/// random stream of its name. Buffers begin with their constants.
/// Errors: Environment, of a file that weights are offloaded to.
Result<void> initializeWeights(const LocalRanks &ranks);

/// Reads the weights and buffers of the local ranks from a file or a folder. Errors: those of
/// WeightFiles::open; then nothing has been changed.
Result<void> loadWeights(const LocalRanks &ranks, const std::string &path);

/// Error if a file at `path` could not be made: User.
Result<void> checkWritable(const std::string &path);

/// Error: User, weights, buffers or optimizer states of the local ranks are not finite after `steps` steps
/// (0: nothing has been trained, and nothing is checked).
Result<void> checkFinite(const LocalRanks &ranks, std::uint64_t steps);

struct StateHashes {
  std::string weights, state; ///< hex
};

/// Of the first replica: hashes (see TrainSummary) and, if `saveTo` is not empty, writes the weights and
/// buffers. Every process calls it; only the first gets the hashes. `progress`, how far the run is, ends what
/// the state's hash is of. `mayGoOn` takes the state of this process and returns an error on all processes
/// when one of them shall not go on; it is called by all of them before each piece of a MiB, and before the
/// file gets its name. Errors: Environment, those of `mayGoOn` and of the communicator.
Result<StateHashes> finishState(const LocalRanks &ranks, std::span<const std::uint64_t> progress,
                                const std::string &saveTo,
                                const std::function<Result<void>(Result<void>)> &mayGoOn);

} // namespace stagewright::runtime

#endif
