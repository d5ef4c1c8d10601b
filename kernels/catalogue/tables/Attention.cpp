// Family attention: softmax(scale q k^T) v, head by head, without the matrix of scores.
#include "catalogue/CudaSums.h"
#include "catalogue/Entry.h"
#include "catalogue/Tables.h"

#include <cmath>

namespace stagewright::catalogue {

/// Limits of a head's size: blocks of it fit into a worker's scratch.
constexpr std::int64_t kMaxHeadSize = 512;

/// `q` and `k`: operand numbers.
static Result<void> checkHeads(const std::string &place, const Shape &q, const Shape &k,
                               std::span<const Attribute> attributes) {
  const Kernel &kernel = *find("attention", 1); // all have its attributes, with its defaults
  if (q[2] % k[2])
    return userError(place, std::to_string(q[2]) + " heads of queries do not share " + std::to_string(k[2]) +
                                " heads of keys evenly");
  if (q[3] > kMaxHeadSize)
    return userError(place, "heads of " + std::to_string(q[3]) + " elements are larger than " +
                                std::to_string(kMaxHeadSize));
  if (integerAttribute(kernel, attributes, "causal") != 0 && q[1] != k[1])
    return userError(place, "causal attention of " + std::to_string(q[1]) + " queries to " +
                                std::to_string(k[1]) + " keys: the numbers must be the same");
  if (const double scale = floatAttribute(kernel, attributes, "scale"); !(scale >= 0 && std::isfinite(scale)))
    return userError(place, "scale " + std::to_string(scale) + " is not a positive number");
  // Rows of scores, padded to 64: what a random number is counted with.
  if (q[0] * q[1] * q[2] > (kMaxElements << 4) / (k[1] + 63))
    return userError(place, "there are more than 2^48 scores");
  return {};
}

static Result<void> checkDropout(const std::string &place, const Shape &q, const Shape &k,
                                 std::span<const Attribute> attributes) {
  const Kernel &kernel = *find("attention_dropout", 1);
  if (const double p = floatAttribute(kernel, attributes, "p"); !(p >= 0 && p <= 1))
    return userError(place, "p = " + std::to_string(p) + " is not in [0, 1]");
  for (const char *name : {"block", "ordinal"})
    if (const std::int64_t value = integerAttribute(kernel, attributes, name); value < 0 || value > 65535)
      return userError(place, std::string(name) + " " + std::to_string(value) + " is not in [0, 65535]");
  if (q[0] * q[1] * q[2] > (std::int64_t(1) << 34) / ((k[1] + 63) / 64 * 64))
    return userError(place, "there are more than 2^34 scores");
  return {};
}

/// `Query`: the number of operand q; k is the next.
template <Text Name, int Query, bool Dropout>
static Result<void> checkCall(std::span<const Shape> shapes, std::span<const Attribute> attributes) {
  const std::string place = "kernel " + std::string(Name.view());
  const Shape &q = shapes[Query], &k = shapes[Query + 1];
  if (Result<void> fine = checkHeads(place, q, k, attributes); !fine || !Dropout)
    return fine;
  return checkDropout(place, q, k, attributes);
}

/// Host: dq in fp32, which halves need. CUDA: a float for each row of scores, or cuDNN's.
template <bool AsksDnn>
static std::size_t gradientSums(std::span<const Shape> shapes, std::string_view target) {
  constexpr std::size_t kMask = 9; // the operand
  const std::int64_t count = shapes.empty() || shapes[0].size() != 4 ? 0 : elements(shapes[0]);
  if (count < 1 || count > kMaxElements)
    return 0;
  if (!isCuda(target))
    return target != "host" ? 0 : std::size_t(count) * sizeof(float);
  const Shape &q = shapes[0];
  if (AsksDnn && shapes.size() > 2 && shapes.size() <= kMask && shapes[2].size() == 4) {
    const Shape &k = shapes[2];
    const AttentionScratch scratch = attentionScratch(q[0], q[1], q[2], k[1], k[2], q[3]);
    return scratch.statistics + scratch.library;
  }
  return std::size_t(count / q[3]) * sizeof(float);
}

std::vector<Kernel> attentionKernels() {
  const std::vector<AttributeRule> plain = {{"causal", std::int64_t(0)}, {"scale", 0.0}};
  std::vector<AttributeRule> dropout = plain;
  dropout.push_back({"p", 0.5});
  dropout.push_back({"block", std::int64_t(0)});
  dropout.push_back({"ordinal", std::int64_t(0)});
  return {
      // Head h of q meets head h / (H / G) of k and v. A key with key_mask 0 is hidden; a query that sees
      // no key gives 0. scale 0 stands for 1 / sqrt(D). log_sum_exp is divided by scale, so that
      // exp((q k - it) * scale) is exactly 1 where a query looks at one key alone, however large the score.
      entry<"attention", "q T[B,S,H,D] R, k T[B,L,G,D] R, v T[B,L,G,D] R, y T[B,S,H,D] W, "
                         "log_sum_exp f32[B,H,S] W, key_mask i32[B,L] R?">(plain, {}, nullptr,
                                                                           checkCall<"attention", 0, false>),
      entry<"attention_grad",
            "g T[B,S,H,D] R, q T[B,S,H,D] R, k T[B,L,G,D] R, v T[B,L,G,D] R, y T[B,S,H,D] R, "
            "log_sum_exp f32[B,H,S] R, dq T[B,S,H,D] W, dk T[B,L,G,D] W, dv T[B,L,G,D] W, "
            "key_mask i32[B,L] R?">(plain, {}, gradientSums<true>, checkCall<"attention_grad", 1, false>),
      // random: {seed low, seed high, step, micro-batch}.
      entry<"attention_dropout", "q T[B,S,H,D] R, k T[B,L,G,D] R, v T[B,L,G,D] R, y T[B,S,H,D] W, "
                                 "log_sum_exp f32[B,H,S] W, random i32[4] R, key_mask i32[B,L] R?">(
          dropout, {}, nullptr, checkCall<"attention_dropout", 0, true>),
      entry<"attention_dropout_grad",
            "g T[B,S,H,D] R, q T[B,S,H,D] R, k T[B,L,G,D] R, v T[B,L,G,D] R, y T[B,S,H,D] R, "
            "log_sum_exp f32[B,H,S] R, dq T[B,S,H,D] W, dk T[B,L,G,D] W, dv T[B,L,G,D] W, random i32[4] R, "
            "key_mask i32[B,L] R?">(dropout, {}, gradientSums<false>,
                                    checkCall<"attention_dropout_grad", 1, true>),
  };
}

} // namespace stagewright::catalogue
