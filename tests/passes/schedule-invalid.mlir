// RUN: stagewright-opt %s --split-input-file --verify-diagnostics
// A schedule that hangs or loses a task is refused where it stands.

// expected-error@+1 {{does not hold}}
plan.schedule "csv" micro_batches(1) rank_of_stage [0] {
  plan.rank 0 train(#plan.tasks<"0PREPARE, 0F0, 0NORM, ALL_GATHER, 0UPDATE">) evaluate(#plan.tasks<"0F0, ALL_GATHER">)
}

// -----

plan.schedule "csv" micro_batches(1) rank_of_stage [0] {
  // expected-error@+1 {{0G0}}
  plan.rank 0 train(#plan.tasks<"0PREPARE, 0G0">) evaluate(#plan.tasks<"0F0, ALL_GATHER">)
}

// -----

// expected-error@+1 {{gives stage 1 no blocks}}
plan.choice boundaries [0, 2, 2] explanation ""
