#include "frontends/config/Partition.h"

#include "frontends/json/NearestName.h"
#include "frontends/json/PositionedJson.h"

#include <charconv>

namespace stagewright {

static const std::vector<std::string_view> kNames{"uniform", "parameters", "best"};

static Result<Partition> parseCuts(std::string_view list, const std::string &place) {
  Partition partition{"explicit:" + std::string(list), {}};
  const char *at = list.data(), *end = list.data() + list.size();
  for (bool more = true; more; ++at) {
    int cut = 0;
    auto [behind, status] = std::from_chars(at, end, cut);
    bool isWhole = status == std::errc() && (behind == end || *behind == ',') && (*at == '0') == (cut == 0);
    if (!isWhole)
      return userError(
          place, "the cut points " + json::inQuotes(list) + " are not whole numbers with commas between them",
          "write \"explicit:2,3\": each number is the first block of a later stage");
    int previous = partition.cuts.empty() ? 0 : partition.cuts.back();
    if (cut <= previous)
      return userError(place,
                       "the cut point " + std::to_string(cut) + " in " + json::inQuotes(list) +
                           (partition.cuts.empty()
                                ? " is not above 0"
                                : " is not above the one before, " + std::to_string(previous)),
                       "cut points ascend and are positive: each is the first block of a later stage");
    partition.cuts.push_back(cut);
    at = behind;
    more = at != end;
  }
  return partition;
}

Result<Partition> parsePartition(std::string_view text, const std::string &place) {
  constexpr std::string_view kExplicit = "explicit:";
  const std::string advice = "use \"uniform\", \"parameters\" or cut points such as \"explicit:2,3\"";
  std::string name = json::lowerCase(text);
  if (name.starts_with(kExplicit))
    return parseCuts(text.substr(kExplicit.size()), place);
  if (name == "best")
    return Partition{"parameters", {}};
  if (name == "uniform" || name == "parameters")
    return Partition{name, {}};
  if (name.starts_with("type:"))
    return userError(place, "this version does not balance stages by a pattern of layer types", advice);
  if (name == "profile" || name == "cost")
    return userError(place,
                     "this version has no \"" + name +
                         "\" partition: it does not measure or model the time of a block",
                     advice);
  return userError(place, "unknown partition " + json::inQuotes(text),
                   "did you mean " +
                       json::inQuotes(json::nearestName(text, {"uniform", "parameters", "explicit:"})) +
                       "? Else " + advice);
}

std::string namePattern(const std::vector<std::string_view> &names) {
  std::string pattern;
  for (std::string_view name : names) {
    pattern += pattern.empty() ? "" : "|";
    for (char c : json::lowerCase(name)) {
      if (c >= 'a' && c <= 'z')
        pattern.append("[").append(1, static_cast<char>(c - 'a' + 'A')).append(1, c).append("]");
      else
        pattern += c;
    }
  }
  return "^(" + pattern + ")$";
}

std::string partitionPattern() {
  std::string names = namePattern(kNames), explicitName = namePattern({"explicit"});
  return names.substr(0, names.size() - 2) + "|" + explicitName.substr(2, explicitName.size() - 4) +
         ":[1-9][0-9]*(,[1-9][0-9]*)*)$";
}

} // namespace stagewright
