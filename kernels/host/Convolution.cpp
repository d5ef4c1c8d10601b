// Family convolution: implicit products of a weight with the columns of images (ImageColumns.h), on the
// register kernel of the matrix products. docs/kernels.md has the order of the sums.
#include "kernels/host/ImageColumns.h"
#include "kernels/host/MatrixTiles.h"
#include "kernels/host/Transpose.h"

namespace stagewright::kernels::STAGEWRIGHT_ISA {

namespace {

/// The largest tile of the products with a packed weight: many rows, because columns are written for each
/// tile. Rows of its results lie kResultRow floats apart.
constexpr std::int64_t kConvRows = 256, kConvPanels = 8, kResultRow = kConvPanels * kPanel + 16;
/// Positions of the weight gradient between two visits of its result.
constexpr std::int64_t kPositions = 256;
/// Tiles of a call that are run one by one; more are run in groups.
constexpr std::int64_t kMostTiles = 1 << 20;

// Scratch of a worker.
//   products:         [panel][chunk][32] of columns, then [block rows][chunk] of weights, then results
//   weight gradient:  [rows][kPositions] of columns, then [panel][kPositions][32] of g, then results
constexpr std::int64_t kColumnsFloats = kConvPanels * kPanel * kMaxChunk,
                       kWeightFloats = kBlockRows * kMaxChunk + kLanes;
static_assert((kColumnsFloats + kWeightFloats + kConvRows * kResultRow) * sizeof(float) <= kTileScratchBytes);
static_assert((kTileRows * kPositions + kTilePanels * kPanel * kPositions + kTileRows * kResultRow) *
                  sizeof(float) <=
              kTileScratchBytes);

/// Attributes and sizes of a call; `first` is the number of the list `stride`.
struct Sizes {
  std::int64_t samples, inputs, outputs, groups, stride[2], padding[2], dilation[2], kernel[2], image[2],
      result[2];

  Sizes(const Call &call, int x, int y, int first)
      : samples(call.size(x, 0)), inputs(call.size(x, 1)), outputs(call.size(y, 1)),
        groups(call.integers[first + 3]) {
    for (int i = 0; i < 2; ++i) {
      stride[i] = call.lists[first].values[i];
      padding[i] = call.lists[first + 1].values[i];
      dilation[i] = call.lists[first + 2].values[i];
      kernel[i] = first == 0 ? call.size(2, 2 + i) : call.lists[0].values[i];
      image[i] = call.size(x, 2 + i);
      result[i] = call.size(y, 2 + i);
    }
  }
  std::int64_t inputsOfGroup() const { return inputs / groups; }
  std::int64_t outputsOfGroup() const { return outputs / groups; }
  std::int64_t taps() const { return kernel[0] * kernel[1]; }
  std::int64_t imageSize() const { return image[0] * image[1]; }
  std::int64_t resultSize() const { return result[0] * result[1]; }

  /// How the taps of one dimension read the image.
  Axis axis(int i) const { return {image[i], result[i], stride[i], -padding[i], dilation[i], kernel[i]}; }

  /// The columns of group 0. A convolution without a window is one on long rows.
  template <typename T>
  ImageColumns<T> columns(const T *x) const {
    ImageColumns<T> out{x, inputs * imageSize(), imageSize(), axis(0), axis(1)};
    if (taps() == 1 && stride[0] == 1 && stride[1] == 1 && padding[0] == 0 && padding[1] == 0) {
      out.rows = {1, 1, 1, 0, 1, 1};
      out.columns = {imageSize(), imageSize(), 1, 0, 1, 1};
    }
    return out;
  }
};

/// Which taps of one dimension of the weight are used: first, first + step, ...
struct TapChoice {
  std::int64_t first = 0, step = 1;
};

/// result[row, position] = weight[row, :] . columns[:, position] for one group: rows are channels of the
/// result. Positions may be every second (third ...) of the result's.
template <typename T>
struct ColumnProduct {
  ImageColumns<T> columns; ///< of group 0
  std::int64_t columnsOfGroup;
  const float *weight; ///< [group][row][depth of all taps]
  std::int64_t rows, depthChannels, kernelRows, kernelColumns;
  TapChoice tapRows, tapColumns;
  T *result;
  std::int64_t resultSample, resultChannel, resultPitch, spread[2], origin[2];
  const float *bias = nullptr;

