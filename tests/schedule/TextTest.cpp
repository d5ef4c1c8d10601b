#include "Golden.h"

#include <random>

using namespace stagewright;
using namespace stagewright::schedule;

TEST(Text, TaskNames) {
  const std::vector<std::pair<Task, std::string>> names = {{{TaskKind::Forward, 0, 3}, "0F3"},
                                                           {{TaskKind::BackwardInput, 12, 0}, "12I0"},
                                                           {{TaskKind::BackwardWeight, 1, 10}, "1W10"},
                                                           {{TaskKind::Backward, 2, 7}, "2B7"},
                                                           {{TaskKind::SendForward, 0, 1}, "0SEND_F1"},
                                                           {{TaskKind::ReceiveForward, 1, 1}, "1RECV_F1"},
                                                           {{TaskKind::SendBackward, 1, 0}, "1SEND_B0"},
                                                           {{TaskKind::ReceiveBackward, 0, 0}, "0RECV_B0"},
                                                           {{TaskKind::Prepare, 2, -1}, "2PREPARE"},
                                                           {{TaskKind::Norm, 2, -1}, "2NORM"},
                                                           {{TaskKind::AllGather, -1, -1}, "ALL_GATHER"},
                                                           {{TaskKind::Update, 2, -1}, "2UPDATE"},
                                                           {{TaskKind::SendSum, 3, 0}, "3SEND_SUM0"},
                                                           {{TaskKind::ReceiveSum, 0, 3}, "0RECV_SUM3"},
                                                           {{TaskKind::SendWeight, 0, 3}, "0SEND_WEIGHT3"},
                                                           {{TaskKind::ReceiveWeight, 3, 0}, "3RECV_WEIGHT0"},
                                                           {{TaskKind::Reduce, 1, -1}, "1REDUCE"},
                                                           {{TaskKind::Gather, 0, -1}, "0GATHER"}};
  ASSERT_EQ(names.size(), static_cast<std::size_t>(kTaskKinds));
  for (const auto &[task, name] : names) {
    EXPECT_EQ(text(task), name);
    EXPECT_EQ(need(parseTask(name)), task);
  }
}

TEST(Text, RefusesWhatIsNoTask) {
  for (const char *wrong : {"",
                            "F",
                            "0",
                            "F0",
                            "0F",
                            "0X3",
                            "0f3",
                            "0F3x",
                            "0F-1",
                            "-1F0",
                            " 0F3",
                            "0F3 ",
                            "0F3+",
                            "0SEND3",
                            "0SENDF3",
                            "0UPDATE3",
                            "UPDATE",
                            "0ALL_GATHER",
                            "ALL_GATHER0",
                            "99999999999F0",
                            "0F99999999999",
                            "2147483648F0",
                            "0RECV",
                            "(0F7;7B3)OVERLAP_F_B",
                            "3UNSHARD",
                            "0F3,0F4"}) {
    const Result<Task> refused = parseTask(wrong);
    ASSERT_FALSE(refused) << wrong;
    EXPECT_EQ(refused.error().kind, ErrorKind::User);
    EXPECT_NE(refused.error().what.find("is not a task"), std::string::npos);
  }
  EXPECT_EQ(need(parseTask("2147483647F2147483647")), (Task{TaskKind::Forward, 2147483647, 2147483647}));
  EXPECT_NE(text({static_cast<TaskKind>(200), -3, 4}), ""); // an error message may have to print it
}

TEST(Text, Repeat) {
  EXPECT_EQ(printTasks(completeStep("gpipe", 2, 8).ranks[0]),
            "0PREPARE, repeat 8 {0F0+, 0SEND_F0+}, repeat 8 {0RECV_B0+, 0B0+}, 0NORM, ALL_GATHER, 0UPDATE");
  EXPECT_EQ(printTasks(completeStep("1f1b", 4, 8).ranks[1]),
            "1PREPARE, repeat 3 {1RECV_F0+, 1F0+, 1SEND_F0+}, repeat 5 {1RECV_B0+, 1RECV_F3+, 1B0+, "
            "1SEND_B0+, 1F3+, 1SEND_F3+}, "
            "repeat 3 {1RECV_B5+, 1B5+, 1SEND_B5+}, 1NORM, ALL_GATHER, 1UPDATE");
  EXPECT_EQ(need(parseTasks("repeat 3 {0F2+, 0B0, ALL_GATHER}, 1F0")),
            need(parseTasks("0F2, 0B0, ALL_GATHER, 0F3, 0B0, ALL_GATHER, 0F4, 0B0, ALL_GATHER, 1F0")));
  EXPECT_EQ(need(parseTasks(" repeat\n1{ 0F2+ } ,0B1 ")), need(parseTasks("0F2,0B1")));
  EXPECT_EQ(printTasks({}), "");
  EXPECT_TRUE(need(parseTasks("  \n")).empty());
  // Printed only where it is shorter.
  EXPECT_EQ(printTasks(need(parseTasks("0F0, 0F1, 0F2"))), "0F0, 0F1, 0F2");
  EXPECT_EQ(printTasks(need(parseTasks("0F0, 0F1, 0F2, 0F3"))), "repeat 4 {0F0+}");
}

