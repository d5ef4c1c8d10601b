#include "schedule/Schedule.h"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <limits>

namespace stagewright::schedule {

namespace {

constexpr std::string_view kNames[kTaskKinds] = {
    "F",    "I",          "W",      "B",        "SEND_F",   "RECV_F",      "SEND_B",      "RECV_B", "PREPARE",
    "NORM", "ALL_GATHER", "UPDATE", "SEND_SUM", "RECV_SUM", "SEND_WEIGHT", "RECV_WEIGHT", "REDUCE", "GATHER"};
constexpr const char *kTaskForm =
    "a task is written <stage><F|I|W|B|SEND_F|RECV_F|SEND_B|RECV_B><micro-batch>, "
    "<stage><SEND_SUM|RECV_SUM|SEND_WEIGHT|RECV_WEIGHT><other stage>, "
    "<stage><PREPARE|REDUCE|NORM|UPDATE|GATHER> or "
    "ALL_GATHER";

/// Whether a number stands behind the kind's name.
bool hasNumber(TaskKind kind) {
  return hasMicroBatch(kind) || isTied(kind);
}

bool isDigit(char c) {
  return c >= '0' && c <= '9';
}

/// Reads digits from the front of `rest`; false if there are none or the number is too large.
bool takeNumber(std::string_view &rest, std::int32_t &number) {
  if (rest.empty() || !isDigit(rest.front())) {
    return false;
  }
  const auto [end, failed] = std::from_chars(rest.data(), rest.data() + rest.size(), number);
  rest.remove_prefix(end - rest.data());
  return failed == std::errc();
}

} // namespace

std::string text(const Task &task) {
  const auto kind = static_cast<std::size_t>(task.kind);
  std::string out = task.kind == TaskKind::AllGather && task.stage == -1 ? "" : std::to_string(task.stage);
  out += kind < std::size(kNames) ? std::string(kNames[kind]) : "?" + std::to_string(kind) + "?";
  return hasNumber(task.kind) || task.microBatch != -1 ? out + std::to_string(task.microBatch) : out;
}

Result<Task> parseTask(std::string_view text) {
  const Error error = userError("", "'" + std::string(text.substr(0, 40)) + "' is not a task", kTaskForm);
  Task task{TaskKind::AllGather, -1, -1};
  if (text == kNames[static_cast<int>(TaskKind::AllGather)]) {
    return task;
  }
  std::string_view rest = text;
  if (!takeNumber(rest, task.stage)) {
    return error;
  }
  const std::string_view name =
      rest.substr(0, std::find_if(rest.begin(), rest.end(), isDigit) - rest.begin());
  const auto *known = std::find(std::begin(kNames), std::end(kNames), name);
  task.kind = static_cast<TaskKind>(known - std::begin(kNames));
  rest.remove_prefix(name.size());
  if (known == std::end(kNames) || task.kind == TaskKind::AllGather ||
      (hasNumber(task.kind) && !takeNumber(rest, task.microBatch)) || !rest.empty()) {
    return error;
  }
  return task;
}

// ---- Printing with repeat
// -------------------------------------------------------------------------------------------

namespace {

/// `turns` turns of a pattern of `period` tasks.
struct Fold {
  std::size_t period = 0;
  std::size_t turns = 1;
  std::size_t saved = 0; // characters
};

constexpr std::size_t kLongestPeriod = 64;

bool rises(const Task &first, const Task &second) {
  return second.microBatch != first.microBatch;
}

/// How many turns of the period start at `begin`: 1 if there is no pattern.
std::size_t countTurns(const std::vector<Task> &tasks, std::size_t begin, std::size_t period) {
  // Task i of turn j is the one of turn j - 1, with the micro-batch as it is or raised by one as in turn 1.
  std::size_t at = begin + period;
  for (; at < tasks.size(); ++at) {
    const Task &before = tasks[at - period], &now = tasks[at];
    const std::size_t base = begin + (at - begin) % period;
    const std::int64_t step = std::int64_t{now.microBatch} - before.microBatch;
    if (now.kind != before.kind || now.stage != before.stage || (step != 0 && step != 1) ||
        step != rises(tasks[base], tasks[base + period])) {
      break;
    }
  }
  return (at - begin) / period;
}

std::string printFold(const std::vector<Task> &tasks, std::size_t begin, const Fold &fold) {
  std::string out = "repeat " + std::to_string(fold.turns) + " {";
  for (std::size_t i = begin; i < begin + fold.period; ++i) {
    out += (i == begin ? "" : ", ") + text(tasks[i]) + (rises(tasks[i], tasks[i + fold.period]) ? "+" : "");
  }
  return out + "}";
}

/// The fold at `begin` that saves most; the shortest period among equals. `ends` are running sums of printed
/// lengths.
Fold bestFold(const std::vector<Task> &tasks, std::size_t begin, const std::vector<std::size_t> &ends) {
  Fold best;
  for (std::size_t period = 1; period <= kLongestPeriod && begin + 2 * period <= tasks.size(); ++period) {
    Fold fold{period, countTurns(tasks, begin, period), 0};
    if (fold.turns < 2) {
      continue;
    }
    const std::size_t plain = ends[begin + period * fold.turns] - ends[begin] - 2;
    const std::size_t folded = printFold(tasks, begin, fold).size();
    fold.saved = plain > folded ? plain - folded : 0;
    if (fold.saved > best.saved) {
      best = fold;
    }
  }
  return best;
}

} // namespace

std::string printTasks(const std::vector<Task> &tasks) {
  std::vector<std::size_t> ends{0};
  for (const Task &task : tasks) {
    ends.push_back(ends.back() + text(task).size() + 2); // with ", "
  }
  std::string out;
  for (std::size_t i = 0; i < tasks.size();) {
    const Fold fold = bestFold(tasks, i, ends);
    out += (out.empty() ? "" : ", ") + (fold.saved > 0 ? printFold(tasks, i, fold) : text(tasks[i]));
    i += fold.saved > 0 ? fold.period * fold.turns : 1;
  }
  return out;
}

// ---- Parsing
// --------------------------------------------------------------------------------------------------------

namespace {

constexpr std::size_t kMostTasks = std::size_t{1} << 25; // repeat makes long lists of short texts

// list  = [entry {"," entry}]
// entry = task | "repeat" N "{" task ["+"] {"," task ["+"]} "}"
class TaskListParser {
public:
  explicit TaskListParser(std::string_view source) : source(source) {}

