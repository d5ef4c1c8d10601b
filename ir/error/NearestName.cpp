#include "error/NearestName.h"

#include <algorithm>
#include <limits>

namespace stagewright {

/// Optimal string alignment distance.
static std::size_t editDistance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> beforePrevious, previous(b.size() + 1), current(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j)
    previous[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    current[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      current[j] = std::min({previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        current[j] = std::min(current[j], beforePrevious[j - 2] + 1);
    }
    beforePrevious = previous;
    std::swap(previous, current);
  }
  return previous[b.size()];
}

std::string lowerCase(std::string_view text) {
  std::string out(text);
  for (char &c : out)
    if (c >= 'A' && c <= 'Z')
      c += 'a' - 'A';
  return out;
}

std::string_view nearestName(std::string_view name, const std::vector<std::string_view> &known) {
  constexpr std::size_t kComparedBytes = 64; // a hostile name of megabytes costs no time
  std::string wanted = lowerCase(name.substr(0, kComparedBytes));
  std::string_view best;
  std::size_t bestDistance = std::numeric_limits<std::size_t>::max();
  for (std::string_view candidate : known) {
    std::size_t distance = editDistance(wanted, lowerCase(candidate));
    if (distance < bestDistance) {
      best = candidate;
      bestDistance = distance;
    }
  }
  return best;
}

std::string joined(const std::vector<std::string_view> &names) {
  std::string out;
  for (std::string_view name : names)
    out.append(out.empty() ? "" : ", ").append(name);
  return out;
}

} // namespace stagewright
