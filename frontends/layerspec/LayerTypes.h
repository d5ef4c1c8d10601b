// The layer types of a model: torch.nn's names, their arguments, defaults and ranges. The reader, check() and
// docs/model.schema.json come from this table; frontends/import builds the ops of each entry.
#ifndef STAGEWRIGHT_FRONTENDS_LAYERSPEC_LAYERTYPES_H
#define STAGEWRIGHT_FRONTENDS_LAYERSPEC_LAYERTYPES_H

#include "frontends/layerspec/ModelSpec.h"

#include <limits>
#include <string_view>
#include <vector>

namespace stagewright {

struct ArgumentType {
  std::string_view name;
  ArgumentValue
      defaultValue; ///< its alternative is the argument's type; of a required argument the value is unused
  bool isRequired = false;
  /// Of an integer, and of each integer of a list.
  std::int64_t minimum = std::numeric_limits<std::int32_t>::min();
  std::int64_t maximum = std::numeric_limits<std::int32_t>::max();
  /// Of a number; both ends are allowed.
  double lowest = std::numeric_limits<double>::lowest();
  double highest = std::numeric_limits<double>::max();
  /// Length of a list of integers. A lone integer in a file stands for `shortest` equal ones, as torch's
  /// kernel_size=3 stands for (3, 3).
  std::size_t shortest = 1, longest = 8;
  std::string_view choices = {}; ///< of a string: "a|b"
  /// A string that names an input of role "feature" and dtype i32, which the layer reads wherever it stands;
  /// empty by default: none.
  bool namesFeature = false;
  /// null stands for the default, which is no value that a file can give.
  bool isNullable = false;
  /// Not empty: only the default is accepted, for this reason, and `instead` says what to do.
  std::string_view defaultOnly = {}, instead = {};
};

/// An argument that torch has and that is null by default: nothing else is accepted.
struct NullArgument {
  std::string_view name, why, instead;
};

struct LayerType {
  std::string_view name; ///< in torch.nn
  bool isLoss = false;
  std::string_view labelType; ///< of a loss: dtype of the label input
  std::vector<ArgumentType> arguments;
  std::vector<NullArgument> nullArguments;
  /// How many tensors it reads.
  std::size_t fewestInputs = 1, mostInputs = 1;
  std::string_view inputType = "f32"; ///< dtype of what it reads; empty: what its own layers read
  bool canTie = false;                ///< has a parameter "weight", which layers may share
};

/// Of Embedding's padding_idx: none.
inline constexpr std::int64_t kNoPadding = std::numeric_limits<std::int64_t>::min();

/// The type that holds a list of layers, torch.nn.Sequential with residual connections.
inline constexpr std::string_view kSequential = "Sequential";
/// Its largest `repeat`, and the most layers that all repetitions of a model may make.
inline constexpr std::int64_t kMostCopies = 100000;

const std::vector<LayerType> &layerTypes();
/// Null if this version does not have it.
const LayerType *findLayerType(std::string_view name);
/// Names of the layers (or of the losses) that this version has.
std::vector<std::string_view> layerTypeNames(bool losses);

} // namespace stagewright

#endif
