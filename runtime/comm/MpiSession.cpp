#include "runtime/comm/MpiSession.h"

#include "runtime/comm/MpiCommunicator.h"
#include "runtime/comm/MpiThread.h"

#include <cstdlib>
#include <utility>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
// Open MPI unloads its plug-ins with memory of theirs still allocated, so that the leak checker can no longer
// say whose it is (no suppression matches). Ranks as processes go unchecked; ranks as threads run the same
// code checked.
extern "C" int __lsan_is_turned_off();
extern "C" int __lsan_is_turned_off() {
  return stagewright::runtime::startedByMpirun();
}
#endif
#endif

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
