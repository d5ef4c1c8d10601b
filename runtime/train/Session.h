// A staged executable at work in this process: its ranks, their memory, their threads. Internal to the
// engines.
//
//   open ---> runRanks(work) ---> runRanks(work) ---> ... ---> end
//             the ranks' threads start with the first call and are parked between calls
#ifndef STAGEWRIGHT_RUNTIME_TRAIN_SESSION_H
#define STAGEWRIGHT_RUNTIME_TRAIN_SESSION_H

#include "runtime/comm/MpiSession.h"
#include "runtime/comm/ThreadCommunicator.h"
#include "runtime/exec/Executor.h"
#include "runtime/exec/Watchdog.h"
#include "runtime/observe/NanFinder.h"
#include "runtime/observe/TaskSleep.h"
#include "runtime/observe/TraceFile.h"
#include "runtime/train/Dataset.h"
#include "runtime/train/Engine.h"
#include "runtime/train/ModelState.h"

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace stagewright::runtime {

/// What all ranks of a session do at a time. It owns or shares what it uses.
class RankWork {
public:
  virtual ~RankWork() = default;
  /// On the thread of each local rank.
  virtual Result<void> run(Executor &executor) = 0;
};

/// Shared by its threads: a rank that never comes back from a kernel keeps it alive.
class Session : public std::enable_shared_from_this<Session> {
public:
  /// Ends the threads when it goes.
  class Handle {
  public:
    explicit Handle(std::shared_ptr<Session> session) : session(std::move(session)) {}
    Handle(Handle &&) = default;
    Handle &operator=(Handle &&) = delete;
    ~Handle() {
      if (session) {
        session->endThreads();
      }
    }
    Session &operator*() const { return *session; }
    Session *operator->() const { return session.get(); }

  private:
    std::shared_ptr<Session> session;
  };

  /// Which replicas of the pipeline the job has.
  enum class Replicas { All, First };

  using Extra = std::function<Result<void>(Session &)>;

  /// Loads the file, starts MPI where asked for, makes pool, communicators, arenas, executors, weights and
  /// data set, and calls `extra` for the rest. With processes all of them return an error if one does.
  /// Errors: see train().
  static Result<Handle> open(const EngineOptions &options, Split split, Replicas replicas,
                             const Extra &extra);
  /// The same with a file that is loaded already and, without `split`, with no data set: the inputs come from
  /// elsewhere.
  static Result<Handle> open(const EngineOptions &options, std::shared_ptr<const Executable> executable,
                             std::optional<Split> split, Replicas replicas, const Extra &extra);

  /// Calls work->run(executor) for each local rank on a thread of its own, watched, and returns when all have
  /// returned. The first error, or exception, ends the talk of all ranks and is returned, now and by every
  /// later call. Error besides: Environment, a thread cannot be started. Allocates nothing from the second
  /// call on.
  Result<void> runRanks(std::shared_ptr<RankWork> work);

  /// With parameter servers: all ranks have all updates. Between calls of runRanks.
  Result<void> catchUp();

  /// The outcome of body(); an exception (no memory, or the caller's own code) becomes an Environment error,
  /// so that a rank that cannot go on still tells the others.
  static Result<void> guarded(const std::function<Result<void>()> &body);

  /// For a rank that cannot go on while others wait for it, in a talk that has no place for an error: ends
  /// the talk of all ranks. With processes it ends the job and does not return.
  void fail(const Error &error);

  /// Why the run has ended; none: it has not.
  std::optional<Error> failure() {
    std::lock_guard lock(mutex);
    return firstError;
  }

  /// Sums over the processes of the job. Called by all.
  Result<double> sumOverProcesses(double value);

  /// All processes learn whether one failed, and return the same error: of several the cause, not its
  /// consequence, of the lowest rank. Called by all.
  Result<void> agree(Result<void> own);
  /// The same; an interrupt is an error as well.
  Result<void> agreeToGoOn(Result<void> own);

  bool isFirst() const { return executors[0] != nullptr; }
  /// Of this process: with threads 0.
  int processRank() const { return mpi ? mpi->rank() : 0; }
  LocalRanks localRanks();
  const std::vector<std::unique_ptr<Executor>> &localExecutors() const { return executors; }
  std::uint64_t plannedBytes() const;
  /// Of the arenas of the local ranks.
  std::uint64_t allocatedBytes() const;
  /// Of the local ranks; none: on the host.
  std::optional<DeviceUse> deviceUse() const;

  const EngineOptions options;

private:
  const std::shared_ptr<const Executable> owner;

public:
  const Executable &executable;
  const Mesh mesh;
  std::optional<Dataset> dataset;
  HostDevice device, host;                        ///< the plan's memory, and that for what it offloads
  std::vector<std::unique_ptr<cuda::Api>> tables; ///< [ranks] of target "cuda", null: in another process
  std::unique_ptr<TraceFile> trace;

private:
  Session(const EngineOptions &options, std::shared_ptr<const Executable> executable, Replicas replicas)
      : options(options), owner(std::move(executable)),
        executable(*owner), mesh{owner->rankCount(), replicas == Replicas::All ? owner->mesh().replicas : 1,
                                 owner->mesh().tensor,
                                 replicas == Replicas::All ? owner->mesh().servers : 0} {}
  Result<void> connect();
  Result<void> takeBoard(Result<std::unique_ptr<JobBoard>> made);
  Result<void> prepare(std::optional<Split> split, const Extra &extra);
  Result<void> loadData(Split split);
  Result<void> makeExecutors();
  Result<std::unique_ptr<Executor>> makeExecutor(int rank, const std::vector<Hooks> &hooks);
  Result<std::unique_ptr<Executor>> makeCudaExecutor(int rank, const RankEnvironment &environment);
  bool isCuda() const { return options.target != "host"; }
  /// Copies between threads else.
  bool usesNccl() const { return options.ranks == RankMode::Processes || options.usesNccl; }
  Result<void> refuseOnCuda() const;
  std::size_t channelCapacity() const;
  Communicator &communicator(int rank) { return process ? *process : group->communicator(rank); }
  Result<void> startThreads();
  void serveRank(int rank);
  void endThreads();
  Result<void> checkInterrupt() const;
  Result<void> broadcastText(std::string &text, int root);

  // In the order of construction; destroyed the other way round.
  std::unique_ptr<MpiSession> mpi;       ///< processes
  std::unique_ptr<Communicator> process; ///< processes
  std::unique_ptr<ThreadGroup> group;    ///< threads
  std::unique_ptr<JobBoard> board;
  std::unique_ptr<TilePool> pool;
  std::uint64_t takenOnDevices = 0; ///< bytes that the executors of GPUs took when they were made
  std::optional<TaskSleep> sleep;
  std::optional<NanFinder> nanFinder;
  std::vector<RankStatus> statuses;                 ///< [ranks]
  std::vector<std::unique_ptr<Executor>> executors; ///< [ranks], null: in another process

  std::optional<Watchdog> watchdog; ///< from the first runRanks on

  std::mutex mutex;
  std::condition_variable changed;   ///< for runRanks
  std::condition_variable wake;      ///< for the parked threads
  std::vector<std::thread> threads;  ///< of the local ranks
  std::shared_ptr<RankWork> current; ///< what runs now, or ran last
  std::uint64_t round = 0;           ///< calls of runRanks
  int running = 0;
  bool ending = false;   ///< the watchdog has ended the run
  bool stopping = false; ///< parked threads end
  std::optional<Error> firstError;
};

} // namespace stagewright::runtime

#endif
