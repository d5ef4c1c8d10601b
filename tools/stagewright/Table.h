// Text for people: tables with aligned columns, numbers with separators, sizes in binary units.
#ifndef STAGEWRIGHT_TOOLS_STAGEWRIGHT_TABLE_H
#define STAGEWRIGHT_TOOLS_STAGEWRIGHT_TABLE_H

#include <cstdint>
#include <string>
#include <vector>

namespace stagewright::program {

/// Rows of cells; every column is as wide as its widest cell.
class Table {
public:
  /// A title that starts with '>' aligns its column to the right (the sign is not printed).
  explicit Table(std::vector<std::string> titles);
  void addRow(std::vector<std::string> cells);
  /// Lines, each indented by two blanks and without trailing blanks.
  std::string text() const;

private:
  std::vector<bool> right;
  std::vector<std::vector<std::string>> rows;
};

std::string grouped(std::uint64_t number);     ///< 203530 -> "203,530"
std::string byteText(std::uint64_t bytes);     ///< 2621440 -> "2.5 MiB"
std::string decimal(double value, int digits); ///< as printf's %.*f
/// "[64, 784]"
template <typename Sizes>
std::string shapeText(const Sizes &sizes) {
  std::string text = "[";
  for (auto size : sizes) {
    text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  }
  return text + "]";
}

} // namespace stagewright::program

#endif
