// Inside runtime/comm: the thread that owns MPI.
#ifndef STAGEWRIGHT_RUNTIME_COMM_MPITHREAD_H
#define STAGEWRIGHT_RUNTIME_COMM_MPITHREAD_H

#include "error/Error.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <mpi.h>
#include <thread>
#include <vector>

namespace stagewright::runtime {

/// Where the MPI thread of a rank sleeps; lies in memory shared by the ranks of a machine.
struct MpiBell {
  std::atomic<std::uint32_t> rings{0};
  std::atomic<std::uint32_t> asleep{0};
  /// Receives of other ranks that take from this one at the moment: it has to keep polling for them to get
  /// on.
  std::atomic<std::uint32_t> takers{0};

  void ring();
};

class MpiThread {
public:
  /// What the MPI thread works for between its sleeps.
  class Client {
  public:
    virtual ~Client() = default;
    struct Activity {
      bool moved = false;   ///< something has been started or completed
      bool flowing = false; ///< bytes are on their way to this rank
      bool open = false;    ///< something is not complete
    };
    virtual Activity poll() = 0;
  };

  MpiThread() = default;
  ~MpiThread();

  /// Starts the thread and MPI in it.
  Result<void> start();

  /// Runs `body` on the MPI thread, between two polls, and waits for it.
  void call(const std::function<void()> &body);
  /// To be called on the MPI thread.
  void add(Client &client) { clients.push_back(&client); }
  void remove(Client &client) { std::erase(clients, &client); }

  /// Wakes the MPI thread of this process.
  void wake() { ownBell->ring(); }
  /// The bell of a rank on this machine, or null.
  MpiBell *bellOf(int rank) { return bells[rank]; }

  /// Whether spinning would take cores from those who are waited for.
  bool crowded() const;

  /// Ends the job: the MPI thread stops polling, tells the launcher (or else stderr) why, and calls
  /// MPI_Abort. Does not return.
  [[noreturn]] void abort(const Error &error);
  /// On the MPI thread: ends the job when an MPI call has failed.
  void check(int code, const char *what, int peer);

  int rank = 0;
  int size = 1;
  int localRank = 0;
  int localSize = 1;

private:
  Result<void> initialize();
  Result<void> shareBells();
  void finalize();
  void serve();
  void sleep(std::uint32_t seen, std::int64_t nanoseconds);
  void runCall();
  [[noreturn]] void endJob(const Error &error);

  std::thread thread;
  std::vector<Client *> clients;
  MPI_Comm machine = MPI_COMM_NULL;
  MPI_Win window = MPI_WIN_NULL;
  std::vector<MpiBell *> bells; ///< [size]
  MpiBell *ownBell = nullptr;

  std::atomic<const std::function<void()> *> pendingCall{nullptr};
  std::atomic<std::uint32_t> callDone{0};
  std::atomic<bool> stopping{false};
  std::atomic<const Error *> fatal{nullptr};
};

} // namespace stagewright::runtime

#endif
