// Inside runtime/comm: the thread that owns MPI.
#ifndef STAGEWRIGHT_RUNTIME_COMM_MPITHREAD_H
#define STAGEWRIGHT_RUNTIME_COMM_MPITHREAD_H

#include "error/Error.h"
#include "runtime/comm/SharedWindow.h"

#include <atomic>
#include <cstdint>
#include <functional>
#include <mpi.h>
#include <thread>
#include <vector>

namespace stagewright::runtime {

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
  bool hasClients() const { return !clients.empty(); }
  void remove(Client &client) { std::erase(clients, &client); }

  /// Wakes the MPI thread of this process.
  void wake() { ownBell->ring(); }
  /// The bell of a rank on this machine, or null.
  MpiBell *bellOf(int rank) { return windows[rank] ? &windows[rank]->mpiBell : nullptr; }

  /// Whether spinning would take cores from those who are waited for.
  bool crowded() const;

  /// Ends the job: the MPI thread stops polling, tells the launcher (or else stderr) why, and calls
  /// MPI_Abort. Does not return.
  [[noreturn]] void abort(const Error &error);
  /// On the MPI thread: ends the job when an MPI call has failed.
  void check(int code, const char *what, int peer);

  std::vector<SharedWindow *> windows; ///< [size]; null of ranks on other machines
  int rank = 0;
  int size = 1;
  int localRank = 0;
  int localSize = 1;

private:
  Result<void> initialize();
  Result<void> shareMemory();
  void finalize();
  void serve();
  void runCall();
  [[noreturn]] void endJob(const Error &error);

  std::thread thread;
  std::vector<Client *> clients;
  MPI_Comm machine = MPI_COMM_NULL;
  MPI_Win window = MPI_WIN_NULL;
  MpiBell *ownBell = nullptr;

  std::atomic<const std::function<void()> *> pendingCall{nullptr};
  std::atomic<std::uint32_t> callDone{0};
  std::atomic<bool> stopping{false},
      noticed{false}; ///< the thread is to end, and nobody rings its bell any more
  std::atomic<const Error *> fatal{nullptr};
};

} // namespace stagewright::runtime

#endif
