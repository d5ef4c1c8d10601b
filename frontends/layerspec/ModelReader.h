// Turns the JSON tree of a model file into a ModelSpec: what is about JSON. The rest is check()'s part.
#ifndef STAGEWRIGHT_FRONTENDS_LAYERSPEC_MODELREADER_H
#define STAGEWRIGHT_FRONTENDS_LAYERSPEC_MODELREADER_H

#include "frontends/json/PositionedJson.h"
#include "frontends/layerspec/LayerTypes.h"

#include <optional>

namespace stagewright {

/// The reading functions go on with an empty value after an error; the first error is the one that is
/// reported.
class ModelReader {
public:
  explicit ModelReader(const json::Document &document) : document(document) {}
  Result<ModelSpec> read();

private:
  using Value = json::Value;

  void fail(json::Position position, std::string what, std::string advice = {});
  /// Objects and their keys. `owner` completes "... of the model file", "... of a layer".
  bool isObject(const Value &value, std::string_view owner);
  void checkKeys(const Value &object, std::string_view owner, const std::vector<std::string_view> &known,
                 const LayerType *type = nullptr);
  const Value *require(const Value &object, std::string_view key, std::string_view owner);
  const std::vector<Value> *listOf(const Value &object, std::string_view key, std::string_view owner);

  std::string text(const Value *value, std::string_view key);
  /// A string member whose place `entry` notes; empty if there is none.
  std::string namedPart(const Value &object, std::string_view key, EntryPosition &entry);
  double number(const Value &object, std::string_view key, double defaultValue);
  const InputSpec *firstInput(std::string_view role) const; ///< null if there is none

  void readInput(const Value &value);
  void readShape(const Value &shape, InputSpec &input);
  void readLayers(const std::vector<Value> &values);
  /// Appends what one entry of a list stands for: a layer, or a repeated Sequential's copies. Without
  /// "inputs" it reads the layer before it; the first one reads `first`.
  void readLayer(const Value &value, std::size_t index, const std::string &first,
                 std::vector<LayerSpec> &list);
  void readLayerInputs(const Value &value, const std::string &before, LayerSpec &layer);
  void readSequential(const Value &value, LayerSpec &layer);
  void appendCopies(LayerSpec layer, const Value &repeat, std::vector<LayerSpec> &list);
  void readArguments(const Value &value, const LayerType &type, std::map<std::string, Argument> &arguments);
  void readLosses(const Value &value);
  void readLoss(const Value &value);
  void readMetrics(const Value &object);
  SourcePosition source(json::Position position) const {
    return {document.file, position.line, position.column};
  }

  const json::Document &document;
  ModelSpec spec;
  std::optional<Error> error;
  static constexpr int kDeepest = 16;
  int depth = 0;          ///< of Sequentials
  std::size_t copied = 0; ///< layers that repetitions have made
};

} // namespace stagewright

#endif
