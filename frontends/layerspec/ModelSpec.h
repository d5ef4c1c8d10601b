// A model as a list of layers, as plain data: what a model file says, or a program fills in.
#ifndef STAGEWRIGHT_FRONTENDS_LAYERSPEC_MODELSPEC_H
#define STAGEWRIGHT_FRONTENDS_LAYERSPEC_MODELSPEC_H

#include "error/Error.h"

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace stagewright {

struct SourcePosition {
  std::string file;         ///< empty: not from a file
  int line = 0, column = 0; ///< both from 1
  std::string text() const { return file + ":" + std::to_string(line) + ":" + std::to_string(column); }
};

/// Where an entry stands, and where the parts of it do that a message may point at: keys, and items of lists
/// ("shape/1").
struct EntryPosition {
  SourcePosition position;
  std::map<std::string, SourcePosition> parts;
  const SourcePosition &partPosition(const std::string &part) const {
    auto found = parts.find(part);
    return found == parts.end() ? position : found->second;
  }
};

using ArgumentValue = std::variant<bool, std::int64_t, double, std::string, std::vector<std::int64_t>>;

struct Argument {
  ArgumentValue value;
  SourcePosition position;
};

/// A tensor that the data source provides. `shape` is that of one sample.
struct InputSpec : EntryPosition {
  std::string name;
  std::string role;  ///< "feature" or "label"
  std::string dtype; ///< "f32" (u8 sources of features are converted), "i32" (tokens, class labels)
  std::vector<std::int64_t> shape;
  /// A u8 source value v becomes (v * scale - mean) / deviation.
  double scale = 1, mean = 0, deviation = 1;
};

/// One entry of the list. `arguments` holds every argument of the type, defaults filled in.
struct LayerSpec : EntryPosition {
  std::string type; ///< a torch.nn type, e.g. "Linear"
  std::string name;
  std::vector<std::string> inputs; ///< names of earlier layers or of features
  std::map<std::string, Argument> arguments;
  std::string tied;      ///< layers with one key share their weight; empty: a weight of its own
  bool trainable = true; ///< of its parameters; of a Sequential, of all that it is made of
  /// Of a Sequential: what it is made of. They read each other by name, and "input", "input:1", ... what the
  /// Sequential reads; the last one is its result. Their parameters are named SEQUENTIAL.LAYER.weight.
  std::vector<LayerSpec> layers;
  /// Not of a model file. Given: weights begin as N(0, deviation) and biases as 0, instead of torch's
  /// distributions.
  std::optional<double> initialDeviation;
};

/// One loss, or a term of a weighted sum of several. `inputs`: a layer and a label (or a feature, which the
/// layer is to reproduce).
struct LossSpec : LayerSpec {
  double weight = 1;
};

/// Of a model that was read from a Hugging Face folder: how its tensors belong to the parameters, which have
/// their names.
struct FolderSpec {
  std::string config;                  ///< the text of config.json
  std::string prefix;                  ///< names of tensors may lack it, or have it besides
  std::vector<std::string> transposed; ///< parameters that are stored [in, out]
  std::vector<std::pair<std::string, std::string>> copies; ///< tensors, and the parameters that they repeat
  std::vector<std::string> ignored; ///< tensors whose names end in one of these are no parameters
};

struct ModelSpec : EntryPosition {
  std::string name;
  std::vector<InputSpec> inputs;
  std::vector<LayerSpec> layers;
  std::vector<LossSpec> losses; ///< what is trained is their weighted sum
  bool accuracy = false;        ///< "metrics": ["accuracy"]: of the first CrossEntropyLoss
  std::string sha256;           ///< hex, of the file
  std::optional<FolderSpec> folder;
  /// Without one a model is evaluated for its last layer's values, and cannot be trained.
  bool hasLoss() const { return !losses.empty(); }
  /// False: the loss is the one of the list, as it is.
  bool hasLossTerms() const { return losses.size() > 1 || (hasLoss() && losses.front().weight != 1); }
  /// Whose right answers `accuracy` counts; null: there are no classes.
  const LossSpec *classes() const {
    for (const LossSpec &loss : losses)
      if (loss.type == "CrossEntropyLoss")
        return &loss;
    return nullptr;
  }
};

/// What holds of every model, whoever made it: names (not empty, no slash, no control character, each used
/// once), roles, dtypes and sizes of the inputs, types and arguments of the layers, inputs of layers that
/// come earlier, every feature and label read, losses that fit their labels. Shapes are the importer's part.
/// Errors are ErrorKind::User at the place in the file; of a model without a file, the place is the entry's
/// name.
Result<void> check(const ModelSpec &model);

/// Reads a model file and checks it. Errors (ErrorKind::User, with file:line:column): syntax, duplicate key,
/// unknown key (with the nearest name), a value of a wrong JSON type, a missing argument, and those of
/// check().
Result<ModelSpec> readModelSpec(const std::string &path);

/// The same for the text of a model file; `name` stands for the path in places.
Result<ModelSpec> parseModelSpec(const std::string &name, const std::string &text);

} // namespace stagewright

#endif