  std::int64_t depth() const { return depthChannels * columns.taps(); }

  /// to[row - rows.begin][step - steps.begin] for a block of rows.
  void copyWeights(std::int64_t group, Range block, Range steps, float *to) const {
    const std::int64_t whole = kernelRows * kernelColumns, length = depthChannels * whole;
    const float *const from = weight + (group * rows + block.begin) * length;
    for (std::int64_t row = 0; row < block.size(); ++row, to += steps.size())
      if (columns.taps() == whole) {
        eachVector({0, steps.size()}, [&](std::int64_t i, auto lanes) {
          write(to + i, read(from + row * length + steps.begin + i, lanes), lanes);
        });
      } else {
        for (std::int64_t step = steps.begin; step < steps.end; ++step) {
          const std::int64_t tap = step % columns.taps(),
                             tapRow = tapRows.first + tap / columns.columns.taps * tapRows.step,
                             tapColumn = tapColumns.first + tap % columns.columns.taps * tapColumns.step;
          to[step - steps.begin] =
              from[row * length + step / columns.taps() * whole + tapRow * kernelColumns + tapColumn];
        }
      }
  }

  void runTile(std::int64_t group, Range tileRows, Range positions, float *scratch) const {
    float *const panelsOfColumns = scratch, *const weights = scratch + kColumnsFloats,
                 *const results = weights + kWeightFloats;
    ImageColumns<T> matrix = columns;
    matrix.source += group * columnsOfGroup;
    const std::int64_t panels = ceilDivide(positions.size(), kPanel),
                       blocks = ceilDivide(tileRows.size(), kBlockRows);
    if (depth() == 0)
      eachVector({0, tileRows.size() * kResultRow},
                 [&](std::int64_t i, auto) { store(results + i, Vec16{}); });
    const std::int64_t chunk = depth() == 0 ? 1 : chunkLength(depth());
    for (std::int64_t begin = 0; begin < depth(); begin += chunk) {
      const Range steps{begin, least(depth(), begin + chunk)};
      for (std::int64_t panel = 0; panel < panels; ++panel)
        matrix.write(
            steps,
            {positions.begin + panel * kPanel, least(positions.end, positions.begin + (panel + 1) * kPanel)},
            panelsOfColumns + panel * kPanel * steps.size(), kPanel);
      for (std::int64_t i = 0; i < blocks; ++i) {
        const Range block = part(tileRows.size(), blocks, i);
        copyWeights(group, {tileRows.begin + block.begin, tileRows.begin + block.end}, steps, weights);
        for (std::int64_t panel = 0; panel < panels; ++panel) {
          float *const c = results + block.begin * kResultRow + panel * kPanel;
          multiplyPanel<false>({.a = weights,
                                .aRow = steps.size(),
                                .aStep = 1,
                                .b = panelsOfColumns + panel * kPanel * steps.size(),
                                .bStep = kPanel,
                                .depth = steps.size(),
                                .c = c,
                                .cRow = kResultRow,
                                .nextC = c + kPanel,
                                .chain = begin == 0 ? Chain::Start : Chain::Partial},
                               block.size(), least(kPanel, positions.size() - panel * kPanel));
        }
      }
    }
    writeResult(group, tileRows, positions, results);
  }

  /// Results with bias go where they belong, rounded.
  void writeResult(std::int64_t group, Range tileRows, Range positions, const float *results) const {
    const bool dense = spread[0] == 1 && spread[1] == 1;
    const std::int64_t line = dense ? columns.positions() : columns.columns.positions;
    for (std::int64_t at = 0; at < positions.size();) {
      const std::int64_t position = positions.begin + at, sample = position / columns.positions(),
                         within = position % columns.positions(),
                         length = least(line - within % line, positions.size() - at);
      const std::int64_t row = dense ? 0 : within / line * spread[0] + origin[0],
                         column = dense ? within : within % line * spread[1] + origin[1];
      for (std::int64_t i = tileRows.begin; i < tileRows.end; ++i) {
        const std::int64_t channel = group * rows + i;
        const float *const from = results + (i - tileRows.begin) * kResultRow + at;
        T *const to = result + sample * resultSample + channel * resultChannel + row * resultPitch + column;
        const float shift = bias ? bias[channel] : 0.0f;
        if (spread[1] == 1)
          eachVector({0, length}, [&](std::int64_t k, auto lanes) {
            const Vec16 value = read(from + k, lanes);
            kernels::STAGEWRIGHT_ISA::write(to + k, bias ? value + shift : value, lanes);
          });
        else
          for (std::int64_t k = 0; k < length; ++k)
            writeOne(to + k * spread[1], bias ? from[k] + shift : from[k]);
      }
      at += length;
    }
  }