  Result<std::vector<Task>> parse() {
    skipSpace();
    if (at == source.size()) {
      return std::move(tasks);
    }
    do {
      const std::string_view entry = word();
      if (Result<void> taken = entry == "repeat" ? parseRepeat() : parseOne(entry); !taken) {
        return taken.takeError();
      }
    } while (take(','));
    if (at < source.size()) {
      return error("expected ',' or the end of the list");
    }
    return std::move(tasks);
  }

private:
  Error error(std::string what, std::string advice = {}) const {
    return userError("character " + std::to_string(at) + " of the task list", std::move(what),
                     std::move(advice));
  }
  void skipSpace() { at = std::min(source.find_first_not_of(" \t\r\n", at), source.size()); }
  bool take(char wanted) {
    skipSpace();
    const bool there = at < source.size() && source[at] == wanted;
    at += there;
    return there;
  }
  std::string_view word() {
    skipSpace();
    const std::size_t begin = at;
    at = std::min(source.find_first_of(" \t\r\n,{}", at), source.size());
    return source.substr(begin, at - begin);
  }

  Result<void> parseOne(std::string_view entry) {
    Result<Task> task = parseTask(entry);
    if (!task) {
      return error(task.error().what, task.error().advice);
    }
    tasks.push_back(*task);
    return {};
  }
  Result<void> parseRepeat();

  std::string_view source;
  std::size_t at = 0;
  std::vector<Task> tasks;
};

Result<void> TaskListParser::parseRepeat() {
  std::string_view number = word();
  std::int32_t turns = 0;
  if (!takeNumber(number, turns) || !number.empty() || turns < 1 || !take('{')) {
    return error("expected a number of turns and '{' after 'repeat'",
                 "write it as in repeat 6 {0F1+, 0SEND_F1+}");
  }
  const std::size_t begin = tasks.size();
  std::vector<bool> rising;
  do {
    std::string_view entry = word();
    rising.push_back(entry.ends_with('+'));
    entry.remove_suffix(rising.back());
    if (Result<void> taken = parseOne(entry); !taken) {
      return taken;
    }
    const Task &task = tasks.back();
    if (rising.back() &&
        (!hasNumber(task.kind) || task.microBatch > std::numeric_limits<std::int32_t>::max() - (turns - 1))) {
      return error("the micro-batch of '" + std::string(entry) + "' cannot rise " +
                   std::to_string(turns - 1) + " times");
    }
  } while (take(','));
  if (!take('}')) {
    return error("expected ',' or '}'");
  }
  const std::size_t period = rising.size();
  if (begin + static_cast<std::size_t>(turns) * period > kMostTasks) {
    return error("the list has more than " + std::to_string(kMostTasks) + " tasks");
  }
  for (std::size_t i = period; i < static_cast<std::size_t>(turns) * period; ++i) {
    Task task = tasks[begin + i - period];
    task.microBatch += rising[i % period];
    tasks.push_back(task);
  }
  return {};
}

} // namespace

Result<std::vector<Task>> parseTasks(std::string_view text) {
  return TaskListParser(text).parse();
}

} // namespace stagewright::schedule
