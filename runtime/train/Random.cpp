#include "runtime/train/Random.h"

#include "runtime/train/Elementary.h"

#include <cmath>

namespace stagewright::runtime {

static std::uint32_t low(std::uint64_t value) {
  return static_cast<std::uint32_t>(value);
}
static std::uint32_t high(std::uint64_t value) {
  return static_cast<std::uint32_t>(value >> 32);
}

std::uint64_t hashName(std::string_view name) {
  std::uint64_t hash = 0xcbf29ce484222325;
  for (const char c : name) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  }
  return hash;
}

random::PhiloxBlock RandomStream::block(std::uint64_t index) const {
  return random::philox({{low(index), high(index), low(hash), high(hash)}}, {{low(seed), high(seed)}});
}

template <std::size_t N>
static double polynomial(const double (&coefficients)[N], double x) {
  double sum = 0;
  for (std::size_t i = N; i-- > 0;) {
    sum = sum * x + coefficients[i];
  }
  return sum;
}

// Wichura, Algorithm AS 241: The Percentage Points of the Normal Distribution, Applied Statistics 37 (1988).
double normalQuantile(double p) {
  static constexpr double a[] = {3.3871328727963666080e0,  1.3314166789178437745e+2, 1.9715909503065514427e+3,
                                 1.3731693765509461125e+4, 4.5921953931549871457e+4, 6.7265770927008700853e+4,
                                 3.3430575583588128105e+4, 2.5090809287301226727e+3};
  static constexpr double b[] = {1.0,
                                 4.2313330701600911252e+1,
                                 6.8718700749205790830e+2,
                                 5.3941960214247511077e+3,
                                 2.1213794301586595867e+4,
                                 3.9307895800092710610e+4,
                                 2.8729085735721942674e+4,
                                 5.2264952788528545610e+3};
  static constexpr double c[] = {1.42343711074968357734e0,  4.63033784615654529590e0,
                                 5.76949722146069140550e0,  3.64784832476320460504e0,
                                 1.27045825245236838258e0,  2.41780725177450611770e-1,
                                 2.27238449892691845833e-2, 7.74545014278341407640e-4};
  static constexpr double d[] = {1.0,
                                 2.05319162663775882187e0,
                                 1.67638483018380384940e0,
                                 6.89767334985100004550e-1,
                                 1.48103976427480074590e-1,
                                 1.51986665636164571966e-2,
                                 5.47593808499534494600e-4,
                                 1.05075007164441684324e-9};
  static constexpr double e[] = {6.65790464350110377720e0,  5.46378491116411436990e0,
                                 1.78482653991729133580e0,  2.96560571828504891230e-1,
                                 2.65321895265761230930e-2, 1.24266094738807843860e-3,
                                 2.71155556874348757815e-5, 2.01033439929228813265e-7};
  static constexpr double f[] = {1.0,
                                 5.99832206555887937690e-1,
                                 1.36929880922735805310e-1,
                                 1.48753612908506148525e-2,
                                 7.86869131145613259100e-4,
                                 1.84631831751005468180e-5,
                                 1.42151175831644588870e-7,
                                 2.04426310338993978564e-15};
  const double q = p - 0.5;
  if (q >= -0.425 && q <= 0.425) {
    const double r = 0.180625 - q * q;
    return q * polynomial(a, r) / polynomial(b, r);
  }
  const double r =
      std::sqrt(-logarithm(q < 0 ? p : 1 - p)); // the square root is correctly rounded everywhere
  const double x =
      r <= 5 ? polynomial(c, r - 1.6) / polynomial(d, r - 1.6) : polynomial(e, r - 5) / polynomial(f, r - 5);
  return q < 0 ? -x : x;
}

/// Calls use(i, word(first + i)) for i in [0, count), with one Philox call per four words.
template <typename Block, typename Use>
static void forEachWord(Block block, std::uint64_t first, std::size_t count, Use use) {
  random::PhiloxBlock words{};
  for (std::size_t i = 0; i < count; ++i) {
    const std::uint64_t index = first + i;
    if (i == 0 || index % 4 == 0) {
      words = block(index / 4);
    }
    use(i, words[index % 4]);
  }
}

void RandomStream::fillUniform(std::span<float> values, double bound, std::uint64_t first) const {
  forEachWord([&](std::uint64_t index) { return block(index); }, first, values.size(),
              [&](std::size_t i, std::uint32_t word) {
                const auto centred = static_cast<std::int32_t>(2 * (word >> 8) + 1) - (1 << 24);
                values[i] = static_cast<float>(centred * 0x1p-24 * bound);
              });
}

void RandomStream::fillNormal(std::span<float> values, double deviation, std::uint64_t first) const {
  forEachWord([&](std::uint64_t index) { return block(index); }, first, values.size(),
              [&](std::size_t i, std::uint32_t word) {
                values[i] = static_cast<float>(deviation * normalQuantile((word + 0.5) * 0x1p-32));
              });
}

} // namespace stagewright::runtime
