// Weights as a Hugging Face folder, for models that were compiled from one.
#ifndef STAGEWRIGHT_RUNTIME_TRAIN_FOLDEREXPORT_H
#define STAGEWRIGHT_RUNTIME_TRAIN_FOLDEREXPORT_H

#include "runtime/exec/Interrupt.h"
#include "runtime/executable/Executable.h"

#include <string>

namespace stagewright::runtime {

struct ExportOptions {
  std::string weights;   ///< what WeightFiles::open reads
  std::string output;    ///< folder to write
  std::string tokenizer; ///< folder whose tokenizer files are copied; empty: none
  bool replace = false;  ///< an older folder with a config.json gives way
  const InterruptFlag *interrupt = nullptr;
};

struct ExportSummary {
  std::uint64_t tensors = 0, bytes = 0; ///< of model.safetensors
  std::uint64_t tokenizerFiles = 0;
};

/// Writes config.json, as the source folder had it but for the dtype, model.safetensors in fp32, and
/// tokenizer files; the folder is there whole or not at all. Errors: User (the model is from no such folder,
/// or has no loss; what WeightFiles and WholeFolder refuse; no tokenizer files), Environment, Interrupted.
Result<ExportSummary> exportFolder(const Executable &executable, const ExportOptions &options);

} // namespace stagewright::runtime

#endif
