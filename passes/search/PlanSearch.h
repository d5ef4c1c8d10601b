// Chooses the plan: where to cut the list of blocks. Plain C++ over a table, no IR.
#ifndef STAGEWRIGHT_PASSES_SEARCH_PLANSEARCH_H
#define STAGEWRIGHT_PASSES_SEARCH_PLANSEARCH_H

#include "error/Error.h"

#include <cstdint>
#include <string>
#include <vector>

namespace stagewright {

/// A block as the search sees it; flops are of one micro-batch.
struct BlockRow {
  std::string name;
  std::int64_t parameters = 0;
  double forwardFlops = 0;
  double gradientFlops = 0;
};

struct SearchRequest {
  int stages = 1;
  int microBatches = 1;
  std::string schedule;  ///< a schedule kind
  std::string partition; ///< "uniform", "parameters", "explicit:2,3"
  std::string stagesPlace = "stages", partitionPlace = "partition"; ///< where they were given, for errors
};

/// Stage s holds blocks [boundaries[s], boundaries[s + 1]).
struct PlanChoice {
  std::vector<std::int64_t> boundaries;
  std::string explanation; ///< the chosen plan and its runners-up, one line each
};

/// Errors: more stages than blocks, unknown method or schedule, explicit cuts that are not ascending inside
/// the list.
Result<PlanChoice> searchPlan(const std::vector<BlockRow> &blocks, const SearchRequest &request);

/// Equal counts, the first `count % parts` parts one longer (DeepSpeed's partition_uniform). [parts + 1]
/// boundaries.
std::vector<std::int64_t> partitionUniform(std::int64_t count, int parts);

/// DeepSpeed's partition_balanced: a dynamic program whose cost is (largest part - smallest part), ties to
/// the later cut; with no more weights than parts, partitionUniform.
std::vector<std::int64_t> partitionBalanced(const std::vector<double> &weights, int parts);

} // namespace stagewright

#endif
