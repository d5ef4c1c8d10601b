// The published tables in golden/.
#ifndef STAGEWRIGHT_TESTS_SCHEDULE_GOLDEN_H
#define STAGEWRIGHT_TESTS_SCHEDULE_GOLDEN_H

#include "schedule/Schedule.h"

#include <fstream>
#include <gtest/gtest.h>
#include <sstream>

namespace stagewright::schedule {

inline std::string readGolden(const std::string &name) {
  std::ifstream file(std::string(GOLDEN_FOLDER) + "/" + name);
  EXPECT_TRUE(file) << name;
  std::stringstream content;
  content << file.rdbuf();
  return content.str();
}

/// A published table: file names start with `stem`.
struct GoldenTable {
  std::string kind;
  int p, v, m;
  std::string stem() const {
    return kind + "_p" + std::to_string(p) + "_v" + std::to_string(v) + "_m" + std::to_string(m);
  }
};
inline std::vector<GoldenTable> goldenTables() {
  std::vector<GoldenTable> tables;
  for (auto [p, m] : {std::pair{2, 4}, std::pair{4, 8}}) {
    for (const char *kind : {"gpipe", "1f1b", "zbh1", "eager1f1b", "zbh2"}) {
      tables.push_back({kind, p, 1, m});
    }
    for (const char *kind : {"interleaved1f1b", "loopedbfs", "interleavedzb", "zbv"}) {
      tables.push_back({kind, p, 2, m});
    }
  }
  return tables;
}

/// The kinds that `generate` knows, with the names that the golden files use.
inline const std::pair<const char *, const char *> kGenerated[] = {
    {"gpipe", "gpipe"}, {"1f1b", "1f1b"}, {"zb-h1", "zbh1"}};

/// A schedule that must exist.
template <typename T>
T need(Result<T> result) {
  if (!result) {
    ADD_FAILURE() << result.error().text();
    return T{};
  }
  return std::move(*result);
}

/// As the compiler makes it: transfers and step tasks added.
inline Schedule completeStep(std::string_view kind, int stages, int microBatches) {
  return addStepTasks(need(addTransfers(need(generate(kind, stages, microBatches)))));
}

} // namespace stagewright::schedule

#endif
