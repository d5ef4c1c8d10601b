#include "passes/lower/OffloadedUpdate.h"

#include "catalogue/Catalogue.h"

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
                                 const RankSlices &slices, const FunctionBuffers &buffers,
                                 ExchangeWriter &writer)
    : stage(function->getParentOfType<plan::StageOp>().getIndex()), slices(slices), buffers(buffers),
      writer(writer), settings(*module.getOps<plan::SettingsOp>().begin()),
      layout(function.getKind() == plan::FunctionKind::Update ? offloadWindows(module, rank.getIndex())
                                                              : OffloadWindows()) {
  if (function.getKind() != plan::FunctionKind::Update && function.getKind() != plan::FunctionKind::Norm) {
    return;
  }
  for (auto [index, op] : llvm::enumerate(rank.getBody().getOps<command::ArenaOp>())) {
    if (op.getArenaClass() == static_cast<int64_t>(executable::ArenaClass::Windows)) {
      arena = static_cast<int64_t>(index);
    }
  }
  for (auto kernel : function.getBody().front().getOps<layer::Kernel>()) {
    ArrayRef<RankSlices::Piece> pieces;
    for (Value operand : kernel.kernelOperands()) {
      pieces = pieces.empty() ? slices.ownedPieces(stage, buffers.named(operand)) : pieces;
    }
    std::vector<Chunk> &list = planned[kernel];
    for (const RankSlices::Piece &piece : pieces) {
      llvm::append_range(list, cut(kernel, piece));
    }
  }
}

const std::vector<OffloadedUpdate::Chunk> &OffloadedUpdate::chunks(layer::Kernel kernel) const {
  static const std::vector<Chunk> none;
  auto found = planned.find(kernel);
  return found == planned.end() ? none : found->second;
}

/// The chunks of a piece, behind those of its replica that there are.
std::vector<OffloadedUpdate::Chunk> OffloadedUpdate::cut(layer::Kernel kernel,
                                                         const RankSlices::Piece &piece) {
  llvm::MapVector<plan::ValueAttr, RankedTensorType> offloaded;
  for (Value operand : kernel.kernelOperands()) {
    plan::ValueAttr name = buffers.named(operand);
    if (layout.values > 0 && name && slices.isOffloaded(stage, name, piece)) {
      offloaded[name] = cast<RankedTensorType>(operand.getType());
    }
  }
  std::vector<Chunk> list;
  int64_t most = offloaded.empty() ? piece.elements : chunkElements(settings, piece.elements);
  for (int64_t first = 0; first < piece.elements; first += most) {
    Chunk chunk{piece, {}, {}};
    chunk.piece.first += first;
    chunk.piece.offset += first;
    chunk.piece.elements = std::min(most, piece.elements - first);
    if (!offloaded.empty()) {
      std::vector<Chunk> &stream = streams[piece.replica].chunks;
      int64_t window = static_cast<int64_t>(stream.size()) % layout.slots * layout.values * layout.bytes;
      for (auto &[name, type] : offloaded) {
        command::SliceAttr home = slices.sliceOfPiece(stage, name, type, chunk.piece);
        chunk.home[name] = home;
        chunk.windows[name] = command::SliceAttr::get(home.getContext(), arena, -1, window, home.getType());
        window += layout.bytes;
      }
      stream.push_back(chunk);
    }
    list.push_back(std::move(chunk));
  }
  return list;
}

/// Begins to copy the chunk's values.
int64_t OffloadedUpdate::move(const Chunk &chunk, bool loads) {
  SmallVector<int64_t> pieces;
  for (auto &[name, home] : chunk.home) {
    command::SliceAttr window = chunk.windows.lookup(name);
    pieces.append({chunk.piece.replica, arena, window.getOffset(), command::byteSize(home.getType()),
                   home.getArena(), home.getOffset()});
  }
  int64_t exchange =
      writer.add(loads ? executable::ExchangeKind::Load : executable::ExchangeKind::Store, 0, pieces);
  writer.begin(exchange);
  return exchange;
}

void OffloadedUpdate::begin(const Chunk &chunk) {
  Stream &stream = streams[chunk.piece.replica];
  const auto slots = static_cast<size_t>(layout.slots);
  if (stream.at == 0) {
    stream.loads.push_back(move(stream.chunks[0], true));
  }
  if (size_t next = stream.at + 1; next < stream.chunks.size()) {
    if (next >= slots) {
      writer.end(stream.stores[next - slots]);
    }
    stream.loads.push_back(move(stream.chunks[next], true));
  }
  writer.end(stream.loads[stream.at]);
}

void OffloadedUpdate::end(const Chunk &chunk) {
  Stream &stream = streams[chunk.piece.replica];
  stream.stores.push_back(move(chunk, false));
  ++stream.at;
}

void OffloadedUpdate::finish() {
  for (auto &[replica, stream] : streams) {
    const size_t open = std::min(stream.stores.size(), static_cast<size_t>(layout.slots));
    for (size_t i = stream.stores.size() - open; i < stream.stores.size(); ++i) {
      writer.end(stream.stores[i]);
    }
  }
}

} // namespace stagewright