  /// One channel for each of one or two rows (depthwise): there is no product of matrices to gain from.
  bool isDepthwise() const { return depthChannels == 1 && rows <= 2 && depth() > 0 && depth() <= kMaxChunk; }

  /// One row of results of one sample: a chain over the taps for sixteen neighbours at a time.
  STAGEWRIGHT_INLINE void runDirectRow(const T *plane, const float *taps, const Range *inside,
                                       std::int64_t row, T *to, const float *shift) const {
    const Axis &down = columns.rows, &across = columns.columns;
    for (std::int64_t at = 0; at < across.positions; at += kLanes) {
      Vec16 sum{};
      for (std::int64_t i = 0; i < down.taps; ++i) {
        const std::int64_t y = row * down.stride + down.offset(i);
        if (y < 0 || y >= down.size)
          continue;
        const T *const from = plane + y * across.size + at * across.stride;
        for (std::int64_t k = 0; k < across.taps; ++k)
          sum = fma(
              splat(taps[i * across.taps + k]),
              loadStrided(from + across.offset(k), across.stride, inside[k].begin - at, inside[k].end - at),
              sum);
      }
      if (shift)
        sum = sum + splat(*shift);
      const std::int64_t count = least(kLanes, across.positions - at);
      if (spread[1] != 1)
        for (std::int64_t lane = 0; lane < count; ++lane)
          writeOne(to + (at + lane) * spread[1], sum[lane]);
      else if (count == kLanes)
        store(to + at, sum);
      else
        storeFirst(to + at, sum, count);
    }
  }

  void runDirect(std::int64_t samples, std::int64_t groups, TileRunner &runner) const {
    const std::int64_t planes = samples * groups * rows, elements = planes * columns.positions();
    const std::int64_t tiles = least(least(planes, kMostTiles), elementTiles(elements));
    runTiles(runner, tiles, [&](std::int64_t index, int) {
      Range inside[kMaxChunk];
      float taps[kMaxChunk];
      for (std::int64_t i = 0; i < columns.columns.taps; ++i)
        inside[i] = columns.columns.inside(i);
      const Range range = part(planes, tiles, index);
      for (std::int64_t plane = range.begin; plane < range.end; ++plane) {
        const std::int64_t sample = plane / (groups * rows), channel = plane % (groups * rows),
                           group = channel / rows;
        copyWeights(group, {channel % rows, channel % rows + 1}, {0, depth()}, taps);
        const T *const from = columns.source + sample * columns.sampleStride + group * columnsOfGroup;
        T *const to =
            result + sample * resultSample + channel * resultChannel + origin[0] * resultPitch + origin[1];
        for (std::int64_t row = 0; row < columns.rows.positions; ++row)
          runDirectRow(from, taps, inside, row, to + row * spread[0] * resultPitch,
                       bias ? bias + channel : nullptr);
      }
    });
  }

