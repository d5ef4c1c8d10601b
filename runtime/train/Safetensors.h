// The safetensors format: u64 length of the header, the header (JSON), the tensors' bytes.
#ifndef STAGEWRIGHT_RUNTIME_TRAIN_SAFETENSORS_H
#define STAGEWRIGHT_RUNTIME_TRAIN_SAFETENSORS_H

#include "error/Error.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace stagewright::runtime {

struct SafetensorsTensor {
  std::string name, dtype; ///< dtype as in the file: "F32", "BF16", ...
  std::vector<std::int64_t> shape;
  std::uint64_t offset = 0, bytes = 0; ///< within the data section
};

class SafetensorsReader {
public:
  /// Reads and checks the header: sizes, JSON without repeated keys, known dtypes, offsets that cover the
  /// data section without holes or overlaps. Errors: User, "PATH at byte N" or "PATH at TENSOR".
  static Result<SafetensorsReader> open(const std::string &path);
  SafetensorsReader(SafetensorsReader &&other) noexcept;
  SafetensorsReader &operator=(SafetensorsReader &&) = delete;
  ~SafetensorsReader();

  const std::string &path() const { return name; }
  const std::vector<SafetensorsTensor> &tensors() const { return entries; } ///< sorted by name
  const SafetensorsTensor *find(const std::string &tensor) const;

  /// Copies a tensor's bytes. Error: Environment, the file has changed or cannot be read.
  Result<void> read(const SafetensorsTensor &tensor, void *destination) const;

private:
  SafetensorsReader(std::string name, int descriptor) : name(std::move(name)), descriptor(descriptor) {}
  Result<void> readHeader();

  std::string name;
  int descriptor;
  std::uint64_t dataBegin = 0;
  std::vector<SafetensorsTensor> entries;
};

/// Writes f32 tensors to a temporary file in the folder of `path`, and renames it in commit(). Until then,
/// and on every error, `path` is untouched and the temporary file is removed.
class SafetensorsWriter {
public:
  /// `tensors`: names and shapes, in the order in which write() is called. Errors: User (the folder cannot be
  /// written).
  static Result<SafetensorsWriter> create(const std::string &path,
                                          const std::vector<SafetensorsTensor> &tensors);
  SafetensorsWriter(SafetensorsWriter &&other) noexcept;
  SafetensorsWriter &operator=(SafetensorsWriter &&) = delete;
  ~SafetensorsWriter();

  /// Appends bytes of the data section.
  Result<void> write(const void *bytes, std::size_t count);
  /// Flushes to the disk, then renames.
  Result<void> commit();

private:
  SafetensorsWriter(std::string path, std::string temporary, int descriptor)
      : path(std::move(path)), temporary(std::move(temporary)), descriptor(descriptor) {}

  std::string path, temporary; ///< temporary is empty when there is nothing to remove
  int descriptor;
};

} // namespace stagewright::runtime

#endif
