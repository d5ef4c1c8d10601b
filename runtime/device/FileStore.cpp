#include "runtime/device/FileStore.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <map>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

namespace stagewright::runtime {

/// A single operation moves at most this much: the kernel's own bound is just below 2 GiB.
static constexpr std::uint64_t kMostAtOnce = std::uint64_t{1} << 30;

/// Submitted one by one, so that the queue is never full; of completions the kernel keeps what does not fit.
static constexpr unsigned kRingEntries = 64;

static std::uint64_t sumOf(const std::byte *data, std::uint64_t bytes) {
  return XXH3_64bits(data, bytes);
}

Error FileStore::failed(const std::string &what, int error) const {
  return environmentError(name, what + ": " + std::strerror(error),
                          "free space there, repair the disk, or choose another nvme_path");
}

/// A file without a name. Not every file system can make one at once.
static int openUnnamed(const std::string &folder, const std::string &path) {
  int descriptor = open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (descriptor < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
    std::string named = path + ".XXXXXX";
    descriptor = mkostemp(named.data(), O_CLOEXEC);
    if (descriptor >= 0) {
      unlink(named.c_str());
    }
  }
  return descriptor;
}

Error FileStore::notLoaded(std::uint64_t offset, std::uint64_t bytes) const {
  return environmentError(name,
                          "the " + std::to_string(bytes) + " bytes at " + std::to_string(offset) +
                              " are not what an update loads",
                          "compile the model again");
}

Result<std::unique_ptr<FileStore>> FileStore::create(const std::string &folder, const std::string &name,
                                                     std::uint64_t bytes, std::vector<Extent> extents,
                                                     bool asynchronous) {
  const std::string path =
      (std::filesystem::path(folder) / ("stagewright-" + std::to_string(getpid()) + "-" + name)).string();
  const int descriptor = openUnnamed(folder, path);
  if (descriptor < 0) {
    return environmentError(
        path, std::string("cannot create the file: ") + std::strerror(errno),
        "see that the folder is there and may be written to, or choose another nvme_path");
  }
  std::sort(extents.begin(), extents.end());
  std::unique_ptr<FileStore> store(new FileStore(path, descriptor, std::move(extents)));
  if (const int error = bytes > 0 ? posix_fallocate(descriptor, 0, static_cast<off_t>(bytes)) : 0) {
    return store->failed("cannot reserve " + std::to_string(bytes) + " bytes", error);
  }
  std::map<std::uint64_t, std::uint64_t> ofZeros; // by size
  for (const Extent &extent : store->extents) {
    auto [sum, isNew] = ofZeros.try_emplace(extent.bytes, 0);
    if (isNew) {
      const std::vector<std::byte> zeros(extent.bytes);
      sum->second = sumOf(zeros.data(), zeros.size());
    }
    store->sums.push_back(sum->second);
  }
  io_uring ring;
  if (asynchronous && io_uring_queue_init(kRingEntries, &ring, 0) == 0) {
    store->ring = ring;
  }
  return store;
}

FileStore::FileStore(std::string name, int descriptor, std::vector<Extent> extents)
    : name(std::move(name)), descriptor(descriptor), extents(std::move(extents)) {}

FileStore::~FileStore() {
  for (Operation operation = 0; operation < transfers.size(); ++operation) {
    if (transfers[operation].inUse && !isBroken) { // the kernel may still write to the memory
      (void)end(operation);
    }
  }
  if (ring) {
    io_uring_queue_exit(&*ring);
  }
  close(descriptor);
}

std::optional<std::pair<std::size_t, std::size_t>> FileStore::extentsOf(std::uint64_t offset,
                                                                        std::uint64_t bytes) const {
  const auto first = std::lower_bound(extents.begin(), extents.end(), Extent{offset, 0});
  auto last = first;
  std::uint64_t end = offset;
  while (last != extents.end() && last->offset == end && end < offset + bytes) {
    end += last->bytes;
    ++last;
  }
  if (bytes == 0 || end != offset + bytes) {
    return std::nullopt;
  }
  return std::pair(static_cast<std::size_t>(first - extents.begin()),
                   static_cast<std::size_t>(last - extents.begin()));
}

Result<FileStore::Operation> FileStore::beginRead(std::uint64_t offset, std::uint64_t bytes, std::byte *to) {
  return begin(false, offset, bytes, to);
}

Result<FileStore::Operation> FileStore::beginWrite(std::uint64_t offset, std::uint64_t bytes,
                                                   const std::byte *from) {
  bounced.reset();
  if (const auto range = extentsOf(offset, bytes)) {
    for (std::size_t i = range->first; i < range->second; ++i) {
      sums[i] = sumOf(from + (extents[i].offset - offset), extents[i].bytes);
    }
  }
  return begin(true, offset, bytes, const_cast<std::byte *>(from));
}

Result<FileStore::Operation> FileStore::begin(bool writes, std::uint64_t offset, std::uint64_t bytes,
                                              std::byte *memory) {
  if (!extentsOf(offset, bytes)) {
    return notLoaded(offset, bytes);
  }
  auto unused = std::find_if(transfers.begin(), transfers.end(),
                             [](const Transfer &transfer) { return !transfer.inUse; });
  unused = unused == transfers.end() ? transfers.insert(unused, Transfer()) : unused;
  *unused = {.inUse = true, .writes = writes, .offset = offset, .bytes = bytes, .memory = memory};
  submit(*unused);
  return static_cast<Operation>(unused - transfers.begin());
}

/// The rest of a transfer, or at once all of it when there is no ring.
void FileStore::submit(Transfer &transfer) {
  while (!transfer.done) {
    const std::uint64_t at = transfer.offset + transfer.moved;
    std::byte *const memory = transfer.memory + transfer.moved;
    const auto bytes = static_cast<unsigned>(std::min(transfer.bytes - transfer.moved, kMostAtOnce));
    if (ring) {
      io_uring_sqe *const entry = io_uring_get_sqe(&*ring); // as many as transfers
      transfer.writes ? io_uring_prep_write(entry, descriptor, memory, bytes, at)
                      : io_uring_prep_read(entry, descriptor, memory, bytes, at);
      io_uring_sqe_set_data(entry, &transfer);
      io_uring_submit(&*ring); // what the kernel has no room for stays in the queue, until end() waits
      return;
    }
    const ssize_t result = transfer.writes ? pwrite(descriptor, memory, bytes, static_cast<off_t>(at))
                                           : pread(descriptor, memory, bytes, static_cast<off_t>(at));
    moved(transfer, result < 0 ? -errno : static_cast<int>(result));
  }
}

/// Of one operation: the bytes that it has moved, or minus the error.
void FileStore::moved(Transfer &transfer, int result) {
  if (result == -EINTR || result == -EAGAIN) {
    return;
  }
  transfer.moved += result > 0 ? static_cast<unsigned>(result) : 0;
  transfer.error = result < 0 ? -result : result == 0 ? EIO : 0; // the end of the file lies too early
  transfer.done = transfer.error != 0 || transfer.moved == transfer.bytes;
}

/// Submits what is queued, waits for one operation and goes on with the rest of it.
Result<void> FileStore::takeCompletion() {
  constexpr int patience = 10000; // milliseconds
  io_uring_cqe *completion = nullptr;
  for (int waited = 0; io_uring_peek_cqe(&*ring, &completion) != 0;) {
    const int result = io_uring_submit_and_wait(&*ring, 1);
    if (result >= 0 || result == -EINTR) {
      continue;
    }
    if ((result != -EAGAIN && result != -EBUSY) || waited++ == patience) { // the kernel is short of memory
      isBroken = true;
      return failed("cannot wait for the disk", -result);
    }
    usleep(1000);
  }
  auto *const which = static_cast<Transfer *>(io_uring_cqe_get_data(completion));
  moved(*which, completion->res);
  io_uring_cqe_seen(&*ring, completion);
  if (!which->done) {
    submit(*which);
  }
  return {};
}

Result<void> FileStore::end(Operation operation) {
  Transfer &transfer = transfers[operation];
  while (!transfer.done) {
    if (auto ok = takeCompletion(); !ok) {
      return ok; // the transfer stays in use
    }
  }
  transfer.inUse = false;
  if (transfer.error != 0) {
    return failed(std::string("cannot ") + (transfer.writes ? "write " : "read ") +
                      std::to_string(transfer.bytes) + " bytes at " + std::to_string(transfer.offset),
                  transfer.error);
  }
  const auto range = transfer.writes ? std::nullopt : extentsOf(transfer.offset, transfer.bytes);
  for (std::size_t i = range ? range->first : 0; range && i < range->second; ++i) {
    const Extent &extent = extents[i];
    if (sumOf(transfer.memory + (extent.offset - transfer.offset), extent.bytes) != sums[i]) {
      return environmentError(name,
                              "the " + std::to_string(extent.bytes) + " bytes at " +
                                  std::to_string(extent.offset) +
                                  " are not those that were written: their checksum differs",
                              "check the disk, or choose another nvme_path");
    }
  }
  return {};
}

Result<void> FileStore::read(std::uint64_t offset, std::uint64_t bytes, std::byte *to) {
  auto extent = std::upper_bound(extents.begin(), extents.end(), Extent{offset, ~std::uint64_t{0}});
  extent = extent == extents.begin() ? extent : std::prev(extent);
  for (; bytes > 0; ++extent) {
    if (extent == extents.end() || offset < extent->offset || offset >= extent->offset + extent->bytes) {
      return notLoaded(offset, bytes);
    }
    if (const auto index = static_cast<std::size_t>(extent - extents.begin()); bounced != index) {
      bounce.resize(std::max<std::size_t>(bounce.size(), extent->bytes));
      bounced.reset();
      auto operation = beginRead(extent->offset, extent->bytes, bounce.data());
      if (auto ok = operation ? end(*operation) : Result<void>(operation.takeError()); !ok) {
        return ok;
      }
      bounced = index;
    }
    const std::uint64_t skipped = offset - extent->offset, here = std::min(bytes, extent->bytes - skipped);
    std::memcpy(to, bounce.data() + skipped, here);
    to += here;
    offset += here;
    bytes -= here;
  }
  return {};
}

Result<void> FileStore::write(std::uint64_t offset, std::uint64_t bytes, const std::byte *from) {
  auto operation = beginWrite(offset, bytes, from);
  return operation ? end(*operation) : operation.takeError();
}

} // namespace stagewright::runtime
