// RUN: stagewright-opt %s --split-input-file --verify-diagnostics
// Shapes that do not match are refused op by op.

plan.stage 0 rank(0) blocks(0, 1) {
  plan.function model([#plan.value<input, "x">, #plan.value<parameter, "w">]) -> [] {
  ^bb0(%x: tensor<4x6xf32>, %w: tensor<5x7xf32>):
    // expected-error@+1 {{has a weight of shape [5, 7], but needs [5, 6]}}
    %y = layer.linear %x, %w : tensor<4x6xf32>, tensor<5x7xf32> -> tensor<4x5xf32>
    plan.return
  }
}

// -----

plan.stage 0 rank(0) blocks(0, 1) {
  plan.function model([#plan.value<input, "x">]) -> [] {
  ^bb0(%x: tensor<4x6xf32>):
    // expected-error@+1 {{cannot turn [4, 6] into [5, 5]}}
    %y = layer.reshape %x : tensor<4x6xf32> -> tensor<5x5xf32>
    plan.return
  }
}

// -----

plan.stage 0 rank(0) blocks(0, 1) {
  // expected-error@+1 {{names argument #plan.value<input, "x"> twice}}
  plan.function model([#plan.value<input, "x">, #plan.value<input, "x">]) -> [] {
  ^bb0(%x: tensor<4x6xf32>, %y: tensor<4x6xf32>):
    plan.return
  }
}

// -----

// expected-error@+1 {{has unknown initializer "gauss"}}
layer.parameter @w of "fc" : tensor<2xf32> initializer("gauss") bound(0.0) value(0.0)

// -----

command.executable "host" {
  command.rank 0 {
    command.arena "parameters" class(0) bytes(64)
    command.program 0 stage(0) {
      // expected-error@+1 {{names kernel "warp" version 1, which the catalogue does not have}}
      command.launch "warp" version(1) block(0) [] {} workspace(0, 0)
    }
  }
}

// -----

command.executable "host" {
  // The slice ends behind its arena.
  command.rank 0 {
    command.arena "parameters" class(0) bytes(64)
    command.program 0 stage(0) {
      // expected-error@+1 {{outside its arena or slot}}
      command.launch "relu" version(1) block(0) [#command.slice<0, -1, 32, tensor<16xf32>>, #command.slice<0, -1, 0, tensor<16xf32>>] {} workspace(0, 0)
    }
  }
}

// -----

command.executable "host" {
  command.rank 0 {
    command.arena "activations" class(4) bytes(128)
    command.program 0 stage(0) {
      // expected-error@+1 {{of which one is neither i64, f64, a text nor a list of i64}}
      command.launch "gelu" version(1) block(0) [#command.slice<0, -1, 0, tensor<16xf32>>, #command.slice<0, -1, 64, tensor<16xf32>>] {approximate = true} workspace(0, 0)
    }
  }
}

// -----

command.executable "host" {
  command.rank 0 {
    command.arena "activations" class(4) bytes(128)
    command.program 0 stage(0) {
      // expected-error@+1 {{has 0 settings, but "gelu" takes 1}}
      command.launch "gelu" version(1) block(0) [#command.slice<0, -1, 0, tensor<16xf32>>, #command.slice<0, -1, 64, tensor<16xf32>>] {} workspace(0, 0)
    }
  }
}
