#include "passes/lower/ReplicaExchanges.h"

#include "passes/Provenance.h"
#include "passes/lower/ExchangeParts.h"
#include "passes/lower/ExchangeWriter.h"
#include "passes/parallel/TiedParameters.h"

#include "catalogue/Catalogue.h"

#include <map>

using namespace mlir;

namespace stagewright {

using plan::FunctionKind;
using plan::Role;
using schedule::TaskKind;

namespace {

constexpr int64_t kLine = catalogue::kAlignment;

/// Neighbours of one replica as one; less than `padding` bytes between them nobody reads. Two replicas may
/// have different bytes at one place.
Ranges merged(Ranges ranges, int64_t padding) {
  llvm::sort(ranges, [](const Exchanged &a, const Exchanged &b) {
    return std::pair(a.replica, a.begin) < std::pair(b.replica, b.begin);
  });
  Ranges result;
  for (const Exchanged &range : ranges) {
    bool joins = !result.empty() && result.back().replica == range.replica &&
                 range.begin - result.back().end < padding;
    if (joins) {
      result.back().end = range.end;
    } else {
      result.push_back(range);
    }
  }
  return result;
}

class StageExchanges {
public:
  StageExchanges(ModuleOp module, command::RankOp rank, plan::StageOp stage, const RankSlices &slices,
                 int64_t scratch, OpBuilder &builder)
      : rank(rank), stage(stage), slices(slices), scratch(scratch), builder(builder),
        settings(*module.getOps<plan::SettingsOp>().begin()),
        location(madeBy("lower-to-commands", stage.getLoc())), sums(gradientSums(module)) {}

  void write() {
    if (settings.reducesMicroBatches()) {
      ofMicroBatches();
    } else {
      settings.exchangesInPrograms() ? inLastGradient() : inReduce();
    }
    ofNormAndUpdate();
  }

private:
  int64_t index() { return stage.getIndex(); }

  Exchanged rangeOf(command::SliceAttr where, int replica) {
    return {where.getOffset(), where.getOffset() + command::byteSize(where.getType()), replica};
  }

  command::SliceAttr sliceOf(int64_t arena, const Exchanged &range, Type element) {
    int64_t width = element.getIntOrFloatBitWidth() / 8;
    return command::SliceAttr::get(builder.getContext(), arena, -1, range.begin,
                                   RankedTensorType::get({(range.end - range.begin) / width}, element));
  }

  /// Calls use(sum) for the gradient sum of each use of a parameter on the stage.
  template <typename Use>
  void forEachSum(Use use) {
    for (auto &[parameter, list] : sums) {
      for (const GradientSum &sum : list) {
        if (sum.stage == stage) {
          use(sum);
        }
      }
    }
  }

  /// Each replica has added up its pieces; without ZeRO all of them need the sums.
  void ofMicroBatches() {
    Ranges ranges;
    int64_t arena = 0;
    forEachSum([&](const GradientSum &sum) {
      for (const schedule::ShardPiece &piece : slices.pieces(index(), sum.name)) {
        command::SliceAttr where = slices.sliceOfPiece(index(), sum.name, sum.type, piece);
        arena = where.getArena();
        ranges.push_back(rangeOf(where, piece.replica));
      }
    });
    for (const Exchanged &range : settings.shards() ? Ranges() : merged(std::move(ranges), kLine)) {
      command::ReplicaGatherOp::create(builder, location, static_cast<int64_t>(TaskKind::Reduce), index(),
                                       sliceOf(arena, range, builder.getF32Type()), range.replica);
    }
  }

  /// REDUCE does all of it.
  void inReduce() {
    Ranges ranges;
    int64_t arena = 0;
    forEachSum([&](const GradientSum &sum) {
      arena = slices.slice(index(), sum.name, sum.type).getArena();
      for (const schedule::ShardPiece &piece : slices.ownedPieces(index(), sum.name)) {
        ranges.push_back(rangeOf(slices.sliceOfPiece(index(), sum.name, sum.type, piece), piece.replica));
      }
      if (slices.ownedPieces(index(), sum.name).empty()) {
        ranges.push_back(rangeOf(slices.slice(index(), sum.name, sum.type), -1));
      }
    });
    for (const Exchanged &range : merged(std::move(ranges), kLine)) {
      command::ReductionOp::create(
          builder, location, index(), sliceOf(arena, range, builder.getF32Type()), false,
          range.replica < 0 ? IntegerAttr() : builder.getI64IntegerAttr(range.replica), false);
    }
  }

  struct Chunk {
    size_t ready = 0; ///< launches of W up to the last one that adds to it
    Ranges ranges;
  };

  /// A chunk is what W of one block adds up; its exchange begins behind the last launch that adds to it.
  std::vector<Chunk> chunks(ArrayRef<command::LaunchOp> launches) {
    std::map<int64_t, Chunk> ofBlock;
    forEachSum([&](const GradientSum &sum) {
      command::SliceAttr whole = slices.slice(index(), sum.name, sum.type);
      size_t ready = launches.size();
      for (bool adds = false; !adds && ready > 0;) {
        adds = llvm::any_of(command::LaunchOp(launches[--ready]).getSlices().getAsRange<command::SliceAttr>(),
                            [&](command::SliceAttr slice) {
                              return slice.getArena() == whole.getArena() && slice.getPool() < 0 &&
                                     slice.getOffset() == whole.getOffset();
                            });
      }
      Chunk &chunk = ofBlock[command::LaunchOp(launches[ready]).getBlock()];
      chunk.ready = std::max(chunk.ready, ready + 1);
      for (const schedule::ShardPiece &piece : slices.pieces(index(), sum.name)) {
        chunk.ranges.push_back(
            rangeOf(slices.sliceOfPiece(index(), sum.name, sum.type, piece), piece.replica));
        if (settings.compressesGradients()) {
          chunk.ranges.back().shard =
              slices.slice(index(), sum.residual(), sum.type).getOffset() + 4 * piece.first;
        }
      }
    });
    std::vector<Chunk> list;
    for (auto &[block, chunk] : ofBlock) {
      // What is compressed together is of one sum.
      list.push_back(
          {chunk.ready, merged(std::move(chunk.ranges), settings.compressesGradients() ? 0 : kLine)});
    }
    llvm::sort(list, [](const Chunk &a, const Chunk &b) { return a.ready < b.ready; });
    return list;
  }

