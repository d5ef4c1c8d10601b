#include "runtime/comm/MpiCommunicator.h"

#include "runtime/device/RankPinning.h"

#include <algorithm>

namespace stagewright::runtime {

Result<std::unique_ptr<Communicator>> MpiCommunicator::create(MpiThread &thread, std::size_t capacity) {
  MPI_Comm comm = MPI_COMM_NULL;
  int code = MPI_SUCCESS;
  thread.call([&] { code = MPI_Comm_dup(MPI_COMM_WORLD, &comm); });
  if (code != MPI_SUCCESS) {
    return environmentError("MPI", "MPI_Comm_dup failed", "see whether all ranks still run");
  }
  return std::unique_ptr<Communicator>(new MpiCommunicator(thread, comm, capacity));
}

MpiCommunicator::MpiCommunicator(MpiThread &thread, MPI_Comm comm, std::size_t capacity)
    : Communicator(thread.rank, thread.size, capacity, thread.crowded()), thread(thread), comm(comm),
      opened(static_cast<std::size_t>(2) * thread.size * (kTags + 1)) {
  thread.call([this] {
    if (!this->thread.hasClients()) { // one at a time
      share(this->thread.windows, this->thread.localSize > usableCores());
    }
    this->thread.add(*this);
  });
}

MpiCommunicator::~MpiCommunicator() {
  thread.call([this] {
    thread.remove(*this);
    MPI_Comm_free(&comm);
  });
}

void MpiCommunicator::open(Lane &lane) {
  const std::size_t place = openedCount.load(std::memory_order_relaxed);
  opened[place] = std::make_unique<Transfers>();
  opened[place]->lane = &lane;
  opened[place]->requests.resize(lane.ring.size(), MPI_REQUEST_NULL);
  openedCount.store(place + 1, std::memory_order_release);
}

void MpiCommunicator::publish(Lane &lane, std::uint64_t number) {
  lane.posted.store(number + 1, std::memory_order_release);
  thread.wake();
}

MpiThread::Client::Activity MpiCommunicator::poll() {
  Activity activity;
  const std::size_t count = openedCount.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < count; ++i) {
    Transfers &transfers = *opened[i];
    if (transfers.finished == transfers.lane->posted.load(std::memory_order_acquire)) {
      continue;
    }
    for (bool moved = true; moved; activity.moved |= moved) {
      moved = start(transfers);
      moved |= finish(transfers);
    }
    if (transfers.lane->direction == Direction::Receive) {
      tellSender(transfers);
      activity.flowing |= transfers.taking;
    }
    activity.open |= transfers.finished != transfers.lane->posted.load(std::memory_order_relaxed);
  }
  return activity;
}

// In order: the head of the lane is tested only.
bool MpiCommunicator::finish(Transfers &transfers) {
  bool any = false;
  while (transfers.withMpi()) {
    int done = 0;
    thread.check(MPI_Test(&transfers.request(transfers.finished), &done, MPI_STATUS_IGNORE), "MPI_Test",
                 transfers.lane->peer);
    if (!done) {
      break;
    }
    any = true;
    if (transfers.finished == transfers.started) {
      transfers.partly = false; // the next chunk may start
      break;
    }
    advance(*transfers.lane, transfers.finished++, Message::Complete);
  }
  return any;
}

bool MpiCommunicator::start(Transfers &transfers) {
  const bool sends = transfers.lane->direction == Direction::Send;
  bool any = false;
  while (!transfers.partly && transfers.started < transfers.lane->posted.load(std::memory_order_acquire)) {
    Message &message = transfers.lane->message(transfers.started);
    if (!(sends ? startChunkOfSend(transfers, message) : startChunkOfReceive(transfers, message))) {
      break;
    }
    any = true;
    if (!transfers.partly) {
      ++transfers.started;
      transfers.moved = 0;
      transfers.mismatched = false;
    }
  }
  if (any && sends) {
    if (MpiBell *bell = thread.bellOf(transfers.lane->peer)) {
      bell->ring();
    }
  }
  return any;
}

bool MpiCommunicator::startChunkOfSend(Transfers &transfers, const Message &message) {
  const std::size_t bytes = std::min(kMpiChunkBytes, message.bytes - transfers.moved);
  thread.check(MPI_Isend(message.data + transfers.moved, static_cast<int>(bytes), MPI_BYTE,
                         transfers.lane->peer, transfers.lane->tag, comm,
                         &transfers.request(transfers.started)),
               "MPI_Isend", transfers.lane->peer);
  transfers.moved += bytes;
  transfers.partly = bytes == kMpiChunkBytes;
  return true;
}

bool MpiCommunicator::startChunkOfReceive(Transfers &transfers, Message &message) {
  const int peer = transfers.lane->peer;
  int arrived = 0;
  MPI_Message match = MPI_MESSAGE_NULL;
  MPI_Status status;
  thread.check(MPI_Improbe(peer, transfers.lane->tag, comm, &arrived, &match, &status), "MPI_Improbe", peer);
  if (!arrived) {
    return false;
  }
  int count = 0;
  MPI_Get_count(&status, MPI_BYTE, &count);
  const auto bytes = static_cast<std::size_t>(count);
  transfers.mismatched |= bytes != std::min(kMpiChunkBytes, message.bytes - transfers.moved);
  std::byte *target = message.data + transfers.moved;
  if (transfers.mismatched) {
    target = unwanted.emplace_back(bytes).data();
  }
  thread.check(MPI_Imrecv(target, count, MPI_BYTE, &match, &transfers.request(transfers.started)),
               "MPI_Imrecv", peer);
  transfers.moved += bytes;
  transfers.partly = bytes == kMpiChunkBytes;
  if (!transfers.partly) {
    message.sent = transfers.moved;
  }
  return true;
}

// MPI moves the bytes of a large message only while both sides poll: the sender must stay awake as long as we
// take.
void MpiCommunicator::tellSender(Transfers &transfers) {
  MpiBell *bell = thread.bellOf(transfers.lane->peer);
  if (transfers.withMpi() == transfers.taking || !bell) {
    return;
  }
  transfers.taking = !transfers.taking;
  bell->takers.fetch_add(transfers.taking ? 1U : ~0U);
  bell->ring();
}

} // namespace stagewright::runtime
