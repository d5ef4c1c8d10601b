// Collectives, compared bit by bit with what one thread computes, and with the other implementation.
#include "Fleet.h"

#include "runtime/comm/ThreadCommunicator.h"
#include "runtime/device/Futex.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <thread>

using namespace stagewright;
using namespace stagewright::runtime;

namespace {

class Collectives : public Conformance {};

/// The values that `rank` brings: of very different sizes, so that the order of a sum shows in its bits.
template <typename T>
std::vector<T> contribution(int rank, std::size_t count) {
  std::mt19937_64 random(1 + rank);
  std::vector<T> values(count);
  for (T &value : values) {
    const T mantissa = static_cast<T>(static_cast<double>(random() >> 11) * 0x1p-53 + 0.5);
    value = std::ldexp(random() % 2 ? mantissa : -mantissa, static_cast<int>(random() % 24));
  }
  if (count > 20) {
    values[3] = T(-0.0);
    values[7] = std::numeric_limits<T>::infinity();
    values[11] = rank == 0 ? std::numeric_limits<T>::max() : T(1);
  }
  return values;
}

/// ((r0 + r1) + r2) + ..., or in the opposite order.
template <typename T>
std::vector<T> sumInOrder(int ranks, std::size_t count, bool ascending = true) {
  std::vector<T> sum = contribution<T>(ascending ? 0 : ranks - 1, count);
  for (int step = 1; step < ranks; ++step) {
    const std::vector<T> term = contribution<T>(ascending ? step : ranks - 1 - step, count);
    for (std::size_t i = 0; i < count; ++i) {
      sum[i] += term[i];
    }
  }
  return sum;
}

template <typename T>
bool sameBits(const std::vector<T> &left, const std::vector<T> &right) {
  return left.size() == right.size() &&
         (left.empty() || std::memcmp(left.data(), right.data(), left.size() * sizeof(T)) == 0);
}

template <typename T>
constexpr Element kElementOf = sizeof(T) == 4 ? Element::F32 : Element::F64;

constexpr std::size_t kCounts[] = {0, 1, 2, 15, 16, 17, 100, 16384, 100'003, 300'000};

template <typename T>
void checkAllReduce(Communicator &self) {
  for (const std::size_t count : kCounts) {
    std::vector<T> values = contribution<T>(self.rank(), count);
    must(self.allReduce(values.data(), count, kElementOf<T>));
    ASSERT_TRUE(sameBits(values, sumInOrder<T>(self.size(), count))) << count;
  }
}

TEST_P(Collectives, AllReduceAddsInTheOrderOfRanks) {
  if (ranks() > 2) { // the values can tell
    EXPECT_FALSE(sameBits(sumInOrder<float>(ranks(), 16384), sumInOrder<float>(ranks(), 16384, false)));
    EXPECT_FALSE(sameBits(sumInOrder<double>(ranks(), 16384), sumInOrder<double>(ranks(), 16384, false)));
  }
  run([](Communicator &self) {
    checkAllReduce<float>(self);
    checkAllReduce<double>(self);
  });
}

/// Values that do not begin with a cache line, in the middle of others.
TEST_P(Collectives, AllReduceTouchesNothingElse) {
  run([](Communicator &self) {
    for (const std::size_t count : kCounts) {
      std::vector<float> values(count + 6, -1.0F);
      const std::vector<float> own = contribution<float>(self.rank(), count);
      std::copy(own.begin(), own.end(), values.begin() + 3);
      std::vector<float> expected(count + 6, -1.0F);
      const std::vector<float> sum = sumInOrder<float>(self.size(), count);
      std::copy(sum.begin(), sum.end(), expected.begin() + 3);
      must(self.allReduce(values.data() + 3, count, Element::F32));
      ASSERT_TRUE(sameBits(values, expected)) << count;
    }
  });
}

/// What one collective leaves behind must not reach the next one, whose ranks may be others.
TEST_P(Collectives, ManyInARow) {
  run([](Communicator &self) {
    const int columns = self.size() % 2 == 0 ? 2 : 1;
    const RankGroup groups[] = {{self.rank() / columns * columns, 1, columns},
                                {self.rank() % columns, columns, self.size() / columns},
                                {0, 1, self.size()}};
    std::vector<float> values;
    for (int i = 0; i < 600; ++i) {
      const RankGroup &group = groups[i % 3];
      values.assign(i % 7 == 0 ? 200'000 : 5'000, static_cast<float>(self.rank() + i));
      must(self.allReduce(values.data(), values.size(), Element::F32, group));
      float sum = 0;
      for (int position = 0; position < group.size; ++position) {
        sum += static_cast<float>(group.at(position) + i);
      }
      ASSERT_EQ(std::count(values.begin(), values.end(), sum), static_cast<std::ptrdiff_t>(values.size()))
          << i;
      if ((i + self.rank()) % 50 == 0) {
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
      }
    }
  });
}

/// Random segments that cover [0, count) elements.
struct Piece {
  int rank;
  std::size_t begin;
  std::size_t end;
};
std::vector<Piece> randomPieces(int ranks, std::size_t count, std::size_t pieces, unsigned seed) {
  std::mt19937_64 random(seed);
  std::vector<std::size_t> cuts{0, count};
  for (std::size_t i = 1; i < pieces; ++i) {
    cuts.push_back(random() % (count + 1)); // equal cuts give empty segments
  }
  std::sort(cuts.begin(), cuts.end());
  std::vector<Piece> result;
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
    result.push_back({static_cast<int>(random() % ranks), cuts[i], cuts[i + 1]});
  }
  std::shuffle(result.begin(), result.end(), random);
  return result;
}

