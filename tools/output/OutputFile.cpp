#include "output/OutputFile.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <unistd.h>

namespace stagewright {

/// 0, or the reason why not.
static int writeTemporary(const std::string &temporary, std::string_view bytes) {
  int file = open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file < 0) {
    return errno;
  }
  int reason = 0;
  while (reason == 0 && !bytes.empty()) {
    ssize_t written = write(file, bytes.data(), bytes.size());
    if (written > 0) {
      bytes.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno != EINTR) {
      reason = errno;
    }
  }
  if (reason == 0 && fsync(file) != 0) {
    reason = errno;
  }
  close(file);
  return reason;
}

Result<void> writeFile(const std::string &path, std::string_view bytes) {
  sigset_t ends, before;
  sigemptyset(&ends);
  for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
    sigaddset(&ends, signal);
  }
  pthread_sigmask(SIG_BLOCK, &ends, &before);
  std::string temporary = path + ".tmp" + std::to_string(getpid());
  int reason = writeTemporary(temporary, bytes);
  if (reason == 0 && std::rename(temporary.c_str(), path.c_str()) != 0) {
    reason = errno;
  }
  if (reason != 0) {
    unlink(temporary.c_str());
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (reason != 0) {
    std::string what = std::string("cannot be written: ") + std::strerror(reason);
    bool machine = reason == ENOSPC || reason == EIO || reason == EDQUOT || reason == EFBIG;
    return machine ? environmentError(path, what, "free some space, or choose another place")
                   : userError(path, what, "choose a place that can be written");
  }
  return {};
}

} // namespace stagewright
