// Every key of a configuration file: DeepSpeed's and ours, each with its type, its default and what this
// version does with it. The reader, docs/config.md and docs/config.schema.json all come from this one table.
#ifndef STAGEWRIGHT_FRONTENDS_CONFIG_CONFIGKEYS_H
#define STAGEWRIGHT_FRONTENDS_CONFIG_CONFIGKEYS_H

#include "frontends/config/Config.h"

#include <limits>
#include <string>
#include <string_view>
#include <vector>

namespace stagewright {

enum class Treatment {
  Honoured,      ///< decides what is compiled or how it is trained
  WithoutEffect, ///< checked for its type, then accepted: it cannot change a result of this version
  OffOnly,       ///< accepted without effect at the values of `off`, refused at any other
  Refused        ///< refused at any value (but null, where that is the default)
};

/// Which values a key takes. A default of null makes null a value too.
struct ValueRule {
  enum class Type {
    Boolean,
    Integer,
    Count, ///< a whole number that may be spelled as 5e8
    Number,
    String,
    Pair, ///< a list of two numbers
    List,
    Block,    ///< an object whose keys are all in the table
    OpenBlock ///< an object that may hold keys beyond those in the table
  };
  static constexpr double kInfinity = std::numeric_limits<double>::infinity();

  Type type = Type::Boolean;
  double minimum = -kInfinity, maximum = kInfinity;
  bool belowMaximum = false; ///< the maximum itself is not allowed
  std::string_view choices;  ///< of a String: "a|b", compared without regard to case; empty = any
  bool nullToo = false;      ///< null is a value although it is not the default
  bool falseToo = false;     ///< `false` stands for a block that is switched off
  bool autoToo = false;      ///< "auto" stands for the default
  bool required = false;     ///< the block, if there is one (of a type that has the key), must have it
};

struct ConfigKey {
  std::string_view path; ///< JSON pointer, e.g. "/fp16/enabled"
  ValueRule rule;
  std::string_view defaultText; ///< JSON
  Treatment treatment = Treatment::Honoured;
  std::string_view
      why; ///< what it does, or why it has no effect or is refused; may be empty for WithoutEffect
  std::string_view instead; ///< of OffOnly and Refused: what to do, an imperative sentence
  std::string_view off;     ///< of OffOnly: accepted JSON texts, "null|1"; empty = the default alone
  /// Of /optimizer/params/... and /scheduler/params/...: the types that have it, "Adam|AdamW"; empty = all.
  std::string_view types;

  std::string_view name() const { return path.substr(path.rfind('/') + 1); }
  std::string_view parent() const { return path.substr(0, path.rfind('/')); }
  bool takesNull() const { return rule.nullToo || (defaultText == "null" && !rule.required); }
  bool isBlock() const {
    return rule.type == ValueRule::Type::Block || rule.type == ValueRule::Type::OpenBlock;
  }
};

/// Parents before their children, in the order of the documentation.
const std::vector<ConfigKey> &configKeys();
/// Null if there is no such key.
const ConfigKey *findConfigKey(std::string_view path);
/// The keys directly below a block; "" is the top level.
std::vector<const ConfigKey *> configKeysBelow(std::string_view block);

/// The pieces of "a|b|c".
std::vector<std::string_view> alternatives(std::string_view list);
/// Whether DeepSpeed itself reads "auto" below this path as "the default".
bool acceptsAuto(std::string_view path);
/// "an integer >= 1", "true or false", ...: completes "must be ".
std::string describe(const ConfigKey &key);

/// Types that this version trains with, as DeepSpeed spells them.
const std::vector<std::string_view> &optimizerTypes();
/// Types of DeepSpeed and torch.optim that it refuses.
const std::vector<std::string_view> &refusedOptimizerTypes();
/// The same for schedules of the learning rate, DeepSpeed's and torch.optim.lr_scheduler's.
const std::vector<std::string_view> &schedulerTypes();
const std::vector<std::string_view> &refusedSchedulerTypes();

/// Paths of the settings of a configuration that came from the file and have no effect, for the one notice
/// about them.
std::vector<std::string> settingsWithoutEffect(const Config &config);

} // namespace stagewright

#endif
