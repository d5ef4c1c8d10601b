#include "runtime/launch/JobMessages.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdio>
#include <cstring>

namespace stagewright::runtime {

// mpirun (orte_show_help) puts each announcement between two lines of this many dashes.
static constexpr std::size_t kRuleLength = 74;
// A record is one line: kind, rank, place, what and advice, with a separator between.
static constexpr char kSeparator = '\x1f';

std::string errorRecord(const Error &error, int rank) {
  std::string record = std::to_string(static_cast<int>(error.kind)) + kSeparator + std::to_string(rank);
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

std::string JobMessages::take(std::string_view piece) {
  std::string shown;
  for (char c : piece) {
    pending += c;
    if (c == '\n') {
      takeLine(std::string_view(pending).substr(0, pending.size() - 1), shown);
      pending.clear();
    }
  }
  // An unfinished line is shown at once unless it may turn out to be a rule.
  if (!inAnnouncement && pending.find_first_not_of('-') != std::string::npos) {
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
  if (isRule(line)) {
    inAnnouncement = !inAnnouncement;
  } else if (inAnnouncement) {
    announcements.append(line) += '\n';
  } else {
    shown.append(line) += '\n';
  }
}

void JobMessages::takeRecords(std::string_view records) {
  for (std::size_t end = 0; (end = records.find('\n')) != std::string_view::npos;) {
    takeRecord(records.substr(0, end));
    records.remove_prefix(end + 1);
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
  if (!reported || explainsMore(error.kind, reported->kind)) {
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
