// Sends and receives.
#include "Fleet.h"

#include <algorithm>
#include <chrono>
#include <numeric>
#include <random>
#include <thread>

using namespace stagewright;
using namespace stagewright::runtime;

namespace {

constexpr std::size_t kMegabyte = std::size_t{1} << 20;

void sleepMilliseconds(int count) {
  std::this_thread::sleep_for(std::chrono::milliseconds(count));
}

TEST_P(Conformance, MessagesOfAChannelArriveInOrder) {
  run([&](Communicator &self) {
    const int next = (self.rank() + 1) % self.size();
    const int previous = (self.rank() + self.size() - 1) % self.size();
    constexpr int kMessages = 1000;
    std::vector<std::uint64_t> out(kMessages);
    std::vector<std::uint64_t> in(kMessages);
    std::vector<Request> requests;
    for (int i = 0; i < kMessages; ++i) {
      out[i] = static_cast<std::uint64_t>(self.rank()) * 1'000'000 + i;
      requests.push_back(must(self.postSend(next, 2, &out[i], sizeof(out[i]))));
      requests.push_back(must(self.postReceive(previous, 2, &in[i], sizeof(in[i]))));
    }
    for (const Request request : requests) {
      must(self.wait(request));
    }
    for (int i = 0; i < kMessages; ++i) {
      ASSERT_EQ(in[i], static_cast<std::uint64_t>(previous) * 1'000'000 + i);
    }
  });
}

TEST_P(Conformance, EitherSideMayPostFirst) {
  run([&](Communicator &self) {
    const int peer = self.size() - 1 - self.rank(); // the middle rank of an odd number is its own peer
    for (const std::size_t bytes : {std::size_t{0}, std::size_t{1}, std::size_t{5000}, 2 * kMegabyte}) {
      for (const bool sendFirst : {true, false}) {
        const std::vector<std::byte> out = pattern(bytes, self.rank() + 1);
        std::vector<std::byte> in(bytes);
        // Rank r < peer posts at once, its peer later.
        sleepMilliseconds(self.rank() > peer ? 10 : 0);
        Request send, receive;
        if (sendFirst) {
          send = must(self.postSend(peer, 0, out.data(), bytes));
          sleepMilliseconds(5);
        }
        receive = must(self.postReceive(peer, 0, in.data(), bytes));
        if (!sendFirst) {
          sleepMilliseconds(5);
          send = must(self.postSend(peer, 0, out.data(), bytes));
        }
        must(self.wait(receive));
        must(self.wait(send));
        ASSERT_TRUE(holdsPattern(in, peer + 1)) << bytes;
      }
    }
  });
}

TEST_P(Conformance, EverySizeArrivesWhole) {
  run([&](Communicator &self) {
    const int next = (self.rank() + 1) % self.size();
    const int previous = (self.rank() + self.size() - 1) % self.size();
    std::vector<std::byte> outgoing(64 * kMegabyte + 5);
    std::vector<std::byte> incoming(outgoing.size() + 8);
    for (const std::size_t bytes :
         {std::size_t{0}, std::size_t{1}, std::size_t{7}, std::size_t{4095}, std::size_t{4097},
          std::size_t{65536}, std::size_t{131000}, std::size_t{131072}, std::size_t{131100}, kMegabyte + 3,
          32 * kMegabyte - 1, 32 * kMegabyte, 32 * kMegabyte + 1, 64 * kMegabyte, 64 * kMegabyte + 5}) {
      const std::span<std::byte> out(outgoing.data(), bytes);
      const std::span<std::byte> in(incoming.data(), bytes);
      const std::span<std::byte> behind(incoming.data() + bytes, 8);
      fillPattern(out, bytes + self.rank());
      std::fill(behind.begin(), behind.end(), std::byte{0x5A});
      const Request send = must(self.postSend(next, 7, out.data(), bytes));
      const Request receive = must(self.postReceive(previous, 7, in.data(), bytes));
      must(self.wait(send));
      must(self.wait(receive));
      ASSERT_TRUE(holdsPattern(in, bytes + previous)) << bytes;
      EXPECT_TRUE(
          std::all_of(behind.begin(), behind.end(), [](std::byte b) { return b == std::byte{0x5A}; }));
    }
  });
}

TEST_P(Conformance, AsManyRequestsMayBeOutstandingAsTheCapacitySays) {
  constexpr std::size_t kCapacity = 500;
  run(
      [&](Communicator &self) {
        EXPECT_EQ(self.capacity(), kCapacity);
        const int next = (self.rank() + 1) % self.size();
        const int previous = (self.rank() + self.size() - 1) % self.size();
        std::mt19937 random(self.rank());
        for (int round = 0; round < 5; ++round) {
          std::vector<std::uint32_t> out(kCapacity);
          std::vector<std::uint32_t> in(kCapacity);
          std::vector<Request> sends;
          std::vector<Request> receives;
          for (std::size_t i = 0; i < kCapacity; ++i) {
            out[i] = static_cast<std::uint32_t>(i * 7 + self.rank());
            sends.push_back(must(self.postSend(next, 1, &out[i], 4)));
          }
          const Result<Request> excess = self.postSend(next, 1, out.data(), 4);
          ASSERT_FALSE(excess);
          EXPECT_EQ(excess.error().kind, ErrorKind::Bug);
          EXPECT_NE(excess.error().text().find("500"), std::string::npos) << excess.error().text();
          for (std::size_t i = 0; i < kCapacity; ++i) {
            receives.push_back(must(self.postReceive(previous, 1, &in[i], 4)));
          }
          ASSERT_FALSE(self.postReceive(previous, 1, in.data(), 4));
          std::shuffle(sends.begin(), sends.end(), random);
          std::shuffle(receives.begin(), receives.end(), random);
          for (std::size_t i = 0; i < kCapacity; ++i) {
            must(self.wait(receives[i]));
            must(self.wait(sends[i]));
          }
          for (std::size_t i = 0; i < kCapacity; ++i) {
            ASSERT_EQ(in[i], i * 7 + previous);
          }
        }
      },
      kCapacity);
}

TEST_P(Conformance, TagsAreChannelsOfTheirOwn) {
  run([&](Communicator &self) {
    const int next = (self.rank() + 1) % self.size();
    const int previous = (self.rank() + self.size() - 1) % self.size();
    const std::vector<std::byte> out[2] = {pattern(kMegabyte, 1), pattern(kMegabyte, 2)};
    std::vector<std::byte> in[2] = {std::vector<std::byte>(kMegabyte), std::vector<std::byte>(kMegabyte)};
    const Request first = must(self.postSend(next, 0, out[0].data(), kMegabyte));
    const Request second = must(self.postSend(next, 1, out[1].data(), kMegabyte));
    must(self.wait(must(self.postReceive(previous, 1, in[1].data(), kMegabyte)))); // tag 0 stays behind
    must(self.wait(second));
    must(self.wait(must(self.postReceive(previous, 0, in[0].data(), kMegabyte))));
    must(self.wait(first));
    EXPECT_EQ(in[0], out[0]);
    EXPECT_EQ(in[1], out[1]);
  });
}

TEST_P(Conformance, ASizeThatDoesNotMatchIsAnErrorOfTheReceiver) {
  const std::pair<std::size_t, std::size_t> cases[] = {{8, 12},
                                                       {12, 8},
                                                       {0, 1},
                                                       {1, 0},
                                                       {300'000, 200'000},
                                                       {32 * kMegabyte, 3},
                                                       {3, 33 * kMegabyte},
                                                       {33 * kMegabyte, 32 * kMegabyte},
                                                       {64 * kMegabyte, 65 * kMegabyte}};
  run([&](Communicator &self) {
    const int next = (self.rank() + 1) % self.size();
    const int previous = (self.rank() + self.size() - 1) % self.size();
    const std::vector<std::byte> out(64 * kMegabyte);
    std::vector<std::byte> in(65 * kMegabyte + 8);
    for (const auto &[sent, expected] : cases) {
      const std::span<std::byte> behind(in.data() + expected, 8);
      std::fill(behind.begin(), behind.end(), std::byte{0x5A});
      const std::vector<std::byte> following = pattern(100, self.rank());
      std::vector<std::byte> followed(100);
      const Request send = must(self.postSend(next, 3, out.data(), sent));
      const Request nextSend = must(self.postSend(next, 3, following.data(), 100));
      const Request receive = must(self.postReceive(previous, 3, in.data(), expected));
      const Request nextReceive = must(self.postReceive(previous, 3, followed.data(), 100));
      const Result<void> arrived = self.wait(receive);
      ASSERT_FALSE(arrived);
      EXPECT_EQ(arrived.error().kind, ErrorKind::Bug);
      const std::string text = arrived.error().text();
      for (const std::string &part :
           {"rank " + std::to_string(self.rank()) + " expects " + std::to_string(expected),
            "rank " + std::to_string(previous) + " sent " + std::to_string(sent)}) {
        EXPECT_NE(text.find(part), std::string::npos) << text;
      }
      EXPECT_TRUE(
          std::all_of(behind.begin(), behind.end(), [](std::byte b) { return b == std::byte{0x5A}; }));
      must(self.wait(send));
      must(self.wait(nextSend));
      must(self.wait(nextReceive)); // the channel goes on
      EXPECT_TRUE(holdsPattern(followed, previous));
    }
  });
}

TEST_P(Conformance, WrongUseIsAnError) {
  run([&](Communicator &self) {
    int word = 0;
    for (const int peer : {-1, self.size(), 70'000}) {
      EXPECT_FALSE(self.postSend(peer, 0, &word, 4));
      EXPECT_FALSE(self.postReceive(peer, 0, &word, 4));
    }
    for (const int tag : {-1, Communicator::kTags, 1000}) {
      EXPECT_FALSE(self.postSend(0, tag, &word, 4));
      EXPECT_FALSE(self.postReceive(0, tag, &word, 4));
    }
    EXPECT_FALSE(self.wait(Request{}));
    EXPECT_FALSE(self.broadcast(&word, 4, self.size()));
    int other = 0;
    const Request send = must(self.postSend(self.rank(), 0, &word, 4));
    const Request receive = must(self.postReceive(self.rank(), 0, &other, 4));
    must(self.wait(send));
    must(self.wait(receive));
    for (const Request request : {send, receive}) {
      const Result<void> again = self.wait(request);
      ASSERT_FALSE(again);
      EXPECT_EQ(again.error().kind, ErrorKind::Bug);
    }
    EXPECT_FALSE(self.wait(Request{send.id + 1})); // not posted yet
  });
}

TEST_P(Conformance, AllRanksMaySendBeforeTheyReceive) {
  run([&](Communicator &self) {
    const std::size_t bytes = 3 * kMegabyte;
    std::vector<std::vector<std::byte>> in(self.size(), std::vector<std::byte>(bytes));
    const std::vector<std::byte> out = pattern(bytes, self.rank());
    std::vector<Request> requests;
    for (int peer = 0; peer < self.size(); ++peer) {
      requests.push_back(must(self.postSend(peer, 4, out.data(), bytes)));
    }
    for (int peer = 0; peer < self.size(); ++peer) {
      requests.push_back(must(self.postReceive(peer, 4, in[peer].data(), bytes)));
    }
    for (const Request request : requests) {
      must(self.wait(request));
    }
    for (int peer = 0; peer < self.size(); ++peer) {
      EXPECT_TRUE(holdsPattern(in[peer], peer));
    }
  });
}

struct PlannedMessage {
  int from;
  int to;
  int tag;
  std::size_t bytes;
};

/// The same on every rank.
std::vector<PlannedMessage> randomPlan(int ranks, int messages, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<PlannedMessage> plan;
  for (int i = 0; i < messages; ++i) {
    const std::size_t largest[] = {1, 100, 5000, 200'000};
    plan.push_back({static_cast<int>(random() % ranks), static_cast<int>(random() % ranks),
                    static_cast<int>(random() % Communicator::kTags), random() % largest[random() % 4]});
  }
  return plan;
}

// Every rank walks the same plan, posts its part of each message and at random moments waits for some or all
// of what it has posted so far, in random order. The oracle is the plan itself: message i carries pattern(i).
TEST_P(Conformance, RandomTrafficArrivesAsPlanned) {
  for (unsigned seed = 0; seed < 6; ++seed) {
    run([&](Communicator &self) {
      const std::vector<PlannedMessage> plan = randomPlan(self.size(), 400, seed);
      std::mt19937 random(1000 * seed + self.rank());
      struct Open {
        Request request;
        int message;
        bool receives;
        std::vector<std::byte> buffer;
      };
      std::vector<Open> open;
      const auto settle = [&](std::size_t leave) {
        std::shuffle(open.begin(), open.end(), random);
        while (open.size() > leave) {
          Open &last = open.back();
          must(self.wait(last.request));
          if (last.receives) {
            ASSERT_EQ(last.buffer.size(), plan[last.message].bytes);
            ASSERT_TRUE(holdsPattern(last.buffer, last.message)) << last.message;
          }
          std::fill(last.buffer.begin(), last.buffer.end(), std::byte{0xEE}); // it is ours again
          open.pop_back();
        }
      };
      for (int i = 0; i < static_cast<int>(plan.size()); ++i) {
        const auto &[from, to, tag, bytes] = plan[i];
        const auto post = [&](bool receives) {
          Open entry{{}, i, receives, receives ? std::vector<std::byte>(bytes) : pattern(bytes, i)};
          entry.request = must(receives ? self.postReceive(from, tag, entry.buffer.data(), bytes)
                                        : self.postSend(to, tag, entry.buffer.data(), bytes));
          open.push_back(std::move(entry));
        };
        const bool receiveFirst = random() % 2 == 0;
        for (const bool receives : {receiveFirst, !receiveFirst}) {
          if ((receives ? to : from) == self.rank()) {
            post(receives);
          }
        }
        if (random() % 20 == 0) {
          settle(random() % 2 == 0 ? 0 : open.size() / 2);
        }
      }
      settle(0);
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Ranks, Conformance, testing::ValuesIn(rankCounts()));

} // namespace
