// The rules of a model that are not about its file.
#ifndef STAGEWRIGHT_FRONTENDS_LAYERSPEC_MODELCHECK_H
#define STAGEWRIGHT_FRONTENDS_LAYERSPEC_MODELCHECK_H

#include "frontends/layerspec/LayerTypes.h"

#include <map>
#include <optional>
#include <set>

namespace stagewright {

/// Where a model without a file has an entry: the place is then the entry's name.
std::string placeOf(const SourcePosition &position, const std::string &entry);

/// All unknown layer types at once, with their counts and the nearest known ones; then a loss among the
/// layers.
Result<void> checkLayerTypes(const std::vector<std::pair<std::string, SourcePosition>> &types);
Result<void> checkLossType(const std::string &type, const SourcePosition &position);

/// One check of one model. The first error stays.
class ModelCheck {
public:
  explicit ModelCheck(const ModelSpec &model) : model(model) {}
  Result<void> run();

private:
  void fail(const SourcePosition &position, const std::string &entry, std::string what, std::string advice);
  void checkName(const std::string &name, const EntryPosition &entry);
  /// A name is unique among layers and inputs.
  void declare(const std::string &name, const EntryPosition &entry);
  void checkInput(const InputSpec &input);
  void checkShape(const InputSpec &input);
  std::ptrdiff_t countOf(std::string_view role) const;
  void checkRoles();
  void checkLayer(const LayerSpec &layer);
  /// What does not depend on the names around the layer: arguments, how many tensors it reads.
  void checkEntry(const LayerSpec &layer);
  /// The layers of a Sequential, which see each other and "input".
  void checkInner(const LayerSpec &sequential);
  void checkArguments(const LayerSpec &layer, const LayerType &type);
  /// An argument that names a feature.
  void checkFeature(const LayerSpec &layer, const ArgumentType &argument, const Argument &given);
  void checkLayerInput(const LayerSpec &layer, std::size_t index);
  void checkLosses();
  void checkLoss(const LossSpec &loss);
  void checkMetrics();
  void checkInputsAreRead();
  /// Layers that share a weight, also inside of Sequentials: at least two of a key, of types that have one.
  void checkTies();
  const InputSpec *inputNamed(const std::string &name, std::string_view role) const;

  const ModelSpec &model;
  std::optional<Error> error;
  std::map<std::string_view, std::string> declared; ///< names of inputs and layers so far, and places
  std::map<std::string_view, const InputSpec *> inputs;
  std::set<std::string_view> masks;                    ///< features that arguments name
  std::map<std::string_view, const LossSpec *> labels; ///< that losses read, and the first that does
  std::size_t layersSoFar = 0;
};

} // namespace stagewright

#endif
