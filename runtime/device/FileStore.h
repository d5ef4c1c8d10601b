// A file in place of memory: what a plan keeps in tier File.
#ifndef STAGEWRIGHT_RUNTIME_DEVICE_FILESTORE_H
#define STAGEWRIGHT_RUNTIME_DEVICE_FILESTORE_H

#include "error/Error.h"

#include <cstddef>
#include <cstdint>
#include <deque>
#include <liburing.h>
#include <memory>
#include <optional>
#include <string>
#include <vector>

namespace stagewright::runtime {

//   the file   | extent | extent |  | extent | ...       each with a checksum (XXH3, 64 bits) in memory
//
// Used by one thread. The file has no name from its creation on, so that nothing of it is left behind. Errors
// of all functions: Environment, with the name that it had.
class FileStore {
public:
  struct Extent {
    std::uint64_t offset = 0, bytes = 0;
    auto operator<=>(const Extent &) const = default;
  };

  /// A file of `bytes` zeros in `folder`, its space reserved. Extents neither overlap nor are empty. Without
  /// io_uring (a container may forbid it, or the caller) operations are complete when they begin.
  static Result<std::unique_ptr<FileStore>> create(const std::string &folder, const std::string &name,
                                                   std::uint64_t bytes, std::vector<Extent> extents,
                                                   bool asynchronous = true);
  FileStore(const FileStore &) = delete;
  FileStore &operator=(const FileStore &) = delete;
  ~FileStore();

  using Operation = std::size_t;

  /// Of neighbouring whole extents; the memory stays until end(). Memory is allocated only when more
  /// operations are under way than ever before.
  Result<Operation> beginRead(std::uint64_t offset, std::uint64_t bytes, std::byte *to);
  Result<Operation> beginWrite(std::uint64_t offset, std::uint64_t bytes, const std::byte *from);
  /// Waits. What has been read has the checksum of what was written.
  Result<void> end(Operation operation);

  /// Any range of the extents, at once.
  Result<void> read(std::uint64_t offset, std::uint64_t bytes, std::byte *to);
  Result<void> write(std::uint64_t offset, std::uint64_t bytes, const std::byte *from);

  const std::string &path() const { return name; }
  bool isAsynchronous() const { return ring.has_value(); }

private:
  FileStore(std::string name, int descriptor, std::vector<Extent> extents);
  struct Transfer {
    bool inUse = false, writes = false, done = false;
    std::uint64_t offset = 0, bytes = 0, moved = 0;
    std::byte *memory = nullptr;
    int error = 0;
  };
  Result<Operation> begin(bool writes, std::uint64_t offset, std::uint64_t bytes, std::byte *memory);
  Error failed(const std::string &what, int error) const;
  Error notLoaded(std::uint64_t offset, std::uint64_t bytes) const;
  /// The extents of a range; nothing when it is not whole ones.
  std::optional<std::pair<std::size_t, std::size_t>> extentsOf(std::uint64_t offset,
                                                               std::uint64_t bytes) const;
  void submit(Transfer &transfer);
  Result<void> takeCompletion();
  void moved(Transfer &transfer, int result);

  const std::string name;
  const int descriptor;
  const std::vector<Extent> extents;
  std::vector<std::uint64_t> sums; ///< of the extents
  std::optional<io_uring> ring;
  std::deque<Transfer> transfers; ///< addresses stay
  std::vector<std::byte> bounce;  ///< of read(): the extent that it has read last
  std::optional<std::size_t> bounced;
  bool isBroken = false; ///< nothing more comes from the ring
};

} // namespace stagewright::runtime

#endif
