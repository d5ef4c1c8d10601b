#include "schedule/Schedule.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace stagewright::schedule {

namespace {

constexpr std::string_view kEllipsis = " ... ";
constexpr double kMostColumns = 1 << 16; // a very short task among long ones gets less than its label

/// One printed character and the task kind that colours it (kTaskKinds: none).
struct Cell {
  char character = ' ';
  int kind = kTaskKinds;
  bool continues = false; ///< the task that the cell before shows
};
using Row = std::vector<Cell>;

std::string labelOf(const Task &task, bool withStage) {
  const std::string full = text(task);
  return withStage ? full : full.substr(std::to_string(task.stage).size());
}

// A task fills its columns [begin, end) from the left: label, dashes, and, where there is room, one blank.
//
//   F0 F1 B0---       B1---
void drawTask(Row &row, std::size_t begin, std::size_t end, const TimedTask &timed,
              const std::string &label) {
  end = std::min(end, row.size());
  const std::size_t blank = end > begin + label.size();
  for (std::size_t column = begin; column + blank < end; ++column) {
    const std::size_t i = column - begin;
    row[column] = {i < label.size() ? label[i] : '-', static_cast<int>(timed.task.kind), i > 0};
  }
}

/// Keeps `width` cells: the beginning and the end, with an ellipsis between them. A task that is cut goes
/// altogether: half of a label would be the label of another task.
Row cutToWidth(const Row &row, std::size_t width) {
  if (row.size() <= width) {
    return row;
  }
  const std::size_t kept = width - std::min(width, kEllipsis.size());
  std::size_t head = kept - kept / 2, tail = row.size() - kept / 2;
  Row out(width);
  for (; head > 0 && row[head].continues; --head) {
  }
  std::copy(row.begin(), row.begin() + static_cast<std::ptrdiff_t>(head), out.begin());
  for (std::size_t i = 0; i < std::min(width, kEllipsis.size()); ++i) {
    out[kept - kept / 2 + i].character = kEllipsis[i];
  }
  for (; tail < row.size() && row[tail].continues; ++tail) {
  }
  std::copy(row.begin() + static_cast<std::ptrdiff_t>(tail), row.end(),
            out.end() - static_cast<std::ptrdiff_t>(row.size() - tail));
  return out;
}

const char *colourOf(int kind) {
  switch (static_cast<TaskKind>(kind)) {
  case TaskKind::Forward:
    return "\x1b[97;44m"; // white on blue
  case TaskKind::BackwardInput:
    return "\x1b[30;46m"; // black on cyan
  case TaskKind::BackwardWeight:
    return "\x1b[30;42m"; // black on green
  case TaskKind::Backward:
    return "\x1b[30;43m"; // black on yellow
  default:
    return "\x1b[0m";
  }
}

std::string print(Row row, bool colour) {
  while (!row.empty() && row.back().character == ' ') {
    row.pop_back();
  }
  std::string out;
  int kind = kTaskKinds;
  for (const Cell &cell : row) {
    if (colour && cell.kind != kind) {
      kind = cell.kind;
      out += colourOf(kind);
    }
    out += cell.character;
  }
  return out + (kind == kTaskKinds ? "\n" : "\x1b[0m\n");
}

} // namespace

std::string draw(const Timeline &timeline, int width, bool colour) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  bool withStage = false;
  std::size_t longestLabel = 1;
  double shortest = kInfinity, first = kInfinity;
  for (const std::vector<TimedTask> &tasks : timeline.ranks) {
    for (const TimedTask &timed : tasks) {
      withStage |= timed.task.stage != tasks.front().task.stage;
      first = std::min(first, timed.start);
      shortest = timed.end > timed.start ? std::min(shortest, timed.end - timed.start) : shortest;
    }
  }
  if (shortest == kInfinity) {
    return {}; // nothing takes time
  }
  for (const std::vector<TimedTask> &tasks : timeline.ranks) {
    for (const TimedTask &timed : tasks) {
      longestLabel = std::max(longestLabel, labelOf(timed.task, withStage).size());
    }
  }
  const double perUnit =
      std::min(static_cast<double>(longestLabel + 1) / shortest, kMostColumns / timeline.makespan);
  auto column = [&](double time) { return static_cast<std::size_t>(std::llround((time - first) * perUnit)); };

  const std::size_t digits = std::to_string(timeline.ranks.size() - 1).size();
  const std::size_t room = static_cast<std::size_t>(std::max(width, 0));
  std::string out;
  for (std::size_t rank = 0; rank < timeline.ranks.size(); ++rank) {
    Row row(column(first + timeline.makespan));
    for (const TimedTask &timed : timeline.ranks[rank]) {
      drawTask(row, column(timed.start), column(timed.end), timed, labelOf(timed.task, withStage));
    }
    const std::string number = std::to_string(rank);
    Row line;
    for (char c : "rank " + std::string(digits - number.size(), ' ') + number + "  ") {
      line.push_back({c, kTaskKinds});
    }
    const Row body = cutToWidth(row, room - std::min(room, line.size()));
    line.insert(line.end(), body.begin(), body.end());
    line.resize(std::min(line.size(), room));
    out += print(std::move(line), colour);
  }
  return out;
}

} // namespace stagewright::schedule
