// The schedule of one step: which rank does what, in which order. A plain value without MLIR, shared by the
// compiler (which generates it), the loader (which proves it again) and the executor (which runs it task by
// task).
#ifndef STAGEWRIGHT_SCHEDULE_SCHEDULE_H
#define STAGEWRIGHT_SCHEDULE_SCHEDULE_H

#include "error/Error.h"

#include <compare>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace stagewright::schedule {

// clang-format off
/// What one task does. The numbers are those of the .stage file: append only.
enum class TaskKind : std::uint8_t {
  Forward = 0,         ///< F: forward pass of one micro-batch through one stage
  BackwardInput = 1,   ///< I: gradient of the stage's inputs
  BackwardWeight = 2,  ///< W: gradient of the stage's parameters, accumulated in place
  Backward = 3,        ///< B: I, then W, as one task
  SendForward = 4,     ///< SEND_F: activations of this stage to the next stage
  ReceiveForward = 5,  ///< RECV_F: posts the receive of this stage's input activations; F waits for it
  SendBackward = 6,    ///< SEND_B: gradient of this stage's inputs to the previous stage
  ReceiveBackward = 7, ///< RECV_B: posts the receive of the gradient of this stage's outputs; I (or B) waits for it
  Prepare = 8,         ///< PREPARE: values derived from the stage's parameters (packed weights), once per step
  Norm = 9,            ///< NORM: the stage's partial sums of squares of gradients, and on the last stage the loss
  AllGather = 10,      ///< ALL_GATHER: collective of all ranks that shares what NORM wrote; has no stage (-1)
  Update = 11,         ///< UPDATE: clipping and optimizer for the stage's parameters
  // Of parameters that several stages hold (Tie):
  SendSum = 12,        ///< SEND_SUM: gradient sums of this stage's uses to the owner
  ReceiveSum = 13,     ///< RECV_SUM: posts their receive; the owner's NORM waits for it
  SendWeight = 14,     ///< SEND_WEIGHT: the owner's updated weights to a holder
  ReceiveWeight = 15,  ///< RECV_WEIGHT: posts their receive; the step's end waits for it
  Reduce = 16,         ///< REDUCE: the stage's gradient sums of all replicas have been added up (data parallel)
  Gather = 17          ///< GATHER: each replica shares the weights of the stage that it has updated (ZeRO)
};
// clang-format on
inline constexpr int kTaskKinds = 18;

/// One entry of a rank's task list. `stage` is -1 for AllGather; `microBatch` is -1 where there is none. Of
/// the four kinds that exchange tied parameters it is the number of the stage at the other end.
struct Task {
  TaskKind kind = TaskKind::Forward;
  std::int32_t stage = 0;
  std::int32_t microBatch = -1;
  auto operator<=>(const Task &) const = default;
};

inline bool hasMicroBatch(TaskKind kind) {
  return kind <= TaskKind::ReceiveBackward;
}
inline bool isTransfer(TaskKind kind) {
  return kind >= TaskKind::SendForward && kind <= TaskKind::ReceiveBackward;
}
inline bool isTied(TaskKind kind) {
  return kind >= TaskKind::SendSum && kind <= TaskKind::ReceiveWeight;
}
inline bool isCompute(TaskKind kind) {
  return kind <= TaskKind::Backward;
}

// Replicas of the pipeline (data parallel) all run the same lists, each with its own samples. REDUCE is where
// they meet, after the stage's last W; so do they in ALL_GATHER, and in GATHER behind UPDATE. A list that is
// proved for one replica holds for all: in the order in which the proof has run the tasks all replicas can
// run each task together.
//
//   replica 0   ... W0 .. Wm  REDUCE  (SEND_SUM)  NORM  ALL_GATHER  UPDATE  (GATHER)
//   replica 1   ... W0 .. Wm  REDUCE  (SEND_SUM)  NORM  ALL_GATHER  UPDATE  (GATHER)

/// Stage `holder` has uses of parameters that belong to the earlier stage `owner` on another rank. The owner
/// adds the gradients of all uses and updates; every holder has a copy of the weights:
///
///   owner   ... F W0 .. Wm  RECV_SUM  NORM  ALL_GATHER  UPDATE  SEND_WEIGHT
///   holder  ... Wm SEND_SUM           NORM  ALL_GATHER  RECV_WEIGHT  UPDATE
struct Tie {
  int owner = 0, holder = 0;
  auto operator<=>(const Tie &) const = default;
};

/// What is exchanged at a step's end.
struct StepExchanges {
  std::vector<Tie> ties;
  bool reduces = false; ///< there are several replicas
  bool gathers = false; ///< each of which updates its part of the weights
  bool operator==(const StepExchanges &) const = default;
};

