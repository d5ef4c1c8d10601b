// Folders that are there whole or not at all.
#ifndef STAGEWRIGHT_FILES_WHOLEFOLDER_H
#define STAGEWRIGHT_FILES_WHOLEFOLDER_H

#include "error/Error.h"

#include <string>
#include <string_view>

namespace stagewright {

/// A folder that appears under its name in commit(). Until then its files are in `NAME.tmpPID` beside it,
/// which goes with the object.
class WholeFolder {
public:
  /// `mark`: a folder that stands there may be replaced if it holds a file of this name; empty: never.
  /// Errors: User (something else stands there, or the folder around it cannot be written).
  static Result<WholeFolder> create(const std::string &path, std::string_view mark);
  WholeFolder(WholeFolder &&other) noexcept;
  WholeFolder &operator=(WholeFolder &&) = delete;
  ~WholeFolder();

  /// Where a file of the folder is until commit().
  std::string file(std::string_view name) const { return temporary + "/" + std::string(name); }
  /// The files are there and flushed. Errors: User (something stands there meanwhile), Environment.
  Result<void> commit();

private:
  WholeFolder(std::string path, bool replaces) : path(std::move(path)), replaces(replaces) {}

  std::string path, temporary; ///< empty: no longer there
  bool replaces;
};

} // namespace stagewright

#endif
