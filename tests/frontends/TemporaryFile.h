#ifndef STAGEWRIGHT_TESTS_FRONTENDS_TEMPORARYFILE_H
#define STAGEWRIGHT_TESTS_FRONTENDS_TEMPORARYFILE_H

#include "error/Error.h"

#include <string>
#include <string_view>
#include <vector>

namespace stagewright {

/// A file in a folder of its own, removed with the object.
class TemporaryFile {
public:
  explicit TemporaryFile(std::string_view content);
  ~TemporaryFile();
  TemporaryFile(const TemporaryFile &) = delete;
  TemporaryFile &operator=(const TemporaryFile &) = delete;
  void write(std::string_view content) const;

  const std::string &path() const { return file; }

private:
  std::string folder, file;
};

/// An input that must be refused. `place` is what follows the file's name ("3:5"), or a whole place if it
/// does not begin with a digit. Every word of `words` occurs in the message.
struct BadInput {
  std::string content;
  std::string place;
  std::vector<std::string> words;
};

/// Checks kind, place and words of an error, and that it gives advice.
void expectError(const Error &error, const BadInput &input, const std::string &file);

} // namespace stagewright

#endif
