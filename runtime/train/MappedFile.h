// A file as read-only memory; pages are read when they are used.
#ifndef STAGEWRIGHT_RUNTIME_TRAIN_MAPPEDFILE_H
#define STAGEWRIGHT_RUNTIME_TRAIN_MAPPEDFILE_H

#include "error/Error.h"

#include <cstddef>
#include <memory>
#include <string>

namespace stagewright::runtime {

class MappedFile {
public:
  /// Errors: User, it cannot be opened or is empty or no regular file; Environment, it cannot be mapped.
  static Result<std::shared_ptr<const MappedFile>> open(const std::string &path);
  ~MappedFile();
  MappedFile(const MappedFile &) = delete;
  MappedFile &operator=(const MappedFile &) = delete;

  const std::byte *data() const { return bytes; }
  std::size_t size() const { return count; }

private:
  MappedFile(const std::byte *bytes, std::size_t count) : bytes(bytes), count(count) {}
  const std::byte *bytes;
  std::size_t count;
};

} // namespace stagewright::runtime

#endif
