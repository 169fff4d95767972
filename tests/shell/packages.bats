#!/usr/bin/env bats
#
# What scripts/packages does where little is there, and that it names what the tests start. Nothing is installed. That nothing
# is missing is seen by tests/bare, which takes long.
#
# The scripts in single quotes are not for this shell.
# shellcheck disable=SC2016

bats_require_minimum_version 1.5.0

# sourced SCRIPT: runs it after scripts/packages, in an environment that has a PATH and nothing else.
sourced() {
  env -i PATH="${path:-$PATH}" /bin/bash -euc "source '$BATS_TEST_DIRNAME/../../scripts/packages'; $1"
}

@test "HOME is the user's where it is not set, and programs for root are on the PATH" {
  run -0 sourced 'echo "$HOME"; env | grep ^PATH='
  [ "${lines[0]}" = "$(getent passwd "$(id -u)" | cut -d : -f 6)" ]
  [[ ${lines[1]} == *:/usr/sbin:/sbin ]]
}

@test "what is missing is installed through sudo, after saying so" {
  mkdir "$BATS_TEST_TMPDIR/bin"
  printf '#!/bin/sh\necho "sudo $*"\n' >"$BATS_TEST_TMPDIR/bin/sudo"
  printf '#!/bin/sh\n' >"$BATS_TEST_TMPDIR/bin/apt-get"
  chmod +x "$BATS_TEST_TMPDIR"/bin/*
  path=$BATS_TEST_TMPDIR/bin:$PATH
  run -0 sourced 'id() { echo 1000; }; need bash:bash not-there:package-of-it'
  [ "${lines[0]}" = 'Installing packages: package-of-it' ]
  [[ ${lines[2]} == 'sudo env DEBIAN_FRONTEND=noninteractive apt-get install '*' package-of-it' ]]
}

@test "without root and sudo it says what root has to do" {
  run -2 sourced 'id() { echo 1000; }; apt-get() { false; }; PATH=/none; need not-there:package-of-it'
  [ "${lines[1]}" = 'That needs root, and there is no sudo; let root run: apt-get install package-of-it' ]
}

@test "what is there is not installed" {
  run -0 sourced 'need bash:bash'
  [ "$output" = "" ]
}

# on_every_debian PROGRAM: whether it is in a package that every Debian has.
on_every_debian() {
  local package
  for package in $(dpkg -S "*bin/$1" 2>/dev/null | grep -v '^diversion' | cut -d : -f 1 | sort -u); do
    [[ $(dpkg-query -W -f '${Essential} ${Priority}' "$package") =~ ^yes|required$ ]] && return
  done
  return 1
}

@test "what the Rust code starts by its name is installed for the tests, unless every Debian has it" {
  command -v dpkg-query >/dev/null || skip 'this is no Debian'
  cd "$BATS_TEST_DIRNAME/../.."
  local named name
  named=$(sourced 'need() { printf "%s\n" "${@%%:*}"; }; ensure_rust() { :; }; ensure_moto() { :; }; ensure_test_tools . target')
  # shellcheck disable=SC2013  # they have no spaces
  for name in $(grep -rhoE '(Command::new|Program::at)\("[a-z0-9/-]+"\)' --include='*.rs' tests shared/*/tests tools/*/tests |
    cut -d '"' -f 2 | sort -u); do
    [ ! -d "tools/$name" ] || continue
    grep -qxF "${name##*/}" <<<"$named" || on_every_debian "${name##*/}" || { echo "$name" && return 1; }
  done
}
