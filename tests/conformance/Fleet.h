// What the conformance suite runs on: the ranks of one implementation of Communicator. Linked in by
// ThreadFleet.cpp or MpiFleet.cpp.
#ifndef STAGEWRIGHT_TESTS_CONFORMANCE_FLEET_H
#define STAGEWRIGHT_TESTS_CONFORMANCE_FLEET_H

#include "runtime/comm/Communicator.h"

#include <algorithm>
#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <span>
#include <stdexcept>
#include <utility>
#include <vector>

namespace stagewright::runtime {

/// The numbers of ranks that this program can run on.
std::vector<int> rankCounts();

/// Runs `body` on every rank of a new communicator, each in a thread of its own or in this process as one of
/// several. Returns when the ranks of this process are done. A fatal failure on one rank ends the others.
void onEveryRank(int ranks, std::size_t capacity, const std::function<void(Communicator &)> &body);

/// Whether each rank is a process of its own.
bool ranksAreProcesses();

/// Whether ranks take each other to be on other machines.
bool ranksAreApart();

/// The suite is parametrised by the number of ranks.
class Conformance : public testing::TestWithParam<int> {
protected:
  int ranks() const { return GetParam(); }
  void run(const std::function<void(Communicator &)> &body,
           std::size_t capacity = Communicator::kDefaultCapacity) const {
    onEveryRank(ranks(), capacity, body);
  }
};

/// The value of a success; anything else ends the rank's body and fails the test.
template <typename T>
T must(Result<T> result) {
  if (!result) {
    throw std::runtime_error(result.error().text());
  }
  return std::move(*result);
}
inline void must(Result<void> result) {
  if (!result) {
    throw std::runtime_error(result.error().text());
  }
}

/// Bytes that tell where they come from: a cheap mix of `seed` and the position.
inline std::uint64_t patternWord(std::uint64_t seed, std::size_t position) {
  const std::uint64_t word = (seed * 0x9E3779B97F4A7C15ULL + position) * 0xD1B54A32D192ED03ULL;
  return word ^ word >> 29;
}
inline void fillPattern(std::span<std::byte> data, std::uint64_t seed) {
  for (std::size_t at = 0; at < data.size(); at += 8) {
    const std::uint64_t word = patternWord(seed, at);
    std::memcpy(data.data() + at, &word, std::min<std::size_t>(8, data.size() - at));
  }
}
inline bool holdsPattern(std::span<const std::byte> data, std::uint64_t seed) {
  std::uint64_t wrong = 0;
  for (std::size_t at = 0; at < data.size(); at += 8) {
    const std::uint64_t word = patternWord(seed, at);
    wrong |= static_cast<std::uint64_t>(
        std::memcmp(data.data() + at, &word, std::min<std::size_t>(8, data.size() - at)) != 0);
  }
  return wrong == 0;
}
inline std::vector<std::byte> pattern(std::size_t bytes, std::uint64_t seed) {
  std::vector<std::byte> data(bytes);
  fillPattern(data, seed);
  return data;
}

} // namespace stagewright::runtime

#endif
