// What the tensor ranks of a replica add up: all of them must see the same norm of the gradients. Their other
// collectives are commands, which VerifyPrograms.cpp proves.
#include "runtime/executable/Proof.h"

#include <algorithm>
#include <vector>

namespace stagewright::runtime {

namespace {

struct Sum {
  unsigned arena = 0;
  Range range;
  std::uint64_t made = 0; ///< bytes of it that commands of NORM make
};

/// The partial sums of the norm that a rank adds up over its tensor ranks, behind ALL_GATHER.
Result<std::vector<Sum>> tensorSums(const Proof &proof, const executable::RankPlan &plan,
                                    const std::string &at) {
  std::vector<Sum> sums;
  for (unsigned i = 0; plan.reductions() && i < plan.reductions()->size(); ++i) {
    const executable::Reduction &reduction = *plan.reductions()->Get(i);
    const std::string field = indexed(at + "reductions", i);
    if (!reduction.tensor()) {
      continue;
    }
    const bool isKnown = proof.tensorRanks() > 1 && reduction.stage() == -1 && !reduction.mean() &&
                         reduction.replica() == -1 && reduction.dtype() == executable::DType::F64 &&
                         reduction.arena() == plan.train_collective()->arena();
    const auto range = isKnown && reduction.bytes() % 8 == 0 && reduction.offset() % 8 == 0
                           ? rangeWithin(reduction.offset(), reduction.bytes(),
                                         plan.arenas()->Get(reduction.arena())->bytes())
                           : std::nullopt;
    if (!range) {
      return proof.fail(field, "tensor ranks add up partial sums of the norm, and nothing else");
    }
    const Sum sum{reduction.arena(), *range};
    if (std::any_of(sums.begin(), sums.end(),
                    [&](const Sum &other) { return other.range.overlaps(sum.range); })) {
      return proof.fail(field, "ranges overlap");
    }
    sums.push_back(sum);
  }
  return sums;
}

/// Whether the bytes of a replica (-1: of each) are the sum of gradients of a split parameter.
bool isSplit(const Proof &proof, const executable::RankPlan &plan, const executable::Operand &gradient,
             int replica) {
  for (const executable::Placement *placement : *plan.placements()) {
    const executable::Parameter &parameter =
        *proof.file.parameters()->Get(static_cast<unsigned>(placement->parameter()));
    for (unsigned i = 0; placement->states() && i < placement->states()->size(); ++i) {
      const executable::StateSlice &state = *placement->states()->Get(i);
      const Range held{state.offset(), state.offset() + *bytesOf(state.dtype(), state.shape())};
      const bool isThere = state.replica() == -1 || state.replica() == replica;
      if (state.name()->str() == "gradient" && isThere && state.arena() == gradient.arena() &&
          gradient.offset() >= held.begin && gradient.offset() < held.end) {
        return parameter.split() != nullptr;
      }
    }
  }
  return false;
}

/// The rank's partial sums of split parameters lie in sums, and those of others in none. Counts them in
/// `all`.
Result<void> partials(const Proof &proof, const executable::RankPlan &plan, const std::string &at,
                      const std::vector<Sum> &sums, std::vector<Sum> &all) {
  for (unsigned i = 0; i < plan.programs()->size(); ++i) {
    const executable::Program &program = *plan.programs()->Get(i);
    for (unsigned j = 0; j < program.commands()->size(); ++j) {
      const executable::Command &command = *program.commands()->Get(j);
      if (proof.file.kernels()->Get(command.kernel())->name()->str() != "gradient_norm_partials") {
        continue;
      }
      const executable::Operand &made = *command.operands()->Get(1);
      const Range range{made.offset(), made.offset() + *bytesOf(made.dtype(), made.shape())};
      bool touches = false, isSummed = false;
      for (std::size_t k = 0; k < sums.size(); ++k) {
        const bool isInside = sums[k].arena == made.arena() && sums[k].range.begin <= range.begin &&
                              range.end <= sums[k].range.end;
        touches = touches || (sums[k].arena == made.arena() && sums[k].range.overlaps(range));
        isSummed = isSummed || isInside;
        all[k].made += isInside ? range.end - range.begin : 0;
      }
      const bool split = isSplit(proof, plan, *command.operands()->Get(0), command.replica());
      if (split ? !isSummed : touches) {
        return proof.fail(
            indexed(indexed(at + "programs", i) + ".commands", j),
            "partial sums of split parameters, and of no others, are added up over the tensor ranks");
      }
    }
  }
  return {};
}

} // namespace

Result<void> verifyTensorRanks(const Proof &proof) {
  std::vector<Sum> all; // of every rank the same
  for (int rank = 0; rank < proof.file.pipeline_ranks(); ++rank) {
    const executable::RankPlan &plan = *proof.variant->ranks()->Get(static_cast<unsigned>(rank));
    const std::string at = indexed("ranks", static_cast<unsigned>(rank)) + ".";
    auto sums = tensorSums(proof, plan, at);
    if (!sums) {
      return sums.takeError();
    }
    const auto same = [](const Sum &a, const Sum &b) {
      return a.range.begin == b.range.begin && a.range.end == b.range.end;
    };
    if (rank == 0) {
      all = *sums;
    } else if (!std::equal(all.begin(), all.end(), sums->begin(), sums->end(), same)) {
      return proof.fail(at + "reductions", "pipeline ranks add up other partial sums of the norm");
    }
    if (auto ok = proof.tensorRanks() > 1 ? partials(proof, plan, at, *sums, all) : Result<void>(); !ok) {
      return ok;
    }
  }
  for (unsigned i = 0; i < all.size(); ++i) {
    if (all[i].made != all[i].range.end - all[i].range.begin) {
      return proof.fail("ranks[0].reductions", "tensor ranks add up what is no partial sum of the norm");
    }
  }
  return {};
}

} // namespace stagewright::runtime
