// A model's weights and buffers in files: one safetensors file, or a folder as transformers writes it. A
// model that was compiled from such a folder has the folder's shapes and names in every file
// (Executable.folder of stage.fbs); others have the executable's.
#ifndef STAGEWRIGHT_RUNTIME_TRAIN_WEIGHTFILES_H
#define STAGEWRIGHT_RUNTIME_TRAIN_WEIGHTFILES_H

#include "runtime/executable/Executable.h"
#include "runtime/train/Safetensors.h"

#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace stagewright::runtime {

/// A parameter or a buffer as files hold it.
struct StoredTensor {
  std::vector<std::int64_t> shape;
  const char *dtype = "F32"; ///< as safetensors write it
  bool isTransposed = false; ///< against the executable's shape
};
/// By the names of parameters and buffers.
std::map<std::string, StoredTensor> storedTensors(const executable::Executable &file);

/// [rows, columns] in `from` becomes [columns, rows] in `to`.
void transpose(const float *from, std::int64_t rows, std::int64_t columns, float *to);

class WeightFiles {
public:
  /// `path`: a safetensors file, or a folder that holds model.safetensors, or model.safetensors.index.json
  /// and its shards. Errors: User, a file that is none of these or damaged; all tensors that are missing,
  /// unknown, double, or of another shape or dtype, at once.
  static Result<WeightFiles> open(const Executable &executable, const std::string &path);

  /// Copies a parameter or a buffer, as the executable has it (F16 and BF16 widened). Error: Environment.
  Result<void> read(const std::string &name, void *destination) const;
  /// The same as files have it.
  Result<void> readStored(const std::string &name, void *destination) const;

private:
  struct Entry {
    const SafetensorsReader *file = nullptr;
    const SafetensorsTensor *tensor = nullptr;
  };
  WeightFiles(std::string path) : path(std::move(path)) {}
  Result<void> openFolder();
  Result<void> openShards(const std::string &index);
  Result<void> add(const std::string &file);
  Result<void> match(const Executable &executable);

  std::string path;
  std::vector<std::unique_ptr<SafetensorsReader>> files;
  std::map<std::string, StoredTensor> expected;
  std::map<std::string, Entry> entries; ///< by the names of `expected`
};

} // namespace stagewright::runtime

#endif
