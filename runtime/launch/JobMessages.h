// What a job of mpirun says: text of the ranks and mpirun's own announcements, both from its stderr, and the
// errors that ranks report, from the launcher's memory.
#ifndef STAGEWRIGHT_RUNTIME_LAUNCH_JOBMESSAGES_H
#define STAGEWRIGHT_RUNTIME_LAUNCH_JOBMESSAGES_H

#include "error/Error.h"

#include <optional>
#include <string>
#include <string_view>

namespace stagewright::runtime {

/// The line in which a rank hands an error to its launcher.
std::string errorRecord(const Error &error, int rank);

class JobMessages {
public:
  /// Takes a piece, of any size, of mpirun's stderr. Returns the part of the text seen so far that is to be
  /// shown to the user: text of the ranks, as early as it can be told from the rest (a progress bar has no
  /// newline).
  std::string take(std::string_view piece);
  /// What is left at the end of the stream.
  std::string finish();
  /// Lines of errorRecord; what stands behind the last newline is not a record.
  void takeRecords(std::string_view records);

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
