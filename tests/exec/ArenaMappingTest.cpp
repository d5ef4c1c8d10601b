// Memory is real: the read-write fixed mappings that the process makes are the planned bytes, no more, no
// less.
#include "TestRun.h"

#include <atomic>
#include <gtest/gtest.h>
#include <sys/mman.h>

namespace {
std::atomic<std::uint64_t> fixedBytes{0}, fixedMappings{0};
}

extern "C" {
void *__real_mmap(void *address, std::size_t bytes, int protection, int flags, int descriptor, off_t offset);
void *__wrap_mmap(void *address, std::size_t bytes, int protection, int flags, int descriptor, off_t offset) {
  if ((flags & MAP_FIXED) && (protection & PROT_WRITE)) {
    fixedBytes += bytes;
    ++fixedMappings;
  }
  return __real_mmap(address, bytes, protection, flags, descriptor, offset);
}
}

using namespace stagewright;
using namespace stagewright::runtime;
using namespace stagewright::testrun;

namespace {

TEST(ArenaMappings, AreThePlannedBytes) {
  for (const Plan &plan : plans()) {
    const TrainOptions run = options(classifier(plan.boundaries, plan.schedule), "mapped", 2);
    auto executable = Executable::load(run.stage);
    ASSERT_TRUE(executable);
    std::uint64_t planned = 0, arenas = 0;
    for (int rank = 0; rank < executable->rankCount(); ++rank) {
      for (const executable::Arena *arena : *executable->rank(rank).arenas()) {
        planned += (arena->bytes() + 4095) / 4096 * 4096;
        arenas += arena->bytes() > 0;
      }
    }
    fixedBytes = fixedMappings = 0;
    auto summary = train(run);
    ASSERT_TRUE(summary);
    EXPECT_EQ(fixedBytes, planned) << plan.name();
    EXPECT_EQ(fixedMappings, arenas);
    EXPECT_EQ(summary->plannedBytes, planned);
    EXPECT_EQ(summary->allocatedBytes, planned);
  }
}

} // namespace
