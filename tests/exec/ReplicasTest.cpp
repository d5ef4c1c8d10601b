// Replicas of a pipeline stay the same: what every update of one writes, the other writes too.
#include "TestRun.h"

#include <cstring>
#include <fstream>
#include <gtest/gtest.h>

using namespace stagewright;
using namespace stagewright::runtime;

namespace {

/// What the optimizer's kernels have written, by job rank, in their order.
class Updates {
public:
  Hooks hooks() {
    Hooks hooks;
    hooks.context = this;
    hooks.afterKernel = [](void *context, const KernelEvent &event) {
      if (event.kernel->name == "adam") {
        static_cast<Updates *>(context)->note(event);
      }
    };
    return hooks;
  }
  std::map<int, std::vector<float>> written;

private:
  void note(const KernelEvent &event) {
    const auto &parameter = event.operands[0];
    std::lock_guard lock(mutex);
    std::vector<float> &list = written[event.rank];
    const std::size_t before = list.size();
    list.resize(before + static_cast<std::size_t>(parameter.elements));
    std::memcpy(list.data() + before, parameter.data, 4 * static_cast<std::size_t>(parameter.elements));
  }
  std::mutex mutex;
};

} // namespace

TEST(Replicas, WriteTheSameWeights) {
  TrainOptions run;
  run.stage = stagefile::temporaryFolder() + "replicas.stage";
  const std::vector<std::uint8_t> bytes = stagefile::serialize(stagefile::buildReplicated());
  std::ofstream(run.stage, std::ios::binary)
      .write(reinterpret_cast<const char *>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  run.data = "synthetic";
  run.steps = 6;
  run.threads = 2;
  Updates updates;
  run.hooks = {updates.hooks()};
  auto done = train(run);
  ASSERT_TRUE(done) << done.error().text();
  ASSERT_EQ(updates.written.size(), 4u); // ranks 0 and 1 have the first stage, 2 and 3 the second
  for (const int rank : {0, 2}) {
    const std::vector<float> &first = updates.written[rank], &second = updates.written[rank + 1];
    ASSERT_EQ(first.size(), second.size());
    ASSERT_FALSE(first.empty());
    EXPECT_EQ(std::memcmp(first.data(), second.data(), 4 * first.size()), 0) << "ranks from " << rank;
  }
}
