// Writes SCHEDULE-STAGES.stage into a folder, for each schedule and 1, 2 and 3 stages: 8 micro-batches of the
// classifier.
#include "stagefile/StageFile.h"

#include <filesystem>

int main(int count, char **arguments) {
  if (count != 2) {
    return 2;
  }
  std::filesystem::create_directories(arguments[1]);
  const std::vector<std::vector<int>> boundaries = {{0, 4}, {0, 2, 4}, {0, 2, 3, 4}};
  for (const char *schedule : {"gpipe", "1f1b", "zb-h1"}) {
    for (std::size_t stages = 1; stages <= boundaries.size(); ++stages) {
      stagewright::stagefile::Classifier classifier;
      classifier.boundaries = boundaries[stages - 1];
      classifier.schedule = schedule;
      classifier.microBatches = 8;
      classifier.stepsPerPrint = 10;
      stagewright::stagefile::write(
          std::string(arguments[1]) + "/" + schedule + "-" + std::to_string(stages) + ".stage", classifier);
    }
  }
  return 0;
}
