// Ranks that are threads of one process. Whichever side of a message comes second copies it; but a receiver
// that waits already does so itself, so that the bytes end up in its cache and the sender goes on.
#ifndef STAGEWRIGHT_RUNTIME_COMM_THREADCOMMUNICATOR_H
#define STAGEWRIGHT_RUNTIME_COMM_THREADCOMMUNICATOR_H

#include "runtime/comm/Communicator.h"

#include <memory>
#include <vector>

namespace stagewright::runtime {

/// Moves a message from the sender's buffer to the receiver's, of the same size; on the thread of either.
using Mover = void (*)(void *to, const void *from, std::size_t bytes);
void moveBytes(void *to, const void *from, std::size_t bytes);

/// The communicators of `ranks` threads. Make it before the threads, destroy it after they have ended.
class ThreadGroup {
public:
  /// `capacity`: see Communicator::kDefaultCapacity. Memory: 40 bytes x capacity per lane in use.
  explicit ThreadGroup(int ranks, std::size_t capacity = Communicator::kDefaultCapacity,
                       Mover mover = moveBytes);
  ~ThreadGroup();

  int size() const;
  /// For the thread of `rank`.
  Communicator &communicator(int rank);

private:
  struct Shared;
  std::unique_ptr<Shared> shared;
};

} // namespace stagewright::runtime

#endif