template <typename T>
std::vector<Segment> segmentsOf(const std::vector<Piece> &pieces, std::vector<T> &values) {
  std::vector<Segment> segments;
  for (const Piece &piece : pieces) {
    segments.push_back({piece.rank, values.data() + piece.begin, (piece.end - piece.begin) * sizeof(T)});
  }
  return segments;
}

TEST_P(Collectives, ReduceScatterSumsOwnSegmentsAndLeavesTheOthers) {
  run([](Communicator &self) {
    for (const std::size_t pieceCount : {1, 3, 40, 300}) {
      constexpr std::size_t kCount = 200'000;
      const std::vector<Piece> pieces = randomPieces(self.size(), kCount, pieceCount, 17);
      std::vector<double> values = contribution<double>(self.rank(), kCount);
      std::vector<double> expected = values;
      const std::vector<double> sum = sumInOrder<double>(self.size(), kCount);
      for (const Piece &piece : pieces) {
        if (piece.rank == self.rank()) {
          std::copy(sum.begin() + piece.begin, sum.begin() + piece.end, expected.begin() + piece.begin);
        }
      }
      must(self.reduceScatter(segmentsOf(pieces, values), Element::F64));
      ASSERT_TRUE(sameBits(values, expected)) << pieceCount;
    }
    char odd[3] = {};
    const Segment broken{0, odd, 3};
    EXPECT_FALSE(self.reduceScatter({&broken, 1}, Element::F32));
  });
}

TEST_P(Collectives, AllGatherFillsEverySegment) {
  for (const std::size_t capacity : {Communicator::kDefaultCapacity, std::size_t{3}}) {
    run(
        [](Communicator &self) {
          for (const std::size_t pieceCount : {1, 5, 500}) {
            constexpr std::size_t kCount = 300'000;
            const std::vector<Piece> pieces = randomPieces(self.size(), kCount, pieceCount, 23);
            const std::vector<float> all = contribution<float>(99, kCount);
            std::vector<float> values(kCount, -1.0F);
            for (const Piece &piece : pieces) {
              if (piece.rank == self.rank()) {
                std::copy(all.begin() + piece.begin, all.begin() + piece.end, values.begin() + piece.begin);
              }
            }
            must(self.allGather(segmentsOf(pieces, values)));
            ASSERT_TRUE(sameBits(values, all)) << pieceCount;
          }
        },
        capacity);
  }
}

TEST_P(Collectives, BroadcastReachesAllRanksFromEveryRoot) {
  run([](Communicator &self) {
    for (const std::size_t bytes : {0, 1, 17, 3'000'000}) {
      for (int root = 0; root < self.size(); ++root) {
        const std::vector<std::byte> expected = pattern(bytes, root + 5);
        std::vector<std::byte> values = self.rank() == root ? expected : std::vector<std::byte>(bytes);
        must(self.broadcast(values.data(), bytes, root));
        ASSERT_TRUE(sameBits(values, expected)) << bytes << " from " << root;
      }
    }
  });
}

