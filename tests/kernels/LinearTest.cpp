// The rule of the bits of the matrix products: a scalar loop of std::fma in the order of the depth is the
// exact oracle.
#include "KernelCases.h"

#include <cmath>
#include <gtest/gtest.h>

namespace stagewright::kernels {

namespace {

using catalogue::Shape;

/// x[rows, depth] times a packed matrix. One chain from zero per packed chunk, added in order. Then the bias.
std::vector<float> packedOracle(const float *x, const float *packed, const float *bias, std::int64_t rows,
                                std::int64_t depth, std::int64_t columns) {
  const std::int64_t chain = packedChunk(depth);
  std::vector<float> out(static_cast<std::size_t>(rows * columns));
  for (std::int64_t row = 0; row < rows; ++row)
    for (std::int64_t column = 0; column < columns; ++column) {
      float &result = out[std::size_t(row * columns + column)];
      for (std::int64_t begin = 0; begin < depth; begin += chain) {
        float sum = 0;
        for (std::int64_t step = begin; step < std::min(depth, begin + chain); ++step)
          sum = std::fma(x[row * depth + step], packed[packedIndex(depth, columns, step, column)], sum);
        result = begin == 0 ? sum : result + sum;
      }
      if (bias)
        result += bias[column];
    }
  return out;
}

/// acc += g^T x, one chain over all tokens that starts from acc.
void weightGradOracle(const float *g, const float *x, float *acc, std::int64_t tokens, std::int64_t outputs,
                      std::int64_t inputs) {
  for (std::int64_t row = 0; row < outputs; ++row)
    for (std::int64_t column = 0; column < inputs; ++column)
      for (std::int64_t token = 0; token < tokens; ++token)
        acc[row * inputs + column] =
            std::fma(g[token * outputs + row], x[token * inputs + column], acc[row * inputs + column]);
}

/// The values as floats.
std::vector<float> floatsOf(const Buffer &buffer) {
  const std::vector<double> values = buffer.values();
  return {values.begin(), values.end()};
}

/// Of halves, the result is the oracle's, rounded once.
void expectSameBits(const std::vector<float> &expected, const Buffer &result, const std::string &what) {
  Buffer rounded(result.dtype, result.elements);
  for (std::size_t i = 0; i < expected.size(); ++i)
    rounded.set(std::int64_t(i), double(expected[i]));
  for (std::size_t i = 0; i < expected.size(); ++i)
    ASSERT_EQ(rounded.at(std::int64_t(i)), result.at(std::int64_t(i))) << what << " at " << i;
}

class Linear : public testing::Test {
protected:
  Linear() { setFlushToZero(); }
  SerialTileRunner serial;
  ThreadTileRunner threads{3};
};

TEST_F(Linear, PackedProductsAreOneChainPerElement) {
  for (const char *kernel : {"linear", "linear_input_grad"})
    for (KernelCase &one : casesOf(kernel)) {
      const auto &shapes = one.instance.shapes;
      const std::vector<float> x = floatsOf(one.operands[0]);
      const std::vector<float> expected = packedOracle(
          x.data(), one.operands[1].as<float>(), shapes.size() > 3 ? one.operands[3].as<float>() : nullptr,
          shapes[0][0], shapes[0][1], shapes[2][1]);
      for (Isa isa : supportedIsas())
        for (TileRunner *runner : {static_cast<TileRunner *>(&serial), static_cast<TileRunner *>(&threads)})
          expectSameBits(expected, runCase(one, isa, *runner)[2],
                         one.text() + " on " + std::string(name(isa)));
    }
}

TEST_F(Linear, WeightGradIsOneChainPerElementThatStartsFromAcc) {
  for (KernelCase &one : casesOf("linear_weight_grad")) {
    const auto &shapes = one.instance.shapes;
    const float *const acc = one.operands[2].as<float>();
    std::vector<float> expected(acc, acc + one.operands[2].elements);
    weightGradOracle(floatsOf(one.operands[0]).data(), floatsOf(one.operands[1]).data(), expected.data(),
                     shapes[0][0], shapes[0][1], shapes[1][1]);
    for (Isa isa : supportedIsas())
      for (TileRunner *runner : {static_cast<TileRunner *>(&serial), static_cast<TileRunner *>(&threads)})
        expectSameBits(expected, runCase(one, isa, *runner)[2], one.text() + " on " + std::string(name(isa)));
  }
}

/// The products of two activations have the chains of linear, over the same chunks.
TEST_F(Linear, MatmulsAreOneChainPerElement) {
  for (const char *kernel : {"matmul", "matmul_nt", "matmul_tn"})
    for (KernelCase &one : casesOf(kernel)) {
      const bool ta = one.instance.kernel->name == "matmul_tn", nt = one.instance.kernel->name == "matmul_nt";
      const Shape &y = one.instance.shapes[2];
      const std::int64_t rows = y[1], columns = y[2], depth = one.instance.shapes[0][ta ? 1 : 2];
      const std::vector<float> a = floatsOf(one.operands[0]), b = floatsOf(one.operands[1]);
      std::vector<float> expected;
      for (std::int64_t batch = 0; batch < y[0]; ++batch) {
        std::vector<float> left(static_cast<std::size_t>(rows * depth)),
            packed(static_cast<std::size_t>(catalogue::packedElements(depth, columns)));
        for (std::int64_t step = 0; step < depth; ++step) {
          for (std::int64_t row = 0; row < rows; ++row)
            left[std::size_t(row * depth + step)] =
                a[std::size_t(batch * rows * depth + (ta ? step * rows + row : row * depth + step))];
          for (std::int64_t column = 0; column < columns; ++column)
            packed[std::size_t(packedIndex(depth, columns, step, column))] = b[std::size_t(
                batch * columns * depth + (nt ? column * depth + step : step * columns + column))];
        }
        for (float value : packedOracle(left.data(), packed.data(), nullptr, rows, depth, columns))
          expected.push_back(value);
      }
      for (Isa isa : supportedIsas())
        for (TileRunner *runner : {static_cast<TileRunner *>(&serial), static_cast<TileRunner *>(&threads)})
          expectSameBits(expected, runCase(one, isa, *runner)[2],
                         one.text() + " on " + std::string(name(isa)));
    }
}

/// Weight and bias gradients of micro-batches one by one equal those of all rows in one call.
TEST_F(Linear, GradientsDoNotDependOnTheGroupingOfMicroBatches) {
  struct Grouping {
    std::int64_t microBatches, rows, outputs, inputs;
  };
  for (const auto &[count, rows, outputs, inputs] :
       {Grouping{8, 16, 100, 77}, Grouping{3, 7, 10, 256}, Grouping{2, 300, 33, 40}, Grouping{17, 1, 3, 5}})
    for (const char *kernel : {"linear_weight_grad", "bias_grad"}) {
      const bool isBias = std::string_view(kernel) == "bias_grad";
      const std::int64_t tokens = count * rows;
      Buffer g(catalogue::DType::F32, tokens * outputs), x(catalogue::DType::F32, tokens * inputs);
      Buffer acc(catalogue::DType::F32, isBias ? outputs : outputs * inputs);
      for (Buffer *buffer : {&g, &x, &acc})
        for (std::int64_t i = 0; i < buffer->elements; ++i)
          buffer->set(i, std::sin(double(i) * 1.7 + double(buffer->elements)));
      const auto run = [&](std::int64_t first, std::int64_t n, Buffer &to, Isa isa) {
        std::vector<catalogue::Shape> shapes = {{n, outputs}, {n, inputs}, {outputs, inputs}};
        if (isBias)
          shapes = {{n, outputs}, {outputs}};
        auto prepared = prepare({catalogue::find(kernel, 1), shapes, {}}, isa);
        ASSERT_TRUE(prepared);
        void *const weightGrad[] = {g.as<float>() + first * outputs, x.as<float>() + first * inputs,
                                    to.data()};
        void *const biasGrad[] = {weightGrad[0], to.data()};
        (*prepared)->run(isBias ? biasGrad : weightGrad, nullptr, threads);
      };
      for (Isa isa : supportedIsas()) {
        Buffer together = acc, apart = acc;
        run(0, tokens, together, isa);
        for (std::int64_t i = 0; i < count; ++i)
          run(i * rows, rows, apart, isa);
        EXPECT_TRUE(apart.sameBits(together))
            << kernel << " on " << name(isa) << " " << count << " x " << rows;
        EXPECT_FALSE(apart.sameBits(acc));
      }
    }
}

/// linear(pack(W)) = x W^T and linear_input_grad(pack(W)) = g W, end to end.
TEST_F(Linear, PackedWeightsGiveTheProductsOfTheLayer) {
  const std::int64_t rows = 19, inputs = 45, outputs = 37;
  const auto value = [](std::int64_t i, std::int64_t j) { return std::cos(double(i * 3 + j * 7)); };
  for (Isa isa : supportedIsas())
    for (bool forward : {true, false}) {
      const std::int64_t depth = forward ? inputs : outputs, columns = forward ? outputs : inputs;
      const std::int64_t packedSize = catalogue::packedElements(depth, columns);
      Buffer weight(catalogue::DType::F32, outputs * inputs), packed(catalogue::DType::F32, packedSize);
      Buffer left(catalogue::DType::F32, rows * depth), out(catalogue::DType::F32, rows * columns);
      for (std::int64_t i = 0; i < outputs * inputs; ++i)
        weight.set(i, value(i / inputs, i % inputs));
      for (std::int64_t i = 0; i < rows * depth; ++i)
        left.set(i, value(i, 1));
      auto pack = prepare({catalogue::find(forward ? "pack_linear_forward" : "pack_linear_input_grad", 1),
                           {{outputs, inputs}, {packedSize}},
                           {}},
                          isa);
      auto product = prepare({catalogue::find(forward ? "linear" : "linear_input_grad", 1),
                              {{rows, depth}, {packedSize}, {rows, columns}},
                              {}},
                             isa);
      ASSERT_TRUE(pack && product);
      void *const packOperands[] = {weight.data(), packed.data()};
      (*pack)->run(packOperands, nullptr, serial);
      void *const operands[] = {left.data(), packed.data(), out.data(), nullptr};
      (*product)->run(operands, nullptr, serial);
      for (std::int64_t row = 0; row < rows; ++row)
        for (std::int64_t column = 0; column < columns; ++column) {
          double want = 0;
          for (std::int64_t step = 0; step < depth; ++step)
            want += left.at(row * depth + step) *
                    (forward ? weight.at(column * inputs + step) : weight.at(step * inputs + column));
          ASSERT_NEAR(out.at(row * columns + column), want, 1e-5);
        }
    }
}

} // namespace

} // namespace stagewright::kernels
