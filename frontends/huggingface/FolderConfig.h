// Reading the config.json of a Hugging Face folder: typed values with transformers' defaults. What is wrong,
// or not supported, is collected, so that one message lists all of it.
#ifndef STAGEWRIGHT_FRONTENDS_HUGGINGFACE_FOLDERCONFIG_H
#define STAGEWRIGHT_FRONTENDS_HUGGINGFACE_FOLDERCONFIG_H

#include "frontends/json/PositionedJson.h"
#include "frontends/layerspec/ModelSpec.h"

#include <initializer_list>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace stagewright {

class FolderConfig {
public:
  /// The root of the document is an object. Keys that no model computes with are known already.
  explicit FolderConfig(const json::Document &document);

  /// The value of a key; `otherwise` where the key is missing or null. Each key is known from then on. Of
  /// what is wrong a message is kept and `otherwise`, or the least possible value, is returned.
  std::int64_t integer(std::string_view key, std::optional<std::int64_t> otherwise, std::int64_t least = 1,
                       std::int64_t most = INT32_MAX);
  double number(std::string_view key, std::optional<double> otherwise, double least, double most);
  bool flag(std::string_view key, bool otherwise);
  std::string text(std::string_view key, std::string_view otherwise);

  /// Null where the key is missing or null; known from then on.
  const json::Value *value(std::string_view key);

  /// pad_token_id, the row of `vocabulary` that transformers keeps at zero: kNoPadding where it is null,
  /// `otherwise` where it is missing. Negative ones count from the end.
  std::int64_t padding(std::int64_t vocabulary, std::int64_t otherwise);

  /// The key may be missing, null or have this value, as compact JSON.
  void only(std::string_view key, std::string_view accepted, std::string_view instead);
  /// What these keys say changes nothing here.
  void ignore(std::initializer_list<std::string_view> keys);

  /// `what` of the value of a key (or of the file, where it is missing) is not supported.
  void refuse(std::string_view key, std::string what, std::string_view instead);

  /// The same of something else in the folder; `what` says where.
  void refuse(std::string what, std::string_view instead);

  /// Nothing refused, and no key that nobody knows. `architecture` is named in the message.
  Result<void> finish(std::string_view architecture);

  /// Of the key's value; of the file where it is missing.
  SourcePosition position(std::string_view key) const;
  const json::Document &document;

private:
  struct Refusal {
    json::Position position;
    std::string what, instead;
  };
  std::vector<std::string> known;
  std::vector<Refusal> refusals;
};

} // namespace stagewright

#endif
