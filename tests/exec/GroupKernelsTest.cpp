// Kernels that the ranks of a group run together: sums in the order of ranks, rounded once.
#include "runtime/exec/GroupKernels.h"
#include "runtime/comm/ThreadCommunicator.h"

#include <cmath>
#include <cstring>
#include <functional>
#include <gtest/gtest.h>
#include <random>
#include <thread>

using namespace stagewright;
using namespace stagewright::runtime;
using catalogue::DType;

namespace {

/// Runs the body on a thread for each rank of the mesh.
void onEach(const Mesh &mesh, const std::function<void(int rank, GroupKernels &kernels)> &body,
            const GroupCall &call) {
  ThreadGroup group(mesh.size());
  std::vector<std::thread> threads;
  for (int rank = 0; rank < mesh.size(); ++rank) {
    threads.emplace_back([&, rank] {
      GroupKernels kernels(group.communicator(rank), mesh);
      const auto prepared = kernels.prepare(call, kernels::bestIsa());
      ASSERT_TRUE(prepared);
      body(rank, kernels);
    });
  }
  for (std::thread &thread : threads) {
    thread.join();
  }
}

/// bf16 is the upper half of fp32; ties go to even.
std::uint16_t toBf16(float value) {
  std::uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return static_cast<std::uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}
float fromBf16(std::uint16_t half) {
  const std::uint32_t bits = std::uint32_t{half} << 16;
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

std::vector<float> values(int rank, std::size_t count) {
  std::mt19937 engine(static_cast<unsigned>(rank) + 1);
  std::uniform_real_distribution<float> any(-1, 1);
  std::vector<float> list(count);
  for (float &value : list) {
    value = any(engine) * std::ldexp(1.0f, rank); // so that the order of additions shows
  }
  return list;
}

/// The ranks of the same group, in order.
std::vector<int> groupOf(const Mesh &mesh, int rank, bool ofReplicas) {
  std::vector<int> ranks;
  for (int other = 0; other < mesh.size(); ++other) {
    const bool same = mesh.pipelineRank(other) == mesh.pipelineRank(rank) &&
                      (ofReplicas ? mesh.tensorRank(other) == mesh.tensorRank(rank)
                                  : mesh.replica(other) == mesh.replica(rank));
    if (same) {
      ranks.push_back(other);
    }
  }
  return ranks;
}

constexpr std::size_t kCounts[] = {1, 100, 70001};

} // namespace

TEST(GroupKernels, AllReduceAddsInOrder) {
  for (const Mesh &mesh : {Mesh{1, 1, 3}, Mesh{2, 3, 2}}) {
    for (const bool ofReplicas : {false, true}) {
      for (const std::size_t count : kCounts) {
        const GroupCall call{false, ofReplicas && mesh.replicas > 1, DType::F32, count};
        onEach(
            mesh,
            [&](int rank, GroupKernels &kernels) {
              std::vector<float> x = values(rank, count), y(count, -1), expected(count);
              const std::vector<float> kept = x;
              for (const int other : groupOf(mesh, rank, call.ofReplicas)) {
                const std::vector<float> term = values(other, count);
                for (std::size_t i = 0; i < count; ++i) {
                  expected[i] += term[i]; // the first one to 0: exact
                }
              }
              void *apart[] = {x.data(), y.data()}, *inPlace[] = {x.data(), x.data()};
              EXPECT_TRUE(kernels.run(call, apart));
              EXPECT_EQ(y, expected);
              EXPECT_EQ(x, kept);
              EXPECT_TRUE(kernels.run(call, inPlace));
              EXPECT_EQ(x, expected);
            },
            call);
      }
    }
  }
}

TEST(GroupKernels, AllReduceRoundsASumOnce) {
  const Mesh mesh{1, 1, 3};
  for (const std::size_t count : kCounts) {
    const GroupCall call{false, false, DType::BF16, count};
    onEach(
        mesh,
        [&](int rank, GroupKernels &kernels) {
          std::vector<std::uint16_t> x(count), expected(count);
          std::vector<float> sum(count);
          for (int other = 0; other < mesh.size(); ++other) {
            const std::vector<float> term = values(other, count);
            for (std::size_t i = 0; i < count; ++i) {
              sum[i] += fromBf16(toBf16(term[i]));
              x[i] = other == rank ? toBf16(term[i]) : x[i];
            }
          }
          for (std::size_t i = 0; i < count; ++i) {
            expected[i] = toBf16(sum[i]);
          }
          void *operands[] = {x.data(), x.data()};
          EXPECT_TRUE(kernels.run(call, operands));
          EXPECT_EQ(x, expected);
        },
        call);
  }
}

TEST(GroupKernels, AllGatherKeepsTheOrderOfRanks) {
  const Mesh mesh{2, 2, 3};
  for (const bool ofReplicas : {false, true}) {
    for (const std::size_t count : kCounts) {
      const GroupCall call{true, ofReplicas, DType::F32, count};
      onEach(
          mesh,
          [&](int rank, GroupKernels &kernels) {
            std::vector<float> x = values(rank, count), expected;
            for (const int other : groupOf(mesh, rank, ofReplicas)) {
              const std::vector<float> part = values(other, count);
              expected.insert(expected.end(), part.begin(), part.end());
            }
            std::vector<float> y(expected.size());
            void *operands[] = {x.data(), y.data()};
            EXPECT_TRUE(kernels.run(call, operands));
            EXPECT_EQ(y, expected);
          },
          call);
    }
  }
}
