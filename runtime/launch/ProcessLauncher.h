// Ranks as processes of this machine: the program starts mpirun on itself and waits for it. The launcher owns
// the terminal: it forwards Ctrl-C, passes the ranks' output through, and turns a rank that died into one
// message.
#ifndef STAGEWRIGHT_RUNTIME_LAUNCH_PROCESSLAUNCHER_H
#define STAGEWRIGHT_RUNTIME_LAUNCH_PROCESSLAUNCHER_H

#include "error/Error.h"

#include <string>
#include <vector>

namespace stagewright::runtime {

struct LaunchRequest {
  int ranks = 1;
  std::vector<std::string> command; ///< command[0] is the path of the program
};

/// Runs `command` in `ranks` MPI processes and returns when none of them is left. mpirun gets a process group
/// of its own, so that a Ctrl-C at the terminal reaches the launcher alone, and dies with the launcher. The
/// ranks' stdout and stderr are passed through. Errors: Environment (no mpirun; mpirun's own words when it
/// could not start the ranks), Rank (a rank was killed: its number and the signal, or it ended without a
/// report), Interrupted (SIGINT, SIGTERM or SIGHUP came: the ranks were told to stop, and after 8 s forced
/// to), and whatever a rank reported with reportError. Not for threads: SIGINT, SIGTERM, SIGHUP and SIGCHLD
/// belong to the launcher while it runs.
Result<void> launchProcesses(const LaunchRequest &request);

/// True in a process that mpirun started: it is one rank of a job.
bool isRankProcess();

/// Number of this rank in the job; 0 where isRankProcess() is false.
int processRank();

/// For a rank, once, before anything else: from now on it dies when mpirun dies, however that happens.
void joinJob();

/// For a rank: true if the launcher's stderr is a terminal (a rank's own is always a pipe).
bool launcherHasTerminal();

/// For a rank that fails: hands the error to the launcher, which returns the first one of the kind that
/// weighs most (a cause like User before its consequence Rank). Without a launcher of ours (mpirun started by
/// hand): false.
bool reportError(const Error &error);

} // namespace stagewright::runtime

#endif
