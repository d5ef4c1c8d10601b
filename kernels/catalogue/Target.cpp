#include "catalogue/Target.h"

#include <algorithm>

namespace stagewright::catalogue {

static constexpr std::string_view kCuda = "cuda:sm_";

std::span<const std::string_view> targets() {
  static constexpr std::string_view kTargets[] = {"host", "cuda:sm_80", "cuda:sm_90", "cuda:sm_100"};
  return kTargets;
}

std::string_view familyOf(std::string_view target) {
  if (target == "host")
    return target;
  const std::string_view number =
      target.starts_with(kCuda) ? target.substr(kCuda.size()) : std::string_view();
  const bool isNumber = !number.empty() && number.size() <= 4 &&
                        std::ranges::all_of(number, [](char c) { return c >= '0' && c <= '9'; });
  return isNumber ? target.substr(0, 4) : std::string_view();
}

Result<std::string> parseTarget(std::string_view text, const std::string &place) {
  const std::string_view wanted = text == "cuda" ? std::string_view("cuda:sm_90") : text;
  std::string names;
  for (std::string_view target : targets()) {
    if (target == wanted)
      return std::string(wanted);
    names += (names.empty() ? "" : ", ") + std::string(target);
  }
  return userError(place, "there is no target \"" + std::string(text) + "\"",
                   "use one of " + names + "; several are separated by commas");
}

Result<std::vector<std::string>> parseTargets(const std::vector<std::string> &texts,
                                              const std::string &place) {
  std::vector<std::string> out;
  for (const std::string &text : texts) {
    Result<std::string> target = parseTarget(text, place);
    if (!target)
      return target.takeError();
    if (std::ranges::count(out, *target))
      return userError(place, "the target " + *target + " is given twice", "remove one of the two");
    out.push_back(*target);
  }
  if (out.empty())
    return userError(place, "no target is given",
                     "use \"host\", \"cuda:sm_90\" or both, separated by commas");
  return out;
}

std::string familiesOf(std::span<const std::string> targets) {
  std::string out;
  std::vector<std::string_view> known;
  for (std::string_view target : targets) {
    const std::string_view family = familyOf(target);
    if (std::ranges::count(known, family))
      continue;
    known.push_back(family);
    out += (out.empty() ? "" : ",") + std::string(family);
  }
  return out;
}

} // namespace stagewright::catalogue
