// One suite for both kinds of messages between GPUs: copies between threads, and NCCL. The device is
// emulated; what is asked is what the executor relies on.
#include "Fleet.h"

#include "kernels/cuda/emulation/EmulatedGpu.h"
#include "runtime/comm/ThreadCommunicator.h"
#include "runtime/exec/DeviceCopies.h"
#include "runtime/exec/NcclMessages.h"

#include <memory>
#include <thread>

namespace stagewright::runtime {
namespace {

using cuda::emulation::EmulatedGpu;

constexpr std::size_t kMessages = 24, kBytes = 256;
constexpr std::size_t kOwnStreams = 2; // of a rank: compute, and that of groups

enum class Way { Copies, Nccl };

/// A rank with a stream for its work, some memory, and messages. Slot i is kBytes at slot(i).
struct Rank {
  Rank(EmulatedGpu &gpu, Communicator &communicator, Way way, const InterruptFlag *interrupt)
      : communicator(communicator), api(gpu.api()), computing(*api),
        messages(makeDeviceMessages(*api, communicator, way == Way::Nccl, kOwnStreams, interrupt)) {
    const std::size_t ranks = static_cast<std::size_t>(communicator.size());
    const bool isAlone = way == Way::Nccl;
    const std::size_t first = isAlone ? 0 : kOwnStreams * static_cast<std::size_t>(communicator.rank());
    const std::size_t all = isAlone ? kOwnStreams + 4 * ranks : kOwnStreams * ranks;
    must(computing.open(first, all));
    must(messages->open(kMessages, first + 1, all));
    memory = static_cast<std::byte *>(must(api->allocate(kMessages * kBytes)));
    for (std::size_t i = 0; i < kMessages; ++i) {
      made.push_back(must(computing.makeEvent()));
    }
  }
  ~Rank() {
    messages.reset();
    for (const OrderedEvent &event : made) {
      api->destroy(event.handle);
    }
    api->release(memory);
  }

  std::byte *slot(std::size_t number) const { return memory + number * kBytes; }
  int next() const { return (communicator.rank() + 1) % communicator.size(); }
  int previous() const { return (communicator.rank() + communicator.size() - 1) % communicator.size(); }
  void connect(const std::vector<DeviceMessages::Channel> &channels,
               const std::vector<RankGroup> &groups = {}) {
    must(messages->connect(channels, groups));
  }
  void connectRing(int tag = 0) { connect({{true, next(), tag}, {false, previous(), tag}}); }
  /// Work of `computing` that writes a slot, and its event.
  const OrderedEvent *write(std::size_t number, std::uint8_t value) {
    must(api->fill(slot(number), value, kBytes, computing.handle()));
    must(computing.record(made[number]));
    return &made[number];
  }
  void await(std::size_t message) { must(computing.wait(*must(messages->arrival(message)))); }
  bool holds(std::size_t number, std::uint8_t value) const {
    return std::all_of(slot(number), slot(number) + kBytes,
                       [&](std::byte byte) { return byte == std::byte(value); });
  }
  void finish() { must(messages->finish(computing)); }

  Communicator &communicator;
  std::unique_ptr<cuda::Api> api;
  OrderedStream computing;
  std::unique_ptr<DeviceMessages> messages;
  std::byte *memory = nullptr;
  std::vector<OrderedEvent> made;
};

struct Case {
  Way way;
  int ranks;
};

class DeviceMessagesConformance : public testing::TestWithParam<Case> {
protected:
  using Body = std::function<void(Rank &)>;

  /// On all ranks, under every policy that lets another stream run ahead; nothing may be without an order.
  void run(const Body &body) {
    for (const auto kind :
         {EmulatedGpu::Policy::Oldest, EmulatedGpu::Policy::Prefer, EmulatedGpu::Policy::Avoid}) {
      for (unsigned stream = 0; stream < (kind == EmulatedGpu::Policy::Oldest ? 1 : 6); ++stream) {
        EmulatedGpu gpu;
        gpu.policy = {kind, stream};
        errors.assign(static_cast<std::size_t>(GetParam().ranks), "");
        onRanks(gpu, body);
        for (const std::string &error : errors) {
          EXPECT_EQ(error, "");
        }
        EXPECT_EQ(gpu.races(), std::vector<std::string>());
        EXPECT_EQ(gpu.counts().connections, 0) << "connections are left open";
        EXPECT_EQ(gpu.counts().aborts, 0);
        EXPECT_EQ(gpu.counts().hangs, 0);
        EXPECT_EQ(gpu.allocatedBytes(), 0u);
      }
    }
  }
  void onRanks(EmulatedGpu &gpu, const Body &body, const InterruptFlag *interrupt = nullptr) {
    const auto [way, ranks] = GetParam();
    ThreadGroup group(ranks, 64, way == Way::Copies ? moveDeviceCopy : moveBytes);
    // They go when all threads have ended: others may wait for their events and look at their messages.
    std::vector<std::unique_ptr<Rank>> made(static_cast<std::size_t>(ranks));
    std::vector<std::thread> threads;
    for (int number = 0; number < ranks; ++number) {
      threads.emplace_back([&, number] {
        Communicator &own = group.communicator(number);
        try {
          Rank &rank = *(made[static_cast<std::size_t>(number)] =
                             std::make_unique<Rank>(gpu, own, GetParam().way, interrupt));
          body(rank);
          must(rank.messages->finish(rank.computing));
        } catch (const std::exception &error) {
          errors[static_cast<std::size_t>(number)] = error.what();
          own.abort(environmentError("test", error.what(), ""));
        }
      });
    }
    for (std::thread &thread : threads) {
      thread.join();
    }
  }

