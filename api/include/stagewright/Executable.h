// Compiling a model into a staged executable, and such an executable in memory and in a file.
#ifndef STAGEWRIGHT_EXECUTABLE_H
#define STAGEWRIGHT_EXECUTABLE_H

#include "stagewright/Error.h"
#include "stagewright/Export.h"
#include "stagewright/Model.h"

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

namespace stagewright {
namespace runtime {
class Executable;
}
inline namespace v0 {

/// A file instead of a Model: LayerSpec JSON (docs/model.md), or a Hugging Face folder
/// (docs/huggingface.md).
struct ModelFile {
  std::string path;
};

/// A DeepSpeed configuration (docs/config.md): its JSON, or a file that holds it.
class Config {
public:
  static Config json(std::string text) { return {{}, std::move(text)}; }
  static Config file(std::string path) { return {std::move(path), std::nullopt}; }

  std::string path;
  std::optional<std::string> text;
};

/// What wins over the configuration.
struct CompileOptions {
  std::optional<int> stages;
  std::optional<int> dataParallel;   ///< replicas of the pipeline
  std::optional<int> tensorParallel; ///< ranks that split parameters
  std::optional<int> microBatches;   ///< per step; the train_batch_size stays
  std::optional<std::string> schedule;
  std::optional<std::string> partition;
  std::optional<int> sequenceLength; ///< of a Hugging Face folder
};

enum class DType { F32, I32 };

/// A tensor that the data source provides, as the engine wants it.
struct InputInfo {
  std::string name;
  bool isLabel = false;
  DType dtype = DType::F32;        ///< I32: tokens and class labels
  std::vector<std::int64_t> shape; ///< of one sample
  std::size_t elements = 1;        ///< of one sample
};

struct ParameterInfo {
  std::string name; ///< as PyTorch names it
  std::vector<std::int64_t> shape;
  int stage = 0;
};

/// A compiled and proved plan. Copies share it; any number of engines, in any threads, may use it.
class STAGEWRIGHT_API StagedExecutable {
public:
  /// Reads and proves a .stage file. Errors: User (damaged, or of another version), Environment.
  static Result<StagedExecutable> load(const std::string &path);
  /// Writes it as a whole or not at all. Error: User or Environment.
  Result<void> save(const std::string &path) const;
  /// The bytes of the .stage file, as long as this object lives.
  std::span<const std::uint8_t> bytes() const;

  std::string modelName() const;
  std::vector<std::string> lossTerms() const; ///< names of the model's losses, if there are several
  int stages() const;
  int ranks() const;
  int trainBatchSize() const; ///< samples per step
  int microBatchSize() const;
  int microBatches() const;
  std::uint64_t plannedBytes() const; ///< what an engine allocates for all ranks
  const std::vector<InputInfo> &inputs() const { return inputList; }
  std::vector<ParameterInfo> parameters() const;

  /// Keys of the configuration that were accepted and change nothing; empty after load().
  const std::vector<std::string> &settingsWithoutEffect() const { return withoutEffect; }

private:
  friend class Internals;
  explicit StagedExecutable(std::shared_ptr<const runtime::Executable> plan);

  std::shared_ptr<const runtime::Executable> plan;
  std::vector<InputInfo> inputList;
  std::vector<std::string> withoutEffect;
};

/// Checks, plans and compiles for this machine's CPUs. The compiler is a module beside this library that the
/// first call loads (libMLIR with it); programs that only train never do. Errors: User, at `layer "fc1"`,
/// `input "image"`, `loss`, "config:LINE:COLUMN" (from 1) or FILE:LINE:COLUMN; Environment, the compiler
/// module is not there.
STAGEWRIGHT_API Result<StagedExecutable> compile(const Model &model, const Config &config,
                                                 const CompileOptions &options = {});
STAGEWRIGHT_API Result<StagedExecutable> compile(const ModelFile &model, const Config &config,
                                                 const CompileOptions &options = {});

} // namespace v0
} // namespace stagewright

#endif
