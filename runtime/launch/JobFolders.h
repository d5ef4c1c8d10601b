// Where the files of one MPI job lie, and that they go with it.
#ifndef STAGEWRIGHT_RUNTIME_LAUNCH_JOBFOLDERS_H
#define STAGEWRIGHT_RUNTIME_LAUNCH_JOBFOLDERS_H

#include <string>
#include <sys/types.h>
#include <vector>

namespace stagewright::runtime {

/// Two private folders for what Open MPI would otherwise spread over /tmp and /dev/shm, and leave there when
/// it is killed: session files with their sockets, and segments of shared memory. They are removed in the
/// destructor; when the launcher itself is killed, as soon as mpirun is gone too. Without such folders (none
/// can be made) Open MPI's own places serve.
class JobFolders {
public:
  JobFolders();
  JobFolders(const JobFolders &) = delete;
  ~JobFolders();

  /// "NAME=value" for mpirun's environment, less those that the user has set.
  std::vector<std::string> variables() const;
  /// Descriptor that mpirun inherits, so that the folders outlive it.
  int keeper() const { return lifeline; }

private:
  void startRemover();

  std::string session, shared; ///< empty: not made
  int lifeline = -1;           ///< writing end of the pipe at whose end the remover wakes
  pid_t remover = -1;
};

} // namespace stagewright::runtime

#endif