  std::vector<std::string> errors;
};

TEST_P(DeviceMessagesConformance, MessagesOfAChannelArriveInOrder) {
  run([](Rank &rank) {
    rank.connectRing();
    constexpr std::size_t kHalf = kMessages / 2;
    for (std::size_t i = 0; i < kHalf; ++i) {
      const OrderedEvent *ready = rank.write(i, static_cast<std::uint8_t>(10 * rank.communicator.rank() + i));
      must(rank.messages->post(i, true, rank.next(), 0, rank.slot(i), kBytes, ready));
      must(rank.messages->post(kHalf + i, false, rank.previous(), 0, rank.slot(kHalf + i), kBytes, nullptr));
    }
    for (std::size_t i = 0; i < kMessages; ++i) {
      rank.await(i);
    }
    rank.finish();
    for (std::size_t i = 0; i < kHalf; ++i) {
      EXPECT_TRUE(rank.holds(kHalf + i, static_cast<std::uint8_t>(10 * rank.previous() + i))) << i;
    }
  });
}

TEST_P(DeviceMessagesConformance, ChannelsDoNotHoldUpEachOther) {
  run([](Rank &rank) {
    rank.connect({{true, rank.next(), 0},
                  {false, rank.previous(), 0},
                  {true, rank.next(), 1},
                  {false, rank.previous(), 1}});
    // Tag 1 is received first, though tag 0 is posted first and sent last; tag 0 stands behind what tag 1
    // brings.
    must(rank.messages->post(0, false, rank.previous(), 0, rank.slot(0), kBytes, nullptr));
    must(rank.messages->post(1, false, rank.previous(), 1, rank.slot(1), kBytes, nullptr));
    must(rank.messages->post(2, true, rank.next(), 1, rank.slot(2), kBytes, rank.write(2, 7)));
    rank.await(1);
    must(rank.api->copy(rank.slot(3), rank.slot(1), kBytes, rank.computing.handle()));
    must(rank.computing.record(rank.made[3]));
    must(rank.messages->post(3, true, rank.next(), 0, rank.slot(3), kBytes, &rank.made[3]));
    for (const std::size_t message : {0, 2, 3}) {
      rank.await(message);
    }
    rank.finish();
    EXPECT_TRUE(rank.holds(0, 7));
  });
}

TEST_P(DeviceMessagesConformance, WhatIsSentIsWrittenAgainBehindItsArrival) {
  run([](Rank &rank) {
    rank.connectRing();
    for (std::size_t round = 0; round < 4; ++round) { // one slot to send from, one to receive in
      const auto value = static_cast<std::uint8_t>(20 * rank.communicator.rank() + static_cast<int>(round));
      const OrderedEvent *ready = rank.write(0, value);
      must(rank.messages->post(0, true, rank.next(), 0, rank.slot(0), kBytes, ready));
      must(rank.messages->post(1, false, rank.previous(), 0, rank.slot(1), kBytes,
                               round > 0 ? &rank.made[8] : nullptr));
      rank.await(1);
      must(rank.api->copy(rank.slot(2 + round), rank.slot(1), kBytes, rank.computing.handle()));
      must(rank.computing.record(rank.made[8]));
      rank.await(0);
    }
    rank.finish();
    for (std::size_t round = 0; round < 4; ++round) {
      EXPECT_TRUE(
          rank.holds(2 + round, static_cast<std::uint8_t>(20 * rank.previous() + static_cast<int>(round))));
    }
  });
}

TEST_P(DeviceMessagesConformance, AReceiveStandsBehindWhatItIsToldTo) {
  run([](Rank &rank) {
    rank.connectRing();
    must(rank.messages->post(0, true, rank.next(), 0, rank.slot(0), kBytes, rank.write(0, 5)));
    // Slot 1 is read by compute before the message may come.
    must(rank.api->fill(rank.slot(1), 9, kBytes, rank.computing.handle()));
    must(rank.api->copy(rank.slot(2), rank.slot(1), kBytes, rank.computing.handle()));
    must(rank.computing.record(rank.made[2]));
    const OrderedEvent *const behind[] = {&rank.made[2]};
    must(rank.messages->receiveBehind(behind));
    must(rank.messages->post(1, false, rank.previous(), 0, rank.slot(1), kBytes, nullptr));
    rank.await(0);
    rank.await(1);
    rank.finish();
    EXPECT_TRUE(rank.holds(1, 5));
    EXPECT_TRUE(rank.holds(2, 9));
  });
}

TEST_P(DeviceMessagesConformance, GroupsExchangeAllWithAll) {
  run([](Rank &rank) {
    const int ranks = rank.communicator.size();
    const RankGroup all{0, 1, ranks};
    rank.connect({}, {all});
    for (std::uint8_t round = 0; round < 3; ++round) {
      std::size_t message = 0;
      const OrderedEvent *ready =
          rank.write(0, static_cast<std::uint8_t>(rank.communicator.rank() + 30 * round));
      must(rank.messages->beginGroup(all));
      for (int peer = 0; peer < ranks; ++peer) {
        if (peer != rank.communicator.rank()) {
          must(rank.messages->post(message++, true, peer, 5, rank.slot(0), kBytes, ready));
          must(rank.messages->post(message++, false, peer, 5, rank.slot(1 + static_cast<std::size_t>(peer)),
                                   kBytes, ready));
        }
      }
      must(rank.messages->endGroup());
      while (message > 0) {
        rank.await(--message);
      }
      // Work between groups, on their stream, sees what has come.
      must(rank.messages->onStream([&](OrderedStream &stream) -> Result<void> {
        for (int peer = 0; peer < ranks; ++peer) {
          if (peer != rank.communicator.rank()) {
            must(rank.api->copy(rank.slot(10 + static_cast<std::size_t>(peer)),
                                rank.slot(1 + static_cast<std::size_t>(peer)), kBytes, stream.handle()));
          }
        }
        return stream.record(rank.made[20]);
      }));
      must(rank.computing.wait(rank.made[20]));
    }
    rank.finish();
    for (int peer = 0; peer < ranks; ++peer) {
      if (peer != rank.communicator.rank()) {
        EXPECT_TRUE(rank.holds(10 + static_cast<std::size_t>(peer), static_cast<std::uint8_t>(peer + 60)));
      }
    }
  });
}

TEST_P(DeviceMessagesConformance, OneRankSendsToAllOfAGroup) {
  run([](Rank &rank) {
    const int ranks = rank.communicator.size();
    const RankGroup all{0, 1, ranks};
    const int root = ranks - 1;
    rank.connect({}, {all});
    std::size_t message = 0;
    const bool sends = rank.communicator.rank() == root;
    const OrderedEvent *ready = sends ? rank.write(0, 77) : nullptr;
    must(rank.messages->beginGroup(all));
    for (int peer = 0; peer < ranks; ++peer) {
      if (sends ? peer != root : peer == root) {
        must(rank.messages->post(message++, sends, peer, 5, rank.slot(0), kBytes, ready));
      }
    }
    must(rank.messages->endGroup());
    while (message > 0) {
      rank.await(--message);
    }
    rank.finish();
    EXPECT_TRUE(rank.holds(0, 77));
  });
}

/// NCCL does not look at them: there the plan's proof has to do.
TEST_P(DeviceMessagesConformance, SizesThatDoNotAgreeAreAnError) {
  if (GetParam().way == Way::Nccl) {
    return;
  }
  EmulatedGpu gpu;
  errors.assign(static_cast<std::size_t>(GetParam().ranks), "");
  onRanks(gpu, [](Rank &rank) {
    rank.connectRing();
    must(rank.messages->post(0, true, rank.next(), 0, rank.slot(0), 8, rank.write(0, 1)));
    must(rank.messages->post(1, false, rank.previous(), 0, rank.slot(1), 16, nullptr));
    rank.await(0);
    rank.await(1);
    rank.finish();
  });
  EXPECT_NE(errors[0].find("8 bytes are sent"), std::string::npos) << errors[0];
}

/// Of two ranks one never sends.
TEST_P(DeviceMessagesConformance, AnAbortEndsTheWaitOfOthers) {
  EmulatedGpu gpu;
  errors.assign(static_cast<std::size_t>(GetParam().ranks), "");
  onRanks(gpu, [](Rank &rank) {
    rank.connectRing();
    if (rank.communicator.rank() == 0) {
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
      throw std::runtime_error("gone");
    }
    must(rank.messages->post(1, false, rank.previous(), 0, rank.slot(1), kBytes, nullptr));
    rank.await(1);
    rank.finish();
  });
  for (int number = 1; number < GetParam().ranks; ++number) {
    EXPECT_NE(errors[static_cast<std::size_t>(number)].find("gone"), std::string::npos)
        << errors[static_cast<std::size_t>(number)];
  }
  if (GetParam().way == Way::Nccl) {
    EXPECT_GT(gpu.counts().aborts, 0);
  }
  EXPECT_EQ(gpu.counts().connections, 0);
  EXPECT_EQ(gpu.counts().hangs, 0);
}

std::vector<Case> cases() {
  std::vector<Case> all;
  for (const Way way : {Way::Copies, Way::Nccl}) {
    for (const int ranks : {2, 3, 4}) {
      all.push_back({way, ranks});
    }
  }
  return all;
}
INSTANTIATE_TEST_SUITE_P(Both, DeviceMessagesConformance, testing::ValuesIn(cases()), [](const auto &info) {
  return (info.param.way == Way::Copies ? "Copies" : "Nccl") + std::to_string(info.param.ranks);
});

// What NCCL alone has: it ends on its own errors, and needs a GPU for each rank.

class NcclMessagesTest : public testing::Test {
protected:
  /// Both ranks wait for a message that nobody sends; the error of each.
  std::vector<std::string> waitForNothing(EmulatedGpu &gpu, const InterruptFlag *interrupt,
                                          const std::function<void()> &meanwhile) {
    ThreadGroup group(2, 64);
    std::vector<std::string> errors(2);
    std::vector<std::thread> threads;
    for (int number = 0; number < 2; ++number) {
      threads.emplace_back([&, number] {
        Rank rank(gpu, group.communicator(number), Way::Nccl, interrupt);
        rank.connectRing();
        must(rank.messages->post(1, false, rank.previous(), 0, rank.slot(1), kBytes, nullptr));
        rank.await(1);
        if (number == 0) {
          meanwhile();
        }
        const auto ok = rank.messages->finish(rank.computing);
        errors[static_cast<std::size_t>(number)] = ok ? "" : ok.error().text();
      });
    }
    for (std::thread &thread : threads) {
      thread.join();
    }
    return errors;
  }
};

TEST_F(NcclMessagesTest, AnErrorThatNcclNotesEndsTheWait) {
  EmulatedGpu gpu;
  const auto errors = waitForNothing(gpu, nullptr, [&] {
    gpu.failConnections(environmentError("NCCL, on the way", "remote process has exited", ""));
  });
  for (const std::string &error : errors) {
    EXPECT_NE(error.find("remote process has exited"), std::string::npos) << error;
  }
  EXPECT_EQ(gpu.counts().aborts, 4); // two channels on either side
  EXPECT_EQ(gpu.counts().connections, 0);
  EXPECT_EQ(gpu.counts().hangs, 0);
}

TEST_F(NcclMessagesTest, AnInterruptEndsTheWait) {
  EmulatedGpu gpu;
  InterruptFlag interrupt;
  const auto errors = waitForNothing(gpu, &interrupt, [&] { interrupt.raise(); });
  for (const std::string &error : errors) {
    EXPECT_EQ(error, "interrupted");
  }
  EXPECT_EQ(gpu.counts().aborts, 4);
}

TEST_F(NcclMessagesTest, RanksThatShareAGpuAreRefused) {
  EmulatedGpu gpu;
  ThreadGroup group(3, 64);
  std::vector<std::string> errors(3);
  std::vector<std::thread> threads;
  for (int number = 0; number < 3; ++number) {
    threads.emplace_back([&, number] {
      const auto api = gpu.api(number == 1 ? "0000:17:00.0" : "0000:03:00.0");
      const auto ok = checkOwnGpus(*api, group.communicator(number));
      errors[static_cast<std::size_t>(number)] = ok ? "" : ok.error().text();
    });
  }
  for (std::thread &thread : threads) {
    thread.join();
  }
  for (const std::string &error : errors) { // also the one that has its own: it would wait for the others
    EXPECT_NE(error.find("ranks 0 and 2 would share the GPU 0000:03:00.0"), std::string::npos) << error;
  }
}

} // namespace
} // namespace stagewright::runtime