  void run(std::int64_t samples, std::int64_t groups, TileRunner &runner) const {
    if (isDepthwise())
      return runDirect(samples, groups, runner);
    const std::int64_t positions = samples * columns.positions(), panels = ceilDivide(positions, kPanel);
    const double work = double(rows) * double(positions) * double(depth() + 1);
    std::int64_t rowTiles = ceilDivide(rows, kConvRows), tilePanels = kConvPanels;
    const auto tilesOfGroup = [&] { return rowTiles * ceilDivide(panels, tilePanels); };
    const auto tooFew = [&] {
      return groups * tilesOfGroup() < kEnoughTiles && work / double(2 * tilesOfGroup()) >= double(kTileWork);
    };
    while (tilePanels > 2 && tooFew())
      tilePanels /= 2;
    while (ceilDivide(rows, rowTiles) > 4 * kBlockRowsOfAll && tooFew())
      rowTiles *= 2;
    const std::int64_t units = groups * tilesOfGroup(), columnTiles = ceilDivide(panels, tilePanels);
    const double calls = work * double(groups) / double(kTileWork);
    const std::int64_t tiles = work * double(groups) <= double(kSmallProduct)
                                   ? 1
                                   : least(least(units, kMostTiles),
                                           calls < double(kMostTiles) ? std::int64_t(calls) + 1 : kMostTiles);
    runTiles(runner, tiles, [&](std::int64_t index, int worker) {
      const Range range = part(units, tiles, index);
      for (std::int64_t unit = range.begin; unit < range.end; ++unit) {
        const std::int64_t group = unit / tilesOfGroup(), tile = unit % tilesOfGroup();
        const Range panelRange = part(panels, columnTiles, tile / rowTiles);
        runTile(group, part(rows, rowTiles, tile % rowTiles),
                {panelRange.begin * kPanel, least(positions, panelRange.end * kPanel)},
                static_cast<float *>(runner.scratch(worker)));
      }
    });
  }

  static constexpr std::int64_t kBlockRowsOfAll = 14; ///< a number that no instruction set changes
};

template <typename T>
void conv2d(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const Sizes of(call, 0, 2, 1);
  const ColumnProduct<T> product{.columns = of.columns(static_cast<const T *>(operands[0])),
                                 .columnsOfGroup = of.inputsOfGroup() * of.imageSize(),
                                 .weight = static_cast<const float *>(operands[1]),
                                 .rows = of.outputsOfGroup(),
                                 .depthChannels = of.inputsOfGroup(),
                                 .kernelRows = of.kernel[0],
                                 .kernelColumns = of.kernel[1],
                                 .result = static_cast<T *>(operands[2]),
                                 .resultSample = of.outputs * of.resultSize(),
                                 .resultChannel = of.resultSize(),
                                 .resultPitch = of.result[1],
                                 .spread = {1, 1},
                                 .origin = {0, 0},
                                 .bias = call.operands[3].present ? static_cast<const float *>(operands[3])
                                                                  : nullptr};
  product.run(of.samples, of.groups, runner);
}

// ---- The gradient of the input ----
//
// Element h of dx is the sum over the taps r of g[(h + padding - r * dilation) / stride], where that is
// whole. So the elements h with one remainder by the stride have the same taps, and for them the taps are a
// convolution of g with stride 1.

struct Phase {
  Axis axis;
  TapChoice taps;
};

std::int64_t commonDivisor(std::int64_t a, std::int64_t b) {
  return b == 0 ? a : commonDivisor(b, a % b);
}

Phase phaseOf(const Sizes &of, int i, std::int64_t phase) {
  const std::int64_t stride = of.stride[i], dilation = of.dilation[i];
  Phase out{{of.result[i], ceilDivide(of.image[i] - phase, stride), 1, 0, 1, 0}, {}};
  out.taps.step = stride / commonDivisor(stride, dilation);
  const std::int64_t last = least(of.kernel[i], out.taps.step);
  while (out.taps.first < last && (phase + of.padding[i] - out.taps.first * dilation) % stride != 0)
    ++out.taps.first;
  if (out.taps.first == last)
    return out;
  out.axis.taps = (of.kernel[i] - 1 - out.taps.first) / out.taps.step + 1;
  out.axis.first = (phase + of.padding[i] - out.taps.first * dilation) / stride;
  out.axis.step = -(out.taps.step * dilation / stride);
  return out;
}

template <typename T>
void conv2dInputGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const Sizes of(call, 2, 0, 1);
  ColumnProduct<T> product{
      .columns = {static_cast<const T *>(operands[0]), of.outputs * of.resultSize(), of.resultSize(), {}, {}},
      .columnsOfGroup = of.outputsOfGroup() * of.resultSize(),
      .weight = static_cast<const float *>(operands[1]),
      .rows = of.inputsOfGroup(),
      .depthChannels = of.outputsOfGroup(),
      .kernelRows = of.kernel[0],
      .kernelColumns = of.kernel[1],
      .result = static_cast<T *>(operands[2]),
      .resultSample = of.inputs * of.imageSize(),
      .resultChannel = of.imageSize(),
      .resultPitch = of.image[1],
      .spread = {of.stride[0], of.stride[1]}};
  for (std::int64_t down = 0; down < least(of.stride[0], of.image[0]); ++down)
    for (std::int64_t right = 0; right < least(of.stride[1], of.image[1]); ++right) {
      const Phase rows = phaseOf(of, 0, down), columns = phaseOf(of, 1, right);
      product.columns.rows = rows.axis;
      product.columns.columns = columns.axis;
      product.tapRows = rows.taps;
      product.tapColumns = columns.taps;
      product.origin[0] = down;
      product.origin[1] = right;
      if (of.taps() == 1 && of.stride[0] == 1 && of.stride[1] == 1 && of.padding[0] == 0 &&
          of.padding[1] == 0) {
        product.columns.rows = {1, 1, 1, 0, 1, 1};
        product.columns.columns = {of.imageSize(), of.imageSize(), 1, 0, 1, 1};
      }
      product.run(of.samples, of.groups, runner);
    }
}

// ---- The gradient of the weight ----

/// acc[output, (input, tap)] += g[output, :] . columns[(input, tap), :]: one chain over all positions of all
/// samples, from acc. In a tile rows are (input, tap) and columns are outputs.
template <typename T>
struct ConvWeightGrad {
  ImageColumns<T> columns;
  const T *g;
  float *acc;
  Sizes of;

