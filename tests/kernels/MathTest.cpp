// exp, log, tanh and erf against long double libm over all exponents and many mantissas: the bounds of
// Math16.h, in units in the last place, and the same bits on every instruction set.
#include "MathProbe.h"

#include "kernels/host/Host.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <gtest/gtest.h>
#include <limits>
#include <string_view>

namespace stagewright::kernels {

#if defined(STAGEWRIGHT_X86)
namespace avx512 {
extern const MathProbe mathProbe;
}
namespace avx2 {
extern const MathProbe mathProbe;
}
#endif
namespace portable {
extern const MathProbe mathProbe;
}

namespace {

using Member = void (*MathProbe::*)(const float *, float *);

struct Function {
  const char *name;
  Member member;
  long double (*exact)(long double);
  double bound; ///< in units in the last place
};

const Function kFunctions[] = {{"exp", &MathProbe::exp, [](long double x) { return std::exp(x); }, 1.1},
                               {"log", &MathProbe::log, [](long double x) { return std::log(x); }, 0.9},
                               {"tanh", &MathProbe::tanh, [](long double x) { return std::tanh(x); }, 1.5},
                               {"erf", &MathProbe::erf, [](long double x) { return std::erf(x); }, 1.2}};

const MathProbe &probeOf(Isa isa) {
#if defined(STAGEWRIGHT_X86)
  if (isa == Isa::Avx512)
    return avx512::mathProbe;
  if (isa == Isa::Avx2)
    return avx2::mathProbe;
#endif
  return portable::mathProbe;
}

/// |got - exact| in units in the last place of a float of exact's size; 0 for equal infinities and for two
/// NaNs.
double unitsOff(float got, long double exact) {
  const float nearest = float(exact);
  if (std::isnan(nearest) || std::isinf(nearest) || std::isnan(got) || std::isinf(got))
    return (std::isnan(nearest) && std::isnan(got)) || nearest == got ? 0 : 1e9;
  int exponent = 0;
  std::frexp(exact, &exponent);
  return double(std::fabs((long double)got - exact) / std::ldexp(1.0L, std::max(exponent, -125) - 24));
}

class MathTest : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Every, MathTest, testing::Range(0, 4),
                         [](const auto &info) { return std::string(kFunctions[info.param].name); });

TEST_P(MathTest, IsAccurateOverAllFloats) {
  const Function &function = kFunctions[GetParam()];
  double worst = 0;
  float worstAt = 0;
  // A step without small factors visits every exponent with changing mantissas.
  constexpr std::uint64_t kStep = 1613;
  for (std::uint64_t first = 0; first < (1ull << 32); first += 16 * kStep) {
    float x[16], y[16];
    for (std::uint64_t lane = 0; lane < 16; ++lane)
      x[lane] = std::bit_cast<float>(std::uint32_t(first + lane * kStep));
    (probeOf(bestIsa()).*function.member)(x, y);
    for (int lane = 0; lane < 16; ++lane)
      if (const double off = unitsOff(y[lane], function.exact(x[lane])); off > worst) {
        worst = off;
        worstAt = x[lane];
      }
  }
  EXPECT_LE(worst, function.bound) << function.name << "(" << worstAt << ")";
  EXPECT_GE(worst, 0.5) << "nothing was compared";
}

TEST_P(MathTest, EdgesAreExact) {
  constexpr float kInf = std::numeric_limits<float>::infinity(),
                  kNaN = std::numeric_limits<float>::quiet_NaN();
  const Function &function = kFunctions[GetParam()];
  const float edges[16] = {0.0f,    -0.0f,       kInf,        -kInf,        kNaN,   1.0f,    -1.0f,  1e-45f,
                           -1e-45f, 88.7228317f, 88.7228394f, -103.972076f, -1e38f, 3.4e38f, 0.625f, 0.92f};
  for (Isa isa : {Isa::Portable, Isa::Avx2, Isa::Avx512}) {
    if (!isSupported(isa))
      continue;
    float y[16];
    (probeOf(isa).*function.member)(edges, y);
    for (int i = 0; i < 16; ++i)
      EXPECT_LE(unitsOff(y[i], function.exact(edges[i])), function.bound) << name(isa) << " at " << edges[i];
    if (std::strcmp(function.name, "tanh") == 0 || std::strcmp(function.name, "erf") == 0) {
      EXPECT_TRUE(std::signbit(y[1]) && !std::signbit(y[0]));
    }
  }
}

TEST_P(MathTest, BitsDoNotDependOnTheInstructionSet) {
  const Function &function = kFunctions[GetParam()];
  constexpr std::uint64_t kStep = 30011;
  for (std::uint64_t first = 0; first < (1ull << 32); first += 16 * kStep) {
    float x[16], expected[16], y[16];
    for (std::uint64_t lane = 0; lane < 16; ++lane)
      x[lane] = std::bit_cast<float>(std::uint32_t(first + lane * kStep));
    (probeOf(Isa::Portable).*function.member)(x, expected);
    for (Isa isa : {Isa::Avx2, Isa::Avx512})
      if (isSupported(isa)) {
        (probeOf(isa).*function.member)(x, y);
        for (int lane = 0; lane < 16; ++lane)
          ASSERT_TRUE(std::bit_cast<std::uint32_t>(y[lane]) == std::bit_cast<std::uint32_t>(expected[lane]) ||
                      (std::isnan(y[lane]) && std::isnan(expected[lane])))
              << name(isa) << " " << function.name << "(" << x[lane] << ")";
      }
  }
}

// Known answers of Random123 (kat_vectors, philox4x32 10).
TEST(Philox, KnownAnswersOnEveryInstructionSet) {
  constexpr unsigned f = 0xffffffff;
  struct Answer {
    unsigned counterAndKey[6], words[4];
  };
  const Answer answers[] = {{{0, 0, 0, 0, 0, 0}, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}},
                            {{f, f, f, f, f, f}, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}},
                            {{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0},
                             {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}};
  for (const Isa isa : {Isa::Portable, Isa::Avx2, Isa::Avx512})
    for (const Answer &answer : answers)
      if (isSupported(isa)) {
        unsigned words[4] = {};
        probeOf(isa).philox(answer.counterAndKey, words);
        for (int i = 0; i < 4; ++i)
          EXPECT_EQ(words[i], answer.words[i]) << name(isa);
      }
}

