#include "runtime/train/MappedFile.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace stagewright::runtime {

Result<std::shared_ptr<const MappedFile>> MappedFile::open(const std::string &path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (descriptor < 0) {
    return userError(path, std::string("cannot open the file: ") + std::strerror(errno),
                     "give the folder of the data set with --data");
  }
  struct stat status {};
  const bool known = ::fstat(descriptor, &status) == 0;
  if (!known || !S_ISREG(status.st_mode) || status.st_size == 0) {
    ::close(descriptor);
    return userError(path, known && S_ISREG(status.st_mode) ? "the file is empty" : "this is no regular file",
                     "get the file again");
  }
  const auto size = static_cast<std::size_t>(status.st_size);
  void *const bytes = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, descriptor, 0);
  const int reason = errno;
  ::close(descriptor);
  if (bytes == MAP_FAILED) {
    return environmentError(path, std::string("the file cannot be mapped: ") + std::strerror(reason),
                            "raise the limit on address space (ulimit -v)");
  }
  return std::shared_ptr<const MappedFile>(new MappedFile(static_cast<const std::byte *>(bytes), size));
}

MappedFile::~MappedFile() {
  ::munmap(const_cast<std::byte *>(bytes), count);
}

} // namespace stagewright::runtime