/// Task lists of all ranks for one step.
struct Schedule {
  std::string kind;             ///< "gpipe", "1f1b", "zb-h1", "csv", "evaluation", ...
  int stages = 0;               ///< S, counted over all ranks
  int microBatches = 0;         ///< m
  std::vector<int> rankOfStage; ///< [S]
  std::vector<std::vector<Task>> ranks;

  int rankCount() const { return static_cast<int>(ranks.size()); }
  bool operator==(const Schedule &) const = default;
};

// ---- Generators (Generators.cpp): compute tasks only ------------------------------------------------------

/// Names that `generate` knows, in the order in which help texts list them.
const std::vector<std::string> &scheduleKinds();

/// Compute tasks (F, I, W, B) of one step with one stage per rank.
/// Errors: unknown kind (with the nearest name), stages < 1, microBatches outside 1..65535, more than 2^22
/// forwards. Sources of the rules: GPipe (Huang 2019), 1F1B (Narayanan 2019/2021), ZB-H1 (Qi 2023).
Result<Schedule> generate(std::string_view kind, int stages, int microBatches);

/// Forward tasks only, ascending, with transfers and the closing ALL_GATHER: how `eval` runs.
Result<Schedule> generateEvaluation(int stages, int microBatches);

// ---- Transfers and step tasks (Transfers.cpp) -------------------------------------------------------------

/// Adds SEND_* right after each producer and RECV_* to the peer's list at the same moment of a round-robin
/// walk over the ranks, the rule of torch.distributed.pipelining's _add_send_recv: every pair of ranks sees
/// its transfers in one order. Stages that share a rank exchange nothing. Error: the compute tasks wait for
/// each other in a circle. REDUCE stands behind a stage's last W; behind that SEND_SUM of the ties that it
/// holds.
Result<Schedule> addTransfers(const Schedule &compute, const StepExchanges &exchanges = {});

/// Puts PREPARE of each own stage in front, and NORM, ALL_GATHER, UPDATE, GATHER behind, with the weights of
/// ties.
Schedule addStepTasks(Schedule schedule, const StepExchanges &exchanges = {});

/// Those for which the lists have tasks; each tie once, ascending.
StepExchanges exchangesOf(const Schedule &schedule);

// ---- Verifier (Verifier.cpp) ------------------------------------------------------------------------------

// clang-format off
/// Proof obligations of a step (training) or of an evaluation pass:
///  complete   every F (and B, or I and W) of every stage and micro-batch exactly once, on the stage's rank; every
///             value that crosses ranks has one SEND and one RECV; PREPARE, NORM, UPDATE once per stage, ALL_GATHER
///             once per rank; a tie has all four of its tasks; REDUCE once for each stage, or for none; GATHER likewise
///  ordered    F before I/B before W of the same micro-batch; SEND behind its producer, RECV before its consumer;
///             PREPARE before, NORM, ALL_GATHER, UPDATE behind the stage's other tasks; REDUCE, then SEND_SUM,
///             between the stage's last W and NORM, RECV_SUM before NORM, GATHER, then SEND_WEIGHT, behind UPDATE, RECV_WEIGHT
///             behind ALL_GATHER
///  live       no deadlock when SEND blocks until the matching RECV is posted, RECV posts and returns, the consumer
///             waits, and each directed pair of ranks is one in-order channel per direction (forward, backward, sums,
///             weights)
/// The error names the first violated rule, rank, position and task.
// clang-format on
enum class Purpose { Training, Evaluation };
Result<void> verify(const Schedule &schedule, Purpose purpose);

/// True when within each stage F, I and W (or B) each ascend in micro-batch, so that sums associate as in
/// every other such schedule (the plan does not change the bits).
bool isPlanInvariant(const Schedule &schedule);

// ---- Slots (Slots.cpp) ------------------------------------------------------------------------------------

/// A value of one stage that lives, per micro-batch, from the start of task `first` to the end of task
/// `last`. B stands for both I and W. A value with last == AllGather or Update lives to the end of the step;
/// one whose `last` does not occur (I and W in an evaluation pass) to the end of the micro-batch's last
/// compute task of the stage. `sent` values live, in addition, until their SEND's transfer has completed.
struct Lifetime {
  int stage = 0;
  TaskKind first = TaskKind::Forward; ///< ReceiveForward, Forward, ReceiveBackward or BackwardInput
  TaskKind last = TaskKind::Forward;
  bool sent = false;
  auto operator<=>(const Lifetime &) const = default;
};

