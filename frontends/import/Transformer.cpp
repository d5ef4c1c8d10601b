// Layers of transformers: normalisation over the last dimensions, positions, attention.
#include "frontends/import/LayerImporters.h"
#include "frontends/layerspec/LayerTypes.h"

using namespace mlir;

namespace stagewright {
namespace {

using Sizes = std::vector<int64_t>;

constexpr int64_t kNoRow = -1; // of the kernels

/// The input's rows to normalise, or why it has none of that shape.
Result<Value> normalizedRows(LayerContext &layer) {
  ArrayRef<int64_t> x = layer.inputType().getShape();
  ArrayRef<int64_t> wanted = layer.argument<Sizes>("normalized_shape");
  if (x.size() <= wanted.size() || x.take_back(wanted.size()) != wanted) {
    return layer.mismatch("has normalized_shape " + shapeText(wanted) + ", but its input has shape " +
                              shapeText(x),
                          "give the input's last dimensions");
  }
  if (wanted.size() > 1 && layer.argument<bool>("elementwise_affine")) {
    return layer.mismatch("has weights of several dimensions",
                          "normalise over the last dimension, or put a Flatten before");
  }
  return layer.asRows(layer.inputs[0], wanted.size());
}

/// A parameter of the normalised shape, which has one dimension.
Value affine(LayerContext &layer, StringRef name, double value) {
  return layer.parameter(name, layer.argument<Sizes>("normalized_shape"), Initializer::constant(value));
}

Result<Value> layerNorm(LayerContext &layer) {
  Result<Value> rows = normalizedRows(layer);
  if (!rows) {
    return rows;
  }
  bool hasWeight = layer.argument<bool>("elementwise_affine"),
       hasBias = hasWeight && layer.argument<bool>("bias");
  Value weight = hasWeight ? affine(layer, "weight", 1) : Value(),
        bias = hasBias ? affine(layer, "bias", 0) : Value();
  RankedTensorType statistic = layer.f32({LayerContext::shapeOf(*rows)[0]});
  auto op =
      layer.make<layer::LayerNormOp>(TypeRange{(*rows).getType(), statistic, statistic}, *rows, weight, bias,
                                     layer.builder.getF64FloatAttr(layer.argument<double>("eps")));
  return layer.reshape(op.getY(), layer.inputType().getShape());
}

Result<Value> rmsNorm(LayerContext &layer) {
  Result<Value> rows = normalizedRows(layer);
  if (!rows) {
    return rows;
  }
  Value weight = layer.argument<bool>("elementwise_affine") ? affine(layer, "weight", 1) : Value();
  auto op = layer.make<layer::RmsNormOp>(
      TypeRange{(*rows).getType(), layer.f32({LayerContext::shapeOf(*rows)[0]})}, *rows, weight,
      layer.builder.getF64FloatAttr(layer.argument<double>("eps")));
  return layer.reshape(op.getY(), layer.inputType().getShape());
}

/// What `rowwise` makes of the rows of x along the argument `dim`, in the shape of x: any dimension of a
/// sample, which stands last while it is computed.
Result<Value> along(LayerContext &layer, llvm::function_ref<Value(Value)> rowwise) {
  ArrayRef<int64_t> shape = layer.inputType().getShape();
  const auto rank = static_cast<int64_t>(shape.size());
  int64_t dim = layer.argument<int64_t>("dim");
  dim = dim < 0 ? dim + rank : dim;
  if (dim < 1 || dim >= rank) {
    return layer.mismatch(
        "is over dimension " + std::to_string(layer.argument<int64_t>("dim")) + " of " + shapeText(shape),
        rank < 2 ? "give it samples of at least one dimension"
                 : "use one between 1 and " + std::to_string(rank - 1) + ": samples do not mix");
  }
  SmallVector<int64_t> order = llvm::to_vector(llvm::seq<int64_t>(0, rank)), turned(shape);
  std::swap(order[dim], order.back()); // its own inverse
  std::swap(turned[dim], turned.back());
  const auto turn = [&](Value x, ArrayRef<int64_t> to) -> Value {
    return dim == rank - 1 ? x
                           : layer.make<layer::PermuteOp>(layer.f32(to), x, ArrayRef<int64_t>(order)).getY();
  };
  Value rows = layer.asRows(turn(layer.inputs[0], turned));
  return turn(layer.reshape(rowwise(rows), turned), shape);
}

/// torch.nn.functional.normalize.
Result<Value> normalize(LayerContext &layer) {
  return along(layer, [&](Value rows) -> Value {
    auto op =
        layer.make<layer::NormalizeOp>(TypeRange{rows.getType(), layer.f32({LayerContext::shapeOf(rows)[0]})},
                                       rows, layer.builder.getF64FloatAttr(layer.argument<double>("eps")));
    return op.getY();
  });
}

/// The mask that the argument names, of this shape; null when it names none.
Result<Value> maskOf(LayerContext &layer, const char *argument, ArrayRef<int64_t> shape) {
  Value mask = layer.feature(argument);
  if (mask && LayerContext::shapeOf(mask) != shape) {
    return layer.mismatch("reads the mask " + layer.argument<std::string>(argument) + " of shape " +
                              shapeText(LayerContext::shapeOf(mask)) + ", but needs " + shapeText(shape),
                          "give the input the shape [" + std::to_string(shape[1]) +
                              "], one number per token");
  }
  return mask;
}

/// As sentence-transformers' mean pooling: x [batch, length, size] to [batch, size].
Result<Value> maskedMean(LayerContext &layer) {
  constexpr double kSmallestCount = 1e-9;
  ArrayRef<int64_t> x = layer.inputType().getShape();
  if (x.size() != 3) {
    return layer.mismatch("needs an input [batch, length, size], but gets " + shapeText(x),
                          "put it behind layers that make a value for every token");
  }
  Result<Value> mask = maskOf(layer, "mask", {x[0], x[1]});
  if (!mask) {
    return mask;
  }
  return layer
      .make<layer::MaskedMeanOp>(layer.f32({x[0], x[2]}), layer.inputs[0], *mask,
                                 layer.builder.getF64FloatAttr(kSmallestCount))
      .getY();
}

Result<Value> softmax(LayerContext &layer) {
  return along(layer, [&](Value rows) -> Value { return layer.make<layer::SoftmaxOp>(rows); });
}

/// x [batch, S, D] plus the first S rows of a table.
Result<Value> learnedPositions(LayerContext &layer) {
  ArrayRef<int64_t> x = layer.inputType().getShape();
  int64_t rows = layer.argument<int64_t>("num_positions"), columns = layer.argument<int64_t>("embedding_dim");
  if (x.size() != 3 || x[1] > rows || x[2] != columns) {
    return layer.mismatch("needs an input [batch, up to " + std::to_string(rows) + ", " +
                              std::to_string(columns) + "], but gets " + shapeText(x),
                          "set num_positions and embedding_dim to fit");
  }
  Value table =
      layer.parameter("weight", {rows, columns}, Initializer::normal(layer.argument<double>("init_std")));
  if (x[1] != rows) {
    table = layer.make<layer::SliceOp>(layer.f32({x[1], columns}), table, ArrayRef<int64_t>{0, 0});
  }
  Value positions = layer.make<layer::ExpandOp>(layer.f32(x), table, layer.builder.getF64FloatAttr(1));
  return layer.make<layer::AddOp>(layer.inputs[0], positions).getY();
}

/// Tokens of any shape; a row of the table for each.
Result<Value> embedding(LayerContext &layer) {
  int64_t rows = layer.argument<int64_t>("num_embeddings"),
          columns = layer.argument<int64_t>("embedding_dim");
  SmallVector<int64_t> shape(layer.inputType().getShape());
  int64_t tokens = layer::elementCount(layer.inputs[0]);
  shape.push_back(columns);
  if (std::string reason = beyondLimits(shape); !reason.empty()) {
    return layer.mismatch("makes " + shapeText(shape) + ", which " + reason,
                          "make the layer or train_micro_batch_size_per_gpu smaller");
  }
  int64_t padding = layer.argument<int64_t>("padding_idx");
  Initializer initializer = Initializer::normal(layer.argument<double>("init_std"));
  if (padding == kNoPadding) {
    padding = kNoRow;
  } else if (padding < -rows || padding >= rows) {
    return layer.mismatch("has padding_idx " + std::to_string(padding) + ", but " + std::to_string(rows) +
                              " rows",
                          "name one of the rows, from 0 or, from the last one on, from -1");
  } else {
    padding = padding < 0 ? padding + rows : padding;
    initializer.zeroRow = padding;
  }
  Value weight = layer.parameter("weight", {rows, columns}, initializer);
  Value y = layer.make<layer::EmbeddingOp>(
      layer.f32({tokens, columns}), layer.reshape(layer.inputs[0], {tokens}), weight, Value(), padding);
  return layer.reshape(y, shape);
}

/// Part `index` of the last dimension of x [B, S, ...], from `start` on, as [B, S, heads, size].
Value heads(LayerContext &layer, Value x, int64_t start, int64_t heads, int64_t size) {
  ArrayRef<int64_t> shape = LayerContext::shapeOf(x);
  int64_t batch = shape[0], length = shape[1];
  if (shape[2] != heads * size) {
    x = layer.make<layer::SliceOp>(layer.f32({batch, length, heads * size}), x,
                                   ArrayRef<int64_t>{0, 0, start});
  }
  return layer.reshape(x, {batch, length, heads, size});
}

Value rotated(LayerContext &layer, Value x, Value table) {
  return layer.make<layer::RotaryOp>(x.getType(), x, table, 0, 0);
}

/// One input holds queries, keys and values side by side in its last dimension; three hold one each.
Result<Value> attention(LayerContext &layer) {
  int64_t queryHeads = layer.argument<int64_t>("num_heads"),
          given = layer.argument<int64_t>("num_key_value_heads");
  int64_t keyHeads = given == 0 ? queryHeads : given;
  ArrayRef<int64_t> first = layer.inputType().getShape();
  bool isPacked = layer.inputs.size() == 1;
  int64_t parts = isPacked ? queryHeads + 2 * keyHeads : queryHeads;
  if (layer.inputs.size() == 2 || first.size() != 3 || first[2] % parts != 0 || queryHeads % keyHeads != 0) {
    return layer.mismatch(
        "cannot split " + shapeText(first) + " into " + std::to_string(queryHeads) +
            " heads of queries and " + std::to_string(keyHeads) + " of keys and values",
        "read one tensor [batch, length, (num_heads + 2 num_key_value_heads) size], or three: queries, "
        "keys and values [batch, length, heads size]");
  }
  int64_t size = first[2] / parts, width = queryHeads * size, keyWidth = keyHeads * size;
  Value sources[3] = {layer.inputs[0], layer.inputs[isPacked ? 0 : 1], layer.inputs[isPacked ? 0 : 2]};
  for (Value source : ArrayRef(sources).drop_front()) {
    ArrayRef<int64_t> shape = LayerContext::shapeOf(source);
    if (!isPacked && (shape.size() != 3 || shape[0] != first[0] || shape[2] != keyWidth ||
                      shape != LayerContext::shapeOf(sources[1]))) {
      return layer.mismatch("reads keys or values of shape " + shapeText(shape),
                            "give them the shape [batch, length, " + std::to_string(keyWidth) + "]");
    }
  }
  bool isCausal = layer.argument<bool>("is_causal");
  if (isCausal && LayerContext::shapeOf(sources[1])[1] != first[1]) {
    return layer.mismatch("is causal, but has more or fewer keys than queries", "give both one length");
  }
  Value q = heads(layer, sources[0], 0, queryHeads, size);
  Value k = heads(layer, sources[1], isPacked ? width : 0, keyHeads, size);
  Value v = heads(layer, sources[2], isPacked ? width + keyWidth : 0, keyHeads, size);
  if (double base = layer.argument<double>("rotary_base"); base > 0) {
    if (size % 2 != 0 || LayerContext::shapeOf(sources[1])[1] != first[1]) {
      return layer.mismatch("has rotary positions on heads of size " + std::to_string(size) +
                                " and keys of another length",
                            "use an even size, and as many keys as queries");
    }
    Value table =
        layer.make<layer::RotaryTableOp>(layer.f32({first[1], size}), layer.builder.getF64FloatAttr(base));
    q = rotated(layer, q, table);
    k = rotated(layer, k, table);
  }
  Result<Value> mask = maskOf(layer, "key_mask", {first[0], LayerContext::shapeOf(sources[1])[1]});
  if (!mask) {
    return mask;
  }
  OpBuilder &b = layer.builder;
  SmallVector<Type> types = {q.getType(), layer.f32({first[0], queryHeads, first[1]})};
  IntegerAttr causal = b.getI64IntegerAttr(isCausal ? 1 : 0);
  FloatAttr scale = b.getF64FloatAttr(layer.argument<double>("scale"));
  double p = layer.argument<double>("dropout_p");
  Value y;
  if (p == 0) {
    y = layer.make<layer::AttentionOp>(types, q, k, v, *mask, causal, scale).getY();
  } else {
    LayerContext::RandomNumbers random = layer.randomNumbers();
    y = layer
            .make<layer::AttentionDropoutOp>(types, q, k, v, random.value, *mask, causal, scale,
                                             b.getF64FloatAttr(p), b.getI64IntegerAttr(random.block),
                                             b.getI64IntegerAttr(random.ordinal))
            .getY();
  }
  return layer.reshape(y, {first[0], first[1], width});
}

} // namespace

void addTransformer(LayerImporters &table) {
  table["LayerNorm"] = layerNorm;
  table["RMSNorm"] = rmsNorm;
  table["Softmax"] = softmax;
  table["Normalize"] = normalize;
  table["MaskedMean"] = maskedMean;
  table["LearnedPositions"] = learnedPositions;
  table["Embedding"] = embedding;
  table["ScaledDotProductAttention"] = attention;
}

} // namespace stagewright
