#include "runtime/exec/JobBoard.h"

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

namespace stagewright::runtime {

static Error cannotMap() {
  return environmentError("shared memory", std::string("cannot make a page of it: ") + std::strerror(errno),
                          "look at /dev/shm and at the memory limits");
}

// Zero bytes are a good cell: never written.
Result<std::unique_ptr<JobBoard>> JobBoard::map(int ranks, int descriptor, std::string name) {
  const std::size_t bytes = sizeof(Cell) * static_cast<std::size_t>(ranks);
  const int flags = descriptor < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED;
  void *memory = descriptor >= 0 && ::ftruncate(descriptor, static_cast<off_t>(bytes)) != 0
                     ? MAP_FAILED
                     : ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, flags, descriptor, 0);
  if (memory == MAP_FAILED) {
    return cannotMap();
  }
  return std::unique_ptr<JobBoard>(new JobBoard(static_cast<Cell *>(memory), bytes, std::move(name)));
}

Result<std::unique_ptr<JobBoard>> JobBoard::local(int ranks) {
  return map(ranks, -1, "");
}

Result<std::unique_ptr<JobBoard>> JobBoard::shared(int ranks, const std::string &jobName) {
  static_assert(std::atomic<std::int64_t>::is_always_lock_free && std::atomic<int>::is_always_lock_free &&
                std::atomic<std::uint64_t>::is_always_lock_free);
  std::string name = "/stagewright-" + jobName;
  const int descriptor = ::shm_open(name.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (descriptor < 0) {
    return cannotMap();
  }
  auto board = map(ranks, descriptor, std::move(name));
  ::close(descriptor);
  return board;
}

JobBoard::~JobBoard() {
  forgetName();
  ::munmap(cells, bytes);
}

void JobBoard::forgetName() {
  if (!name.empty()) {
    ::shm_unlink(name.c_str()); // the second of two processes finds nothing
    name.clear();
  }
}

void JobBoard::write(int rank, Entry entry) {
  cells[rank].waitsFor.store(entry.waitsFor, std::memory_order_relaxed);
  cells[rank].moves.store(entry.moves, std::memory_order_relaxed);
  cells[rank].written.store(entry.written, std::memory_order_relaxed);
}

JobBoard::Entry JobBoard::read(int rank) const {
  return {cells[rank].written.load(std::memory_order_relaxed),
          cells[rank].waitsFor.load(std::memory_order_relaxed),
          cells[rank].moves.load(std::memory_order_relaxed)};
}

} // namespace stagewright::runtime
