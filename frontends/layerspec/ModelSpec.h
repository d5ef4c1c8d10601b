// A LayerSpec model file as plain data: what the JSON says, checked for names, types and arguments, not yet
// for shapes.
#ifndef STAGEWRIGHT_FRONTENDS_LAYERSPEC_MODELSPEC_H
#define STAGEWRIGHT_FRONTENDS_LAYERSPEC_MODELSPEC_H

#include "error/Error.h"

#include <cstdint>
#include <map>
#include <string>
#include <variant>
#include <vector>

namespace stagewright {

struct SourcePosition {
  std::string file;
  int line = 0, column = 0; ///< both from 1
  std::string text() const { return file + ":" + std::to_string(line) + ":" + std::to_string(column); }
};

using ArgumentValue = std::variant<bool, std::int64_t, double, std::string, std::vector<std::int64_t>>;

struct Argument {
  ArgumentValue value;
  SourcePosition position;
};

/// A tensor that the data source provides. `shape` is that of one sample.
struct InputSpec {
  std::string name;
  std::string role;  ///< "feature" or "label"
  std::string dtype; ///< "f32" (features; u8 sources are converted), "i32" (class labels)
  std::vector<std::int64_t> shape;
  /// A u8 source value v becomes (v * scale - mean) / deviation.
  double scale = 1, mean = 0, deviation = 1;
  SourcePosition position;
};

/// One entry of the list. `arguments` holds every argument of the type, defaults filled in.
struct LayerSpec {
  std::string type; ///< a torch.nn type, e.g. "Linear"
  std::string name;
  std::vector<std::string>
      inputs; ///< names of earlier layers or model inputs; empty in the file = the previous layer
  std::map<std::string, Argument> arguments;
  SourcePosition position;
};

struct ModelSpec {
  std::string name;
  std::vector<InputSpec> inputs;
  std::vector<LayerSpec> layers;
  LayerSpec loss;        ///< inputs: the last layer and the label
  bool accuracy = false; ///< "metrics": ["accuracy"]
  std::string sha256;    ///< hex, of the file
};

/// Reads a model file. Errors (ErrorKind::User, with file:line:column): syntax, duplicate key, unknown key,
/// unknown layer type or argument (with the nearest name), missing argument, wrong argument type or range,
/// duplicate layer name, unknown input.
Result<ModelSpec> readModelSpec(const std::string &path);

} // namespace stagewright

#endif
