// RUN: stagewright-opt %s --split-input-file --verify-diagnostics
// Functions of a stage: names and memory.

plan.stage 0 rank(0) blocks(0, 1) {
  // expected-error@+1 {{names result #plan.value<state, "w:m"> as its argument, which it does not update}}
  plan.function update([#plan.value<parameter, "w">, #plan.value<state, "w:m">]) -> [#plan.value<state, "w:m">] {
  ^bb0(%w: tensor<4xf32>, %m: tensor<4xf32>):
    %y = layer.relu %w : tensor<4xf32>
    plan.return %y : tensor<4xf32>
  }
}

// -----

// Two arguments that change names: each result names the other's memory.
plan.stage 0 rank(0) blocks(0, 1) {
  // expected-error@+1 {{names result #plan.value<saved, "a"> as its argument}}
  plan.function forward([#plan.value<saved, "a">, #plan.value<saved, "b">]) -> [#plan.value<saved, "a">, #plan.value<saved, "b">] {
  ^bb0(%a: tensor<4xf32>, %b: tensor<4xf32>):
    plan.return %b, %a : tensor<4xf32>, tensor<4xf32>
  }
}

// -----

plan.stage 0 rank(0) blocks(0, 1) {
  plan.function backward_weight([#plan.value<saved, "g">, #plan.value<accumulator, "b">]) -> [#plan.value<accumulator, "b">, #plan.value<saved, "old">] {
  ^bb0(%g: tensor<4x3xf32>, %b: tensor<3xf32>):
    %sum = layer.bias_grad %g into %b : tensor<4x3xf32> into tensor<3xf32>
    // expected-error@+1 {{reads a value whose memory an earlier op of the function has overwritten}}
    %old = layer.relu %b : tensor<3xf32>
    plan.return %sum, %old : tensor<3xf32>, tensor<3xf32>
  }
}

// -----

// A view taken before the memory is overwritten is as old as what it shows.
plan.stage 0 rank(0) blocks(0, 1) {
  plan.function backward_weight([#plan.value<saved, "g">, #plan.value<accumulator, "b">]) -> [#plan.value<accumulator, "b">, #plan.value<saved, "old">] {
  ^bb0(%g: tensor<4x3xf32>, %b: tensor<3xf32>):
    %view = layer.reshape %b : tensor<3xf32> -> tensor<1x3xf32>
    %sum = layer.bias_grad %g into %b : tensor<4x3xf32> into tensor<3xf32>
    // expected-error@+1 {{has overwritten}}
    %old = layer.relu %view : tensor<1x3xf32>
    plan.return %sum, %old : tensor<3xf32>, tensor<1x3xf32>
  }
}

// -----

plan.stage 0 rank(0) blocks(0, 1) {
  plan.function backward_weight([#plan.value<saved, "g">, #plan.value<accumulator, "b">]) -> [#plan.value<accumulator, "b">] {
  ^bb0(%g: tensor<4x3xf32>, %b: tensor<3xf32>):
    %sum = layer.bias_grad %g into %b : tensor<4x3xf32> into tensor<3xf32>
    // expected-error@+1 {{has overwritten}}
    plan.return %b : tensor<3xf32>
  }
}

// -----

plan.stage 0 rank(0) blocks(0, 1) {
  // expected-error@+1 {{overwrites argument #plan.value<accumulator, "b"> without naming it as a result}}
  plan.function backward_weight([#plan.value<saved, "g">, #plan.value<accumulator, "b">]) -> [] {
  ^bb0(%g: tensor<4x3xf32>, %b: tensor<3xf32>):
    %sum = layer.bias_grad %g into %b : tensor<4x3xf32> into tensor<3xf32>
    plan.return
  }
}

// -----

plan.stage 0 rank(0) blocks(0, 1) {
  plan.function backward_weight([#plan.value<accumulator, "w">]) -> [#plan.value<accumulator, "w">] {
  ^bb0(%w: tensor<3x3xf32>):
    // expected-error@+1 {{overwrites an operand whose memory another operand shares}}
    %sum = layer.linear_weight_grad %w, %w into %w : tensor<3x3xf32>, tensor<3x3xf32> into tensor<3x3xf32>
    plan.return %sum : tensor<3x3xf32>
  }
}

// -----

plan.stage 0 rank(0) blocks(0, 1) {
  // expected-error@+1 {{has an argument of type 'tensor<4xi8>', which a file cannot hold}}
  plan.function forward([#plan.value<saved, "g">]) -> [] {
  ^bb0(%g: tensor<4xi8>):
    plan.return
  }
}

// -----

// The product of the sizes does not fit into 64 bits.
plan.stage 0 rank(0) blocks(0, 1) {
  // expected-error@+1 {{which a file cannot hold}}
  plan.function forward([#plan.value<saved, "g">]) -> [] {
  ^bb0(%g: tensor<4294967296x4294967297xf32>):
    plan.return
  }
}

// -----

// expected-error@+1 {{is of type 'tensor<?xf32>', which a file cannot hold}}
plan.shared "loss" : tensor<?xf32> from 0

// -----

// expected-error@+1 {{needs pairs in copies}}
plan.folder {config = "", copies = ["lm_head.weight"], ignored = [], prefix = "", transposed = []}
