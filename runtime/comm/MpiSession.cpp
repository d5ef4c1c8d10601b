#include "runtime/comm/MpiSession.h"

#include "runtime/comm/MpiCommunicator.h"
#include "runtime/comm/MpiThread.h"

#include <cstdlib>
#include <utility>

namespace stagewright::runtime {

bool startedByMpirun() {
  return std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr;
}

Result<std::unique_ptr<MpiSession>> MpiSession::start() {
  auto thread = std::make_unique<MpiThread>();
  if (Result<void> started = thread->start(); !started) {
    return started.takeError();
  }
  return std::unique_ptr<MpiSession>(new MpiSession(std::move(thread)));
}

MpiSession::MpiSession(std::unique_ptr<MpiThread> thread) : thread(std::move(thread)) {}

MpiSession::~MpiSession() = default;

int MpiSession::rank() const {
  return thread->rank;
}
int MpiSession::size() const {
  return thread->size;
}
int MpiSession::localRank() const {
  return thread->localRank;
}
int MpiSession::localSize() const {
  return thread->localSize;
}

Result<std::unique_ptr<Communicator>> MpiSession::makeCommunicator(std::size_t capacity) {
  return MpiCommunicator::create(*thread, capacity);
}

} // namespace stagewright::runtime
