#include "passes/lower/OffloadedUpdate.h"

#include "passes/Provenance.h"

#include "catalogue/Catalogue.h"
#include "schema/stage_generated.h"

using namespace mlir;

namespace stagewright {

/// Elements of a chunk: large enough to hide what a copy costs beside its bytes, small beside a parameter.
static constexpr int64_t kChunkElements = 16 * catalogue::kGranule;

/// One that is loaded, one that is updated, one that is stored; fewer where there are not as many chunks.
static constexpr int64_t kSlots = 3;

static int64_t chunkElements(plan::SettingsOp settings, int64_t elements) {
  return settings.updatesWholeParameters() ? elements : std::min(elements, kChunkElements);
}

OffloadWindows offloadWindows(ModuleOp module, int64_t rank) {
  plan::SettingsOp settings = *module.getOps<plan::SettingsOp>().begin();
  OffloadWindows windows;
  if (!settings.offloads()) {
    return windows;
  }
  ShardTable shards(module);
  for (plan::StageOp stage : module.getOps<plan::StageOp>()) {
    plan::FunctionOp update = plan::findFunction(stage, plan::FunctionKind::Update);
    FunctionBuffers buffers(update);
    std::map<int, int64_t> chunks; // of each replica
    for (auto kernel : update.getBody().front().getOps<layer::Kernel>()) {
      llvm::SmallDenseSet<plan::ValueAttr> values;
      std::map<std::pair<int, int64_t>, int64_t> ofPieces; // by replica and first element
      for (Value operand : kernel.kernelOperands()) {
        plan::ValueAttr name = buffers.named(operand);
        for (const schedule::ShardPiece &piece : shards.pieces(stage.getIndex(), name)) {
          if (stage.getRank() == rank && shards.isOffloaded(stage.getIndex(), name, piece)) {
            values.insert(name);
            ofPieces[{piece.replica, piece.first}] =
                llvm::divideCeil(piece.elements, chunkElements(settings, piece.elements));
            windows.bytes = std::max(windows.bytes, 4 * chunkElements(settings, piece.elements));
          }
        }
      }
      windows.values = std::max<int64_t>(windows.values, values.size());
      for (auto [piece, count] : ofPieces) {
        chunks[piece.first] += count;
      }
    }
    for (auto [replica, count] : chunks) {
      windows.slots = std::max(windows.slots, std::min(count, kSlots));
    }
  }
  windows.bytes = static_cast<int64_t>(llvm::alignTo(windows.bytes, catalogue::kAlignment));
  return windows;
}

OffloadedUpdate::OffloadedUpdate(ModuleOp module, command::RankOp rank, plan::FunctionOp function,
                                 const RankSlices &slices, const FunctionBuffers &buffers, OpBuilder &program)
    : rank(rank), function(function), stage(function->getParentOfType<plan::StageOp>().getIndex()),
      slices(slices), buffers(buffers), program(program),
      layout(function.getKind() == plan::FunctionKind::Update ? offloadWindows(module, rank.getIndex())
                                                              : OffloadWindows()),
      inWholes((*module.getOps<plan::SettingsOp>().begin()).updatesWholeParameters()) {
  if (layout.values == 0) {
    return;
  }
  int64_t index = 0;
  for (command::ArenaOp op : rank.getBody().getOps<command::ArenaOp>()) {
    if (op.getArenaClass() == static_cast<int64_t>(executable::ArenaClass::Windows)) {
      arena = index;
    }
    ++index;
  }
  exchanges = llvm::range_size(rank.getBody().getOps<command::ExchangeOp>());
  for (auto kernel : function.getBody().front().getOps<layer::Kernel>()) {
    ArrayRef<RankSlices::Piece> pieces;
    for (Value operand : kernel.kernelOperands()) {
      pieces = pieces.empty() ? slices.ownedPieces(stage, buffers.named(operand)) : pieces;
    }
    for (const RankSlices::Piece &piece : pieces) {
      for (Chunk &chunk : chunks(kernel, piece)) {
        if (!chunk.home.empty()) {
          streams[piece.replica].chunks.push_back(std::move(chunk));
        }
      }
    }
  }
}

std::vector<OffloadedUpdate::Chunk> OffloadedUpdate::chunks(layer::Kernel kernel,
                                                            const RankSlices::Piece &piece) const {
  llvm::MapVector<plan::ValueAttr, RankedTensorType> offloaded;
  for (Value operand : kernel.kernelOperands()) {
    plan::ValueAttr name = buffers.named(operand);
    if (layout.values > 0 && name && slices.isOffloaded(stage, name, piece)) {
      offloaded[name] = cast<RankedTensorType>(operand.getType());
    }
  }
  std::vector<Chunk> list;
  int64_t most = offloaded.empty() || inWholes ? piece.elements : kChunkElements;
  for (int64_t first = 0; first < piece.elements; first += most) {
    Chunk chunk{piece, {}, {}};
    chunk.piece.first += first;
    chunk.piece.offset += first;
    chunk.piece.elements = std::min(most, piece.elements - first);
    for (auto &[name, type] : offloaded) {
      chunk.home[name] = slices.sliceOfPiece(stage, name, type, chunk.piece);
    }
    list.push_back(std::move(chunk));
  }
  auto stream = streams.find(piece.replica);
  size_t slot = stream == streams.end() ? 0 : stream->second.at;
  for (Chunk &chunk : list) { // in the order in which they begin
    if (chunk.home.empty()) {
      continue;
    }
    int64_t window = static_cast<int64_t>(slot++) % layout.slots * layout.values * layout.bytes;
    for (auto &[name, home] : chunk.home) {
      chunk.windows[name] = command::SliceAttr::get(home.getContext(), arena, -1, window, home.getType());
      window += layout.bytes;
    }
  }
  return list;
}

void OffloadedUpdate::point(int64_t exchange, bool begins) {
  command::ExchangePointOp::create(program, madeBy("lower-to-commands", function.getLoc()), exchange, begins);
}

/// Begins to copy the values of the stream's chunk `number`.
int64_t OffloadedUpdate::move(const Chunk &chunk, size_t number, bool loads) {
  SmallVector<int64_t> pieces;
  int64_t window = static_cast<int64_t>(number) % layout.slots * layout.values * layout.bytes;
  for (auto &[name, home] : chunk.home) {
    pieces.append({chunk.piece.replica, arena, window, command::byteSize(home.getType()), home.getArena(),
                   home.getOffset()});
    window += layout.bytes;
  }
  OpBuilder atEnd = OpBuilder::atBlockEnd(&rank.getBody().front());
  auto kind = loads ? executable::ExchangeKind::Load : executable::ExchangeKind::Store;
  command::ExchangeOp::create(atEnd, madeBy("lower-to-commands", function.getLoc()),
                              static_cast<int64_t>(kind), stage, 0, pieces);
  point(exchanges, true);
  return exchanges++;
}

void OffloadedUpdate::begin(const Chunk &chunk) {
  Stream &stream = streams[chunk.piece.replica];
  const auto slots = static_cast<size_t>(layout.slots);
  if (stream.at == 0) {
    stream.loads.push_back(move(stream.chunks[0], 0, true));
  }
  if (size_t next = stream.at + 1; next < stream.chunks.size()) {
    if (next >= slots) {
      point(stream.stores[next - slots], false);
    }
    stream.loads.push_back(move(stream.chunks[next], next, true));
  }
  point(stream.loads[stream.at], false);
}

void OffloadedUpdate::end(const Chunk &chunk) {
  Stream &stream = streams[chunk.piece.replica];
  stream.stores.push_back(move(chunk, stream.at, false));
  ++stream.at;
}

void OffloadedUpdate::finish() {
  for (auto &[replica, stream] : streams) {
    const size_t open = std::min(stream.stores.size(), static_cast<size_t>(layout.slots));
    for (size_t i = stream.stores.size() - open; i < stream.stores.size(); ++i) {
      point(stream.stores[i], false);
    }
  }
}

} // namespace stagewright
