#!/usr/bin/env bats
#
# How scripts/build puts its parts together. The compiler, what counts and what adds up are stand-ins that say what they are
# asked; what they do is seen when a package is made.

bats_require_minimum_version 1.5.0

setup() {
  export CARGO_TARGET_DIR=$BATS_TEST_TMPDIR/target SAID=$BATS_TEST_TMPDIR/said PATH="$BATS_TEST_TMPDIR/bin:$PATH"
  libraries=$BATS_TEST_TMPDIR/rust/lib
  mkdir -p "$BATS_TEST_TMPDIR"/{bin,rust/{lib,bin},target/debug}
  stand_in bin/rustc "echo '$libraries'"
  # shellcheck disable=SC2016  # for the stand-in
  stand_in bin/cargo '
    [ "$1" != --version ] || { echo "cargo 99.0.0" && exit; }
    echo "built:$RUSTFLAGS $*" >>"$SAID"
    counts=${RUSTFLAGS#*-Cprofile-generate=}
    [ "$counts" = "$RUSTFLAGS" ] || { mkdir -p "$counts" && touch "$counts/of-the-build"; }'
  # shellcheck disable=SC2016
  stand_in target/debug/bench 'echo "trained $*" >>"$SAID"; mkdir "$CARGO_TARGET_DIR/training/counts"'
  # shellcheck disable=SC2016
  stand_in rust/bin/llvm-profdata 'echo "merged $(ls "${@: -1}") $*" >>"$SAID"; echo some noise'
}

# stand_in PATH SCRIPT: makes a program.
stand_in() {
  printf '#!/bin/bash\n%s\n' "$2" >"$BATS_TEST_TMPDIR/$1"
  chmod +x "$BATS_TEST_TMPDIR/$1"
}

build() {
  RUSTFLAGS=-Cthat-of-the-user "$BATS_TEST_DIRNAME/../../scripts/build" "$@"
}

@test "programs that count are trained, and built again by their counts alone" {
  run -0 --separate-stderr build
  [ "$output" = "$CARGO_TARGET_DIR/guided/release" ]
  training=$CARGO_TARGET_DIR/training
  mapfile -t said <"$SAID"
  [[ ${said[0]} == "built:-Cthat-of-the-user -Cprofile-generate=$training/counts build --release --locked --target-dir $training" ]]
  [[ ${said[1]} == 'built:'*' build -p bench --locked' ]]
  [ "${said[2]}" = "trained --train --programs $training/release --data $training/exports" ]
  [ "${said[3]}" = "merged  merge --sparse -o $training/counts.profdata $training/counts" ]
  [ "${said[4]}" = "built:-Cthat-of-the-user -Cprofile-use=$training/counts.profdata build --release --locked --target-dir $CARGO_TARGET_DIR/guided" ]
}

@test "programs that are named are built alone, both times" {
  run -0 build ddb-cat ddb-parse
  mapfile -t said <"$SAID"
  [[ ${said[0]} == *" --target-dir $CARGO_TARGET_DIR/training -p ddb-cat -p ddb-parse" ]]
  [[ ${said[4]} == *" --target-dir $CARGO_TARGET_DIR/guided -p ddb-cat -p ddb-parse" ]]
}

@test "who asks for help does not wait for a build" {
  for script in build bench; do
    run -0 "$BATS_TEST_DIRNAME/../../scripts/$script" --help
    [[ $output == *"scripts/$script ["* ]]
  done
  [ ! -e "$SAID" ]
}

@test "when the training fails nothing is built by it" {
  stand_in target/debug/bench 'exit 2'
  run -2 build
  [[ $(<"$SAID") != *profile-use* ]]
}

@test "without rustup it says what to do" {
  rm "$BATS_TEST_TMPDIR/rust/bin/llvm-profdata"
  stand_in bin/cargo 'echo "cargo 99.0.0"'
  HOME=$BATS_TEST_TMPDIR PATH=$BATS_TEST_TMPDIR/bin:$(path_without rustup) run -2 build
  [[ $output == *'cargo build --release'*'does without.' ]]
}

# path_without NAME: PATH but for the folders in which that is.
path_without() {
  local folder folders=()
  IFS=: read -ra folders <<<"$PATH"
  for folder in "${folders[@]}"; do
    [ -x "$folder/$1" ] || printf '%s:' "$folder"
  done
}
