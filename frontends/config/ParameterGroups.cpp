#include "frontends/config/ParameterGroups.h"

#include "frontends/json/NearestName.h"

#include <cfloat>
#include <regex>

namespace stagewright {

namespace {

constexpr std::string_view kPath = "/stagewright/parameter_groups";

Result<ParameterGroup> readGroup(const json::Document &document, const json::Value &item,
                                 const Config &config) {
  ParameterGroup group{"", "", config.optimizer.learningRate, config.optimizer.weightDecay};
  if (item.kind != json::Value::Kind::Object)
    return document.error(item.position, "a parameter group must be an object, not " + json::shown(item),
                          "write {\"match\": \"bias$\", \"weight_decay\": 0}");
  const std::vector<std::string_view> known = {"match", "lr", "weight_decay"};
  for (const json::Member &member : item.members) {
    const json::Value &value = member.value;
    const std::string name = "\"" + member.key + "\"";
    if (member.key == "match") {
      if (value.kind != json::Value::Kind::String)
        return document.error(value.position, name + " must be a string, not " + json::shown(value),
                              "give a regular expression for names of parameters");
      group.match = value.string;
      group.place = document.place(value.position);
    } else if (member.key == "lr" || member.key == "weight_decay") {
      if (!value.isNumber() || !(value.number >= 0 && value.number <= FLT_MAX))
        return document.error(value.position,
                              name + " must be a number >= 0 that fits a float, not " + json::shown(value),
                              "leave it out to take the optimizer's");
      (member.key == "lr" ? group.learningRate : group.weightDecay) = value.number;
    } else {
      return document.error(member.position,
                            "unknown key " + json::inQuotes(member.key) + " in a parameter group",
                            "did you mean " + json::inQuotes(json::nearestName(member.key, known)) +
                                "? Known are " + json::joined(known));
    }
  }
  if (group.place.empty())
    return document.error(item.position, "a parameter group has no \"match\"",
                          "add a regular expression for names of parameters");
  const json::Value *rate = item.find("lr");
  if (!rate && !item.find("weight_decay"))
    return document.error(item.position, "this parameter group changes nothing",
                          "add \"lr\" or \"weight_decay\"");
  if (rate && !config.scheduler.type.empty() && config.optimizer.learningRate == 0)
    return document.error(
        rate->position, "a schedule multiplies a group's \"lr\" by its rate / the optimizer's lr, which is 0",
        "set /optimizer/params/lr");
  try {
    std::regex check(group.match);
  } catch (const std::regex_error &error) {
    return userError(group.place, json::inQuotes(group.match) + " is no regular expression: " + error.what(),
                     "use ECMAScript's syntax, as in \"^h\\\\.0\\\\.\" or \"bias$\"");
  }
  return group;
}

} // namespace

Result<std::vector<ParameterGroup>> readParameterGroups(const json::Document &document, Settings &settings,
                                                        const Config &config) {
  std::vector<ParameterGroup> groups;
  const json::Value list = settings.value(kPath);
  for (const json::Value &item : list.items) {
    Result<ParameterGroup> group = readGroup(document, item, config);
    if (!group)
      return group.takeError();
    groups.push_back(std::move(*group));
  }
  return groups;
}

} // namespace stagewright