TEST(Text, LongSchedulesStayShort) {
  for (const std::string &kind : scheduleKinds()) {
    const Schedule schedule = completeStep(kind, 16, 128);
    for (const std::vector<Task> &tasks : schedule.ranks) {
      const std::string printed = printTasks(tasks);
      EXPECT_LT(printed.size(), 800U) << printed;
      EXPECT_EQ(need(parseTasks(printed)), tasks);
    }
  }
}

TEST(Text, RefusesWhatIsNoList) {
  for (const char *wrong : {",",
                            "0F0,",
                            ",0F0",
                            "0F0,,0F1",
                            "0F0 0F1",
                            "0F0}",
                            "{0F0}",
                            "repeat",
                            "repeat 2",
                            "repeat 2 0F0",
                            "repeat {0F0}",
                            "repeat 2 {}",
                            "repeat 2 {0F0",
                            "repeat 2 {0F0,}",
                            "repeat 2 {0F0+},",
                            "repeat 0 {0F0}",
                            "repeat -1 {0F0}",
                            "repeat x {0F0}",
                            "repeat 2x {0F0}",
                            "repeat 2 {0F0++}",
                            "repeat 2 {+}",
                            "0F0+",
                            "repeat 2 {0UPDATE+}",
                            "repeat 2 {ALL_GATHER+}",
                            "repeat 2 {repeat 2 {0F0}}",
                            "repeat 2 {0F2147483647+}",
                            "repeat 2000000000 {0F0}",
                            "repeat 2147483647 {0F0+}",
                            "repeat 99999999999 {0F0}"}) {
    const Result<std::vector<Task>> refused = parseTasks(wrong);
    ASSERT_FALSE(refused) << wrong;
    EXPECT_EQ(refused.error().place.find("character "), 0U) << refused.error().text();
  }
  EXPECT_EQ(need(parseTasks("repeat 1 {0F2147483647+}")).size(), 1U);
}

// parse(print(x)) == x: lists of random runs, patterns and noise, with numbers up to the largest.
TEST(Text, RandomListsRoundTrip) {
  std::mt19937 random(7);
  auto below = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  int folded = 0;
  for (int round = 0; round < 5000; ++round) {
    auto randomTask = [&] {
      Task task{static_cast<TaskKind>(below(kTaskKinds)), below(3), -1};
      if (hasMicroBatch(task.kind) || isTied(task.kind)) {
        task.microBatch = below(50) == 0 ? 2147483647 - below(3) : below(12);
      }
      task.stage = task.kind == TaskKind::AllGather ? -1 : below(50) == 0 ? 2147483647 : task.stage;
      return task;
    };
    std::vector<Task> tasks;
    for (int runs = below(6); runs > 0; --runs) {
      std::vector<Task> pattern(1 + below(5));
      std::vector<int> step(pattern.size());
      for (std::size_t i = 0; i < pattern.size(); ++i) {
        pattern[i] = randomTask();
        step[i] =
            hasMicroBatch(pattern[i].kind) && pattern[i].microBatch < 100 ? below(4) == 0 ? 2 : below(2) : 0;
      }
      for (int turns = 1 + below(5); turns > 0; --turns) {
        for (std::size_t i = 0; i < pattern.size(); ++i) {
          tasks.push_back(pattern[i]);
          pattern[i].microBatch += step[i];
        }
      }
    }
    const std::string printed = printTasks(tasks);
    ASSERT_EQ(need(parseTasks(printed)), tasks) << printed;
    std::string plain;
    for (const Task &task : tasks) {
      plain += (plain.empty() ? "" : ", ") + text(task);
    }
    ASSERT_LE(printed.size(), plain.size());
    folded += printed.size() < plain.size();
  }
  EXPECT_GT(folded, 1000);
}

// Any text: refused, or a list that prints and parses to itself.
TEST(Text, RandomTextIsRefusedOrRoundTrips) {
  const std::vector<std::string> pieces = {
      "0",           "1",      "12",         "F",          "I",  "B", "SEND_F", "RECV_",
      "UPDATE",      "repeat", "repeat 3 {", "ALL_GATHER", "{",  "}", "+",      ",",
      ", ",          " ",      "0F0",        "1W2+",       "\n", "-", "\xff",   std::string(1, '\0'),
      "99999999999", "(",      ")"};
  std::mt19937 random(11);
  int accepted = 0;
  for (int round = 0; round < 100000; ++round) {
    std::string source;
    for (unsigned n = random() % 8; n > 0; --n) {
      source += pieces[random() % pieces.size()];
    }
    if (const Result<std::vector<Task>> tasks = parseTasks(source)) {
      ASSERT_EQ(need(parseTasks(printTasks(*tasks))), *tasks) << source;
      ++accepted;
    }
    if (const Result<Schedule> schedule = parseCsv(source)) {
      ASSERT_EQ(need(parseCsv(printCsv(*schedule))), *schedule) << source;
      (void)verify(*schedule, Purpose::Training);
    }
  }
  EXPECT_GT(accepted, 1000);
}
