// What the file says about the model and the training recipe.
#include "runtime/executable/Proof.h"
#include "runtime/executable/ServerRanks.h"
#include "runtime/executable/TensorSplit.h"
#include "runtime/train/LearningRate.h"
#include "schema/Version.h"

#include <algorithm>
#include <cmath>
#include <set>

namespace stagewright::runtime {

static Result<void> verifyCompression(const Proof &proof) {
  const executable::ResultContract &contract = *proof.file.contract();
  const executable::Compression compression = contract.gradient_compression();
  const bool isOn = compression != executable::Compression::None;
  if (compression > executable::Compression::MAX ||
      isOn != bool(proof.file.required_features() & executable::kFeatureCompression)) {
    return proof.fail(
        "contract.gradient_compression",
        "gradients are compressed by top-k, to one bit or not at all, which the required features tell");
  }
  if (isOn && (contract.data_parallel() == 1 || contract.gradient_wire() != executable::DType::F32 ||
               contract.gradient_reduction()->str() != "step")) {
    return proof.fail("contract.gradient_compression",
                      "what is compressed are f32 sums of a step, of several replicas");
  }
  const double ratio = contract.compression_ratio();
  if (compression == executable::Compression::TopK ? !(ratio > 0 && ratio <= 1) : ratio != 0) {
    return proof.fail("contract.compression_ratio", "top-k, and nothing else, has a ratio, in (0, 1]");
  }
  return {};
}

static Result<void> verifyPrecision(const Proof &proof) {
  const executable::Recipe &recipe = *proof.file.recipe();
  const std::string precision = recipe.precision() ? recipe.precision()->str() : "fp32";
  if (precision != "fp32" && precision != "fp16" && precision != "bf16") {
    return proof.fail("recipe.precision", "unknown precision \"" + precision + "\"");
  }
  const executable::LossScale *scale = recipe.loss_scale();
  if ((precision == "fp16") != (scale != nullptr)) {
    return proof.fail("recipe.loss_scale", "fp16, and nothing else, has a loss scale");
  }
  const auto positive = [](double value) { return std::isfinite(value) && value > 0; };
  if (scale && (!positive(scale->initial()) || !positive(scale->minimum()) || scale->window() < 1 ||
                scale->hysteresis() < 1)) {
    return proof.fail("recipe.loss_scale", "scales, window and hysteresis must be above zero");
  }
  return {};
}

static Result<void> verifyOffload(const Proof &proof) {
  const executable::Recipe &recipe = *proof.file.recipe();
  if (proof.offloads() != bool(proof.file.required_features() & executable::kFeatureOffload)) {
    return proof.fail("required_features", "they do not say whether anything is offloaded");
  }
  const auto check = [&](const executable::Offload *offload, const char *field, int least) -> Result<void> {
    const bool isFile = offload && offload->tier() == executable::MemoryTier::File;
    const bool isGood =
        !offload || (recipe.zero() >= least && offload->ratio() > 0 && offload->ratio() <= 1 &&
                     (offload->tier() == executable::MemoryTier::Host || isFile) &&
                     (!isFile || (offload->path() && offload->path()->size() > 0)));
    return isGood
               ? Result<void>()
               : proof.fail(field,
                            "shards go to host memory or to a file in a folder, a part of them in (0, 1]; of "
                            "states from ZeRO 1 on, of weights with ZeRO 3");
  };
  auto states = check(recipe.states_offload(), "recipe.states_offload", 1);
  return states ? check(recipe.weights_offload(), "recipe.weights_offload", 3) : std::move(states);
}

static Result<void> verifyServerCounts(const Proof &proof) {
  const executable::Recipe &recipe = *proof.file.recipe();
  const int servers = recipe.servers(), staleness = proof.file.contract()->staleness();
  if (servers < 0 || servers > kMaxReplicas || staleness < 0 || staleness > kMaxStaleness) {
    return proof.fail("recipe.servers", "there are 0 to " + std::to_string(kMaxReplicas) +
                                            " servers, and weights are behind by 0 to " +
                                            std::to_string(kMaxStaleness) + " updates");
  }
  if ((servers > 0) != bool(proof.file.required_features() & executable::kFeatureServers)) {
    return proof.fail("required_features", "the mark of parameter servers does not fit recipe.servers");
  }
  if (servers == 0) {
    return staleness == 0 ? Result<void>()
                          : proof.fail("contract.staleness", "without servers no update is late");
  }
  if (recipe.data_parallel() == 1 || recipe.zero() > 0 || proof.offloads() || proof.reducesMicroBatches() ||
      !proof.wire().isExact()) {
    return proof.fail("recipe.servers",
                      "parameter servers are of several replicas, without ZeRO and offload, and get "
                      "the f32 sums of a step");
  }
  const bool is16Bit = recipe.precision() && recipe.precision()->str() != "fp32";
  return staleness > 0 && is16Bit
             ? proof.fail("contract.staleness",
                          "steps of 16 bits are skipped by the norm, which must not be late")
             : Result<void>();
}

static Result<void> verifyRecipe(const Proof &proof) {
  const executable::Recipe &recipe = *proof.file.recipe();
  auto fail = [&](const char *field, std::string what) {
    return proof.fail(std::string("recipe.") + field, what);
  };
  if (recipe.micro_batch_size() < 1 || recipe.micro_batches() < 1 || recipe.data_parallel() < 1) {
    return fail("micro_batch_size", "batch sizes and counts must be positive");
  }
  if (recipe.data_parallel() > kMaxReplicas) {
    return fail("data_parallel", std::to_string(recipe.data_parallel()) + " replicas are more than " +
                                     std::to_string(kMaxReplicas));
  }
  if ((recipe.data_parallel() > 1) != bool(proof.file.required_features() & executable::kFeatureReplicas)) {
    return proof.fail("required_features", "the mark of replicas does not fit recipe.data_parallel");
  }
  if (recipe.tensor_parallel() < 1 || recipe.tensor_parallel() > kMaxTensorRanks) {
    return fail("tensor_parallel", "there are 1 to " + std::to_string(kMaxTensorRanks) + " tensor ranks");
  }
  if ((recipe.tensor_parallel() > 1) != bool(proof.file.required_features() & executable::kFeatureTensor)) {
    return proof.fail("required_features", "the mark of tensor ranks does not fit recipe.tensor_parallel");
  }
  if (recipe.zero() < 0 || recipe.zero() > 3) {
    return fail("zero", "there are the ZeRO stages 0 to 3");
  }
  if (auto ok = verifyOffload(proof); !ok) {
    return ok;
  }
  const int group = recipe.shard_group();
  if (group < 0 || (group > 0 && (recipe.zero() != 3 || recipe.weights_offload() ||
                                  group >= recipe.data_parallel() || recipe.data_parallel() % group))) {
    return fail(
        "shard_group",
        "groups of replicas divide weights that are not offloaded with ZeRO 3, some groups of one size");
  }
  if ((group > 0) != bool(proof.file.required_features() & executable::kFeatureShardGroups)) {
    return proof.fail("required_features", "the mark of groups does not fit recipe.shard_group");
  }
  if (auto ok = verifyServerCounts(proof); !ok) {
    return ok;
  }
  if (proof.shards() != bool(proof.file.required_features() & executable::kFeatureShards)) {
    return proof.fail("required_features", "the mark of ZeRO does not fit recipe.zero");
  }
  std::int64_t samples = std::int64_t{recipe.micro_batch_size()} * recipe.micro_batches(); // 62 bits
  if (__builtin_mul_overflow(samples, std::int64_t{recipe.data_parallel()}, &samples) ||
      samples != recipe.train_batch_size()) {
    return fail("train_batch_size", std::to_string(recipe.train_batch_size()) + " is not " +
                                        std::to_string(recipe.micro_batch_size()) + " samples x " +
                                        std::to_string(recipe.micro_batches()) + " micro-batches x " +
                                        std::to_string(recipe.data_parallel()) + " replicas");
  }
  const std::string optimizer = recipe.optimizer()->str();
  if (!optimizerStates(optimizer)) {
    return fail("optimizer", "unknown optimizer \"" + optimizer + "\"");
  }
  if (!std::isfinite(recipe.learning_rate()) || recipe.learning_rate() < 0) {
    return fail("learning_rate", "the learning rate must be a finite number of at least 0");
  }
  const unsigned groups = recipe.parameter_groups() ? recipe.parameter_groups()->size() : 0;
  for (unsigned i = 0; i < groups; ++i) {
    const double rate = recipe.parameter_groups()->Get(i)->learning_rate();
    if (!std::isfinite(rate) || rate < 0 ||
        (recipe.scheduler() && recipe.learning_rate() == 0 && rate != 0)) {
      return fail("parameter_groups", "group " + std::to_string(i) + " has an impossible learning rate");
    }
  }
  if (auto rate = LearningRate::create(recipe); !rate) {
    return fail("scheduler", rate.error().what);
  }
  if (!std::isfinite(recipe.gradient_clipping()) || recipe.gradient_clipping() < 0) {
    return fail("gradient_clipping", "the limit must be a finite number of at least 0");
  }
  if (hasBetas(optimizer) &&
      !(recipe.beta1() >= 0 && recipe.beta1() < 1 && recipe.beta2() >= 0 && recipe.beta2() < 1)) {
    return fail("beta1", "beta1 and beta2 must lie in [0, 1)");
  }
  if (auto ok = verifyPrecision(proof); !ok) {
    return ok;
  }
  if (recipe.steps_per_print() < 0) {
    return fail("steps_per_print", "must be at least 0");
  }
  const executable::ResultContract &contract = *proof.file.contract();
  if (contract.global_batch() != recipe.train_batch_size() ||
      contract.micro_batches() != recipe.micro_batches() ||
      contract.data_parallel() != recipe.data_parallel() ||
      contract.tensor_parallel() != recipe.tensor_parallel()) {
    return proof.fail("contract", "the result contract and the recipe disagree");
  }
  const executable::DType wire = contract.gradient_wire();
  if ((wire != executable::DType::F32) != bool(proof.file.required_features() & executable::kFeatureWire) ||
      wire > executable::DType::BF16 || (wire != executable::DType::F32 && recipe.data_parallel() == 1)) {
    return proof.fail("contract.gradient_wire", "gradients of replicas travel in f32, f16 or bf16, which the "
                                                "required features tell");
  }
  if (const auto reduction = contract.gradient_reduction()->str();
      reduction != "step" && reduction != "micro_batch") {
    return proof.fail("contract.gradient_reduction", "\"" + reduction + "\" is neither step nor micro_batch");
  }
  if (contract.tf32() != bool(proof.file.required_features() & executable::kFeatureTf32)) {
    return proof.fail("contract.tf32", "the required features tell otherwise");
  }
  if (contract.stochastic_rounding() !=
      bool(proof.file.required_features() & executable::kFeatureStochasticRounding)) {
    return proof.fail("contract.stochastic_rounding", "the required features tell otherwise");
  }
  return verifyCompression(proof);
}

static Result<void> verifyInputs(const Proof &proof) {
  std::set<std::string> names;
  for (unsigned i = 0; i < proof.file.inputs()->size(); ++i) {
    const executable::ModelInput &input = *proof.file.inputs()->Get(i);
    const std::string at = indexed("inputs", i);
    const std::string role = input.role()->str();
    if (!names.insert(input.name()->str()).second) {
      return proof.fail(at + ".name", "two inputs have the name \"" + input.name()->str() + "\"");
    }
    if (role != "feature" && role != "label") {
      return proof.fail(at + ".role", "unknown role \"" + role + "\"");
    }
    if (input.dtype() != executable::DType::F32 && input.dtype() != executable::DType::I32) {
      return proof.fail(at + ".dtype", "inputs are f32 or i32");
    }
    if (!bytesOf(input.dtype(), input.sample_shape())) {
      return proof.fail(at + ".sample_shape", "impossible shape " + shapeText(input.sample_shape()));
    }
    if (!std::isfinite(input.scale()) || !std::isfinite(input.mean()) || !std::isfinite(input.deviation()) ||
        input.deviation() == 0) {
      return proof.fail(at + ".deviation", "scale, mean and deviation must be finite, and deviation not 0");
    }
  }
  return {};
}

static Result<void> verifyLoss(const Proof &proof) {
  std::set<std::string> names;
  const auto *terms = proof.file.loss_terms();
  for (unsigned i = 0; terms && i < terms->size(); ++i) {
    const std::string name = terms->Get(i)->str();
    const auto isControl = [](unsigned char c) { return c < 0x20 || c == 0x7F; };
    if (name.empty() || std::any_of(name.begin(), name.end(), isControl)) {
      return proof.fail(indexed("loss_terms", i), "the name is empty or holds control characters");
    }
    if (!names.insert(name).second) {
      return proof.fail(indexed("loss_terms", i), "two terms have the name \"" + terms->Get(i)->str() + "\"");
    }
  }
  if (proof.file.accuracy() && accuracyLabel(proof.file) < 0) {
    return proof.fail("accuracy_label", "there is no label " + std::to_string(proof.file.accuracy_label()));
  }
  return {};
}

static Result<void> verifyBlocks(const Proof &proof) {
  const auto &blocks = *proof.file.blocks();
  const auto &boundaries = *proof.file.boundaries();
  const int stages = proof.stages();
  if (stages < 1 || boundaries.size() != static_cast<std::uint64_t>(stages) + 1) {
    return proof.fail("boundaries", std::to_string(boundaries.size()) + " boundaries do not fit " +
                                        std::to_string(stages) + " stages");
  }
  if (boundaries.Get(0) != 0 || boundaries.Get(stages) != static_cast<std::int64_t>(blocks.size())) {
    return proof.fail("boundaries", "the boundaries do not run from 0 to the number of blocks");
  }
  for (int stage = 0; stage < stages; ++stage) {
    if (boundaries.Get(stage) >= boundaries.Get(stage + 1)) {
      return proof.fail(indexed("boundaries", stage + 1), "boundaries must ascend");
    }
  }
  int stage = 0; // ascending boundaries between 0 and the number of blocks: each block has one stage
  for (unsigned i = 0; i < blocks.size(); ++i) {
    stage += static_cast<std::int64_t>(i) >= boundaries.Get(stage + 1);
    const executable::Block &block = *blocks.Get(i);
    if (block.stage() != stage) {
      return proof.fail(indexed("blocks", i) + ".stage", "block \"" + block.name()->str() + "\" says stage " +
                                                             std::to_string(block.stage()) +
                                                             ", the boundaries say " + std::to_string(stage));
    }
    if (!elementsOf(block.output_shape())) {
      return proof.fail(indexed("blocks", i) + ".output_shape",
                        "impossible shape " + shapeText(block.output_shape()));
    }
    if (!(block.forward_flops() >= 0) || !(block.backward_flops() >= 0)) {
      return proof.fail(indexed("blocks", i) + ".forward_flops", "operation counts must be at least 0");
    }
  }
  return {};
}

/// Sections of a dimension, each of which the tensor ranks divide without a rest.
static Result<void> verifySplit(const Proof &proof, const executable::Parameter &parameter,
                                const std::string &at) {
  const executable::Split *split = parameter.split();
  if (!split) {
    return {};
  }
  const auto ranks = static_cast<std::uint64_t>(proof.tensorRanks());
  std::uint64_t size = 0;
  bool good = ranks > 1 && split->dim() >= 0 &&
              static_cast<unsigned>(split->dim()) < parameter.shape()->size() &&
              *bytesOf(parameter.dtype(), parameter.shape()) <= kMaxTensorBytes / ranks;
  for (unsigned i = 0; good && i < split->sections()->size(); ++i) {
    const std::int64_t section = split->sections()->Get(i);
    good = section > 0 && section <= catalogue::kMaxElements &&
           static_cast<std::uint64_t>(section) % ranks == 0 && i < catalogue::kMaxListEntries;
    size += static_cast<std::uint64_t>(section);
  }
  good = good && size == ranks * static_cast<std::uint64_t>(
                                     parameter.shape()->Get(static_cast<unsigned>(split->dim())));
  return good ? Result<void>()
              : proof.fail(at + ".split", "the parts of \"" + parameter.name()->str() +
                                              "\" are not those of " + std::to_string(ranks) +
                                              " tensor ranks");
}

static Result<void> verifyParameters(const Proof &proof) {
  const auto &blocks = *proof.file.blocks();
  std::set<std::string> names;
  for (unsigned i = 0; i < proof.file.parameters()->size(); ++i) {
    const executable::Parameter &parameter = *proof.file.parameters()->Get(i);
    const std::string at = indexed("parameters", i);
    if (!names.insert(parameter.name()->str()).second) {
      return proof.fail(at + ".name", "two parameters have the name \"" + parameter.name()->str() + "\"");
    }
    if (parameter.dtype() != executable::DType::F32) {
      return proof.fail(at + ".dtype", "master weights are f32");
    }
    if (!bytesOf(parameter.dtype(), parameter.shape())) {
      return proof.fail(at + ".shape", "impossible shape " + shapeText(parameter.shape()));
    }
    if (auto ok = verifySplit(proof, parameter, at); !ok) {
      return ok;
    }
    const executable::Initializer &initializer = *parameter.initializer();
    const std::string kind = initializer.kind()->str();
    if (kind != "uniform" && kind != "constant" && kind != "normal") {
      return proof.fail(at + ".initializer.kind", "unknown initializer \"" + kind + "\"");
    }
    if (!std::isfinite(initializer.bound()) || !std::isfinite(initializer.value())) {
      return proof.fail(at + ".initializer", "bound and value must be finite");
    }
    if (initializer.zero_row() != -1 && (initializer.zero_row() < 0 || parameter.shape()->size() != 2 ||
                                         initializer.zero_row() >= wholeShape(parameter)[0])) {
      return proof.fail(at + ".initializer.zero_row",
                        "there is no row " + std::to_string(initializer.zero_row()));
    }
    const auto *groups = proof.file.recipe()->parameter_groups();
    if (parameter.group() < -1 || parameter.group() >= (groups ? static_cast<int>(groups->size()) : 0)) {
      return proof.fail(at + ".group", "there is no parameter group " + std::to_string(parameter.group()));
    }
    if (parameter.block() < 0 || static_cast<unsigned>(parameter.block()) >= blocks.size() ||
        blocks.Get(parameter.block())->stage() != parameter.stage()) {
      return proof.fail(at + ".block",
                        "parameter \"" + parameter.name()->str() + "\" names no block of its stage");
    }
    int before = parameter.stage();
    for (unsigned j = 0; parameter.holders() && j < parameter.holders()->size(); ++j) {
      const int holder = parameter.holders()->Get(j);
      if (holder <= before || holder >= proof.stages() || !parameter.trainable()) {
        return proof.fail(indexed(at + ".holders", j),
                          "parameter \"" + parameter.name()->str() +
                              "\" is not trained, or its holders are no ascending list of later stages");
      }
      before = holder;
    }
  }
  return {};
}

static Result<void> verifyBuffers(const Proof &proof) {
  const auto *buffers = proof.file.buffers();
  std::set<std::string> names;
  for (const executable::Parameter *parameter : *proof.file.parameters()) {
    names.insert(parameter->name()->str());
  }
  for (unsigned i = 0; buffers && i < buffers->size(); ++i) {
    const executable::Buffer &buffer = *buffers->Get(i);
    const std::string at = indexed("buffers", i);
    const std::string name = buffer.name()->str();
    if (!names.insert(name).second) {
      return proof.fail(at + ".name", "a buffer or a parameter has the name \"" + name + "\" already");
    }
    if (buffer.dtype() != executable::DType::F32 && buffer.dtype() != executable::DType::I64) {
      return proof.fail(at + ".dtype", "buffers are f32 or i64");
    }
    if (!bytesOf(buffer.dtype(), buffer.shape())) {
      return proof.fail(at + ".shape", "impossible shape " + shapeText(buffer.shape()));
    }
    // As an i64, too, it is a value that fp64 holds.
    if (buffer.initializer()->kind()->str() != "constant" ||
        !(std::abs(buffer.initializer()->value()) <= 0x1p53)) {
      return proof.fail(at + ".initializer", "buffers begin with a finite constant");
    }
    if (buffer.block() < 0 || static_cast<unsigned>(buffer.block()) >= proof.file.blocks()->size() ||
        proof.file.blocks()->Get(buffer.block())->stage() != buffer.stage()) {
      return proof.fail(at + ".block", "buffer \"" + name + "\" names no block of its stage");
    }
  }
  return {};
}

static Result<void> verifyFolder(const Proof &proof) {
  const executable::Folder *folder = proof.file.folder();
  const auto &parameters = *proof.file.parameters();
  const auto isParameter = [&](int index) {
    return index >= 0 && static_cast<unsigned>(index) < parameters.size();
  };
  for (unsigned i = 0; folder && folder->transposed() && i < folder->transposed()->size(); ++i) {
    const int index = folder->transposed()->Get(i);
    if (!isParameter(index) || parameters.Get(index)->shape()->size() != 2) {
      return proof.fail(indexed("folder.transposed", i),
                        std::to_string(index) + " is no parameter of two dimensions");
    }
  }
  for (unsigned i = 0; folder && folder->copies() && i < folder->copies()->size(); ++i) {
    if (const int index = folder->copies()->Get(i)->parameter(); !isParameter(index)) {
      return proof.fail(indexed("folder.copies", i), "there is no parameter " + std::to_string(index));
    }
  }
  return {};
}

Result<void> verifyModel(const Proof &proof) {
  for (auto check : {verifyRecipe, verifyInputs, verifyLoss, verifyBlocks, verifyParameters, verifyBuffers,
                     verifyFolder}) {
    if (auto ok = check(proof); !ok) {
      return ok;
    }
  }
  return {};
}

} // namespace stagewright::runtime
