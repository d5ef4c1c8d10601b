// Targets: what a .stage file holds programs for. "host", or "cuda:sm_NN" with NN the compute capability of a
// GPU. The part in front of the colon is the family of devices.
#ifndef STAGEWRIGHT_CATALOGUE_TARGET_H
#define STAGEWRIGHT_CATALOGUE_TARGET_H

#include "error/Error.h"

#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace stagewright::catalogue {

/// What models are compiled for.
std::span<const std::string_view> targets();

/// "host" or "cuda"; empty: the target has neither's form.
std::string_view familyOf(std::string_view target);
inline bool isCuda(std::string_view target) {
  return familyOf(target) == "cuda";
}

/// One of targets(); "cuda" stands for "cuda:sm_90". An error has the given place.
Result<std::string> parseTarget(std::string_view text, const std::string &place);
/// Some of them, none twice.
Result<std::vector<std::string>> parseTargets(const std::vector<std::string> &texts,
                                              const std::string &place);

/// The families of these targets, in their order, each once: "host", "host,cuda".
std::string familiesOf(std::span<const std::string> targets);

} // namespace stagewright::catalogue

#endif
