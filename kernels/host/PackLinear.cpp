// Family pack_linear: weights in the order in which the products read them.
//
//   [chunk of the depth][panel of 32 columns][step of the chunk][32]      columns padded with zeros
#include "kernels/host/MatrixTiles.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

namespace {

/// Calls pack(column, steps, to) for each panel of each chunk: 32 columns from `column` on go to `to`.
template <typename PackPanel>
void packPanels(std::int64_t depth, std::int64_t columns, float *packed, TileRunner &runner,
                const PackPanel &pack) {
  const std::int64_t chunk = chunkLength(depth), panels = ceilDivide(columns, kPanel);
  const std::int64_t pieces = panels * ceilDivide(depth, chunk);
  const std::int64_t tiles = least(pieces, elementTiles(panels * kPanel * depth));
  runTiles(runner, tiles, [&](std::int64_t index, int) {
    const Range range = part(pieces, tiles, index);
    for (std::int64_t piece = range.begin; piece < range.end; ++piece) {
      const std::int64_t begin = piece / panels * chunk, column = piece % panels * kPanel;
      const Range steps{begin, least(depth, begin + chunk)};
      pack(column, steps, packed + begin * panels * kPanel + column * steps.size());
    }
  });
}

template <int... Numbers>
struct LaneList {};
using AllLaneNumbers = LaneList<0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15>;

/// One of the four steps of a transposition. In each pair of rows that are `Distance` apart:
///   a0 a1 | b0 b1  ->  a0 b0 | a1 b1      (blocks of `Distance` lanes)
template <int Distance, int... Lane>
STAGEWRIGHT_INLINE void exchange(Vec16 (&rows)[kLanes], LaneList<Lane...>) {
#pragma GCC unroll 16
  for (int row = 0; row < kLanes; ++row)
    if ((row & Distance) == 0) {
      const Vec16 a = rows[row], b = rows[row + Distance];
      rows[row] = __builtin_shufflevector(a, b, (Lane & Distance ? kLanes + Lane - Distance : Lane)...);
      rows[row + Distance] =
          __builtin_shufflevector(a, b, (Lane & Distance ? kLanes + Lane : Lane + Distance)...);
    }
}

/// to[j * kPanel + i] = from[i * stride + j] for 16 x 16 elements. Those beyond `rows` are zero, those beyond
/// `columns` are not written.
STAGEWRIGHT_INLINE void transpose(const float *from, std::int64_t stride, std::int64_t rows,
                                  std::int64_t columns, float *to) {
  Vec16 lanes[kLanes] = {};
#pragma GCC unroll 16
  for (int i = 0; i < kLanes; ++i)
    if (i < rows)
      lanes[i] = columns >= kLanes ? load(from + i * stride) : loadFirst(from + i * stride, columns);
  exchange<1>(lanes, AllLaneNumbers{});
  exchange<2>(lanes, AllLaneNumbers{});
  exchange<4>(lanes, AllLaneNumbers{});
  exchange<8>(lanes, AllLaneNumbers{});
#pragma GCC unroll 16
  for (int j = 0; j < kLanes; ++j)
    if (j < columns)
      store(to + j * kPanel, lanes[j]);
}

void packForward(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const float *const weight = static_cast<const float *>(operands[0]);
  const std::int64_t outputs = call.size(0, 0), inputs = call.size(0, 1);
  packPanels(inputs, outputs, static_cast<float *>(operands[1]), runner,
             [&](std::int64_t column, Range steps, float *to) {
               for (std::int64_t half = 0; half < kPanel; half += kLanes)
                 for (std::int64_t step = steps.begin; step < steps.end; step += kLanes)
                   transpose(weight + (column + half) * inputs + step, inputs, outputs - column - half,
                             steps.end - step, to + (step - steps.begin) * kPanel + half);
             });
}

void packInputGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const float *const weight = static_cast<const float *>(operands[0]);
  const std::int64_t outputs = call.size(0, 0), inputs = call.size(0, 1);
  packPanels(outputs, inputs, static_cast<float *>(operands[1]), runner,
             [&](std::int64_t column, Range steps, float *to) {
               const std::int64_t width = least(kPanel, inputs - column), first = least(width, kLanes);
               for (std::int64_t step = steps.begin; step < steps.end; ++step, to += kPanel) {
                 const float *from = weight + step * inputs + column;
                 store(to, loadFirst(from, first));
                 store(to + kLanes, loadFirst(from + kLanes, width - first));
               }
             });
}

const HostKernel kKernels[] = {{"pack_linear_forward", 1, packForward},
                               {"pack_linear_input_grad", 1, packInputGrad}};

} // namespace

extern const Family PackLinear = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
