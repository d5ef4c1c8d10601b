// One run of a staged executable in this process: its ranks, their memory, their threads. Internal to the
// engine.
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
#include <vector>

namespace stagewright::runtime {

/// Shared by the threads of a run: a rank that never comes back from a kernel keeps it alive.
class Session : public std::enable_shared_from_this<Session> {
public:
  /// Loads the file, starts MPI where asked for, makes pool, communicators, arenas, executors, weights and
  /// data set, and calls `extra` for the rest. With processes all of them return an error if one does.
  /// Errors: see train().
  static Result<std::shared_ptr<Session>> open(const EngineOptions &options, Split split,
                                               const std::function<Result<void>(Session &)> &extra);

  /// Calls body(executor) for each local rank on a thread of its own, watched, and returns when all have
  /// returned. `body` must own or share what it uses. The first error, or exception, ends the talk of all
  /// ranks and is returned. Error besides: Environment, a thread cannot be started.
  Result<void> runRanks(std::function<Result<void>(Executor &)> body);

  /// The outcome of body(); an exception (no memory, or the caller's own code) becomes an Environment error,
  /// so that a rank that cannot go on still tells the others.
  static Result<void> guarded(const std::function<Result<void>()> &body);

  /// For a rank that cannot go on while others wait for it, in a talk that has no place for an error: ends
  /// the talk of all ranks. With processes it ends the job and does not return.
  void fail(const Error &error);

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
  std::uint64_t plannedBytes() const;

  const EngineOptions options;
  Executable executable;
  std::optional<Dataset> dataset;
  HostDevice device;
  std::unique_ptr<TraceFile> trace;

private:
  Session(const EngineOptions &options, Executable executable)
      : options(options), executable(std::move(executable)) {}
  Result<void> connect();
  Result<void> takeBoard(Result<std::unique_ptr<JobBoard>> made);
  Result<void> prepare(Split split, const std::function<Result<void>(Session &)> &extra);
  Result<void> makeExecutors();
  std::size_t channelCapacity() const;
  Communicator &communicator(int rank) { return process ? *process : group->communicator(rank); }
  void runRank(int rank, const std::function<Result<void>(Executor &)> &body);
  Result<void> checkInterrupt() const;
  Result<void> broadcastText(std::string &text, int root);

  // In the order of construction; destroyed the other way round.
  std::unique_ptr<MpiSession> mpi;       ///< processes
  std::unique_ptr<Communicator> process; ///< processes
  std::unique_ptr<ThreadGroup> group;    ///< threads
  std::unique_ptr<JobBoard> board;
  std::unique_ptr<TilePool> pool;
  std::optional<TaskSleep> sleep;
  std::optional<NanFinder> nanFinder;
  std::vector<RankStatus> statuses;                 ///< [ranks]
  std::vector<std::unique_ptr<Executor>> executors; ///< [ranks], null: in another process

  std::mutex mutex;
  std::condition_variable changed;
  int running = 0;
  bool ending = false; ///< the watchdog has ended the run
  std::optional<Error> firstError;
};

} // namespace stagewright::runtime

#endif