/// Calls use(probe, name) for every instruction set.
template <typename Use>
void eachProbe(const Use &use) {
  for (Isa isa : {Isa::Portable, Isa::Avx2, Isa::Avx512})
    if (isSupported(isa))
      use(probeOf(isa), name(isa));
}

TEST(ExpNormal, HasTheBitsOfExpButForSubnormalResults) {
  constexpr std::uint64_t kStep = 1613;
  for (std::uint64_t first = 0; first < (1ull << 32); first += 16 * kStep) {
    float x[16], expected[16], y[16];
    for (std::uint64_t lane = 0; lane < 16; ++lane) {
      x[lane] = std::bit_cast<float>(std::uint32_t(first + lane * kStep));
      x[lane] = x[lane] > 88 ? 88 : x[lane];
    }
    probeOf(Isa::Portable).exp(x, expected);
    eachProbe([&](const MathProbe &probe, std::string_view isa) {
      probe.expNormal(x, y);
      for (int lane = 0; lane < 16; ++lane) {
        const float want = expected[lane] < std::numeric_limits<float>::min() ? 0.0f : expected[lane];
        ASSERT_TRUE(y[lane] == want || (std::isnan(y[lane]) && std::isnan(want)))
            << isa << " of " << x[lane] << " is " << y[lane] << ", not " << want;
      }
    });
  }
}

TEST(MathDouble, IsAccurateAndTheSameOnEveryInstructionSet) {
  for (int round = 0; round < 20000; ++round) {
    double x[16], positive[16], angle[16], exps[16], logs[16], waves[32];
    for (int lane = 0; lane < 16; ++lane) {
      const double u = std::fmod(0.6180339887498949 * (16 * round + lane), 1.0); // spread over [0, 1)
      x[lane] = 1400 * u - 700;
      positive[lane] = std::exp(x[lane] / 4);
      angle[lane] = (round % 3 ? 0x1p20 : 4.0) * (2 * u - 1);
    }
    probeOf(Isa::Portable).expDouble(x, exps);
    probeOf(Isa::Portable).logDouble(positive, logs);
    probeOf(Isa::Portable).sineCosine(angle, waves);
    for (int lane = 0; lane < 16; ++lane) {
      const long double e = std::exp((long double)x[lane]), l = std::log((long double)positive[lane]);
      ASSERT_LE(std::fabs((exps[lane] - e) / e), 1e-15L) << x[lane];
      ASSERT_LE(std::fabs(logs[lane] - l), 1e-15L * std::max(1.0L, std::fabs(l))) << positive[lane];
      ASSERT_LE(std::fabs(waves[lane] - std::sin((long double)angle[lane])), 1e-15L) << angle[lane];
      ASSERT_LE(std::fabs(waves[16 + lane] - std::cos((long double)angle[lane])), 1e-15L) << angle[lane];
    }
    eachProbe([&](const MathProbe &probe, std::string_view isa) {
      double otherExps[16], otherLogs[16], otherWaves[32];
      probe.expDouble(x, otherExps);
      probe.logDouble(positive, otherLogs);
      probe.sineCosine(angle, otherWaves);
      ASSERT_TRUE(std::memcmp(exps, otherExps, sizeof(exps)) == 0 &&
                  std::memcmp(logs, otherLogs, sizeof(logs)) == 0 &&
                  std::memcmp(waves, otherWaves, sizeof(waves)) == 0)
          << isa;
    });
  }
}

/// Every lane is the one-at-a-time function of its counter.
TEST(Philox, SixteenAtOnceAreTheSame) {
  std::uint32_t counters[64], words[64];
  for (std::uint32_t i = 0; i < 64; ++i)
    counters[i] = 0x9E3779B9 * (i + 1);
  const std::uint32_t key[2] = {0xa4093822, 0x299f31d0};
  eachProbe([&](const MathProbe &probe, std::string_view isa) {
    probe.philox16(counters, key, words);
    for (int lane = 0; lane < 16; ++lane) {
      const unsigned one[6] = {
          counters[lane], counters[16 + lane], counters[32 + lane], counters[48 + lane], key[0], key[1]};
      unsigned expected[4];
      probe.philox(one, expected);
      for (int word = 0; word < 4; ++word)
        EXPECT_EQ(words[16 * word + lane], expected[word]) << isa << " lane " << lane;
    }
  });
}

} // namespace

} // namespace stagewright::kernels
