// A model as a list of layers, filled in by a program: what docs/model.md says of model files, in C++.
//
//   Model model("mlp");
//   model.inputs = {feature("image", {1, 28, 28}), label("digit")};
//   model.layers = {{"Flatten", "flatten"},
//                   {"Linear", "fc1", {{"in_features", 784}, {"out_features", 256}}},
//                   {"ReLU", "relu"},
//                   {"Linear", "fc2", {{"in_features", 256}, {"out_features", 10}}}};
//   model.losses = {{"CrossEntropyLoss"}};
//   model.accuracy = true;
//
// Nothing is checked here: compile() checks the whole model, and its errors name the layer.
#ifndef STAGEWRIGHT_MODEL_H
#define STAGEWRIGHT_MODEL_H

#include "stagewright/Error.h"
#include "stagewright/Export.h"

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace stagewright {
inline namespace v0 {

/// The value of a layer's argument: true, 784, 0.5, "gelu", or {3, 3}.
class Value {
public:
  using Variant = std::variant<bool, std::int64_t, double, std::string, std::vector<std::int64_t>>;
  template <std::integral T>
  Value(T value) {
    if constexpr (std::same_as<T, bool>) {
      variant = value;
    } else {
      variant = static_cast<std::int64_t>(value);
    }
  }
  template <std::floating_point T>
  Value(T value) : variant(static_cast<double>(value)) {}
  Value(const char *text) : variant(std::string(text)) {}
  Value(std::string text) : variant(std::move(text)) {}
  Value(std::vector<std::int64_t> sizes) : variant(std::move(sizes)) {}
  Value(std::initializer_list<std::int64_t> sizes) : variant(std::vector<std::int64_t>(sizes)) {}

  const Variant &get() const { return variant; }

private:
  Variant variant;
};

/// By the names of the torch.nn type; those left out have its defaults.
using Arguments = std::vector<std::pair<std::string, Value>>;

/// A tensor that the data source provides. `shape` is that of one sample, without the batch.
struct InputSpec {
  std::string name;
  std::string role;  ///< "feature" or "label"
  std::string dtype; ///< "f32", or "i32": tokens and class labels
  std::vector<std::int64_t> shape;
  /// Of features: what files and arrays of u8 hold, v, becomes (v * scale - mean) / deviation.
  double scale = 1, mean = 0, deviation = 1;
};

/// f32 values, such as an image of {1, 28, 28}.
inline InputSpec feature(std::string name, std::vector<std::int64_t> shape) {
  return {std::move(name), "feature", "f32", std::move(shape)};
}
/// i32 numbers of tokens, `length` for each sample.
inline InputSpec tokens(std::string name, std::int64_t length) {
  return {std::move(name), "feature", "i32", {length}};
}
/// An i32 class for each sample, or for each of `shape`.
inline InputSpec label(std::string name, std::vector<std::int64_t> shape = {}) {
  return {std::move(name), "label", "i32", std::move(shape)};
}
/// f32 values that a regression learns.
inline InputSpec target(std::string name, std::vector<std::int64_t> shape) {
  return {std::move(name), "label", "f32", std::move(shape)};
}

/// One entry of the list, as DeepSpeed's LayerSpec: the unit that partitioning never cuts.
struct LayerSpec {
  LayerSpec() = default;
  LayerSpec(std::string type, std::string name = {}, Arguments arguments = {})
      : type(std::move(type)), name(std::move(name)), arguments(std::move(arguments)) {}
  /// Layers that are one entry; `repeat` copies, NAME.0, NAME.1, ..., follow each other.
  static LayerSpec sequential(std::string name, std::vector<LayerSpec> layers, std::int64_t repeat = 0) {
    LayerSpec spec("Sequential", std::move(name));
    spec.layers = std::move(layers);
    spec.repeat = repeat;
    return spec;
  }
  /// The same entry that reads these earlier layers or features, instead of the layer before it.
  LayerSpec reads(std::vector<std::string> names) && {
    inputs = std::move(names);
    return std::move(*this);
  }

  std::string type;                ///< a torch.nn type, e.g. "Linear"
  std::string name;                ///< empty: the entry's position, "0", "1", ...
  Arguments arguments;             ///< each by its name, once
  std::vector<std::string> inputs; ///< empty: the layer before it, or the first feature
  std::string tied;                ///< layers with one key share their weight; empty: a weight of its own
  bool trainable = true;           ///< of its parameters
  std::vector<LayerSpec> layers;   ///< of a Sequential
  std::int64_t repeat = 0;         ///< of a Sequential: copies; 0: the layer itself, by its own name
};

/// As DeepSpeed's TiedLayerSpec: all layers with one key share one weight.
struct TiedLayerSpec : LayerSpec {
  TiedLayerSpec(std::string key, std::string type, std::string name = {}, Arguments arguments = {})
      : LayerSpec(std::move(type), std::move(name), std::move(arguments)) {
    tied = std::move(key);
  }
};

/// A loss. It reads a layer and a label, `inputs`; without them the last layer and the first label. What is
/// trained is the sum of all losses, each times its weight.
struct LossSpec : LayerSpec {
  using LayerSpec::LayerSpec;
  LossSpec(LayerSpec spec, double weight = 1) : LayerSpec(std::move(spec)), weight(weight) {}

  double weight = 1;
};

struct Model {
  explicit Model(std::string name) : name(std::move(name)) {}

  std::string name;
  std::vector<InputSpec> inputs; ///< features and labels
  std::vector<LayerSpec> layers; ///< the last one is the model's output
  std::vector<LossSpec> losses;  ///< a loss that is one of several is logged by its name
  bool accuracy = false;         ///< also count the right labels of the first CrossEntropyLoss

  /// The model file that says the same, for the program: stagewright compile model.json. Error: User, a name
  /// or a text is not valid UTF-8.
  STAGEWRIGHT_API Result<std::string> json() const;
};

} // namespace v0
} // namespace stagewright

#endif
