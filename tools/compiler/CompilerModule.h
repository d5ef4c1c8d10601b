// The door to the compiler, which is a module (it maps libMLIR) that the program's `compile` and the
// library's compile() open with dlopen. Plain C++ values cross it; both sides come from one build.
#ifndef STAGEWRIGHT_TOOLS_COMPILER_COMPILERMODULE_H
#define STAGEWRIGHT_TOOLS_COMPILER_COMPILERMODULE_H

#include "error/Error.h"

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace stagewright {

struct CompileRequest {
  std::string model;  ///< LayerSpec JSON, or a Hugging Face folder; empty with `resumeFrom`
  std::string config; ///< DeepSpeed-style JSON; empty with `resumeFrom`
  /// What the two hold; then they are names for places in messages, and no files are read.
  std::optional<std::string> modelText, configText;
  std::optional<int> stages, dataParallel, tensorParallel, microBatches;
  std::optional<std::string> schedule, partition;
  std::optional<int> sequenceLength; ///< of a Hugging Face folder
  std::vector<std::string> targets;  ///< see kernels/catalogue/Target.h; empty: as the config says
  std::string compileTo;             ///< phase to stop after. Empty: all of them
  std::string resumeFrom;            ///< IR text printed by an earlier --compile-to
};

struct CompileOutcome {
  Result<void> result;
  std::vector<std::uint8_t> bytes; ///< a .stage file, or with `compileTo` the IR's text
  std::vector<std::string>
      settingsWithoutEffect; ///< keys of the config file that are accepted and change nothing
};

using CompileFunction = void (*)(const CompileRequest &, CompileOutcome &);
inline constexpr const char *kCompileSymbol = "stagewright_compile";

} // namespace stagewright

#endif
