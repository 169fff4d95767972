#!/usr/bin/env bats
#
# The systemd unit: systemd understands it, it is shut in well, and it says what the README says of the exit codes.
#
# shellcheck disable=SC2154

bats_require_minimum_version 1.5.0

setup() {
  unit="$BATS_TEST_DIRNAME/../../systemd/migrate@.service"
  # Here the programs are not installed.
  copy="$BATS_TEST_TMPDIR/migrate@.service"
  sed "s#/usr/local/bin/#$(cd "$BATS_TEST_DIRNAME/../../scripts" && pwd)/#" "$unit" >"$copy"
}

@test "systemd understands every line" {
  # What it does not understand is only a warning: the silence is what counts.
  run -0 systemd-analyze verify --man=no "$copy"
  [ "$output" = "" ]
}

@test "the exposure is at most 2.0" {
  run -0 systemd-analyze security --offline=yes --threshold=20 --no-pager "$copy"
}

@test "a stop is a success, and what needs a person is not tried again" {
  grep -qx 'SuccessExitStatus=75' "$unit"
  grep -qx 'RestartPreventExitStatus=1 2 65 75' "$unit"
}

@test "systemd signals migrate alone, which hands it on" {
  grep -qx 'KillMode=mixed' "$unit"
}

@test "what the unit names is where the README installs it" {
  local path
  for path in /usr/local/bin/ /etc/ddb-pipe/profiles /etc/ddb-pipe/env; do
    grep -q "$path" "$unit"
    grep -q "$path" "$BATS_TEST_DIRNAME/../../README.md"
  done
}
