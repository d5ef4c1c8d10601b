#ifndef STAGEWRIGHT_FRONTENDS_CONFIG_PARTITION_H
#define STAGEWRIGHT_FRONTENDS_CONFIG_PARTITION_H

#include "error/Error.h"

#include <string>
#include <string_view>
#include <vector>

namespace stagewright {

/// How the blocks are cut into stages.
struct Partition {
  std::string text;      ///< "uniform", "parameters" or "explicit:2,3"
  std::vector<int> cuts; ///< of "explicit": the first block of each stage but the first, ascending, > 0
};

/// Reads a partition; names in any case, "best" is DeepSpeed's name of the default, "parameters". Errors at
/// `place`: a method that this version does not have (with the reason), an unknown one (with the nearest
/// name), cut points that are not positive and ascending.
Result<Partition> parsePartition(std::string_view text, const std::string &place);

/// An ECMA-262 pattern of the texts that `parsePartition` reads, but for the order of the cut points.
std::string partitionPattern();
/// A pattern of exactly these names in any case.
std::string namePattern(const std::vector<std::string_view> &names);

} // namespace stagewright

#endif
