#include "files/WholeFile.h"

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace stagewright {

namespace fs = std::filesystem;

namespace {

/// Holds SIGINT, SIGTERM and SIGHUP back from this thread.
class HeldSignals {
public:
  HeldSignals() {
    sigset_t ends;
    sigemptyset(&ends);
    for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
      sigaddset(&ends, signal);
    }
    pthread_sigmask(SIG_BLOCK, &ends, &before);
  }
  ~HeldSignals() { pthread_sigmask(SIG_SETMASK, &before, nullptr); }

private:
  sigset_t before;
};

/// The end of a chain of links, there or not; empty if it has none.
std::string followed(const std::string &path) {
  fs::path target = path;
  std::error_code failure;
  for (int links = 0; links < 40; ++links) {
    if (!fs::is_symlink(fs::symlink_status(target, failure))) {
      return target;
    }
    target = target.parent_path() / fs::read_symlink(target, failure);
  }
  return {};
}

std::string folderOf(const std::string &path) {
  fs::path folder = fs::path(path).parent_path();
  return folder.empty() ? "." : folder.string();
}

std::string temporaryName(const std::string &target) {
  return target + ".tmp" + std::to_string(getpid());
}

} // namespace

Error WholeFile::failure(int reason) const {
  std::string what = std::string("cannot be written: ") + std::strerror(reason);
  if (reason == ENOSPC || reason == EIO || reason == EDQUOT || reason == EFBIG) {
    return environmentError(path, what, "free some space, or choose another place");
  }
  return userError(path, what, "choose a place that can be written");
}

/// 0, or the reason why not.
int WholeFile::open(unsigned permissions) {
  descriptor = ::open(folderOf(target).c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, permissions);
  nameless = descriptor >= 0;
  if (!nameless && (errno == EOPNOTSUPP || errno == EISDIR || errno == EINVAL)) {
    std::string name = temporaryName(target);
    unlink(name.c_str()); // of a process that had this number before
    descriptor = ::open(name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, permissions);
    temporary = descriptor >= 0 ? name : "";
  }
  return descriptor < 0 ? errno : 0;
}

Result<WholeFile> WholeFile::create(const std::string &path) {
  WholeFile file(path);
  file.target = followed(path);
  if (file.target.empty()) {
    return file.failure(ELOOP);
  }
  struct stat status {};
  bool exists = stat(file.target.c_str(), &status) == 0;
  if (exists && !S_ISREG(status.st_mode)) {
    return userError(path, S_ISDIR(status.st_mode) ? "this is a folder" : "this is not a regular file",
                     "give the path of a file, new or to be replaced");
  }
  if (int reason = file.open(0666); reason != 0) {
    return file.failure(reason);
  }
  if (exists) {
    fchmod(file.descriptor, status.st_mode & 07777); // a private file stays private
  }
  return file;
}

WholeFile::WholeFile(WholeFile &&other) noexcept
    : path(std::move(other.path)), target(std::move(other.target)),
      temporary(std::exchange(other.temporary, {})), descriptor(std::exchange(other.descriptor, -1)),
      nameless(other.nameless) {}

WholeFile::~WholeFile() {
  if (descriptor >= 0) {
    close(descriptor);
  }
  if (!temporary.empty()) {
    unlink(temporary.c_str());
  }
}

Result<void> WholeFile::write(const void *bytes, std::size_t count) {
  const auto *in = static_cast<const char *>(bytes);
  while (count > 0) {
    ssize_t written = ::write(descriptor, in, count);
    if (written > 0) {
      in += written;
      count -= static_cast<std::size_t>(written);
    } else if (errno != EINTR) {
      return failure(errno);
    }
  }
  return {};
}

/// 0, or the reason why not. The bytes are whole by now.
int WholeFile::makeVisible() {
  if (nameless) {
    std::string bytes = "/proc/self/fd/" + std::to_string(descriptor);
    auto link = [&](const std::string &name) {
      return linkat(AT_FDCWD, bytes.c_str(), AT_FDCWD, name.c_str(), AT_SYMLINK_FOLLOW) == 0;
    };
    if (link(target)) {
      return 0;
    }
    if (errno != EEXIST) {
      return errno;
    }
    // A link does not replace a file, a rename does.
    std::string name = temporaryName(target);
    unlink(name.c_str());
    if (!link(name)) {
      return errno;
    }
    temporary = name;
  }
  if (std::rename(temporary.c_str(), target.c_str()) != 0) {
    return errno;
  }
  temporary.clear();
  return 0;
}

Result<void> WholeFile::commit() {
  HeldSignals held;
  if (fsync(descriptor) != 0) {
    return failure(errno);
  }
  if (int reason = makeVisible(); reason != 0) {
    return failure(reason);
  }
  // The name is on the disk once the folder is.
  int folder = ::open(folderOf(target).c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    fsync(folder);
    close(folder);
  }
  return {};
}

Result<void> writeWholeFile(const std::string &path, std::string_view bytes) {
  HeldSignals held;
  Result<WholeFile> file = WholeFile::create(path);
  if (!file) {
    return file.takeError();
  }
  if (Result<void> written = file->write(bytes.data(), bytes.size()); !written) {
    return written;
  }
  return file->commit();
}

} // namespace stagewright
