// The safetensors format: u64 length of the header, the header (JSON), the tensors' bytes.
#ifndef STAGEWRIGHT_RUNTIME_TRAIN_SAFETENSORS_H
#define STAGEWRIGHT_RUNTIME_TRAIN_SAFETENSORS_H

#include "error/Error.h"
#include "files/WholeFile.h"

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

/// Writes tensors to a file that is there whole or not at all.
class SafetensorsWriter {
public:
  /// `tensors`: names, dtypes and shapes, in the order in which write() is called; larger elements first, as
  /// readers want elements at multiples of their size. Errors: as WholeFile's.
  static Result<SafetensorsWriter> create(const std::string &path,
                                          const std::vector<SafetensorsTensor> &tensors);

  /// Appends bytes of the data section.
  Result<void> write(const void *bytes, std::size_t count) { return file.write(bytes, count); }
  Result<void> commit() { return file.commit(); }

private:
  explicit SafetensorsWriter(WholeFile file) : file(std::move(file)) {}

  WholeFile file;
};

} // namespace stagewright::runtime

#endif
