#include "frontends/config/Replicas.h"

#include "frontends/json/NearestName.h"

namespace stagewright {

static constexpr std::string_view kZero = "/zero_optimization/stage";
static constexpr std::string_view kReduceAfter = "/stagewright/gradient_reduction";
static constexpr std::string_view kCompression = "/stagewright/gradient_compression/type";
static constexpr std::string_view kServers = "/stagewright/parameter_server/servers";
static constexpr std::string_view kStaleness = "/stagewright/parameter_server/staleness";
static constexpr std::string_view kCompressionRatio = "/stagewright/gradient_compression/ratio";
static constexpr std::string_view kGather = "/stagewright/gather_weights";
static constexpr std::string_view kOverlap = "/zero_optimization/overlap_comm";
static constexpr std::string_view kMics = "/zero_optimization/mics_shard_size";
static constexpr std::string_view kSecondary = "/zero_optimization/zero_hpz_partition_size";
static constexpr std::string_view kOffloadStates = "/zero_optimization/offload_optimizer";
static constexpr std::string_view kOffloadWeights = "/zero_optimization/offload_param";

/// `old`: DeepSpeed's flag of earlier versions for device "cpu"; `least`: the ZeRO stage that makes the
/// shards.
static Result<OffloadConfig> readOffload(Settings &settings, std::string_view block, std::string_view old,
                                         std::string_view ratio, int least, int zero) {
  const std::string device = std::string(block) + "/device", path = std::string(block) + "/nvme_path";
  OffloadConfig offload;
  const bool isOld = settings.given(old) && settings.flag(old);
  if (isOld && settings.given(device))
    return userError(settings.place(old),
                     std::string(old) + " is the old spelling of " + device + ", which is given too",
                     "remove it");
  offload.device = isOld ? "cpu" : json::lowerCase(settings.value(device).string);
  if (isOld)
    settings.record(device, "\"cpu\"", "inferred");
  if (offload.device == "none") {
    for (std::string_view key : {std::string_view(path), ratio})
      if (settings.given(key))
        (void)settings.value(key); // listed, though nothing asks for it
    return offload;
  }
  offload.ratio = settings.number(ratio);
  const std::string place = settings.place(isOld ? old : std::string_view(device));
  if (zero < least)
    return userError(place,
                     std::string(block) + " needs ZeRO stage " + std::to_string(least) +
                         (least < 3 ? " or more" : "") + ": what is offloaded are a replica's shards",
                     "set /zero_optimization/stage to " + std::to_string(least));
  if (offload.device != "nvme" && settings.given(path))
    (void)settings.value(path); // listed, though nothing asks for it
  if (offload.device == "nvme") {
    const json::Value *given = settings.given(path);
    if (!given || given->string.empty())
      return userError(place, "device \"nvme\" needs the folder in which the files lie",
                       "set " + path + ", for example to \"/local_nvme\"");
    offload.path = settings.value(path).string;
    if (offload.path.find('\0') != std::string::npos)
      return userError(settings.place(path), path + " holds a NUL, which no file name does",
                       "write it without");
  }
  return offload;
}

static Result<void> readCompression(Settings &settings, Config &config) {
  const std::string type = json::lowerCase(settings.value(kCompression).string);
  if (type == "none") {
    if (settings.given(kCompressionRatio) && !settings.given(kCompression))
      return userError(settings.place(kCompressionRatio), "there is a ratio, but no type of compression",
                       "set type to \"top_k\" beside it");
    if (settings.given(kCompressionRatio))
      (void)settings.value(kCompressionRatio); // listed, though nothing asks for it
    return {};
  }
  config.compression = type;
  if (type == "top_k") {
    config.compressionRatio = settings.number(kCompressionRatio);
    if (config.compressionRatio == 0)
      return userError(settings.place(kCompressionRatio), "top_k with ratio 0 sends nothing",
                       "set the part of the gradients that is sent, for example 0.01");
  } else if (settings.given(kCompressionRatio)) {
    return userError(settings.place(kCompressionRatio),
                     "one_bit sends one bit for each gradient: it has no ratio",
                     "remove ratio, or set type to top_k");
  }
  if (config.wire != "fp32")
    return userError(settings.place("/communication_data_type"),
                     "compressed gradients travel in a form of their own, not rounded to " + config.wire,
                     "remove communication_data_type, or gradient_compression");
  if (config.reduction != "step")
    return userError(
        settings.place(kCompression),
        "compression is of the sums of a step, whose rest the next step sends; gradients are added up "
        "after each micro_batch",
        "set /stagewright/gradient_reduction to \"step\"");
  return {};
}

/// DeepSpeed has two names for groups of replicas that have all weights between them.
static Result<void> readShardGroup(Settings &settings, Config &config) {
  const std::int64_t mics = settings.value(kMics).integer, secondary = settings.value(kSecondary).integer;
  const bool isMics = mics > 0;
  if (!isMics && secondary <= 1)
    return {};
  const std::string place = settings.place(isMics ? kMics : kSecondary);
  const std::int64_t size = isMics ? mics : secondary;
  if (isMics && secondary > 1)
    return userError(settings.place(kSecondary),
                     std::string(kSecondary) + " and " + std::string(kMics) + " both group the replicas",
                     "remove one of them");
  if (config.zero != 3)
    return userError(place,
                     std::string(isMics ? kMics : kSecondary) +
                         " groups replicas that divide weights, as ZeRO stage 3 does",
                     "set " + std::string(kZero) + " to 3, or remove it");
  if (config.dataParallel == 1)
    return {};
  if (config.dataParallel % size != 0)
    return userError(place,
                     std::to_string(config.dataParallel) + " replicas do not make groups of " +
                         std::to_string(size),
                     "use a number that divides data_parallel_size: as a rule, the replicas on one machine");
  if (config.weightsOffload.device != "none" && size < config.dataParallel)
    return userError(
        place,
        "offloaded weights are divided between all replicas, not in groups: their shards are updated where "
        "they lie",
        "remove " + std::string(isMics ? kMics : kSecondary) + ", or offload_param");
  config.shardGroup = size < config.dataParallel ? static_cast<int>(size) : 0;
  return {};
}

Result<void> readZero(Settings &settings, Config &config) {
  config.zero = static_cast<int>(settings.value(kZero).integer);
  config.gather = json::lowerCase(settings.value(kGather).string);
  config.reduction = json::lowerCase(settings.value(kReduceAfter).string);
  if (settings.given("/communication_data_type"))
    config.wire = json::lowerCase(settings.value("/communication_data_type").string);
  const json::Value *overlap = settings.given(kOverlap);
  config.overlap = !overlap || overlap->kind != json::Value::Kind::Boolean || overlap->boolean;
  settings.record(kOverlap, config.overlap ? "true" : "false", overlap ? "file" : "default");
  auto states = readOffload(settings, kOffloadStates, "/zero_optimization/cpu_offload",
                            "/zero_optimization/offload_optimizer/ratio", 1, config.zero);
  auto weights = readOffload(settings, kOffloadWeights, "/zero_optimization/cpu_offload_params",
                             "/stagewright/offload_param_ratio", 3, config.zero);
  if (!states || !weights)
    return states ? weights.takeError() : states.takeError();
  config.statesOffload = std::move(*states);
  config.weightsOffload = std::move(*weights);
  if (auto ok = readShardGroup(settings, config); !ok)
    return ok;
  return readCompression(settings, config);
}

Result<void> readServers(Settings &settings, Config &config) {
  config.servers = static_cast<int>(settings.value(kServers).integer);
  config.staleness = static_cast<int>(settings.value(kStaleness).integer);
  const auto refuse = [&](std::string_view key, std::string what, std::string advice) -> Result<void> {
    return userError(settings.place(key), std::move(what), std::move(advice));
  };
  if (config.servers == 0)
    return config.staleness == 0
               ? Result<void>()
               : refuse(kStaleness, "updates are late by servers alone, and there are none",
                        std::string("set ") + std::string(kServers) + ", or remove staleness");
  if (config.dataParallel == 1)
    return refuse(kServers, "parameter servers add up the gradients of several replicas; there is one",
                  "set data_parallel_size, or remove parameter_server");
  if (config.zero > 0)
    return refuse(kServers, "ZeRO divides between replicas what parameter servers have in their place",
                  "set /zero_optimization/stage to 0, or remove parameter_server");
  if (config.reduction != "step")
    return refuse(kServers, "parameter servers add up the gradients of a step, not of each micro_batch",
                  "set /stagewright/gradient_reduction to \"step\", or remove parameter_server");
  if (config.wire != "fp32" || !config.compression.empty())
    return refuse(
        kServers, "gradients travel to parameter servers in fp32, all of them",
        "remove " +
            std::string(config.compression.empty() ? "communication_data_type" : "gradient_compression") +
            ", or parameter_server");
  if (config.staleness > 0 && config.precision != "fp32")
    return refuse(
        kStaleness,
        "whether a step of " + config.precision +
            " is skipped is known when its update has been made, which the next step does not wait for",
        "set " + std::string(kStaleness) + " to 0, or train in fp32");
  return {};
}

} // namespace stagewright
