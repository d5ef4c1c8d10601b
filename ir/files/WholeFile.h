// Files that are there whole or not at all.
#ifndef STAGEWRIGHT_FILES_WHOLEFILE_H
#define STAGEWRIGHT_FILES_WHOLEFILE_H

#include "error/Error.h"

#include <cstddef>
#include <string>
#include <string_view>

namespace stagewright {

/// A file that appears under its name in commit(), flushed to the disk together with its folder. Until then
/// the bytes have no name (O_TMPFILE), so that a program that is killed leaves nothing; where the file system
/// cannot do that, they are in `NAME.tmpPID` beside the target. Links are followed: what they point to is
/// replaced.
class WholeFile {
public:
  /// Errors: User (something that is no regular file stands there, or the folder cannot be written),
  /// Environment (the disk).
  static Result<WholeFile> create(const std::string &path);
  WholeFile(WholeFile &&other) noexcept;
  WholeFile &operator=(WholeFile &&) = delete;
  ~WholeFile();

  /// Appends. Error: Environment.
  Result<void> write(const void *bytes, std::size_t count);
  /// Signals that end programs wait meanwhile, as far as the calling thread takes them. Once.
  Result<void> commit();

private:
  WholeFile(std::string path) : path(std::move(path)) {}
  Error failure(int reason) const;
  int open(unsigned permissions);
  int makeVisible();

  std::string path;      ///< as given, for messages
  std::string target;    ///< the same with links followed
  std::string temporary; ///< a name to be removed; empty: none
  int descriptor = -1;
  bool nameless = false;
};

/// All of it in one call, with signals that end programs held back throughout.
Result<void> writeWholeFile(const std::string &path, std::string_view bytes);

} // namespace stagewright

#endif
