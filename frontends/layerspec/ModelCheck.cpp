#include "frontends/layerspec/ModelCheck.h"

#include "catalogue/Catalogue.h"
#include "frontends/json/NearestName.h"
#include "frontends/layerspec/Arguments.h"

#include <algorithm>
#include <cfloat>
#include <cmath>

namespace stagewright {

std::string placeOf(const SourcePosition &position, const std::string &entry) {
  return position.file.empty() ? entry : position.text();
}

static std::string ofLayer(const LayerSpec &layer) {
  return "layer " + json::inQuotes(layer.name);
}

void ModelCheck::fail(const SourcePosition &position, const std::string &entry, std::string what,
                      std::string advice) {
  if (!error)
    error = userError(placeOf(position, entry), std::move(what), std::move(advice));
}

void ModelCheck::checkName(const std::string &name, const EntryPosition &entry) {
  const SourcePosition &position = entry.partPosition("name");
  if (name.empty())
    fail(position, "model", "a name must not be empty", "give a name, or leave the key out of a layer");
  auto isForbidden = [](unsigned char c) { return c == '/' || c < 0x20 || c == 0x7F; };
  if (std::any_of(name.begin(), name.end(), isForbidden))
    fail(position, json::inQuotes(name),
         "the name " + json::inQuotes(name) + " contains a slash or a control character",
         "names are parts of parameter names, such as fc1.weight");
}

void ModelCheck::declare(const std::string &name, const EntryPosition &entry) {
  checkName(name, entry);
  const SourcePosition &position = entry.partPosition("name");
  auto [earlier, isNew] = declared.try_emplace(name, placeOf(position, json::inQuotes(name)));
  if (!isNew)
    fail(position, json::inQuotes(name),
         "the name " + json::inQuotes(name) + " occurs twice, first at " + earlier->second,
         "give every layer and every input a name of its own");
}

const InputSpec *ModelCheck::inputNamed(const std::string &name, std::string_view role) const {
  auto found = inputs.find(name);
  return found == inputs.end() || found->second->role != role ? nullptr : found->second;
}

// ---- Inputs ---------------------------------------------------------------------------------------------

void ModelCheck::checkInput(const InputSpec &input) {
  declare(input.name, input);
  inputs.try_emplace(input.name, &input);
  const std::string entry = "input " + json::inQuotes(input.name);
  if (input.role != "feature" && input.role != "label")
    return fail(input.partPosition("role"), entry,
                "the role must be \"feature\" or \"label\", not " + json::inQuotes(input.role),
                "a feature is read by the first layer, a label by the loss");
  if (input.dtype != "f32" && input.dtype != "i32")
    return fail(
        input.partPosition("dtype"), entry,
        "the dtype of a " + input.role + " cannot be " + json::inQuotes(input.dtype),
        "use \"f32\", to which sources of bytes are converted, or \"i32\" for tokens, masks and classes");
  checkShape(input);
  for (double number : {input.scale, input.mean, input.deviation})
    if (!std::isfinite(number))
      fail(input.position, entry, "scale, mean and deviation must be finite numbers", "correct them");
  if (input.deviation <= 0)
    fail(input.partPosition("deviation"), entry, "the deviation must be above 0",
         "give the standard deviation of the training samples, or remove it");
  bool isPlain = input.scale == 1 && input.mean == 0 && input.deviation == 1;
  if ((input.role == "label" || input.dtype == "i32") && !isPlain)
    fail(input.position, entry,
         std::string("scale, mean and deviation belong to a feature of dtype \"f32\", and ") +
             (input.role == "label" ? "this is a label" : "these are tokens"),
         "remove them");
}

void ModelCheck::checkShape(const InputSpec &input) {
  const std::string entry = "input " + json::inQuotes(input.name);
  constexpr std::size_t kSizes = catalogue::kMaxDimensions - 1; // the batch is one more
  if (input.shape.size() > kSizes)
    return fail(input.partPosition("shape"), entry,
                "\"shape\" must be a list of at most " + std::to_string(kSizes) +
                    " sizes, that of one sample",
                "for example [1, 28, 28]");
  std::int64_t elements = 1;
  for (std::size_t i = 0; i < input.shape.size(); ++i) {
    std::int64_t size = input.shape[i];
    bool isSize = size >= 1 && size <= INT32_MAX;
    if (!isSize || (elements *= size) > INT32_MAX)
      return fail(input.partPosition("shape/" + std::to_string(i)), entry,
                  isSize ? "a sample has more than 2147483647 elements"
                         : "a size must be an integer from 1 to 2147483647, not " + std::to_string(size),
                  "give the shape of one sample, without the batch");
  }
}

std::ptrdiff_t ModelCheck::countOf(std::string_view role) const {
  return std::count_if(model.inputs.begin(), model.inputs.end(),
                       [&](const InputSpec &input) { return input.role == role; });
}

void ModelCheck::checkRoles() {
  if (countOf("feature") == 0)
    fail(model.partPosition("inputs"), "model", "the model has no input of the role \"feature\"",
         "add one: the first layer reads it");
  if (!model.hasLoss() && countOf("label") != 0)
    fail(model.partPosition("inputs"), "model",
         "the model has an input of the role \"label\", but no loss that reads it",
         "add \"loss\", or remove the label from a model that is only evaluated");
}

/// The data source provides every input: one that nobody reads is a mistake in the model.
void ModelCheck::checkInputsAreRead() {
  std::set<std::string_view> read;
  for (const InputSpec &input : model.inputs)
    if (input.role == "label" && !labels.contains(input.name))
      fail(input.position, "input " + json::inQuotes(input.name),
           "no loss reads the label " + json::inQuotes(input.name),
           "remove it, or name it in the \"inputs\" of a loss");
  for (const LayerSpec &layer : model.layers)
    read.insert(layer.inputs.begin(), layer.inputs.end());
  for (const InputSpec &input : model.inputs)
    if (input.role == "feature" && !read.contains(input.name) && !masks.contains(input.name))
      fail(input.position, "input " + json::inQuotes(input.name),
           "no layer reads the input " + json::inQuotes(input.name),
           labels.contains(input.name) ? "give it the role \"label\", which losses alone read"
                                       : "remove it, or name it in the \"inputs\" of a layer");
}

// ---- Layers ---------------------------------------------------------------------------------------------

Result<void> checkLayerTypes(const std::vector<std::pair<std::string, SourcePosition>> &types) {
  constexpr std::size_t kNamed = 32;                // enough for one message
  std::vector<std::pair<std::string, int>> unknown; // in order of first use
  const SourcePosition *first = nullptr;
  for (auto &[name, position] : types) {
    if (findLayerType(name))
      continue;
    first = first ? first : &position;
    auto known =
        std::find_if(unknown.begin(), unknown.end(), [&](auto &entry) { return entry.first == name; });
    if (known != unknown.end())
      ++known->second;
    else if (unknown.size() < kNamed)
      unknown.emplace_back(name, 1);
  }
  if (first) {
    std::string what = unknown.size() == 1 ? "unknown layer type " : "unknown layer types ", advice;
    std::vector<std::string_view> known = layerTypeNames(false);
    for (auto &[name, count] : unknown) {
      bool isFirst = name == unknown.front().first;
      what += (isFirst ? "" : ", ") + json::inQuotes(name) + " (" + std::to_string(count) +
              (count == 1 ? " layer)" : " layers)");
      advice += (isFirst ? "the nearest to " : ", to ") + json::inQuotes(name) + " is " +
                std::string(json::nearestName(name, known));
    }
    return userError(placeOf(*first, "layers"), what, advice + "; known are " + json::joined(known));
  }
  for (auto &[name, position] : types)
    if (findLayerType(name)->isLoss)
      return userError(placeOf(position, "layers"), name + " is a loss, not a layer",
                       "write it under the key \"loss\"");
  return {};
}

void ModelCheck::checkLayer(const LayerSpec &layer) {
  checkEntry(layer);
  for (std::size_t i = 0; i < layer.inputs.size(); ++i)
    checkLayerInput(layer, i);
  declare(layer.name, layer);
}

void ModelCheck::checkEntry(const LayerSpec &layer) {
  const LayerType &type = *findLayerType(layer.type);
  checkArguments(layer, type);
  const std::size_t count = layer.inputs.size();
  const auto number = [](std::size_t n) { return n == 1 ? "one tensor" : std::to_string(n) + " tensors"; };
  if (count < type.fewestInputs)
    fail(layer.position, ofLayer(layer),
         layer.type + " reads " + number(type.fewestInputs) + ", but \"inputs\" names " +
             std::to_string(count),
         "name what it reads");
  if (count > type.mostInputs)
    fail(layer.partPosition("inputs/" + std::to_string(type.mostInputs)), ofLayer(layer),
         layer.type + " reads " + number(type.mostInputs) + ", but \"inputs\" names " + std::to_string(count),
         type.mostInputs == 1 ? "keep one of them" : "keep " + std::to_string(type.mostInputs) + " of them");
  if (layer.type == kSequential)
    checkInner(layer);
  else if (!layer.layers.empty())
    fail(layer.position, ofLayer(layer), layer.type + " holds no layers", "use Sequential");
}

void ModelCheck::checkInner(const LayerSpec &sequential) {
  if (sequential.layers.empty())
    return fail(sequential.position, ofLayer(sequential), "a Sequential holds at least one layer", "add one");
  std::set<std::string, std::less<>> known, unread;
  const auto inputName = [](std::size_t i) { return i == 0 ? "input" : "input:" + std::to_string(i); };
  for (std::size_t i = 0; i < sequential.inputs.size(); ++i)
    known.insert(inputName(i));
  unread = known;
  for (const LayerSpec &layer : sequential.layers) {
    checkName(layer.name, layer);
    checkEntry(layer);
    for (std::size_t i = 0; i < layer.inputs.size(); ++i) {
      const std::string &name = layer.inputs[i];
      unread.erase(name);
      if (known.contains(name))
        continue;
      const std::vector<std::string_view> names(known.begin(), known.end());
      fail(layer.partPosition("inputs/" + std::to_string(i)), ofLayer(layer),
           "no earlier layer of " + sequential.name + " is named " + json::inQuotes(name),
           "did you mean " + json::inQuotes(json::nearestName(name, names)) + "? \"input\" is what " +
               sequential.name + " reads");
    }
    if (!known.insert(layer.name).second)
      fail(layer.partPosition("name"), ofLayer(layer),
           "the name " + json::inQuotes(layer.name) + " occurs twice in " + sequential.name,
           "give every layer of a Sequential a name of its own");
    unread.insert(layer.name);
  }
  unread.erase(sequential.layers.back().name);
  for (std::size_t i = 0; i < sequential.inputs.size(); ++i)
    if (unread.contains(inputName(i)))
      fail(sequential.partPosition("inputs/" + std::to_string(i)), ofLayer(sequential),
           "no layer of " + sequential.name + " reads " + json::inQuotes(inputName(i)),
           "name it in the \"inputs\" of a layer, or let " + sequential.name + " read less");
  for (const LayerSpec &layer : sequential.layers)
    if (unread.contains(layer.name))
      fail(layer.position, ofLayer(layer),
           "no layer of " + sequential.name + " reads " + json::inQuotes(layer.name),
           "name it in the \"inputs\" of a later layer, or remove it");
}

void ModelCheck::checkArguments(const LayerSpec &layer, const LayerType &type) {
  for (const ArgumentType &argument : type.arguments) {
    auto given = layer.arguments.find(std::string(argument.name));
    if (given == layer.arguments.end())
      return fail(layer.position, ofLayer(layer), layer.type + " has no " + json::inQuotes(argument.name),
                  "add it");
    const auto &[value, position] = given->second;
    if (!accepts(argument, value)) {
      error = error ? error : argumentError(placeOf(position, ofLayer(layer)), type, argument, shown(value));
      return;
    }
    if (!argument.defaultOnly.empty() && value != argument.defaultValue)
      return fail(position, ofLayer(layer),
                  json::inQuotes(argument.name) + " of " + layer.type + " is " + shown(value) + ", but " +
                      std::string(argument.defaultOnly),
                  std::string(argument.instead));
    if (argument.namesFeature)
      checkFeature(layer, argument, given->second);
  }
  for (const auto &[name, argument] : layer.arguments) {
    bool isKnown = std::any_of(type.arguments.begin(), type.arguments.end(),
                               [&](const ArgumentType &known) { return known.name == name; });
    if (!isKnown)
      fail(argument.position, ofLayer(layer), layer.type + " has no argument " + json::inQuotes(name),
           "remove it");
  }
}

void ModelCheck::checkFeature(const LayerSpec &layer, const ArgumentType &argument, const Argument &given) {
  const auto &name = std::get<std::string>(given.value);
  if (name.empty() && !argument.isRequired)
    return;
  const InputSpec *feature = inputNamed(name, "feature");
  if (feature && feature->dtype == "i32") {
    masks.insert(feature->name);
    return;
  }
  std::vector<std::string_view> known;
  for (const InputSpec &input : model.inputs)
    if (input.role == "feature" && input.dtype == "i32")
      known.push_back(input.name);
  fail(given.position, ofLayer(layer),
       json::inQuotes(argument.name) + " of " + layer.type +
           " names an input of role \"feature\" and dtype \"i32\", and " + json::inQuotes(name) + " is none",
       known.empty() ? "declare one: 1 for a token, 0 for padding"
                     : "did you mean " + json::inQuotes(json::nearestName(name, known)) + "?");
}

void ModelCheck::checkLayerInput(const LayerSpec &layer, std::size_t index) {
  const std::string &name = layer.inputs[index];
  const SourcePosition &position = layer.partPosition("inputs/" + std::to_string(index));
  if (inputNamed(name, "label"))
    fail(position, ofLayer(layer),
         "the input " + json::inQuotes(name) + " is a label, which the loss alone reads",
         "name a feature or an earlier layer");
  if (error || declared.contains(name))
    return;
  std::vector<std::string_view> known;
  for (const InputSpec &input : model.inputs)
    if (input.role == "feature")
      known.push_back(input.name);
  for (std::size_t i = 0; i < layersSoFar; ++i)
    known.push_back(model.layers[i].name);
  fail(position, ofLayer(layer), "no earlier layer and no input is named " + json::inQuotes(name),
       "did you mean " + json::inQuotes(json::nearestName(name, known)) + "?");
}

static void listTied(const std::vector<LayerSpec> &layers,
                     std::map<std::string, std::vector<const LayerSpec *>> &ties) {
  for (const LayerSpec &layer : layers) {
    if (!layer.tied.empty())
      ties[layer.tied].push_back(&layer);
    listTied(layer.layers, ties);
  }
}

void ModelCheck::checkTies() {
  std::map<std::string, std::vector<const LayerSpec *>> ties;
  listTied(model.layers, ties);
  for (auto &[key, layers] : ties) {
    for (const LayerSpec *layer : layers)
      if (!findLayerType(layer->type)->canTie)
        fail(layer->partPosition("tied"), ofLayer(*layer),
             layer->type + " has no weight that layers may share", "remove \"tied\"");
    if (layers.size() == 1)
      fail(layers[0]->partPosition("tied"), ofLayer(*layers[0]),
           "no other layer is tied by the key " + json::inQuotes(key),
           "give the key to every layer that shares the weight, or remove it");
  }
}

// ---- Loss -----------------------------------------------------------------------------------------------

Result<void> checkLossType(const std::string &name, const SourcePosition &position) {
  const LayerType *type = findLayerType(name);
  if (type && type->isLoss)
    return {};
  std::vector<std::string_view> losses = layerTypeNames(true);
  return userError(placeOf(position, "loss"),
                   type ? name + " is a layer, not a loss" : "unknown loss " + json::inQuotes(name),
                   "did you mean " + json::inQuotes(json::nearestName(name, losses)) + "? Known are " +
                       json::joined(losses));
}

void ModelCheck::checkLosses() {
  std::set<std::string_view> names;
  for (const LossSpec &loss : model.losses) {
    if (Result<void> known = checkLossType(loss.type, loss.partPosition("type")); !known) {
      error = error ? error : std::optional(known.takeError());
      return;
    }
    checkLoss(loss);
    if (model.hasLossTerms() && (loss.name == "loss" || loss.name == "lr"))
      fail(loss.partPosition("name"), "loss",
           json::inQuotes(loss.name) + " is what the log calls " +
               (loss.name == "lr" ? "the learning rate" : "the sum of the losses"),
           "choose another name");
    if (!names.insert(loss.name).second)
      fail(loss.partPosition("name"), "loss",
           "the name " + json::inQuotes(loss.name) + " occurs twice among the losses",
           "give every loss a \"name\" of its own: what is logged has it");
  }
}

void ModelCheck::checkLoss(const LossSpec &loss) {
  const LayerType &type = *findLayerType(loss.type);
  const std::string entry = model.losses.size() == 1 ? "loss" : "loss " + json::inQuotes(loss.name);
  checkName(loss.name, loss);
  checkArguments(loss, type);
  if (!(loss.weight >= 0 && loss.weight <= FLT_MAX))
    fail(loss.partPosition("loss_weight"), entry,
         "the weight of a loss must be a number from 0 on that fits a float",
         "the losses are added, each times its weight");
  if (loss.inputs.size() != 2)
    return fail(loss.position, entry,
                "a loss reads a layer and a label, but \"inputs\" names " +
                    std::to_string(loss.inputs.size()),
                "write \"inputs\": [\"LAYER\", \"LABEL\"]");
  const SourcePosition &layerPlace = loss.partPosition("inputs/0"),
                       &labelPlace = loss.partPosition("inputs/1");
  const auto named = [](const auto &list) {
    std::vector<std::string_view> names;
    for (const auto &entry : list)
      names.push_back(entry.name);
    return names;
  };
  const std::string &layer = loss.inputs[0], &label = loss.inputs[1];
  if (inputs.contains(layer) || !declared.contains(layer))
    return fail(layerPlace, entry,
                inputs.contains(layer)
                    ? json::inQuotes(layer) + " is an input, and a loss reads a layer first"
                    : "the loss reads the layer " + json::inQuotes(layer) + ", and there is none",
                "did you mean " + json::inQuotes(json::nearestName(layer, named(model.layers))) + "?");
  auto input = inputs.find(label);
  if (input == inputs.end())
    return fail(labelPlace, entry,
                label.empty() ? "the model has no input of the role \"label\", but the loss reads one"
                : declared.contains(label)
                    ? json::inQuotes(label) + " is a layer, and a loss reads a label (or a feature) second"
                    : "the loss reads the label " + json::inQuotes(label) + ", and there is none",
                label.empty()
                    ? "add one, or remove the loss from a model that is only evaluated"
                    : "did you mean " + json::inQuotes(json::nearestName(label, named(model.inputs))) + "?");
  if (input->second->dtype != type.labelType && countOf("label") > 1 && !loss.parts.contains("inputs/1"))
    return fail(loss.position, entry,
                "without \"inputs\" a loss reads the first label, " + json::inQuotes(label) +
                    ", which has the dtype " + input->second->dtype + ", but " + loss.type + " reads " +
                    std::string(type.labelType),
                "write \"inputs\": [\"LAYER\", \"LABEL\"]");
  if (input->second->dtype != type.labelType)
    return fail(input->second->position, "input " + json::inQuotes(label),
                "the " + input->second->role + " " + json::inQuotes(label) + " has the dtype " +
                    input->second->dtype + ", but " + loss.type + " reads " + std::string(type.labelType),
                "change the dtype of the " + input->second->role + " or the loss");
  const auto [known, isFirst] = labels.try_emplace(label, &loss);
  const auto ignored = [](const LossSpec &loss) { return loss.arguments.find("ignore_index"); };
  if (!isFirst && ignored(loss) != loss.arguments.end() &&
      ignored(loss)->second.value != ignored(*known->second)->second.value)
    fail(ignored(loss)->second.position, entry,
         "the losses " + json::inQuotes(known->second->name) + " and " + json::inQuotes(loss.name) +
             " read one label, but ignore different ones of its classes",
         "give them the same \"ignore_index\", or labels of their own");
}

void ModelCheck::checkMetrics() {
  if (model.accuracy && !model.hasLoss())
    return fail(model.partPosition("accuracy"), "metrics",
                "\"accuracy\" counts correct classes, but the model has no loss and no label",
                "remove it, or add \"loss\"");
  const LossSpec *classes = model.classes();
  if (model.accuracy && !classes)
    fail(model.partPosition("accuracy"), "metrics",
         "\"accuracy\" counts correct classes, but " + model.losses.front().type + " has no classes",
         "remove it or use CrossEntropyLoss");
  else if (model.accuracy && inputNamed(classes->inputs[1], "feature"))
    fail(model.partPosition("accuracy"), "metrics",
         "\"accuracy\" counts correct classes of a label, but " + json::inQuotes(classes->inputs[1]) +
             " is a feature",
         "remove it");
  else if (model.accuracy && std::get<std::int64_t>(classes->arguments.at("ignore_index").value) >= 0)
    fail(model.partPosition("accuracy"), "metrics",
         "\"accuracy\" would count the labels that the loss ignores (ignore_index) as well",
         "remove it, or ignore_index");
}

/// Types of the layers and of the layers in them, with their places.
static void listTypes(const std::vector<LayerSpec> &layers,
                      std::vector<std::pair<std::string, SourcePosition>> &types) {
  for (const LayerSpec &layer : layers) {
    types.emplace_back(layer.type, layer.partPosition("type"));
    listTypes(layer.layers, types);
  }
}

Result<void> ModelCheck::run() {
  checkName(model.name, model);
  for (const InputSpec &input : model.inputs)
    checkInput(input);
  checkRoles();
  if (model.layers.empty())
    fail(model.partPosition("layers"), "model", "the model has no layers", "add at least one");
  if (error)
    return *error;
  std::vector<std::pair<std::string, SourcePosition>> types;
  listTypes(model.layers, types);
  if (Result<void> known = checkLayerTypes(types); !known)
    return known;
  for (const LayerSpec &layer : model.layers) {
    checkLayer(layer);
    ++layersSoFar;
  }
  if (error)
    return *error;
  checkLosses();
  if (error)
    return *error;
  checkMetrics();
  checkInputsAreRead();
  checkTies();
  if (error)
    return *error;
  return {};
}

Result<void> check(const ModelSpec &model) {
  return ModelCheck(model).run();
}

} // namespace stagewright
