#include "frontends/config/Targets.h"

#include "catalogue/Target.h"

#include <algorithm>

namespace stagewright {

static constexpr std::string_view kTarget = "/stagewright/target";

/// "host,cuda:sm_90" -> {"host", "cuda:sm_90"}; spaces around a name do not count.
static std::vector<std::string> namesIn(const std::string &text) {
  std::vector<std::string> names;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(',', begin), text.size());
    std::string name = text.substr(begin, end - begin);
    name.erase(0, name.find_first_not_of(' '));
    name.erase(name.find_last_not_of(' ') + 1);
    names.push_back(std::move(name));
    begin = end + 1;
  }
  return names;
}

/// What runs on the host alone.
static Result<void> checkCuda(const Settings &settings, const Config &config) {
  const auto refuse = [&](std::string_view key, std::string what, std::string advice) -> Result<void> {
    return userError(settings.place(key), std::move(what), std::move(advice));
  };
  if (config.servers > 0)
    return refuse("/stagewright/parameter_server/servers",
                  "parameter servers are not for CUDA: they update in host memory",
                  "train on the host with --target host, or remove parameter_server and divide states with "
                  "/zero_optimization/stage");
  if (config.dataParallel > 1 && !config.compression.empty())
    return refuse("/stagewright/gradient_compression/type", "compressed gradients are not on CUDA yet",
                  "remove gradient_compression, or train on the host with --target host");
  if (config.dataParallel > 1 && config.wire != "fp32")
    return refuse("/communication_data_type",
                  "on CUDA the gradients of replicas travel in fp32, not yet in " + config.wire,
                  "remove communication_data_type, or train on the host with --target host");
  for (const auto &[block, offload] :
       {std::pair(std::string("/zero_optimization/offload_optimizer"), config.statesOffload),
        std::pair(std::string("/zero_optimization/offload_param"), config.weightsOffload)})
    if (offload.device == "nvme" && offload.ratio > 0)
      return refuse(block + "/device", "offload to files is not on CUDA yet",
                    "set device to \"cpu\", or train on the host with --target host");
  return {};
}

Result<void> readTargets(Settings &settings, const ConfigOverrides &overrides, Config &config) {
  const bool isOption = !overrides.targets.empty();
  Result<std::vector<std::string>> targets =
      catalogue::parseTargets(isOption ? overrides.targets : namesIn(settings.value(kTarget).string),
                              isOption ? "--target" : settings.place(kTarget));
  if (!targets)
    return targets.takeError();
  config.targets = *std::move(targets);
  std::string text;
  for (const std::string &target : config.targets)
    text += (text.empty() ? "" : ",") + target;
  settings.record(kTarget, json::jsonText(text),
                  isOption                  ? "option"
                  : settings.given(kTarget) ? "file"
                                            : "default");
  return std::ranges::any_of(config.targets, catalogue::isCuda) ? checkCuda(settings, config)
                                                                : Result<void>();
}

} // namespace stagewright
