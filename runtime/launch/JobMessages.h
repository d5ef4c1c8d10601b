// What comes out of mpirun's stderr: text of the ranks, errors that ranks report, and mpirun's own
// announcements.
#ifndef STAGEWRIGHT_RUNTIME_LAUNCH_JOBMESSAGES_H
#define STAGEWRIGHT_RUNTIME_LAUNCH_JOBMESSAGES_H

#include "error/Error.h"

#include <optional>
#include <string>
#include <string_view>

namespace stagewright::runtime {

/// The line in which a rank hands an error to its launcher; parsed by JobMessages.
std::string errorRecord(const Error &error, int rank);

/// Takes the stream in pieces of any size and sorts it.
class JobMessages {
public:
  /// Returns the part of the text seen so far that is to be shown to the user: text of the ranks, as early as
  /// it can be told from the rest (a progress bar has no newline).
  std::string take(std::string_view piece);
  /// What is left at the end of the stream.
  std::string finish();

  /// The error that explains how the job ended, given mpirun's exit code; none if all went well.
  std::optional<Error> verdict(int exitCode) const;

private:
  void takeLine(std::string_view line, std::string &shown);
  void takeRecord(std::string_view record);

  std::string pending;
  std::string announcements; ///< mpirun's own text, without the rules around it
  bool inAnnouncement = false;
  std::optional<Error> reported;
};

} // namespace stagewright::runtime

#endif
