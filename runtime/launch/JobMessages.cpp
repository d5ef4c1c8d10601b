#include "runtime/launch/JobMessages.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstring>

namespace stagewright::runtime {

// mpirun (orte_show_help) puts each announcement between two lines of this many dashes.
static constexpr std::size_t kRuleLength = 74;
// A record is one line: mark, kind, rank, then place, what and advice, each behind a separator.
static constexpr char kRecordMark = '\x1e';
static constexpr char kSeparator = '\x1f';

std::string errorRecord(const Error &error, int rank) {
  std::string record(1, kRecordMark);
  record += std::to_string(static_cast<int>(error.kind)) + kSeparator + std::to_string(rank);
  for (std::string text : {error.place, error.what, error.advice}) {
    std::replace_if(
        text.begin(), text.end(), [](char c) { return c == '\n' || c == kSeparator; }, ' ');
    record += kSeparator + text;
  }
  return record + "\n";
}

static bool isRule(std::string_view line) {
  return line.size() == kRuleLength && line.find_first_not_of('-') == std::string_view::npos;
}

/// How much an error explains: a cause more than what follows from it in the other ranks.
static int weight(ErrorKind kind) {
  switch (kind) {
  case ErrorKind::Interrupted:
    return 0;
  case ErrorKind::Rank:
    return 1;
  default:
    return 2;
  }
}

std::string JobMessages::take(std::string_view piece) {
  std::string shown;
  for (char c : piece) {
    pending += c;
    if (c == '\n') {
      takeLine(std::string_view(pending).substr(0, pending.size() - 1), shown);
      pending.clear();
    }
  }
  // An unfinished line is shown at once unless it may turn out to be a rule or a record.
  bool undecided = inAnnouncement || pending.find_first_not_of('-') == std::string::npos ||
                   pending.find(kRecordMark) != std::string::npos;
  if (!undecided) {
    shown += pending;
    pending.clear();
  }
  return shown;
}

std::string JobMessages::finish() {
  std::string shown;
  if (!pending.empty()) {
    takeLine(pending, shown);
  }
  pending.clear();
  return shown;
}

void JobMessages::takeLine(std::string_view line, std::string &shown) {
  std::size_t mark = line.find(kRecordMark);
  if (mark != std::string_view::npos) {
    shown += line.substr(0, mark); // the end of a line that was not finished when the record came
    takeRecord(line.substr(mark + 1));
  } else if (isRule(line)) {
    inAnnouncement = !inAnnouncement;
  } else if (inAnnouncement) {
    announcements.append(line) += '\n';
  } else {
    shown.append(line) += '\n';
  }
}

void JobMessages::takeRecord(std::string_view record) {
  std::array<std::string_view, 5> fields;
  for (std::string_view &field : fields) {
    std::size_t end = std::min(record.find(kSeparator), record.size());
    field = record.substr(0, end);
    record.remove_prefix(std::min(end + 1, record.size()));
  }
  int kind = 0;
  std::from_chars(fields[0].data(), fields[0].data() + fields[0].size(), kind);
  Error error{static_cast<ErrorKind>(kind), std::string(fields[2]), std::string(fields[3]),
              std::string(fields[4])};
  if (!reported || weight(error.kind) > weight(reported->kind)) {
    reported = std::move(error);
  }
}

std::optional<Error> JobMessages::verdict(int exitCode) const {
  if (exitCode == 0) {
    return std::nullopt;
  }
  // help-orterun.txt, proc-aborted: "mpirun noticed that process rank 1 with PID 0 on node x exited on signal
  // 9 (Killed)."
  std::size_t at = announcements.find("noticed that process rank ");
  unsigned rank = 0;
  int signal = 0;
  if (at != std::string::npos) {
    std::size_t onSignal = announcements.find("exited on signal ", at);
    if (std::sscanf(announcements.c_str() + at, "noticed that process rank %u", &rank) == 1 &&
        onSignal != std::string::npos &&
        std::sscanf(announcements.c_str() + onSignal, "exited on signal %d", &signal) == 1) {
      return rankError(
          "rank " + std::to_string(rank),
          "killed by signal " + std::to_string(signal) + " (" + strsignal(signal) + ")",
          "the other ranks were stopped and nothing was written; signal 9 often means that memory ran out");
    }
  }
  if (reported) {
    return reported;
  }
  std::string said = announcements;
  std::replace(said.begin(), said.end(), '\n', ' ');
  said = said.substr(0, said.find_last_not_of(' ') + 1);
  at = announcements.find("Process name: [[");
  bool named = at != std::string::npos &&
               std::sscanf(announcements.c_str() + at, "Process name: [[%*u,%*u],%u]", &rank) == 1;
  // On a busy machine mpirun can end before it has printed the second announcement, which has the name.
  if (named || said.find("process returned a non-zero exit code") != std::string::npos) {
    return rankError(named ? "rank " + std::to_string(rank) : "a rank",
                     "ended with exit code " + std::to_string(exitCode),
                     "the other ranks were stopped and nothing was written");
  }
  return environmentError(
      "mpirun", "ended with exit code " + std::to_string(exitCode) + (said.empty() ? "" : ": " + said),
      "try 'mpirun -n 2 true' by itself");
}

} // namespace stagewright::runtime