  std::int64_t depth() const { return of.inputsOfGroup() * of.taps(); }

  /// panel[position][32] of g, from output channel `channel` of all on.
  void packGradient(std::int64_t channel, std::int64_t channels, Range positions, float *panel) const {
    for (std::int64_t at = 0; at < positions.size();) {
      const std::int64_t position = positions.begin + at, within = position % of.resultSize();
      const std::int64_t length = least(of.resultSize() - within, positions.size() - at);
      const T *const from =
          g + (position / of.resultSize() * of.outputs + channel) * of.resultSize() + within;
      for (std::int64_t half = 0; half < least(channels, kPanel); half += kLanes)
        for (std::int64_t i = 0; i < length; i += kLanes)
          transpose(from + half * of.resultSize() + i, of.resultSize(), channels - half, length - i,
                    panel + (at + i) * kPanel + half, kPanel, [](Vec16 value) { return value; });
      at += length;
    }
  }

  void runTile(std::int64_t group, const MatrixTile &tile, float *scratch) const {
    float *const left = scratch, *const right = left + kTileRows * kPositions,
                 *const results = right + kTilePanels * kPanel * kPositions;
    ImageColumns<T> matrix = columns;
    matrix.source += group * of.inputsOfGroup() * of.imageSize();
    float *const weights = acc + group * of.outputsOfGroup() * depth();
    const std::int64_t blocks = ceilDivide(tile.rows.size(), kBlockRows),
                       positions = of.samples * of.resultSize();
    const auto eachWeight = [&](const auto &body) {
      for (std::int64_t output = tile.columns.begin; output < tile.columns.end; ++output)
        for (std::int64_t row = 0; row < tile.rows.size(); ++row)
          body(weights[output * depth() + tile.rows.begin + row],
               results[row * kResultRow + output - tile.columns.begin]);
    };
    eachWeight([](float &weight, float &sum) { sum = weight; });
    for (std::int64_t begin = 0; begin < positions; begin += kPositions) {
      const Range range{begin, least(positions, begin + kPositions)};
      matrix.write(tile.rows, range, left, range.size());
      for (std::int64_t column = tile.columns.begin; column < tile.columns.end; column += kPanel)
        packGradient(group * of.outputsOfGroup() + column, tile.columns.end - column, range,
                     right + (column - tile.columns.begin) * range.size());
      for (std::int64_t i = 0; i < blocks; ++i) {
        const Range block = part(tile.rows.size(), blocks, i);
        for (std::int64_t column = 0; column < tile.columns.size(); column += kPanel) {
          float *const c = results + block.begin * kResultRow + column;
          multiplyPanel<false>({.a = left + block.begin * range.size(),
                                .aRow = range.size(),
                                .aStep = 1,
                                .b = right + column * range.size(),
                                .bStep = kPanel,
                                .depth = range.size(),
                                .c = c,
                                .cRow = kResultRow,
                                .nextC = c + kPanel,
                                .chain = Chain::Continue},
                               block.size(), least(kPanel, tile.columns.size() - column));
        }
      }
    }
    eachWeight([](float &weight, float &sum) { weight = sum; });
  }
};

/// The most taps of a depthwise weight gradient, and columns of an image and its result, whose rows are kept
/// as [column][16 channels].
constexpr std::int64_t kDepthwiseTaps = 1024, kDepthwiseColumns = 12288;
static_assert((kDepthwiseTaps + kDepthwiseColumns) * kLanes * sizeof(float) <= kTileScratchBytes);

/// Sixteen channels whose groups have no others, one in each lane: the chains of ConvWeightGrad, without the
/// products of padding.
template <typename T>
struct DepthwiseWeightGrad {
  const T *x, *g;
  float *acc;
  Sizes of;

