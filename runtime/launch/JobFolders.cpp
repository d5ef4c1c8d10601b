#include "runtime/launch/JobFolders.h"

#include <cstdlib>
#include <fcntl.h>
#include <filesystem>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

namespace stagewright::runtime {

// The session folder holds sockets, whose paths end after 107 characters; Open MPI adds about 45.
static constexpr std::size_t kLongestParent = 20;

static std::string makeFolder(const std::string &parent) {
  std::string name = parent + "/stagewright-" + std::to_string(getpid()) + "-XXXXXX";
  return mkdtemp(name.data()) ? name : "";
}

JobFolders::JobFolders() {
  const char *chosen = std::getenv("TMPDIR");
  std::string parent = chosen ? chosen : "";
  session = parent.empty() || parent.size() > kLongestParent ? "" : makeFolder(parent);
  session = session.empty() ? makeFolder("/tmp") : session;
  shared = makeFolder("/dev/shm");
  startRemover();
}

// A rank that outlives mpirun for a moment may make a file while its folder is being removed: rm then leaves
// the folder and says so.
static constexpr const char *kRemove = "trap '' INT TERM HUP; read end; for try in 1 2 3 4 5 6 7 8 9 10; do "
                                       "rm -rf \"$@\" && exit; sleep 0.2; done";

/// A process of its own, because a launcher that is killed removes nothing.
void JobFolders::startRemover() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return;
  }
  lifeline = ends[1];
  posix_spawn_file_actions_t files;
  posix_spawn_file_actions_init(&files);
  posix_spawn_file_actions_adddup2(&files, ends[0], STDIN_FILENO);
  for (int output : {STDOUT_FILENO, STDERR_FILENO}) {
    posix_spawn_file_actions_addopen(&files, output, "/dev/null", O_WRONLY, 0);
  }
  posix_spawnattr_t attributes; // away from the terminal's Ctrl-C
  posix_spawnattr_init(&attributes);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  const char *arguments[] = {"sh", "-c", kRemove, "sh", session.c_str(), shared.c_str(), nullptr};
  if (posix_spawn(&remover, "/bin/sh", &files, &attributes, const_cast<char **>(arguments), environ) != 0) {
    remover = -1;
  }
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&files);
  close(ends[0]);
}

JobFolders::~JobFolders() {
  if (lifeline >= 0) {
    close(lifeline);
  }
  if (remover > 0) {
    waitpid(remover, nullptr, 0);
  }
  for (const std::string &folder : {session, shared}) {
    std::error_code ignored;
    if (!folder.empty() && rmdir(folder.c_str()) != 0) { // which needs no file descriptor
      std::filesystem::remove_all(folder, ignored);
    }
  }
}

std::vector<std::string> JobFolders::variables() const {
  std::vector<std::string> result;
  auto add = [&](const char *name, const std::string &folder) {
    if (!folder.empty() && !std::getenv(name)) {
      result.push_back(std::string(name) + "=" + folder);
    }
  };
  add("OMPI_MCA_orte_tmpdir_base", session);
  add("OMPI_MCA_btl_vader_backing_directory", shared);
  add("OMPI_MCA_osc_sm_backing_directory", shared);
  return result;
}

} // namespace stagewright::runtime