  //   launches of W   | block 2 | block 1      | block 0 | ... REDUCE
  //   exchange of 2             begin-----------end
  //   exchange of 1                            begin-------- end
  void inLastGradient() {
    auto programs = llvm::make_filter_range(rank.getBody().getOps<command::ProgramOp>(), [&](auto program) {
      return program.getStage() == index() &&
             program.getKind() == static_cast<int64_t>(FunctionKind::BackwardWeight);
    });
    Block &body = (*programs.begin()).getBody().front();
    auto launches = llvm::to_vector(body.getOps<command::LaunchOp>());
    OpBuilder program(builder.getContext());
    ExchangeWriter writer(rank, index(), stage.getLoc(), program);
    const int64_t first = writer.next();
    size_t at = 0;
    for (const Chunk &chunk : chunks(launches)) {
      at = std::max(at, chunk.ready);
      for (const Ranges &part : exchangeParts(chunk.ranges, slices.replicas(), slices.gradientWire())) {
        at < launches.size() ? program.setInsertionPoint(launches[at])
                             : program.setInsertionPointToEnd(&body);
        int64_t position = writer.next() - first;
        if (position >= kExchangesUnderWay) {
          writer.end(writer.next() - kExchangesUnderWay);
        }
        writer.begin(writer.next());
        at = std::min(at + 1, launches.size()); // the next part of a large chunk
        writer.add(executable::ExchangeKind::Reduce, scratch * (position % kExchangesUnderWay), shared(part));
      }
    }
  }

  /// The pieces of a part; without ZeRO all replicas update and need the sums.
  SmallVector<int64_t> shared(const Ranges &part) {
    int64_t arena = 0, residuals = -1;
    forEachSum([&](const GradientSum &sum) {
      arena = slices.slice(index(), sum.name, sum.type).getArena();
      if (settings.compressesGradients()) {
        residuals = slices.slice(index(), sum.residual(), sum.type).getArena();
      }
    });
    SmallVector<int64_t> pieces;
    for (const Exchanged &range : part) {
      pieces.append({range.replica, arena, range.begin, range.end - range.begin, residuals, range.shard});
      if (!settings.shards()) {
        command::ReplicaGatherOp::create(builder, location, static_cast<int64_t>(TaskKind::Reduce), index(),
                                         sliceOf(arena, range, builder.getF32Type()), range.replica);
      }
    }
    return pieces;
  }

  /// What each replica alone has made of what the stage updates: partial sums of the norm, and weights.
  void ofNormAndUpdate() {
    Ranges weights, partials;
    int64_t arena = 0, shared = 0;
    for (auto &[parameter, list] : sums) {
      auto name = plan::ValueAttr::get(builder.getContext(), Role::Parameter, parameter);
      if (list.front().stage != stage) {
        continue;
      }
      std::string cellName = "partials/" + parameter.str();
      auto partial = plan::ValueAttr::get(builder.getContext(), Role::Shared, cellName);
      for (const schedule::ShardPiece &piece : slices.ownedPieces(index(), name)) {
        if (settings.sharesWeights()) {
          command::SliceAttr weight = slices.sliceOfPiece(index(), name, list.front().type, piece);
          arena = weight.getArena();
          weights.push_back(rangeOf(weight, piece.replica));
        }
        if (auto cell = slices.cell(cellName)) {
          shared = cell->getArena();
          partials.push_back(
              rangeOf(slices.sliceOfPiece(index(), partial, cell->getType(), piece), piece.replica));
        }
      }
    }
    auto gather = [&](TaskKind task, int64_t arena, const Ranges &ranges, Type element) {
      for (const Exchanged &range : ranges) {
        command::ReplicaGatherOp::create(builder, location, static_cast<int64_t>(task), index(),
                                         sliceOf(arena, range, element), range.replica);
      }
    };
    gather(TaskKind::Gather, arena, merged(std::move(weights), kLine), builder.getF32Type());
    gather(TaskKind::AllGather, shared, merged(std::move(partials), 1), builder.getF64Type());
  }

  command::RankOp rank;
  plan::StageOp stage;
  const RankSlices &slices;
  const int64_t scratch;
  OpBuilder &builder;
  plan::SettingsOp settings;
  Location location;
  llvm::MapVector<StringRef, std::vector<GradientSum>> sums;
};

} // namespace

void writeReplicaExchanges(ModuleOp module, command::RankOp rank, plan::StageOp stage,
                           const RankSlices &slices, int64_t scratch, OpBuilder &builder) {
  if ((*module.getOps<plan::MeshOp>().begin()).getData() > 1) {
    StageExchanges(module, rank, stage, slices, scratch, builder).write();
  }
}

} // namespace stagewright
