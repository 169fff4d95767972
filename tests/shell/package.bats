#!/usr/bin/env bats
#
# scripts/package: what it asks for first, what it prints, and who maintains the package; and what the package's own scripts
# leave behind. The programs and all that looks into them are stand-ins: a real package is tried by tests/package.
#
# The scripts in single quotes are not for this shell; bats sets stderr.
# shellcheck disable=SC2016,SC2154

bats_require_minimum_version 1.5.0

setup() {
  home=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
  root=$BATS_TEST_TMPDIR/root
  export HOME=$BATS_TEST_TMPDIR/me SAID=$BATS_TEST_TMPDIR/said PATH="$BATS_TEST_TMPDIR/bin:$PATH"
  export DDB_PIPE_MAINTAINER='A <a@example.com>'
  mkdir -p "$BATS_TEST_TMPDIR"/{bin,crate,programs} "$HOME/.cargo/bin"
  local crate
  for crate in "$home"/tools/*/; do
    stand_in "programs/$(basename "$crate")" '[ "$1" != --version ] || echo "${0##*/} 0.1.0 (6552fbc 2026-11-24)"'
  done
  stand_in bin/strip true
  stand_in bin/dpkg-shlibdeps 'echo "shlibs:Depends=libc6 (>= 2.36)"'
  # The one on PATH is too old; rustup's is not on PATH, as after scripts/build has installed it.
  stand_in bin/cargo 'echo "cargo 1.0.0"; echo "old $*" >>"$SAID"'
  stand_in me/.cargo/bin/cargo 'case $1 in
    --version) echo "cargo 99.0.0" ;;
    tree) echo "linked v1.0.0" ;;
    metadata) echo "{\"packages\":[{\"name\":\"linked\",\"version\":\"1.0.0\",\"source\":\"s\",\"license\":\"MIT\",
      \"manifest_path\":\"${HOME%/me}/crate/Cargo.toml\"}]}" ;;
    *) echo "built $*" >>"$SAID" ;;
  esac'
  echo 'Do with it what you want.' >"$BATS_TEST_TMPDIR/crate/LICENSE"
}

# stand_in PATH SCRIPT: makes a program.
stand_in() {
  printf '#!/bin/bash\n%s\n' "$2" >"$BATS_TEST_TMPDIR/$1"
  chmod +x "$BATS_TEST_TMPDIR/$1"
}

package() {
  "$home/scripts/package" --from "$BATS_TEST_TMPDIR/programs" --output "$BATS_TEST_TMPDIR/out"
}

# package_without_strip: the same where `strip` is not found until somebody installs it.
package_without_strip() (
  rm "$BATS_TEST_TMPDIR/bin/strip"
  stand_in bin/sudo 'exec "$@"'
  stand_in bin/apt-get 'echo "apt-get says much"; printf "#!/bin/sh\n" >"${0%/*}/strip"; chmod +x "${0%/*}/strip"'
  # shellcheck disable=SC2317  # in place of the shell's own, for what runs below
  command() {
    [ "$*" != '-v strip' ] || [ -e "$BATS_TEST_TMPDIR/bin/strip" ] || return 1
    builtin command "$@"
  }
  export -f command
  package
)

@test "it prints the name of the package alone, with a Rust that is not on PATH" {
  command -v dpkg-deb >/dev/null || skip 'there is no dpkg-deb'
  run -0 --separate-stderr package
  [ "$output" = "$BATS_TEST_TMPDIR/out/ddb-pipe_0.1.0+20261124.6552fbc_$(dpkg --print-architecture).deb" ]
  [ "$(dpkg-deb --field "$output" Depends)" = 'libc6 (>= 2.36)' ]
  dpkg-deb --fsys-tarfile "$output" | tar -xO ./usr/share/doc/ddb-pipe/third-party.gz | gzip -d |
    grep -qx 'Do with it what you want.'
}

@test "what is installed on the way is not said on stdout" {
  command -v dpkg-deb >/dev/null || skip 'there is no dpkg-deb'
  run -0 --separate-stderr package_without_strip
  [[ $stderr == *'Installing packages: binutils'*'apt-get says much'* ]]
  [[ $output == "$BATS_TEST_TMPDIR"/out/*.deb ]]
}

@test "a maintainer may have any name" {
  command -v dpkg-deb >/dev/null || skip 'there is no dpkg-deb'
  export DDB_PIPE_MAINTAINER='Research & Development / Data <a&b@example.com>'
  run -0 --separate-stderr package
  [ "$(dpkg-deb --field "$output" Maintainer)" = "$DDB_PIPE_MAINTAINER" ]
}

@test "who does not say who maintains it does not wait for a build" {
  unset DDB_PIPE_MAINTAINER
  stand_in bin/git 'exit 128'
  run -2 "$home/scripts/package"
  [ "$output" = 'package: who is the maintainer? Set DDB_PIPE_MAINTAINER' ]
  [ ! -e "$SAID" ]
}

# as_dpkg SCRIPT ARGUMENT: runs a script of the package as dpkg does, below this test's own root.
as_dpkg() {
  sed "s# /\(etc\|run\|var\)/# $root/\1/#g" "$home/scripts/deb/$1" >"$BATS_TEST_TMPDIR/$1"
  # Nothing outside may be touched.
  if grep -E '[^a-z]/(etc|run|var)/' "$BATS_TEST_TMPDIR/$1"; then return 1; fi
  stand_in bin/systemctl 'echo "systemctl $*" >>"$SAID"'
  sh "$BATS_TEST_TMPDIR/$1" "$2"
}

@test "a removal stops the timers before what they would begin anew; an upgrade stops nothing" {
  mkdir -p "$root/run/systemd/system"
  as_dpkg prerm upgrade
  [ ! -e "$SAID" ]
  as_dpkg prerm remove
  [ "$(cat "$SAID")" = $'systemctl stop migrate@*.timer\nsystemctl stop migrate@*.service' ]
}

@test "a purge takes away settings, the password, state, and what was enabled; a removal does not" {
  local wants=$root/etc/systemd/system
  mkdir -p "$root"/etc/{ddb-pipe/profiles,credstore} "$root"/var/lib/{ddb-pipe,systemd/timers} \
    "$wants"/{multi-user,timers}.target.wants
  touch "$root"/etc/ddb-pipe/{env,pictures.env} "$root/etc/credstore/ddb-pipe.password" \
    "$root/var/lib/ddb-pipe/migrate-pictures.log" "$root/var/lib/systemd/timers/stamp-migrate@pictures.timer" \
    "$wants/multi-user.target.wants/migrate@pictures.service" "$wants/timers.target.wants/migrate@pictures.timer"
  before=$(find "$root")
  as_dpkg postrm remove
  [ "$(find "$root")" = "$before" ]
  touch "$root/etc/credstore/of-another" "$wants/timers.target.wants/of-another.timer"
  as_dpkg postrm purge
  [ "$(cd "$root" && find . -type f | sort)" = "./etc/credstore/of-another
./etc/systemd/system/timers.target.wants/of-another.timer" ]
  [ ! -e "$root/etc/ddb-pipe" ] && [ ! -e "$root/var/lib/ddb-pipe" ]
}
