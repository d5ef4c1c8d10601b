#include "runtime/launch/JobMessages.h"

#include <gtest/gtest.h>

using namespace stagewright;
using namespace stagewright::runtime;

namespace {

const std::string kRule(74, '-');
const std::string kKilled =
    kRule + "\nmpirun noticed that process rank 3 with PID 0 on node x exited on signal 9 (Killed).\n" +
    kRule + "\n";

std::string feed(JobMessages &messages, const std::string &text, std::size_t pieceSize) {
  std::string shown;
  for (std::size_t at = 0; at < text.size(); at += pieceSize) {
    shown += messages.take(std::string_view(text).substr(at, pieceSize));
  }
  return shown + messages.finish();
}

TEST(JobMessages, SortsTheStreamWhateverThePieces) {
  std::string text = "step 1\n" + kRule + "\nPrimary job terminated\n" + kRule + "\nstep 2\n---\n\r 50%";
  for (std::size_t pieceSize = 1; pieceSize <= text.size(); ++pieceSize) {
    JobMessages messages;
    ASSERT_EQ(feed(messages, text, pieceSize), "step 1\nstep 2\n---\n\r 50%") << pieceSize;
    ASSERT_TRUE(messages.verdict(2));
    EXPECT_NE(messages.verdict(2)->text().find("Primary job terminated"), std::string::npos);
  }
}

TEST(JobMessages, ShowsAnUnfinishedLineAtOnce) {
  JobMessages messages;
  EXPECT_EQ(messages.take("\r 10%"), "\r 10%");
  EXPECT_EQ(messages.take("\r 20%"), "\r 20%");
}

TEST(JobMessages, ARecordKeepsEveryPartOfTheError) {
  JobMessages messages;
  const std::string record = errorRecord(userError("x.json:3:4", "unknown key 'a'", "did you\nmean 'b'"), 0);
  messages.takeRecords(record + "4"); // a rank that was killed while it wrote
  ASSERT_TRUE(messages.verdict(2));
  EXPECT_EQ(messages.verdict(2)->kind, ErrorKind::User);
  EXPECT_EQ(messages.verdict(2)->text(), "x.json:3:4: unknown key 'a'; did you mean 'b'");
}

TEST(JobMessages, AKilledRankIsNamedAndWinsOverWhatItsPeersSay) {
  JobMessages messages;
  messages.takeRecords(errorRecord(rankError("rank 3", "is gone"), 0));
  EXPECT_EQ(feed(messages, kKilled, 7), "");
  std::optional<Error> verdict = messages.verdict(137);
  ASSERT_TRUE(verdict);
  EXPECT_EQ(verdict->kind, ErrorKind::Rank);
  EXPECT_NE(verdict->text().find("rank 3: killed by signal 9 (Killed)"), std::string::npos)
      << verdict->text();
}

TEST(JobMessages, ACauseWeighsMoreThanItsConsequence) {
  for (bool causeFirst : {true, false}) {
    JobMessages messages;
    std::string cause = errorRecord(environmentError("/data", "no space"), 1);
    std::string consequence = errorRecord(rankError("rank 1", "is gone"), 0);
    messages.takeRecords(causeFirst ? cause + consequence : consequence + cause);
    EXPECT_EQ(messages.verdict(3)->text(), "/data: no space");
    EXPECT_EQ(messages.verdict(3)->kind, ErrorKind::Environment);
  }
}

TEST(JobMessages, ARankThatEndsWithoutAWordIsNamed) {
  JobMessages messages;
  feed(messages,
       kRule +
           "\nmpirun detected that one or more processes exited with non-zero status.\n\n"
           "  Process name: [[29169,1],2]\n  Exit code:    7\n" +
           kRule + "\n",
       50);
  EXPECT_EQ(messages.verdict(7)->kind, ErrorKind::Rank);
  EXPECT_NE(messages.verdict(7)->text().find("rank 2: ended with exit code 7"), std::string::npos);
}

TEST(JobMessages, ARankThatEndsWithoutAWordMayStayWithoutName) {
  JobMessages messages;
  feed(messages,
       kRule +
           "\nPrimary job  terminated normally, but 1 process returned\na non-zero exit code. Per "
           "user-direction, the job has been aborted.\n" +
           kRule + "\n",
       50);
  EXPECT_EQ(messages.verdict(7)->kind, ErrorKind::Rank);
  EXPECT_EQ(messages.verdict(7)->text().rfind("a rank: ended with exit code 7; ", 0), 0u);
}

TEST(JobMessages, MpirunsOwnTroubleIsPassedOn) {
  JobMessages messages;
  feed(messages, kRule + "\nThere are not enough slots\nin the system.\n" + kRule + "\n", 9);
  EXPECT_EQ(messages.verdict(1)->kind, ErrorKind::Environment);
  EXPECT_NE(messages.verdict(1)->text().find("There are not enough slots in the system."), std::string::npos);
  EXPECT_FALSE(messages.verdict(0));
}

} // namespace