TEST_P(Collectives, NobodyLeavesABarrierBeforeAllHaveEntered) {
  run([](Communicator &self) {
    for (int late = 0; late < self.size(); ++late) {
      if (self.rank() == late) {
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
      }
      std::vector<std::int64_t> entered(self.size());
      entered[self.rank()] = monotonicNanoseconds(); // one clock for all processes of a machine
      must(self.barrier());
      const std::int64_t left = monotonicNanoseconds();
      std::vector<Segment> segments;
      for (int rank = 0; rank < self.size(); ++rank) {
        segments.push_back({rank, &entered[rank], sizeof(entered[rank])});
      }
      must(self.allGather(segments));
      for (int rank = 0; rank < self.size(); ++rank) {
        EXPECT_LE(entered[rank], left) << "rank " << rank;
      }
    }
  });
}

/// Rows and columns of a mesh of two columns, or of one where the ranks are odd: each rank is in one of both.
TEST_P(Collectives, GroupsOfAMeshAreIndependent) {
  run([](Communicator &self) {
    const int columns = self.size() % 2 == 0 ? 2 : 1, rows = self.size() / columns;
    const int row = self.rank() / columns, column = self.rank() % columns;
    for (const RankGroup group :
         {RankGroup{row * columns, 1, columns}, RankGroup{column, columns, rows}, RankGroup{}}) {
      constexpr std::size_t kCount = 100'003;
      const int size = group.size == 0 ? self.size() : group.size;
      std::vector<float> values = contribution<float>(self.rank(), kCount);
      std::vector<float> sum = contribution<float>(group.at(0), kCount);
      for (int position = 1; position < size; ++position) {
        const std::vector<float> term = contribution<float>(group.at(position), kCount);
        for (std::size_t i = 0; i < kCount; ++i) {
          sum[i] += term[i];
        }
      }
      must(self.allReduce(values.data(), kCount, Element::F32, group));
      ASSERT_TRUE(sameBits(values, sum)) << "group from " << group.first << " by " << group.step;
      std::vector<int> ranks(static_cast<std::size_t>(size), -1);
      std::vector<Segment> segments;
      for (int position = 0; position < size; ++position) {
        segments.push_back({group.at(position), &ranks[position], sizeof(int)});
      }
      ranks[group.position(self.rank())] = self.rank();
      must(self.allGather(segments, group));
      for (int position = 0; position < size; ++position) {
        EXPECT_EQ(ranks[position], group.at(position));
      }
    }
    float value = 1;
    const int other = (self.rank() + 1) % self.size();
    EXPECT_EQ(static_cast<bool>(self.allReduce(&value, 1, Element::F32, {other, 1, 1})), self.size() == 1);
    EXPECT_FALSE(self.allReduce(&value, 1, Element::F32, {0, 1, self.size() + 1}));
    const Segment foreign{self.size(), &value, sizeof value};
    EXPECT_FALSE(self.allGather({&foreign, 1}));
  });
}

/// All collectives, one after the other on the same values.
std::vector<float> everyCollective(Communicator &self) {
  constexpr std::size_t kCount = 50'021;
  std::vector<float> values = contribution<float>(self.rank(), kCount);
  values[7] = 1.0F;
  const std::vector<Piece> pieces = randomPieces(self.size(), kCount, 30, 3);
  must(self.allReduce(values.data(), kCount, Element::F32));
  for (float &value : values) {
    value = value * 1.7F + static_cast<float>(self.rank());
  }
  must(self.reduceScatter(segmentsOf(pieces, values), Element::F32));
  must(self.allGather(segmentsOf(pieces, values)));
  must(self.broadcast(values.data(), 400, self.size() - 1));
  must(self.barrier());
  return values;
}

TEST_P(Collectives, ThreadsAndProcessesGiveTheSameBits) {
  std::vector<std::vector<float>> byThreads(ranks());
  ThreadGroup group(ranks());
  std::vector<std::thread> threads;
  for (int rank = 0; rank < ranks(); ++rank) {
    threads.emplace_back([&, rank] { byThreads[rank] = everyCollective(group.communicator(rank)); });
  }
  for (std::thread &thread : threads) {
    thread.join();
  }
  run([&](Communicator &self) { EXPECT_TRUE(sameBits(everyCollective(self), byThreads[self.rank()])); });
}

INSTANTIATE_TEST_SUITE_P(Ranks, Collectives, testing::ValuesIn(rankCounts()));

} // namespace
