// The DeepSpeed-style configuration: one strict JSON file (HJSON comments and trailing commas allowed) plus
// the options of the command line. Every value knows where it comes from.
#ifndef STAGEWRIGHT_FRONTENDS_CONFIG_CONFIG_H
#define STAGEWRIGHT_FRONTENDS_CONFIG_CONFIG_H

#include "error/Error.h"

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace stagewright {

/// Options of `compile` that win over the file.
struct ConfigOverrides {
  std::optional<int> stages;            ///< --stages
  std::optional<int> dataParallel;      ///< --data-parallel
  std::optional<int> tensorParallel;    ///< --tensor-parallel
  std::optional<int> microBatches;      ///< --micro-batches (gradient_accumulation_steps)
  std::optional<std::string> schedule;  ///< --schedule
  std::optional<std::string> partition; ///< --partition
  std::vector<std::string> targets;     ///< --target; empty: not given
};

enum class OptimizerType { SGD, Adam, AdamW, Adagrad, Lamb, Lion };

/// Defaults are DeepSpeed's. `decoupledDecay`: AdamW's weight decay (DeepSpeed's adam_w_mode, true for "Adam"
/// as well).
struct OptimizerConfig {
  OptimizerType type = OptimizerType::Adam;
  double learningRate = 1e-3;
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  bool decoupledDecay = true, biasCorrection = true;
  double momentum = 0, dampening = 0; ///< SGD, as torch.optim.SGD
  bool nesterov = false;
  double weightDecay = 0;
  double rateDecay = 0;                              ///< Adagrad's lr_decay
  double maxCoefficient = 10, minCoefficient = 0.01; ///< limits of Lamb's trust ratio

  bool hasBetas() const { return type != OptimizerType::SGD && type != OptimizerType::Adagrad; }
};

/// A schedule of the learning rate, with every parameter of its type by DeepSpeed's name.
struct SchedulerConfig {
  using Value = std::variant<std::int64_t, double, std::string>; ///< counts and flags, rates, names

  std::string type; ///< as DeepSpeed spells it; empty: the rate is constant
  std::vector<std::pair<std::string, Value>> params;

  /// Null if the type has no such parameter.
  const Value *find(std::string_view name) const {
    for (const auto &[key, value] : params)
      if (key == name)
        return &value;
    return nullptr;
  }
};

/// The factor on the loss of fp16; see runtime/train/LossScale.h.
struct LossScaleConfig {
  double initial = 65536;
  bool dynamic = true;
  std::int64_t window = 1000;
  int hysteresis = 2;
  bool consecutiveHysteresis = false;
  double minimum = 1;
  bool endsAtMinimum = false;
};

/// What of a class leaves the device's memory.
struct OffloadConfig {
  std::string device = "none"; ///< or "cpu", "nvme"
  std::string path;            ///< of nvme
  double ratio = 1;
};

/// One effective value: JSON pointer, value as JSON text, "default" | "file" | "option" | "inferred".
struct Setting {
  std::string path, value, origin;
};

/// Parameters whose name `match` (a regular expression) finds, with a rate and a decay of their own.
struct ParameterGroup {
  std::string match, place; ///< place of `match` in the file
  double learningRate = 0, weightDecay = 0;
};

struct Config {
  int trainBatchSize = 0; ///< samples per step over all data-parallel ranks
  int microBatchSize = 0; ///< train_micro_batch_size_per_gpu
  int microBatches = 0;   ///< gradient_accumulation_steps
  int dataParallel = 1;
  int tensorParallel = 1;                  ///< /tensor_parallel/autotp_size, or --tensor-parallel
  int stages = 1;                          ///< /pipeline/stages, or --stages
  std::string schedule = "1f1b";           ///< /stagewright/schedule
  std::string partition = "parameters";    ///< /pipeline/partition or /stagewright/partition: "uniform",
                                           ///< "parameters", "explicit:2,3"
  std::string stagesPlace, partitionPlace; ///< where these were given: "file:line:column", or the option
  std::vector<std::string> recompute;      ///< one for all stages or one for each: see schedule/Recompute.h
  OptimizerConfig optimizer;
  SchedulerConfig scheduler;
  int zero = 0;                 ///< /zero_optimization/stage
  std::string gather = "block"; ///< /stagewright/gather_weights: how long ZeRO 3 keeps gathered weights
  int shardGroup = 0; ///< /zero_optimization/mics_shard_size or zero_hpz_partition_size: replicas that
                      ///< divide the weights of ZeRO 3; 0: all
  std::string reduction = "step";    ///< /stagewright/gradient_reduction, or "micro_batch"
  std::string wire = "fp32";         ///< /communication_data_type, or "fp16", "bf16"
  int servers = 0;                   ///< /stagewright/parameter_server/servers, of each stage; 0: none
  int staleness = 0;                 ///< /stagewright/parameter_server/staleness
  bool tf32 = false;                 ///< /stagewright/tf32
  bool roundsStochastically = false; ///< /stagewright/stochastic_rounding; not with fp32
  bool syncsBatchNorm = false;       ///< /stagewright/sync_batch_norm
  std::string compression;      ///< /stagewright/gradient_compression/type: "top_k", "one_bit"; empty: off
  double compressionRatio = 0;  ///< of top_k: the part of the gradients that is sent
  OffloadConfig statesOffload;  ///< /zero_optimization/offload_optimizer
  OffloadConfig weightsOffload; ///< /zero_optimization/offload_param
  bool overlap = true; ///< /zero_optimization/overlap_comm: exchange gradients during the backward pass
  std::string precision = "fp32";              ///< or "fp16", "bf16"
  std::optional<LossScaleConfig> lossScale;    ///< of fp16
  std::vector<ParameterGroup> parameterGroups; ///< the first that matches wins
  double gradientClipping = 1.0;               ///< 0 = off
  int stepsPerPrint = 10;                      ///< 0 = never
  std::uint64_t seed = 1234;
  bool shuffle = true;                         ///< /stagewright/shuffle
  std::vector<std::string> targets = {"host"}; ///< /stagewright/target: see kernels/catalogue/Target.h
  std::vector<Setting> settings;               ///< the effective configuration, sorted by path
};

/// Reads and checks a configuration. Errors (all ErrorKind::User, with file:line:column): syntax, duplicate
/// key, unknown key (with the nearest known one), a key of DeepSpeed's that is refused (with the reason and
/// what to use), a value of the wrong type or range, a batch triangle that does not hold (all four numbers
/// printed).
Result<Config> readConfig(const std::string &path, const ConfigOverrides &overrides);

/// The same for the text of a configuration; `name` stands for the path in places.
Result<Config> parseConfig(const std::string &name, const std::string &text,
                           const ConfigOverrides &overrides);

} // namespace stagewright

#endif
