// Files that the loader must refuse: one wrong field at a time.
#ifndef STAGEWRIGHT_TESTS_EXECUTABLE_MISTAKES_H
#define STAGEWRIGHT_TESTS_EXECUTABLE_MISTAKES_H

#include "runtime/executable/Executable.h"
#include "schema/Version.h"
#include "stagefile/StageFile.h"

#include <functional>
#include <gtest/gtest.h>
#include <stdexcept>

namespace stagewright::mistakes {

using executable::ExecutableT;
using runtime::Executable;

inline executable::RankPlanT &rank(ExecutableT &file, int index) {
  return *file.variants[0]->ranks[static_cast<std::size_t>(index)];
}

inline executable::ProgramT &program(ExecutableT &file, executable::ProgramKind kind, int index = 0) {
  for (auto &entry : rank(file, index).programs) {
    if (entry->kind == kind) {
      return *entry;
    }
  }
  throw std::runtime_error("no such program");
}

inline Result<Executable> load(const ExecutableT &file) {
  return Executable::fromBytes(stagefile::serialize(file), "x.stage");
}

struct Mistake {
  std::function<void(ExecutableT &)> make;
  const char *place, *says;
};

inline void refuseEach(const std::function<ExecutableT()> &build, const std::vector<Mistake> &mistakes) {
  int number = 0;
  for (const Mistake &mistake : mistakes) {
    ExecutableT file = build();
    mistake.make(file);
    const auto loaded = load(file);
    SCOPED_TRACE("mistake " + std::to_string(number++));
    ASSERT_FALSE(loaded);
    EXPECT_EQ(loaded.error().kind, ErrorKind::User);
    EXPECT_NE(loaded.error().place.find(mistake.place), std::string::npos) << loaded.error().text();
    EXPECT_NE(loaded.error().what.find(mistake.says), std::string::npos) << loaded.error().text();
  }
}

} // namespace stagewright::mistakes

#endif
