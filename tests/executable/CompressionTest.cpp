// Compressed gradients: what a file says of their residuals, and one wrong field at a time.
#include "Mistakes.h"

using namespace stagewright;
using namespace stagewright::mistakes;
using executable::ReductionT;

namespace {

/// One bit for each gradient: residuals of both sums of a stage, and the scratch of their exchanges.
ExecutableT compressed() {
  ExecutableT file = stagefile::buildOverlapped();
  file.contract->gradient_compression = executable::Compression::OneBit;
  file.required_features |= executable::kFeatureCompression;
  for (auto &plan : file.variants[0]->ranks) {
    std::uint64_t end = 0;
    for (auto &exchange : plan->exchanges) { // a contribution, and what is sent
      exchange->scratch = end;
      end += 2 * ((8 + (exchange->pieces[0]->bytes / 4 + 31) / 32 * 4 + 63) / 64 * 64);
    }
    plan->arenas.back()->bytes = end;
    auto arena = std::make_unique<executable::ArenaT>();
    arena->name = "residuals";
    arena->arena_class = executable::ArenaClass::Residuals;
    for (auto &placement : plan->placements) {
      const executable::StateSliceT &gradient = *placement->states[0];
      auto residual = std::make_unique<executable::StateSliceT>(gradient);
      residual->name = "residual";
      residual->arena = static_cast<std::uint16_t>(plan->arenas.size());
      residual->offset = arena->bytes;
      for (auto &exchange : plan->exchanges) {
        executable::ExchangePieceT &piece = *exchange->pieces[0];
        if (piece.arena == gradient.arena && piece.offset == gradient.offset) {
          piece.shard_arena = residual->arena;
          piece.shard_offset = residual->offset;
          arena->bytes += (piece.bytes + 63) / 64 * 64;
        }
      }
      placement->states.push_back(std::move(residual));
    }
    plan->arenas.push_back(std::move(arena));
  }
  return file;
}

} // namespace

TEST(Compression, TheFileLoads) {
  ExecutableT file = compressed();
  auto loaded = load(file);
  ASSERT_TRUE(loaded) << loaded.error().text();
  const catalogue::GradientWire wire = runtime::gradientWire(*loaded->file().contract());
  EXPECT_EQ(wire.compression, catalogue::Compression::OneBit);
  file.contract->gradient_compression = executable::Compression::TopK; // less than the signs
  file.contract->compression_ratio = 1e-9;
  loaded = load(file);
  ASSERT_TRUE(loaded) << loaded.error().text();
}

TEST(Compression, OneWrongFieldAtATime) {
  const auto piece = [](ExecutableT &f) -> executable::ExchangePieceT & {
    return *rank(f, 0).exchanges[0]->pieces[0];
  };
  const std::vector<Mistake> mistakes = {
      {[](ExecutableT &f) { f.required_features &= ~executable::kFeatureCompression; },
       "contract.gradient_compression", "required features"},
      {[](ExecutableT &f) { f.contract->gradient_compression = executable::Compression::None; },
       "contract.gradient_compression", "required features"},
      {[](ExecutableT &f) { f.contract->gradient_compression = static_cast<executable::Compression>(3); },
       "contract.gradient_compression", "not at all"},
      {[](ExecutableT &f) { f.contract->compression_ratio = 0.5; }, "contract.compression_ratio", "(0, 1]"},
      {[](ExecutableT &f) { f.contract->gradient_compression = executable::Compression::TopK; },
       "contract.compression_ratio", "(0, 1]"},
      {[](ExecutableT &f) {
         f.contract->gradient_compression = executable::Compression::TopK;
         f.contract->compression_ratio = 1.5;
       },
       "contract.compression_ratio", "(0, 1]"},
      {[](ExecutableT &f) {
         f.contract->gradient_wire = executable::DType::BF16;
         f.required_features |= executable::kFeatureWire;
       },
       "contract.gradient_compression", "f32 sums"},
      {[](ExecutableT &f) { f.contract->gradient_reduction = "micro_batch"; },
       "contract.gradient_compression", "sums of a step"},
      {[&](ExecutableT &f) { piece(f).shard_arena = -1; }, "pieces[0].shard_offset", "granules"},
      {[&](ExecutableT &f) { piece(f).shard_arena = piece(f).arena; }, "pieces[0].shard_offset", "granules"},
      {[&](ExecutableT &f) { piece(f).bytes -= 64; }, "pieces[0].shard_offset", "granules"},
      {[&](ExecutableT &f) {
         piece(f).bytes -= 64;
         piece(f).offset += 64;
         piece(f).shard_offset += 64;
       },
       "pieces[0].shard_offset", "granules"},
      {[&](ExecutableT &f) { piece(f).shard_offset = ~std::uint64_t{63}; }, "pieces[0].shard_offset",
       "granules"},
      {[&](ExecutableT &f) { piece(f) = *rank(f, 0).exchanges[1]->pieces[0]; }, "ranks[0].exchanges",
       "overlap"},
      {[](ExecutableT &f) { rank(f, 1).arenas[rank(f, 1).arenas.size() - 2]->bytes -= 64; },
       "ranks[1].exchanges[1].scratch", "communication"},
      {[](ExecutableT &f) { rank(f, 0).arenas.back()->arena_class = executable::ArenaClass::Gradients; },
       "states[", "among residuals"},
      {[](ExecutableT &f) { rank(f, 0).placements[0]->states.pop_back(); }, "placements[0].states",
       "lacks the state \"residual\""},
      {[](ExecutableT &f) { rank(f, 0).placements[0]->states.back()->replica = 1; }, "states[",
       "not otherwise"},
      {[&](ExecutableT &f) { // a command of W in place of an exchange
         for (auto &command : program(f, executable::ProgramKind::BackwardWeight).commands) {
           for (auto &operand : command->operands) {
             if (operand->arena == piece(f).arena && operand->offset == piece(f).offset) {
               operand->arena = static_cast<std::uint16_t>(piece(f).shard_arena);
               operand->offset = piece(f).shard_offset;
             }
           }
         }
       },
       "commands[", "no command touches"},
      {[](ExecutableT &f) { // a sum of REDUCE beside them
         executable::ExecutableT step = stagefile::buildReplicated();
         rank(f, 0).reductions.push_back(std::make_unique<ReductionT>(*rank(step, 0).reductions[0]));
       },
       "ranks[0].reductions[1]", "compressed"},
      {[](ExecutableT &f) {
         auto residuals = std::move(rank(f, 0).arenas.back());
         f = stagefile::buildOverlapped();
         rank(f, 0).arenas.push_back(std::move(residuals));
       },
       "ranks[0].arenas", "without compression"},
  };
  refuseEach(compressed, mistakes);
}
