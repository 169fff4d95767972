#!/usr/bin/env bats
#
# The systemd units as files: systemd understands them, the service is shut in well, and it does with each exit code what
# the documentation says. A systemd that runs them is in tests/systemd.
#
# shellcheck disable=SC2154

bats_require_minimum_version 1.5.0

setup() {
  units="$BATS_TEST_DIRNAME/../../systemd"
  unit="$units/migrate@.service"
  docs="$BATS_TEST_DIRNAME/../../docs/operations.md"
  # Here the programs are not installed.
  copy="$BATS_TEST_TMPDIR/migrate@.service"
  cp "$units"/*.timer "$units"/*.service "$BATS_TEST_TMPDIR"
  sed "s#/usr/local/bin/#$(cd "$BATS_TEST_DIRNAME/../../scripts" && pwd)/#" "$unit" >"$copy"
}

# exit_codes WORDS: the exit codes of which docs/operations.md says this.
exit_codes() {
  sed -n "s/^| \([0-9+n]*\) | $1 |\$/\1/p" "$docs"
}

# setting NAME: its value in the unit.
setting() {
  sed -n "s/^$1=//p" "$unit"
}

@test "systemd understands every line" {
  # What it does not understand is only a warning: the silence is what counts.
  run -0 systemd-analyze verify --man=no "$BATS_TEST_TMPDIR"/*.service "$BATS_TEST_TMPDIR"/*.timer
  [ "$output" = "" ]
}

@test "systemd understands every line of the example of a drop-in, those that are switched off included" {
  mkdir "$copy.d"
  sed 's/^#\([A-Z]\)/\1/' "$units/example.conf" >"$copy.d/local.conf"
  grep -q ^User= "$copy.d/local.conf"
  run -0 systemd-analyze verify --man=no "$copy"
  [ "$output" = "" ]
}

@test "the exposure is at most 2.0" {
  run -0 systemd-analyze security --offline=yes --threshold=20 --no-pager "$copy"
}

@test "every exit code of the README is treated as the operations say" {
  local known
  known=$(sed -n '/^### Exit codes/,/^### Stopping/s/^| \([0-9][0-9+n]*\) |.*/\1/p' "$BATS_TEST_DIRNAME/../../README.md")
  [ "$(sed -n 's/^| \([0-9][0-9+n]*\) | \(inactive\|failed\|tried again\).*/\1/p' "$docs")" = "$known" ]
  [ "$(setting Restart)" = on-failure ]
  [ "$(exit_codes inactive | xargs)" = "0 $(setting SuccessExitStatus)" ]
  [ "$(exit_codes failed | xargs) 75" = "$(setting RestartPreventExitStatus)" ]
  [ "$(exit_codes 'tried again' | xargs)" = '69 74 128+n' ]
}

@test "it is given up as the operations say" {
  [ "$(setting StartLimitBurst) $(setting StartLimitIntervalSec) $(setting RestartSec)" = '40 1h 1min' ]
  grep -q 'begun a minute later .* 40 times within an hour' "$docs"
}

@test "who hangs is killed: a SIGTERM would make it a stop that was asked for, which is not tried again" {
  [ -n "$(setting WatchdogSec)" ]
  [ "$(setting WatchdogSignal)" = SIGKILL ]
  # `migrate-monitor` says how the run gets on.
  [ "$(setting Type) $(setting NotifyAccess)" = 'notify all' ]
}

@test "systemd signals migrate alone, which hands it on" {
  grep -qx 'KillMode=mixed' "$unit"
}

@test "what the unit names is where the README installs it" {
  local path
  for path in /usr/local/bin /etc/ddb-pipe/profiles /etc/ddb-pipe/env /etc/credstore/ddb-pipe.password; do
    grep -q "$path" "$unit"
    grep -q "$path" "$BATS_TEST_DIRNAME/../../README.md"
  done
}
