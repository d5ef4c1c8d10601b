#include "passes/parallel/Shards.h"

#include "passes/parallel/TiedParameters.h"

using namespace mlir;

namespace stagewright {

using plan::Role;

ShardTable::ShardTable(ModuleOp module) : settings(*module.getOps<plan::SettingsOp>().begin()) {
  for (plan::ShardOp op : module.getOps<plan::ShardOp>()) {
    ArrayRef<int64_t> pieces = op.getPieces();
    if (auto from = op.getStatesFrom()) {
      offloaded[{op.getStage(), Role::State}] = *from;
    }
    if (auto from = op.getWeightsFrom()) {
      offloaded[{op.getStage(), Role::Parameter}] = *from;
    }
    for (size_t i = 0; i < pieces.size(); i += 4) {
      shards[op.getParameter()][op.getStage()].push_back(
          {0, pieces[i], pieces[i + 1], static_cast<int>(pieces[i + 2]), pieces[i + 3]});
      int64_t &most = largest[{op.getStage(), pieces[i + 2] / settings.replicasOfShards()}];
      most = std::max(most, schedule::shardElements({shards[op.getParameter()][op.getStage()].back()}));
    }
  }
}

ArrayRef<schedule::ShardPiece> ShardTable::pieces(int64_t stage, StringRef parameter) const {
  auto found = shards.find(parameter);
  if (found == shards.end()) {
    return {};
  }
  auto own = found->second.find(stage);
  return (own == found->second.end() ? found->second.begin() : own)
      ->second; // the owner is the earliest stage
}

ArrayRef<schedule::ShardPiece> ShardTable::pieces(int64_t stage, plan::ValueAttr name) const {
  Role role = name ? name.getRole() : Role::Scalar;
  bool ofParameter = role == Role::Parameter || role == Role::Accumulator || role == Role::State;
  return ofParameter ? pieces(stage, name.parameterAndState().first) : ArrayRef<schedule::ShardPiece>();
}

int64_t ShardTable::offsetOf(int64_t stage, plan::ValueAttr name, const schedule::ShardPiece &piece) const {
  int64_t group =
      name.getRole() == Role::Parameter ? piece.replica / plan::SettingsOp(settings).replicasOfShards() : 0;
  int64_t offset = piece.offset;
  auto end = largest.lower_bound({stage, group});
  for (auto before = largest.lower_bound({stage, 0}); before != end; ++before) {
    offset += before->second;
  }
  return offset;
}

bool ShardTable::isSharded(int64_t stage, plan::ValueAttr name) const {
  plan::SettingsOp op = settings;
  bool divides = (name.getRole() == Role::State && op.shards()) ||
                 (name.getRole() == Role::Parameter && op.shardsWeights()) ||
                 (name.getRole() == Role::Accumulator && op.shardsGradients());
  return divides && !pieces(stage, name).empty();
}

std::optional<int64_t> ShardTable::offloadedFrom(int64_t stage, plan::ValueAttr name) const {
  auto found = offloaded.find({stage, name.getRole()});
  return found == offloaded.end() || !isSharded(stage, name) ? std::nullopt : std::optional(found->second);
}

schedule::StepExchanges exchangesOf(ModuleOp module) {
  plan::SettingsOp settings = *module.getOps<plan::SettingsOp>().begin();
  return {tiesOf(module), settings.getDataParallel() > 1, settings.sharesWeights()};
}

} // namespace stagewright
