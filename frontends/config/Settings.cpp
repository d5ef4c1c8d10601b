#include "frontends/config/Settings.h"

#include "frontends/json/NearestName.h"

#include <cmath>
#include <cstdlib>

namespace stagewright {

using json::Value;

/// The spelling of the table for a name in any case, or empty.
static std::string_view matchName(std::string_view name, const std::vector<std::string_view> &known) {
  for (std::string_view candidate : known)
    if (json::lowerCase(candidate) == json::lowerCase(name))
      return candidate;
  return {};
}

static bool inRange(const ValueRule &rule, double value) {
  return value >= rule.minimum && (rule.belowMaximum ? value < rule.maximum : value <= rule.maximum);
}

static bool isAllowed(const ValueRule &rule, const Value &value) {
  switch (rule.type) {
  case ValueRule::Type::Boolean:
    return value.kind == Value::Kind::Boolean;
  case ValueRule::Type::Integer:
    return value.kind == Value::Kind::Integer && inRange(rule, value.number);
  case ValueRule::Type::Count:
    return value.isNumber() && std::floor(value.number) == value.number && inRange(rule, value.number);
  case ValueRule::Type::Number:
    return value.isNumber() && inRange(rule, value.number);
  case ValueRule::Type::String:
    return value.kind == Value::Kind::String &&
           (rule.choices.empty() || !matchName(value.string, alternatives(rule.choices)).empty());
  case ValueRule::Type::Pair:
    return value.kind == Value::Kind::Array && value.items.size() == 2 && value.items[0].isNumber() &&
           value.items[1].isNumber() && inRange(rule, value.items[0].number) &&
           inRange(rule, value.items[1].number);
  case ValueRule::Type::List:
    return value.kind == Value::Kind::Array;
  case ValueRule::Type::Block:
  case ValueRule::Type::OpenBlock:
    return value.kind == Value::Kind::Object;
  }
  return false;
}

/// Whether the value of an OffOnly key leaves its feature off.
static bool isOff(const ConfigKey &key, const Value &value) {
  for (std::string_view off : alternatives(key.off.empty() ? key.defaultText : key.off)) {
    bool isSame = value.isNumber()
                      ? off != "null" && value.number == std::strtod(std::string(off).c_str(), nullptr)
                      : json::lowerCase(value.text()) == off;
    if (isSame)
      return true;
  }
  return false;
}

/// The type that decides which keys there are at `path`.
const std::string &Settings::typeFor(std::string_view path) const {
  return path.starts_with("/scheduler") ? scheduler : optimizer;
}

bool Settings::fitsType(const ConfigKey &key) const {
  return key.types.empty() || !matchName(typeFor(key.path), alternatives(key.types)).empty();
}

std::vector<const ConfigKey *> Settings::keysBelow(std::string_view block) const {
  std::vector<const ConfigKey *> keys = configKeysBelow(block);
  std::erase_if(keys, [this](const ConfigKey *key) { return !fitsType(*key); });
  return keys;
}

Error Settings::unknownKey(std::string_view block, const json::Member &member) const {
  if (const ConfigKey *other = findConfigKey(std::string(block) + "/" + member.key);
      other && other->name() == member.key)
    return document.error(member.position, typeFor(block) + " has no parameter " + json::inQuotes(member.key),
                          "remove it: it belongs to " + json::joined(alternatives(other->types)));
  std::vector<std::string_view> known, honoured;
  for (const ConfigKey *key : keysBelow(block)) {
    known.push_back(key->name());
    if (key->treatment == Treatment::Honoured)
      honoured.push_back(key->name());
  }
  std::string where = block.empty() ? "at the top level" : "in " + std::string(block);
  std::string advice = "did you mean " + json::inQuotes(json::nearestName(member.key, known)) + "?";
  const ConfigKey *elsewhere = nullptr;
  for (const ConfigKey &key : configKeys())
    if (key.name() == member.key && key.parent() != block &&
        (!elsewhere || key.treatment == Treatment::Honoured))
      elsewhere = &key;
  if (elsewhere && fitsType(*elsewhere))
    advice += " " + json::inQuotes(member.key) + " is a key of " +
              (elsewhere->parent().empty() ? "the top level." : std::string(elsewhere->parent()) + ".");
  if (!honoured.empty())
    advice += " Keys with an effect here are " + json::joined(honoured);
  return document.error(member.position, "unknown key " + json::inQuotes(member.key) + " " + where, advice);
}

/// The type of an optimizer or a scheduler, which decides which parameters it may have.
Result<void> Settings::checkType(std::string_view path, const Value &block) {
  const bool isOptimizer = path == "/optimizer";
  const std::vector<std::string_view> &types = isOptimizer ? optimizerTypes() : schedulerTypes();
  const std::vector<std::string_view> &refusedTypes =
      isOptimizer ? refusedOptimizerTypes() : refusedSchedulerTypes();
  const std::string what(path.substr(1)), where(path), oneOf = "one of " + json::joined(types);
  const Value *type = block.find("type");
  if (!type)
    return document.error(block.position, where + " has no type", "add " + oneOf);
  if (type->kind != Value::Kind::String)
    return document.error(type->position, where + "/type must be a string, not " + json::shown(*type),
                          "use " + oneOf);
  if (std::string_view refused = matchName(type->string, refusedTypes); !refused.empty()) {
    // They send compressed momenta, which is another algorithm.
    const bool compresses = refused.starts_with("OneBit") || refused.starts_with("ZeroOne");
    return document.error(type->position,
                          "this version does not have the " + what + " " + std::string(refused),
                          "use " + oneOf +
                              (compresses ? "; /stagewright/gradient_compression sends compressed gradients "
                                            "with every optimizer, where " +
                                                std::string(refused) + " sends compressed momenta"
                                          : ""));
  }
  std::string_view known = matchName(type->string, types);
  if (known.empty())
    return document.error(type->position, "unknown " + what + " " + json::inQuotes(type->string),
                          "did you mean " + json::inQuotes(json::nearestName(type->string, types)) +
                              "? This version has " + json::joined(types));
  (isOptimizer ? optimizer : scheduler) = known;
  return {};
}

Result<void> Settings::checkBlock(std::string_view path, const Value &block, bool isOpen) {
  if (path == "/optimizer" || path == "/scheduler")
    if (Result<void> ok = checkType(path, block); !ok)
      return ok;
  for (const json::Member &member : block.members) {
    const ConfigKey *key = findConfigKey(std::string(path) + "/" + member.key);
    bool isKnown = key && key->name() == member.key && fitsType(*key); // a name with '/' is no path
    if (!isKnown) {
      if (isOpen)
        continue;
      return unknownKey(path, member);
    }
    if (Result<void> ok = checkMember(*key, member); !ok)
      return ok;
  }
  if (Result<void> ok = checkRequired(path, &block, block.position); !ok)
    return ok;
  for (const ConfigKey *key : keysBelow(path))
    if (!path.empty() && key->isBlock() && !block.find(key->name()))
      if (Result<void> ok = checkRequired(key->path, nullptr, block.position); !ok)
        return ok;
  return {};
}

/// `block`: null where it is absent.
Result<void> Settings::checkRequired(std::string_view path, const Value *block, json::Position place) const {
  for (const ConfigKey *key : keysBelow(path))
    if (key->rule.required && !(block && block->find(key->name())))
      return document.error(place,
                            std::string(path) + " lacks " + json::inQuotes(key->name()) +
                                (key->types.empty() ? "" : ", which " + typeFor(path) + " needs"),
                            "add " + json::inQuotes(key->name()) + ": " + std::string(key->why));
  return {};
}

Result<void> Settings::checkMember(const ConfigKey &key, const json::Member &member) {
  const Value &value = member.value;
  std::string path(key.path);
  bool isAuto = value.kind == Value::Kind::String && value.string == "auto";
  if (value.kind == Value::Kind::Null && key.takesNull()) {
    if (key.treatment != Treatment::Honoured)
      record(key.path, "null", "file");
    return {};
  }
  if (key.treatment == Treatment::Refused)
    return document.error(member.position, path + " is refused: " + std::string(key.why),
                          std::string(key.instead));
  if (isAuto && (key.rule.autoToo || acceptsAuto(key.path))) {
    if (key.treatment != Treatment::Honoured)
      record(key.path, std::string(key.defaultText), "default");
    return {};
  }
  if (key.rule.falseToo && value.kind == Value::Kind::Boolean) {
    record(key.path, value.text(), "file");
    if (!value.boolean)
      return {};
    return document.error(value.position, path + " is true, DeepSpeed's old spelling of stage 1",
                          "write {\"stage\": 1}");
  }
  if (!isAllowed(key.rule, value))
    return document.error(
        value.position, path + " must be " + describe(key) + ", not " + json::shown(value),
        isAuto ? "\"auto\" is filled in by Hugging Face's trainer: give a value, or remove the key"
        : key.rule.required ? "there is no default"
                            : "the default is " + std::string(key.defaultText));
  if (key.treatment == Treatment::OffOnly && !isOff(key, value))
    return document.error(value.position,
                          path + " is " + json::shown(value) + ", but " + std::string(key.why),
                          std::string(key.instead));
  if (key.isBlock())
    return checkBlock(key.path, value, key.rule.type == ValueRule::Type::OpenBlock);
  if (key.treatment != Treatment::Honoured)
    record(key.path, value.text(), "file");
  return {};
}

Result<void> Settings::check() {
  if (document.root.kind != Value::Kind::Object)
    return document.error(document.root.position,
                          "a configuration is a JSON object, not " + json::shown(document.root),
                          "begin it with {");
  return checkBlock("", document.root, false);
}

const Value *Settings::given(std::string_view path) const {
  const Value *value = &document.root;
  for (std::string_view rest = path; value && !rest.empty();) {
    rest.remove_prefix(1);
    std::size_t slash = std::min(rest.find('/'), rest.size());
    value = value->find(rest.substr(0, slash));
    rest.remove_prefix(slash);
  }
  const ConfigKey *key = findConfigKey(path);
  bool isAuto = value && value->kind == Value::Kind::String && value->string == "auto";
  bool isAbsent =
      !value || value->kind == Value::Kind::Null || (isAuto && (key->rule.autoToo || acceptsAuto(path)));
  return isAbsent ? nullptr : value;
}

std::string Settings::place(std::string_view path) const {
  const Value *value = given(path);
  return document.place(value ? value->position : document.root.position);
}

Value Settings::value(std::string_view path) {
  if (const Value *value = given(path)) {
    record(path, value->text(), "file");
    return *value;
  }
  Result<json::Document> parsed = json::parseDocument("", findConfigKey(path)->defaultText);
  record(path, parsed->root.text(), "default");
  return std::move(parsed->root);
}

void Settings::record(std::string_view path, std::string value, std::string_view origin) {
  effective.insert_or_assign(std::string(path),
                             Setting{std::string(path), std::move(value), std::string(origin)});
}

std::vector<Setting> Settings::take() {
  std::vector<Setting> settings;
  for (auto &[path, setting] : effective)
    settings.push_back(std::move(setting));
  effective.clear();
  return settings;
}

} // namespace stagewright
