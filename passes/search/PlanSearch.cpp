#include "passes/search/PlanSearch.h"

#include "schedule/Schedule.h"

#include <algorithm>
#include <cstdio>
#include <limits>

namespace stagewright {

std::vector<std::int64_t> partitionUniform(std::int64_t count, int parts) {
  std::vector<std::int64_t> boundaries(static_cast<std::size_t>(parts) + 1);
  for (int part = 0; part <= parts; ++part) {
    // With too few items each of the first parts gets one and the others none.
    boundaries[part] = count <= parts ? std::min<std::int64_t>(part, count)
                                      : part * (count / parts) + std::min<std::int64_t>(part, count % parts);
  }
  return boundaries;
}

std::vector<std::int64_t> partitionBalanced(const std::vector<double> &weights, int parts) {
  const int count = static_cast<int>(weights.size());
  if (count <= parts) {
    return partitionUniform(count, parts);
  }
  std::vector<double> prefix(count + 1, 0);
  for (int i = 0; i < count; ++i) {
    prefix[i + 1] = prefix[i] + weights[i];
  }
  struct State {
    double largest = 0, smallest = 0, spread = std::numeric_limits<double>::infinity();
    int cut = 0;
  };
  // best[j][i]: the first i blocks in j parts. Each state keeps one pair (largest, smallest), as the original
  // does.
  std::vector<std::vector<State>> best(parts + 1, std::vector<State>(count + 1));
  for (int i = 1; i <= count; ++i) {
    best[1][i] = {prefix[i], prefix[i], 0, 0};
  }
  for (int j = 2; j <= parts; ++j) {
    for (int i = j; i <= count; ++i) {
      for (int cut = j - 1; cut < i; ++cut) {
        const State &before = best[j - 1][cut];
        double last = prefix[i] - prefix[cut];
        double largest = std::max(before.largest, last), smallest = std::min(before.smallest, last);
        if (largest - smallest <= best[j][i].spread) {
          best[j][i] = {largest, smallest, largest - smallest, cut};
        }
      }
    }
  }
  std::vector<std::int64_t> boundaries(static_cast<std::size_t>(parts) + 1, count);
  for (int j = parts, i = count; j > 0; --j) {
    i = best[j][i].cut;
    boundaries[j - 1] = i;
  }
  return boundaries;
}

namespace {

/// "explicit:2,3" for 3 stages of 4 blocks -> 0,2,3,4.
Result<std::vector<std::int64_t>> explicitCuts(const std::string &method, std::int64_t count,
                                               const SearchRequest &request) {
  const int stages = request.stages;
  std::vector<std::int64_t> boundaries = {0};
  std::string list = method.substr(method.find(':') + 1);
  for (std::size_t at = 0; at < list.size();) {
    std::size_t comma = std::min(list.find(',', at), list.size());
    std::string piece = list.substr(at, comma - at);
    if (piece.empty() || piece.size() > 9 || piece.find_first_not_of("0123456789") != std::string::npos) {
      return userError(request.partitionPlace, method + ": '" + piece + "' is no block index",
                       "write the first block of each later stage, e.g. explicit:2,3");
    }
    boundaries.push_back(std::stoll(piece));
    at = comma + 1;
  }
  boundaries.push_back(count);
  if (static_cast<int>(boundaries.size()) != stages + 1 ||
      std::adjacent_find(boundaries.begin(), boundaries.end(), std::greater_equal<>()) != boundaries.end()) {
    return userError(request.partitionPlace,
                     method + ": the cuts must be " + std::to_string(stages - 1) +
                         " ascending block indexes between 1 and " + std::to_string(count - 1),
                     "the model has " + std::to_string(count) + " blocks and " + std::to_string(stages) +
                         " stages");
  }
  return boundaries;
}

Result<std::vector<std::int64_t>> cutBy(const std::string &method, const std::vector<BlockRow> &blocks,
                                        const SearchRequest &request) {
  if (method == "uniform") {
    return partitionUniform(static_cast<std::int64_t>(blocks.size()), request.stages);
  }
  if (method == "parameters") {
    std::vector<double> weights;
    for (const BlockRow &row : blocks) {
      weights.push_back(static_cast<double>(row.parameters));
    }
    return partitionBalanced(weights, request.stages);
  }
  if (method.starts_with("explicit:")) {
    return explicitCuts(method, static_cast<std::int64_t>(blocks.size()), request);
  }
  return userError(request.partitionPlace, "unknown method \"" + method + "\"",
                   "use uniform, parameters or explicit:CUT,CUT,...");
}

/// One line about a candidate: parameters and flops per stage, and the simulated bubble with flops as costs.
Result<std::string> describe(const std::string &method, const std::vector<std::int64_t> &boundaries,
                             const std::vector<BlockRow> &blocks, const SearchRequest &request) {
  schedule::Costs costs;
  std::string stages;
  for (std::size_t s = 0; s + 1 < boundaries.size(); ++s) {
    double forward = 0, gradient = 0;
    std::int64_t parameters = 0;
    for (std::int64_t b = boundaries[s]; b < boundaries[s + 1]; ++b) {
      forward += blocks[b].forwardFlops;
      gradient += blocks[b].gradientFlops;
      parameters += blocks[b].parameters;
    }
    costs.forward.push_back(forward);
    costs.backwardInput.push_back(gradient / 2);
    costs.backwardWeight.push_back(gradient / 2);
    char text[160];
    std::snprintf(text, sizeof text, "%s[%lld, %lld) %lld parameters %.3g MFLOP", s ? " | " : "",
                  static_cast<long long>(boundaries[s]), static_cast<long long>(boundaries[s + 1]),
                  static_cast<long long>(parameters), (forward + gradient) / 1e6);
    stages += text;
  }
  Result<schedule::Schedule> compute =
      schedule::generate(request.schedule, request.stages, request.microBatches);
  if (!compute) {
    return compute.takeError();
  }
  Result<schedule::Timeline> timeline = schedule::simulate(*compute, costs);
  if (!timeline) {
    return timeline.takeError();
  }
  char text[96];
  std::snprintf(text, sizeof text,
                ": %.3g MFLOP on the critical path, bubble %.1f%%: ", timeline->makespan / 1e6,
                100 * timeline->bubbleFraction());
  return method + text + stages;
}

} // namespace

Result<PlanChoice> searchPlan(const std::vector<BlockRow> &blocks, const SearchRequest &request) {
  if (request.stages < 1 || request.stages > static_cast<int>(blocks.size())) {
    return userError(request.stagesPlace,
                     std::to_string(request.stages) + " stages for " + std::to_string(blocks.size()) +
                         " blocks",
                     "every stage needs at least one block: use at most " + std::to_string(blocks.size()) +
                         " stages, or split layers");
  }
  Result<std::vector<std::int64_t>> boundaries = cutBy(request.partition, blocks, request);
  if (!boundaries) {
    return boundaries.takeError();
  }
  PlanChoice choice{*boundaries, {}};
  Result<std::string> chosen = describe(request.partition, *boundaries, blocks, request);
  if (!chosen) {
    return chosen.takeError();
  }
  choice.explanation = "chosen    " + *chosen;
  for (const char *method : {"uniform", "parameters"}) {
    Result<std::vector<std::int64_t>> other = cutBy(method, blocks, request);
    if (other && *other != *boundaries) {
      if (Result<std::string> text = describe(method, *other, blocks, request)) {
        choice.explanation += "\nrunner-up " + *text;
      }
    }
  }
  return choice;
}

} // namespace stagewright
