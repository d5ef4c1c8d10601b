#include "Table.h"

#include <algorithm>
#include <cstdio>

namespace stagewright::program {

Table::Table(std::vector<std::string> titles) {
  for (std::string &title : titles) {
    right.push_back(title.starts_with('>'));
    title.erase(0, right.back() ? 1 : 0);
  }
  rows.push_back(std::move(titles));
}

void Table::addRow(std::vector<std::string> cells) {
  rows.push_back(std::move(cells));
}

std::string Table::text() const {
  std::vector<std::size_t> widths(right.size(), 0);
  for (const std::vector<std::string> &row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], row[i].size());
    }
  }
  std::string text;
  for (const std::vector<std::string> &row : rows) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      std::string padding(widths[i] - row[i].size(), ' ');
      line += "  " + (right[i] ? padding + row[i] : row[i] + padding);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  }
  return text;
}

std::string grouped(std::uint64_t number) {
  std::string text = std::to_string(number);
  for (int at = static_cast<int>(text.size()) - 3; at > 0; at -= 3) {
    text.insert(static_cast<std::size_t>(at), ",");
  }
  return text;
}

std::string byteText(std::uint64_t bytes) {
  const char *units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(bytes);
  int unit = 0;
  for (; value >= 1024 && unit < 5; ++unit) {
    value /= 1024;
  }
  return decimal(value, unit == 0 ? 0 : 1) + " " + units[unit];
}

std::string decimal(double value, int digits) {
  char text[400];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

} // namespace stagewright::program
