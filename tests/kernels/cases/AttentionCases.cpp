#include "CaseBuilding.h"

#include <vector>

namespace stagewright::kernels {

namespace {

struct Sizes {
  std::int64_t batch, queries, heads, keys, keyHeads, width;
};

/// One key; odd sizes; shared heads; more and fewer than the blocks of 128, 64 and 32 queries and of 128 and
/// 64 keys that heads of up to 64, 128, 256 and 512 have.
const std::vector<Sizes> kSizes = {{1, 1, 1, 1, 1, 1},     {2, 3, 4, 5, 2, 3},      {1, 17, 2, 16, 1, 16},
                                   {2, 20, 2, 140, 2, 33}, {1, 130, 2, 130, 1, 64}, {1, 70, 1, 150, 1, 200},
                                   {1, 40, 1, 70, 1, 300}, {1, 20, 2, 70, 1, 100}};
const std::vector<Sizes> kCausalSizes = {{1, 1, 1, 1, 1, 8},       {3, 5, 2, 5, 1, 7},
                                         {1, 33, 2, 33, 2, 16},    {1, 140, 2, 140, 1, 40},
                                         {1, 130, 1, 130, 1, 140}, {1, 100, 1, 100, 1, 260}};

/// The operands of the forward call, then random numbers for dropout, then a mask.
KernelCase forwardCase(std::string_view name, const Sizes &n, bool isCausal, bool isMasked, bool hasDropout) {
  const Shape q{n.batch, n.queries, n.heads, n.width}, k{n.batch, n.keys, n.keyHeads, n.width};
  std::vector<Shape> shapes = {q, k, k, q, {n.batch, n.heads, n.queries}};
  std::vector<catalogue::Attribute> attributes = {{"causal", std::int64_t(isCausal)}};
  if (hasDropout) {
    shapes.push_back({4});
    attributes.push_back({"p", 0.25});
    attributes.push_back({"block", n.batch});
    attributes.push_back({"ordinal", std::int64_t(7)});
  }
  if (isMasked) {
    shapes.push_back({n.batch, n.keys});
    attributes.push_back({"scale", 0.25});
  }
  KernelCase out = makeCase(name, shapes, attributes);
  for (std::size_t i = 0; i < 3; ++i)
    fill(out.operands[i], [] { return uniform(-2, 2); });
  if (hasDropout)
    fill(out.operands[5], [] { return double(integer(-2147483647, 2147483647)); });
  if (isMasked) {
    Buffer &mask = out.operands.back();
    for (std::int64_t i = 0; i < mask.elements; ++i) // the first key is seen, so that every query sees one
      mask.set(i, double(i % n.keys == 0 ? -1 : integer(0, 1)));
  }
  return out;
}

std::vector<KernelCase> forwardCases(std::string_view name, bool hasDropout) {
  Cases out;
  for (const Sizes &sizes : kSizes) {
    out.push_back(forwardCase(name, sizes, false, false, hasDropout));
    if (sizes.keys > 1)
      out.push_back(forwardCase(name, sizes, false, true, hasDropout));
  }
  for (const Sizes &sizes : kCausalSizes) {
    out.push_back(forwardCase(name, sizes, true, false, hasDropout));
    if (sizes.heads == 2)
      out.push_back(forwardCase(name, sizes, true, true, hasDropout));
  }
  if (hasDropout) // the blocks are those of calls without it
    std::erase_if(out, [](const KernelCase &one) {
      return one.instance.shapes[0][3] > 64 && one.instance.shapes[0][1] >= 100;
    });
  for (KernelCase &one : out) {
    one.absolute = hasDropout ? 1.5e-5 : 1e-5; // scores of up to 20; what dropout keeps is larger
    one.relative = 1e-6;
  }
  return out;
}

/// The same calls, with a gradient before and the results of the forward pass.
Cases gradCases(std::string_view name, std::string_view forward, bool hasDropout) {
  Cases out;
  for (KernelCase &one : forwardCases(forward, hasDropout)) {
    ReferenceOperands known;
    for (const Buffer &operand : one.operands)
      known.push_back(operand.values());
    runReference(one.instance, known);
    const std::vector<Shape> &s = one.instance.shapes;
    std::vector<Shape> shapes = {s[0], s[0], s[1], s[1], s[0], s[4], s[0], s[1], s[1]};
    shapes.insert(shapes.end(), s.begin() + 5, s.end());
    out.push_back(makeCase(name, shapes, one.instance.attributes));
    KernelCase &grad = out.back();
    for (std::size_t i = 0; i < 5; ++i)
      for (std::int64_t k = 0; k < grad.operands[i + 1].elements; ++k)
        grad.operands[i + 1].set(k, known[i][std::size_t(k)]);
    for (std::size_t i = 5; i < one.operands.size(); ++i)
      grad.operands[i + 4] = one.operands[i];
    grad.absolute = 2e-5;
    grad.relative = 2e-6;
  }
  return out;
}

const TableEntry kTable[] = {
    {"attention", [](std::string_view name) { return forwardCases(name, false); }},
    {"attention_grad", [](std::string_view name) { return gradCases(name, "attention", false); }},
    {"attention_dropout", [](std::string_view name) { return forwardCases(name, true); }},
    {"attention_dropout_grad",
     [](std::string_view name) { return gradCases(name, "attention_dropout", true); }},
};

} // namespace

std::span<const TableEntry> attentionCases() {
  return kTable;
}

} // namespace stagewright::kernels