  static bool fits(const Sizes &of) {
    return of.inputsOfGroup() == 1 && of.outputsOfGroup() == 1 && of.kernel[0] <= kDepthwiseTaps &&
           of.kernel[1] <= kDepthwiseTaps && of.taps() <= kDepthwiseTaps &&
           of.image[1] <= kDepthwiseColumns / 2 && of.result[1] <= kDepthwiseColumns / 2;
  }

  /// to[column][16] of one row of `channels` planes.
  static void gather(const T *row, std::int64_t plane, std::int64_t channels, std::int64_t columns,
                     float *to) {
    for (std::int64_t i = 0; i < columns; i += kLanes)
      transpose(row + i, plane, channels, columns - i, to + i * kLanes, kLanes,
                [](Vec16 value) { return value; });
  }

  void runTile(std::int64_t first, float *sums) const {
    float *const gRow = sums + kDepthwiseTaps * kLanes, *const xRow = gRow + of.result[1] * kLanes;
    const std::int64_t channels = least(kLanes, of.inputs - first);
    const Axis down = of.axis(0), across = of.axis(1);
    const auto eachWeight = [&](const auto &body) {
      for (std::int64_t lane = 0; lane < channels; ++lane)
        for (std::int64_t tap = 0; tap < of.taps(); ++tap)
          body(acc[(first + lane) * of.taps() + tap], sums[tap * kLanes + lane]);
    };
    eachWeight([](float &weight, float &sum) { sum = weight; });
    for (std::int64_t i = 0; i < of.samples * of.result[0]; ++i) {
      const std::int64_t sample = i / of.result[0], row = i % of.result[0];
      gather(g + (sample * of.outputs + first) * of.resultSize() + row * of.result[1], of.resultSize(),
             channels, of.result[1], gRow);
      for (std::int64_t tapRow = 0; tapRow < down.taps; ++tapRow) {
        const std::int64_t y = row * down.stride + down.offset(tapRow);
        if (y < 0 || y >= of.image[0])
          continue;
        gather(x + (sample * of.inputs + first) * of.imageSize() + y * of.image[1], of.imageSize(), channels,
               of.image[1], xRow);
        for (std::int64_t tap = 0; tap < across.taps; ++tap) {
          const Range inside = across.inside(tap);
          float *const to = sums + (tapRow * across.taps + tap) * kLanes;
          Vec16 sum = load(to);
          for (std::int64_t k = inside.begin; k < inside.end; ++k)
            sum = fma(load(gRow + k * kLanes), load(xRow + (k * across.stride + across.offset(tap)) * kLanes),
                      sum);
          store(to, sum);
        }
      }
    }
    eachWeight([](float &weight, float &sum) { weight = sum; });
  }

