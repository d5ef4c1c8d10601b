// The part of MPI in a process: started once, by a thread that makes all MPI calls.
//
// Ranks on one machine also share memory, through which they wake each other; so a rank that waits costs next
// to nothing and still hears of a message at once. Their collectives go through it, too. Ranks on other
// machines are polled, at most 200 us apart.
#ifndef STAGEWRIGHT_RUNTIME_COMM_MPISESSION_H
#define STAGEWRIGHT_RUNTIME_COMM_MPISESSION_H

#include "error/Error.h"
#include "runtime/comm/Communicator.h"

#include <cstddef>
#include <memory>

namespace stagewright::runtime {

/// Whether mpirun has started this process (OMPI_COMM_WORLD_SIZE is in the environment).
bool startedByMpirun();

class MpiThread;

class MpiSession {
public:
  /// Starts the MPI thread and MPI. Called once per process, by all ranks. Chooses transports that start fast
  /// and are quiet in a container, unless the environment names others (OMPI_MCA_*). Errors: Environment.
  static Result<std::unique_ptr<MpiSession>> start();
  /// Ends MPI. All ranks destroy their sessions, after their communicators; a rank that cannot calls abort()
  /// instead.
  ~MpiSession();

  int rank() const;
  int size() const;
  /// Among the ranks of this machine.
  int localRank() const;
  int localSize() const;

  /// A communicator of all ranks; all ranks make (and destroy) theirs in the same order. `capacity`: see
  /// Communicator::kDefaultCapacity. Of those that live at once only the first one uses the shared memory.
  /// Errors: Environment.
  Result<std::unique_ptr<Communicator>>
  makeCommunicator(std::size_t capacity = Communicator::kDefaultCapacity);

private:
  explicit MpiSession(std::unique_ptr<MpiThread> thread);
  std::unique_ptr<MpiThread> thread;
};

} // namespace stagewright::runtime

#endif
