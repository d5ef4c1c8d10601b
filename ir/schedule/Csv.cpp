// The CSV tables of torch.distributed.pipelining: one row per rank, one cell per slot.
#include "schedule/TaskTable.h"

#include <algorithm>
#include <map>

namespace stagewright::schedule {

namespace {

/// Cuts the text before the next separator (or the end) off the front of `rest`, without surrounding blanks.
std::string_view takeUntil(std::string_view &rest, char separator) {
  const std::size_t end = std::min(rest.find(separator), rest.size());
  std::string_view cell = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  cell.remove_prefix(std::min(cell.find_first_not_of(" \t\r"), cell.size()));
  return cell.substr(0, cell.find_last_not_of(" \t\r") + 1);
}

Result<std::vector<Task>> parseRow(std::string_view row, const std::string &rowName) {
  std::vector<Task> tasks;
  for (int cellNumber = 1; !row.empty(); ++cellNumber) {
    const std::string_view cell = takeUntil(row, ',');
    if (cell.empty()) {
      continue; // an idle slot
    }
    const std::string place = rowName + ", cell " + std::to_string(cellNumber);
    if (cell.front() == '(') {
      return userError(place, "overlapped tasks are not supported", "write the two tasks into two cells");
    }
    Result<Task> task = parseTask(cell);
    if (!task) {
      return userError(place, task.error().what, task.error().advice);
    }
    if (!hasMicroBatch(task->kind)) {
      return userError(place, "a table holds compute tasks and transfers, not " + text(*task),
                       "leave it out: every step gets it");
    }
    tasks.push_back(*task);
  }
  return tasks;
}

} // namespace

Result<Schedule> parseCsv(std::string_view csv) {
  Schedule schedule{"csv", 0, 0, {}, {}};
  std::map<int, int> rankOfStage;
  csv = csv.substr(0, csv.find_last_not_of(" \t\r\n") + 1);
  while (!csv.empty()) {
    const int rank = schedule.rankCount();
    const std::string rowName = "row " + std::to_string(rank + 1);
    Result<std::vector<Task>> tasks = parseRow(takeUntil(csv, '\n'), rowName);
    if (!tasks) {
      return tasks.takeError();
    }
    if (tasks->empty()) {
      return userError(rowName, "the row has no tasks", "write one row per rank");
    }
    for (const Task &task : *tasks) {
      if (rankOfStage.try_emplace(task.stage, rank).first->second != rank) {
        return userError(rowName,
                         "stage " + std::to_string(task.stage) + " is also in row " +
                             std::to_string(rankOfStage[task.stage] + 1),
                         "give each stage to one rank");
      }
      if (task.microBatch >= kMaxMicroBatches) {
        return userError(rowName, text(task) + " means more than " + std::to_string(kMaxMicroBatches) +
                                      " micro-batches");
      }
      schedule.microBatches = std::max(schedule.microBatches, task.microBatch + 1);
    }
    schedule.ranks.push_back(std::move(*tasks));
  }
  for (auto [stage, rank] : rankOfStage) {
    if (stage != schedule.stages++) {
      return userError("", "stage " + std::to_string(schedule.stages - 1) + " is in no row",
                       "number the stages from 0 without a gap");
    }
    schedule.rankOfStage.push_back(rank);
  }
  if (schedule.ranks.empty()) {
    return userError("", "the table has no rows", "write one row per rank");
  }
  return schedule;
}

std::string printCsv(const Schedule &schedule) {
  std::string out;
  for (const std::vector<Task> &tasks : schedule.ranks) {
    const char *separator = "";
    for (const Task &task : tasks) {
      if (hasMicroBatch(task.kind)) {
        out += separator + text(task);
        separator = ",";
      }
    }
    out += '\n';
  }
  return out;
}

} // namespace stagewright::schedule
