// Inside runtime/comm: ranks that are processes under MPI.
//
// The rank's thread posts into its lanes and rings; the MPI thread hands the messages to MPI and tests them.
// The lanes are the queue between the two. A message of N bytes travels as N / kMpiChunkBytes full chunks and
// a last one of N % kMpiChunkBytes bytes (perhaps none), so that a receiver knows where a message ends, and
// how long it was, whatever length it expected.
#ifndef STAGEWRIGHT_RUNTIME_COMM_MPICOMMUNICATOR_H
#define STAGEWRIGHT_RUNTIME_COMM_MPICOMMUNICATOR_H

#include "runtime/comm/Communicator.h"
#include "runtime/comm/MpiThread.h"

#include <memory>
#include <mpi.h>
#include <vector>

namespace stagewright::runtime {

inline constexpr std::size_t kMpiChunkBytes = std::size_t{32} << 20;

class MpiCommunicator final : public Communicator, private MpiThread::Client {
public:
  static Result<std::unique_ptr<Communicator>> create(MpiThread &thread, std::size_t capacity);
  ~MpiCommunicator() override;

  void abort(const Error &error) override { thread.abort(error); }

private:
  /// The MPI thread's view of a lane. Messages [finished, started) are wholly with MPI; of message `started`,
  /// `moved` bytes are.
  struct Transfers {
    Lane *lane = nullptr;
    std::vector<MPI_Request> requests; ///< of the last chunk of message k: requests[k % capacity]
    std::uint64_t started = 0;
    std::uint64_t finished = 0;
    std::size_t moved = 0;
    bool mismatched = false; ///< message `started` has not the expected size
    bool partly = false;     ///< a chunk of message `started` that is not its last is with MPI
    bool taking = false;     ///< counted in the `takers` of the sender

    bool withMpi() const { return finished < started || partly; }
    MPI_Request &request(std::uint64_t number) { return requests[number % requests.size()]; }
  };

  MpiCommunicator(MpiThread &thread, MPI_Comm comm, std::size_t capacity);
  void open(Lane &lane) override;
  void publish(Lane &lane, std::uint64_t number) override;
  void take(Lane &, std::uint64_t) override {} // nothing is ever offered
  void settle() override {}                    // a rank does not go on after abort()

  Activity poll() override;
  bool finish(Transfers &transfers);
  bool start(Transfers &transfers);
  bool startChunkOfSend(Transfers &transfers, const Message &message);
  bool startChunkOfReceive(Transfers &transfers, Message &message);
  void tellSender(Transfers &transfers);

  MpiThread &thread;
  MPI_Comm comm;
  std::vector<std::unique_ptr<Transfers>> opened; ///< [openedCount], with room for every lane
  std::atomic<std::size_t> openedCount{0};
  std::vector<std::vector<std::byte>> unwanted; ///< messages of an unexpected size
};

} // namespace stagewright::runtime

#endif