/// Whether a task does the work of `wanted`: B is I and W.
inline bool includes(TaskKind task, TaskKind wanted) {
  return task == wanted || (task == TaskKind::Backward &&
                            (wanted == TaskKind::BackwardInput || wanted == TaskKind::BackwardWeight));
}

/// Positions in a rank's list from which and to which a micro-batch's value lives; begin -1: it has none.
struct LiveRange {
  int begin = -1;
  int end = -1; ///< the list's length: to the end of the step
};
/// [micro-batches]. Takes any list: what does not belong to the stage is passed over. `sent` values live to
/// their SEND task.
std::vector<LiveRange> liveRanges(const std::vector<Task> &tasks, int microBatches, const Lifetime &lifetime);

/// Slots of a pool: micro-batch k uses slot slotOf[k], 0 <= slotOf[k] < slots.
struct SlotAssignment {
  int slots = 0;
  std::vector<std::uint16_t> slotOf; ///< [m]
  bool operator==(const SlotAssignment &) const = default;
};

/// The fewest slots for which no live slot is overwritten (interval colouring in task order). For `sent`
/// values the count also covers the sends in flight of the unit-time simulation, so that waiting for a slot
/// never delays it. A lifetime whose `first` does not occur (no such task in this schedule) gets one slot
/// that all micro-batches share.
SlotAssignment assignSlots(const Schedule &schedule, const Lifetime &lifetime);

/// Error if some slot is written by a micro-batch while another one's value in it is live, or an index is out
/// of range. For `sent` values "live" ends with the SEND task itself: the executor waits for the transfer
/// before it overwrites.
Result<void> verifySlots(const Schedule &schedule, const Lifetime &lifetime,
                         const SlotAssignment &assignment);

// ---- Simulator (Simulator.cpp) ----------------------------------------------------------------------------

/// Seconds (or any unit) per task. Empty vectors mean 1 for F, I, W of every stage; B costs I + W.
struct Costs {
  std::vector<double> forward;        ///< [S]
  std::vector<double> backwardInput;  ///< [S]
  std::vector<double> backwardWeight; ///< [S]
  double latency = 0;                 ///< one way, per transfer, from the SEND on
};

struct TimedTask {
  Task task;
  double start = 0;
  double end = 0;
};

struct Timeline {
  double makespan = 0;                       ///< first task's start to last task's end
  std::vector<std::vector<TimedTask>> ranks; ///< compute tasks only
  std::vector<double> busy;                  ///< [ranks]
  /// [ranks] most micro-batches (summed over the rank's stages) between start of F and end of I (or B).
  std::vector<int> peakInFlight;
  /// 1 - busy / makespan, averaged over ranks (convention A: whole-step makespan).
  double bubbleFraction() const;
};

/// Discrete-event run with asynchronous sends: SEND takes no time of its rank, RECV posts, the consumer
/// waits. Also accepts compute-only schedules (transfers are then implied). Error: the schedule cannot
/// finish.
Result<Timeline> simulate(const Schedule &schedule, const Costs &costs = {});

// ---- Text (Text.cpp) and drawing (Drawing.cpp) ------------------------------------------------------------

/// "0F3", "1SEND_B0", "2UPDATE", "ALL_GATHER".
std::string text(const Task &task);
Result<Task> parseTask(std::string_view text);

/// One rank's list: "0F0, 0SEND_F0, repeat 6 {0F1+, 0SEND_F1+, ...}, ...". Inside repeat N { } a task written
/// with a trailing '+' has its micro-batch raised by one in each further turn; one without repeats as it is.
/// `repeat` is printed where it shortens the list; parse(print(x)) == x for every list.
std::string printTasks(const std::vector<Task> &tasks);
Result<std::vector<Task>> parseTasks(std::string_view text);

/// torch.distributed.pipelining's CSV: one row per rank, empty cells are idle slots. Rows of compute tasks,
/// or of compute and transfer tasks. `stages` and `rankOfStage` follow from which row holds which stage.
/// Errors: what is not a task, a stage in two rows or in none, more than 65535 micro-batches.
Result<Schedule> parseCsv(std::string_view csv);
/// Step tasks (PREPARE, NORM, ALL_GATHER, UPDATE) are left out: the format has none.
std::string printCsv(const Schedule &schedule);

/// The timeline as text, one row per rank, F k, I k, W k (B k) in cells; at most `width` columns (wider ones
/// are cut with an ellipsis in the middle). `colour` adds ANSI colours.
std::string draw(const Timeline &timeline, int width, bool colour);

} // namespace stagewright::schedule

#endif
