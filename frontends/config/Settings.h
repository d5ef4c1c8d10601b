// The strict reading of a configuration file: every key is in the table, every value is one that the table
// allows; and the list of effective values that comes out of it.
#ifndef STAGEWRIGHT_FRONTENDS_CONFIG_SETTINGS_H
#define STAGEWRIGHT_FRONTENDS_CONFIG_SETTINGS_H

#include "frontends/config/ConfigKeys.h"
#include "frontends/json/PositionedJson.h"

#include <map>

namespace stagewright {

class Settings {
public:
  explicit Settings(const json::Document &document) : document(document) {}

  /// Checks the whole file against the table. Everything below is for a file that passed.
  Result<void> check();

  /// The value in the file; null where it is absent, null or "auto".
  const json::Value *given(std::string_view path) const;
  /// "file:line:column" of the value, or of the file's object where it is absent.
  std::string place(std::string_view path) const;

  /// The value in the file or else the default, which becomes an effective setting.
  json::Value value(std::string_view path);
  double number(std::string_view path) { return value(path).number; }
  bool flag(std::string_view path) { return value(path).boolean; }

  /// Keys of a block that the types in the file have.
  std::vector<const ConfigKey *> keysBelow(std::string_view block) const;

  /// Sets an effective value; `value` is JSON text.
  void record(std::string_view path, std::string value, std::string_view origin);
  /// All effective values, sorted by path.
  std::vector<Setting> take();

private:
  Result<void> checkBlock(std::string_view path, const json::Value &block, bool isOpen);
  Result<void> checkMember(const ConfigKey &key, const json::Member &member);
  Result<void> checkRequired(std::string_view path, const json::Value *block, json::Position place) const;
  Result<void> checkType(std::string_view path, const json::Value &block);
  Error unknownKey(std::string_view block, const json::Member &member) const;
  const std::string &typeFor(std::string_view path) const;
  bool fitsType(const ConfigKey &key) const;

  const json::Document &document;
  std::string optimizer = "Adam", scheduler; ///< the types in the file, as DeepSpeed spells them
  std::map<std::string, Setting, std::less<>> effective;
};

} // namespace stagewright

#endif