  void run(TileRunner &runner) const {
    const std::int64_t blocks = ceilDivide(of.inputs, kLanes),
                       elements = of.samples * of.outputs * of.resultSize(),
                       tiles = least(least(blocks, kMostTiles), elementTiles(elements));
    runTiles(runner, tiles, [&](std::int64_t index, int worker) {
      const Range range = part(blocks, tiles, index);
      for (std::int64_t block = range.begin; block < range.end; ++block)
        runTile(block * kLanes, static_cast<float *>(runner.scratch(worker)));
    });
  }
};

template <typename T>
void conv2dWeightGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const Sizes of(call, 1, 0, 0);
  if (DepthwiseWeightGrad<T>::fits(of))
    return DepthwiseWeightGrad<T>{static_cast<const T *>(operands[1]), static_cast<const T *>(operands[0]),
                                  static_cast<float *>(operands[2]), of}
        .run(runner);
  const ConvWeightGrad<T> grad{of.columns(static_cast<const T *>(operands[1])),
                               static_cast<const T *>(operands[0]), static_cast<float *>(operands[2]), of};
  const MatrixTiles cut(grad.depth(), of.outputsOfGroup(), of.samples * of.resultSize());
  const double work = double(grad.depth()) * double(of.outputs) * double(of.samples * of.resultSize());
  const std::int64_t units = of.groups * cut.count();
  const std::int64_t tiles = work <= double(kSmallProduct) ? 1 : least(units, kMostTiles);
  runTiles(runner, tiles, [&](std::int64_t index, int worker) {
    const Range range = part(units, tiles, index);
    for (std::int64_t unit = range.begin; unit < range.end; ++unit)
      grad.runTile(unit / cut.count(), cut.tile(unit % cut.count()),
                   static_cast<float *>(runner.scratch(worker)));
  });
}

// ---- Packed weights ----

/// What a weight is rounded to first: the index of attribute `round`.
STAGEWRIGHT_INLINE Vec16 rounded(Vec16 value, std::int64_t to) {
  return to == 1 ? fromF16(toF16(value)) : to == 2 ? fromBF16(toBF16(value)) : value;
}

/// The weight as it is: [group][output][input][tap].
void packForward(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const float *const weight = static_cast<const float *>(operands[0]);
  float *const packed = static_cast<float *>(operands[1]);
  runElements(runner, call.elements(0), [&](Range range) {
    eachVector(range, [&](std::int64_t i, auto lanes) {
      write(packed + i, rounded(read(weight + i, lanes), call.integers[1]), lanes);
    });
  });
}

/// [group][input][output][tap]
void packInputGrad(const Call &call, void *const *operands, void *, TileRunner &runner) {
  const float *const weight = static_cast<const float *>(operands[0]);
  float *const packed = static_cast<float *>(operands[1]);
  const std::int64_t groups = call.integers[0], outputs = call.size(0, 0) / groups, inputs = call.size(0, 1),
                     taps = call.size(0, 2) * call.size(0, 3);
  const std::int64_t rows = groups * inputs, tiles = least(rows, elementTiles(call.elements(0)));
  runTiles(runner, tiles, [&](std::int64_t index, int) {
    const Range range = part(rows, tiles, index);
    for (std::int64_t row = range.begin; row < range.end; ++row)
      for (std::int64_t output = 0; output < outputs; ++output) {
        const std::int64_t from = ((row / inputs * outputs + output) * inputs + row % inputs) * taps;
        float *const to = packed + (row * outputs + output) * taps;
        eachVector({0, taps}, [&](std::int64_t i, auto lanes) {
          write(to + i, rounded(read(weight + from + i, lanes), call.integers[1]), lanes);
        });
      }
  });
}

const HostKernel kKernels[] = {{"pack_conv2d_forward", 1, packForward},
                               {"pack_conv2d_input_grad", 1, packInputGrad},
                               STAGEWRIGHT_FOR_ELEMENTS("conv2d", 1, conv2d),
                               STAGEWRIGHT_FOR_ELEMENTS("conv2d_input_grad", 1, conv2dInputGrad),
                               STAGEWRIGHT_FOR_ELEMENTS("conv2d_weight_grad", 1, conv2dWeightGrad)};

} // namespace

extern const Family Convolution = {kKernels, sizeof(kKernels) / sizeof(kKernels[0])};

} // namespace stagewright::kernels::STAGEWRIGHT_ISA
