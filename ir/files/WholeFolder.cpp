#include "files/WholeFolder.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <sys/stat.h>
#include <unistd.h>
#include <utility>

namespace stagewright {

namespace fs = std::filesystem;

/// Without slashes at the end.
static std::string trimmed(std::string path) {
  while (path.size() > 1 && path.ends_with('/')) {
    path.pop_back();
  }
  return path;
}

/// So that names in the folder survive a loss of power.
static void flushFolder(const std::string &path) {
  const int folder = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (folder >= 0) {
    ::fsync(folder);
    ::close(folder);
  }
}

Result<WholeFolder> WholeFolder::create(const std::string &path, std::string_view mark) {
  const std::string target = trimmed(path);
  std::error_code ignored;
  const fs::file_status status = fs::symlink_status(target, ignored);
  const bool isThere = fs::exists(status);
  if (isThere && mark.empty()) {
    return userError(path, "there is something of this name already", "choose another name, or add --force");
  }
  if (isThere && (!fs::is_directory(status) || !fs::exists(fs::path(target) / mark, ignored))) {
    return userError(path,
                     "what stands there is no folder with a " + std::string(mark) + ", and is not replaced",
                     "choose another name");
  }
  WholeFolder folder(target, isThere);
  const std::string temporary = target + ".tmp" + std::to_string(getpid());
  fs::remove_all(temporary, ignored); // of a process of this number that was killed
  if (::mkdir(temporary.c_str(), 0777) != 0) {
    return userError(path, std::string("the folder cannot be made: ") + std::strerror(errno),
                     "check that the folder around it is there and can be written");
  }
  folder.temporary = temporary;
  return folder;
}

WholeFolder::WholeFolder(WholeFolder &&other) noexcept
    : path(std::move(other.path)), temporary(std::exchange(other.temporary, "")), replaces(other.replaces) {}

WholeFolder::~WholeFolder() {
  std::error_code ignored;
  if (!temporary.empty()) {
    fs::remove_all(temporary, ignored);
  }
}

Result<void> WholeFolder::commit() {
  flushFolder(temporary);
  // Exchanged, an older folder is what the temporary name then means, and the destructor removes.
  const unsigned flags = replaces ? RENAME_EXCHANGE : RENAME_NOREPLACE;
  if (::renameat2(AT_FDCWD, temporary.c_str(), AT_FDCWD, path.c_str(), flags) != 0) {
    const int reason = errno;
    const std::string what = std::string("the folder cannot get its name: ") + std::strerror(reason);
    return reason == EEXIST ? userError(path, what, "choose another name, or add --force")
                            : environmentError(path, what, "write to another file system");
  }
  if (!replaces) {
    temporary.clear();
  }
  const std::string around = fs::path(path).parent_path();
  flushFolder(around.empty() ? "." : around);
  return {};
}

} // namespace stagewright
