#!/usr/bin/env bats
#
# The image's health check. The image itself is tried by tests/docker.

bats_require_minimum_version 1.5.0

setup() {
  healthcheck="$BATS_TEST_DIRNAME/../../scripts/docker/healthcheck"
  unset DDB_PIPE_PROFILE
  export MIGRATE_LOG_DIR=$BATS_TEST_TMPDIR PATH="$BATS_TEST_TMPDIR:$PATH"
  # It says what it is asked, and runs as the file `code` says.
  # shellcheck disable=SC2016  # for the stand-in
  printf '#!/bin/bash\necho "$*"\nexit "$(cat "$MIGRATE_LOG_DIR/code")"\n' >"$BATS_TEST_TMPDIR/migrate"
  chmod +x "$BATS_TEST_TMPDIR/migrate"
  echo 0 >"$BATS_TEST_TMPDIR/code"
}

@test "without a run it is not well" {
  run -1 "$healthcheck"
  [ "$output" = 'no run has begun' ]
}

@test "the profile is that of the run, or the one that is named" {
  touch "$MIGRATE_LOG_DIR/migrate-my.pictures.pid"
  run -0 "$healthcheck"
  [ "$output" = '-p my.pictures status' ]
  DDB_PIPE_PROFILE=orders run -0 "$healthcheck"
  [ "$output" = '-p orders status' ]
}

@test "of several pid files that of a run that lives is enough" {
  touch "$MIGRATE_LOG_DIR"/migrate-{orders,pictures}.pid
  for profile in orders pictures; do
    # shellcheck disable=SC2016  # for the stand-in
    printf '#!/bin/bash\n[ "$2" = %s ] || exit 3\necho "$2 is running"\n' "$profile" >"$BATS_TEST_TMPDIR/migrate"
    run -0 "$healthcheck"
    [ "$output" = "$profile is running" ]
  done
  echo 'exit 3' >"$BATS_TEST_TMPDIR/migrate"
  run -1 "$healthcheck"
}

@test "a verification is not asked whether it is a run" {
  sed -n '/^  verify:/,/^$/p' "$BATS_TEST_DIRNAME/../../scripts/docker/compose.yaml" | grep -q '^    healthcheck: {disable: true}$'
}

@test "a run that has ended is 1, whatever migrate exits with" {
  echo 3 >"$MIGRATE_LOG_DIR/code"
  touch "$MIGRATE_LOG_DIR/migrate-pictures.pid"
  run -1 "$healthcheck"
}
