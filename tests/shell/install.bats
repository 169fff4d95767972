#!/usr/bin/env bats
#
# scripts/install: what it puts where, that it spares what is somebody's own, and that it takes all of it away again;
# and what it makes of the programs: man pages and completions.
#
# The programs are those of DDB_PIPE_BIN, or of target/debug.
#
# bats sets stderr; completed() is to change its PATH for itself alone.
# shellcheck disable=SC2154,SC2030,SC2031

bats_require_minimum_version 1.5.0

home=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)

setup_file() {
  local name programs
  programs=${DDB_PIPE_BIN:-${CARGO_TARGET_DIR:-$home/target}/debug}
  export BIN=$BATS_FILE_TMPDIR/bin INSTALLED=$BATS_FILE_TMPDIR/installed
  mkdir "$BIN"
  # With what is for a debugger they are ten times as large.
  for name in $(names); do strip -o "$BIN/$name" "$programs/$name"; done
  "$home/scripts/install" --from "$BIN" --destdir "$INSTALLED" >&2
}

setup() {
  root=$BATS_TEST_TMPDIR/root
}

# names: prints those of the compiled programs.
names() {
  local crate
  for crate in "$home"/tools/*/; do basename "$crate"; done
}

# install ARGUMENT...: installs into this test's own root.
install_it() {
  "${project:-$home}/scripts/install" --from "$BIN" --destdir "$root" "$@"
}

# other_version: makes a copy of the project, of which the next installation will be.
other_version() {
  local name
  project=$BATS_TEST_TMPDIR/project
  mkdir "$project"
  cp -r "$home"/{scripts,profiles,systemd,docs,README.md,LICENSE,.env.example} "$project"
  for name in $(names); do mkdir -p "$project/tools/$name" && touch "$project/tools/$name/Cargo.toml"; done
}

# files FOLDER: prints everything in it, with what it holds.
files() {
  (cd "$1" && find . -type d -print -o -type f -exec md5sum {} + | sort)
}

# options_of: prints the options of the help on stdin, one a line.
options_of() {
  grep -oE -- '^ +(-[a-zA-Z],? ?)?(--[a-z0-9-]+)?' | grep -oE -- '-[a-zA-Z0-9-]+' | sort -u
}

@test "every program is put with its page and its completions, where the standard has them" {
  local name
  for name in $(names) migrate; do
    [ -x "$INSTALLED/usr/local/bin/$name" ]
    [ -s "$INSTALLED/usr/local/share/man/man1/$name.1" ]
    [ -s "$INSTALLED/usr/local/share/bash-completion/completions/$name" ]
    [ -s "$INSTALLED/usr/local/share/zsh/site-functions/_$name" ]
    [ -s "$INSTALLED/etc/fish/completions/$name.fish" ]
  done
  [ -s "$INSTALLED/etc/ddb-pipe/profiles/pictures.toml" ]
  [ -s "$INSTALLED/usr/local/lib/systemd/system/migrate@.service" ]
  grep -q '^u ddb-pipe ' "$INSTALLED/usr/local/lib/sysusers.d/ddb-pipe.conf"
  [ -s "$INSTALLED/usr/local/share/doc/ddb-pipe/docs/operations.md" ]
}

@test "all programs say the same version, with -V and with --version" {
  local name version
  version=$("$BIN/ddb-list" --version)
  [[ $version =~ ^'ddb-list 0.1.0'(' ('[0-9a-f]{7}' '[0-9]{4}-[0-9]{2}-[0-9]{2}')')?$ ]]
  for name in $(names); do
    [ "$("$BIN/$name" --version)" = "$name ${version#* }" ]
    [ "$("$BIN/$name" -V)" = "$name ${version#* }" ]
  done
  [ "$("$INSTALLED/usr/local/bin/migrate" --version)" = "migrate ${version#* }" ]
}

@test "no page has a mistake, and each names every option of its program and every other page" {
  local name page option other
  for name in $(names) migrate; do
    page=$INSTALLED/usr/local/share/man/man1/$name.1
    run -0 --separate-stderr env LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings -l "$page"
    [ "$stderr" = '' ]
    [[ $output == *'EXIT STATUS'*'EXAMPLES'*'SEE ALSO'* ]]
    for option in $("$INSTALLED/usr/local/bin/$name" --help | sed '/^Examples/,$d' | options_of); do
      grep -qE -- "^ +.*$option( |,|$)" <<<"$output" || { echo "$name: $option" && return 1; }
    done
    for other in $(names) migrate; do
      [ "$other" = "$name" ] || grep -qF "$other(1)" <<<"${output#*SEE ALSO}" || { echo "$name: $other" && return 1; }
    done
  done
}

@test "the page of migrate says of each command and option what its help says" {
  local page=$INSTALLED/usr/local/share/man/man1/migrate.1
  grep -A2 '^\.B retry\\-rejects$' "$page" | grep -q '^send the rejects through again, after the profile'
  grep -A1 '^\.B \\-b, \\-\\-batch\\-size N$' "$page" | grep -qx 'rows in a transaction'
  # In the order of the help, and each once.
  diff <(sed -n '/^\.SH COMMANDS/,/^\.SH EXIT/s/^\.B //p' "$page" | sed 's/\\-/-/g') \
    <("$home/scripts/migrate" --help | sed -nE '/^(Commands|Options)/,/^$/s/^ {2,6}([a-z-][^ ]*( [^ ]+)*)(  .*)?$/\1/p')
}

@test "completions are what their shells can read" {
  local name shells=$INSTALLED/usr/local/share
  for name in $(names) migrate; do
    bash -n "$shells/bash-completion/completions/$name"
    ! command -v zsh >/dev/null || zsh -n "$shells/zsh/site-functions/_$name"
    ! command -v fish >/dev/null || fish -n "$INSTALLED/etc/fish/completions/$name.fish"
  done
}

# completed WORD...: prints what bash offers for the last word of a command line.
completed() {
  (
    PATH=$INSTALLED/usr/local/bin:$PATH
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    # shellcheck source=scripts/completions/migrate.bash
    source "$INSTALLED/usr/local/share/bash-completion/completions/$1"
    "$(complete -p "$1" | grep -oE -- '-F [^ ]+' | cut -d ' ' -f 2)" "$1" "${COMP_WORDS[COMP_CWORD]}" \
      "${COMP_WORDS[COMP_CWORD - 1]}"
    printf '%s\n' "${COMPREPLY[@]}"
  )
}

@test "bash completes the options of every program" {
  local name
  for name in $(names); do
    completed "$name" -- | grep -qx -- --quiet || { echo "$name" && return 1; }
  done
  [ "$(completed ddb-parse --to '')" = $'json\ncsv' ]
  [ "$(completed migrate-check doc)" = doctor ]
}

@test "bash completes every command and option of migrate, and profiles by name" {
  diff <(completed migrate - | sort -u) <("$home/scripts/migrate" --help | options_of)
  [ "$(completed migrate st)" = $'start\nstop\nstatus' ]
  [ "$(completed migrate -p pictures stop st)" = '' ]
  [ "$(completed migrate run --batch-size '')" = '' ]
  mkdir -p "$BATS_TEST_TMPDIR/work/profiles" "$BATS_TEST_TMPDIR/mine"
  touch "$BATS_TEST_TMPDIR/work/profiles/orders.toml" "$BATS_TEST_TMPDIR/mine/ordinary.toml"
  cd "$BATS_TEST_TMPDIR/work"
  export HOME=$BATS_TEST_TMPDIR
  [ "$(DDB_PIPE_PROFILES=$BATS_TEST_TMPDIR/mine completed migrate -p ord)" = $'orders\nordinary' ]
  [ "$(completed migrate --profile profiles/o)" = profiles/orders.toml ]
}

@test "fish completes every option of migrate" {
  command -v fish >/dev/null || skip 'there is no fish'
  PATH=$INSTALLED/usr/local/bin:$PATH
  run -0 fish --no-config -c \
    "source $INSTALLED/etc/fish/completions/migrate.fish; complete -C 'migrate run -'"
  diff <(cut -f 1 <<<"$output" | sort -u) <("$home/scripts/migrate" --help | options_of)
}

@test "what is there already stays, and a removal takes away exactly what was put" {
  mkdir -p "$root"/usr/local/{bin,share/man/man1} "$root/etc/ddb-pipe"
  echo mine >"$root/usr/local/bin/mine"
  echo PASSWORD=x >"$root/etc/ddb-pipe/env"
  before=$(files "$root")

  install_it
  [ -x "$root/usr/local/bin/ddb-cat" ]
  # Once more is once.
  once=$(files "$root")
  install_it
  [ "$(files "$root")" = "$once" ]
  install_it --uninstall

  [ "$(files "$root")" = "$before" ]
  run -2 install_it --uninstall
  [[ $output == *"there is no \`$root/usr/local/share/ddb-pipe/manifest\`"* ]]
}

@test "a profile that was changed is kept, with the new one beside it, and is not removed" {
  local profiles=$root/etc/ddb-pipe/profiles
  install_it
  echo '# mine' >>"$profiles/orders.toml"
  # Of the same version there is nothing new.
  install_it
  [ ! -e "$profiles/orders.toml.new" ]

  other_version
  echo '# new' | tee -a "$project"/profiles/{orders,pictures}.toml
  run -0 install_it
  [[ $output == *'Kept /etc/ddb-pipe/profiles/orders.toml, which was changed; the new one is '*'/orders.toml.new'* ]]
  [ "$(tail -n 1 "$profiles/orders.toml")" = '# mine' ]
  [ "$(tail -n 1 "$profiles/orders.toml.new")" = '# new' ]
  [ "$(tail -n 1 "$profiles/pictures.toml")" = '# new' ]

  run -0 install_it --uninstall
  [[ $output == *'Kept /etc/ddb-pipe/profiles/orders.toml, which was changed'* ]]
  [ "$(cd "$root" && find . -type f)" = ./etc/ddb-pipe/profiles/orders.toml ]
}

@test "what a new version no longer has is removed" {
  install_it
  other_version
  rm "$project/docs/stream.md"
  install_it
  [ ! -e "$root/usr/local/share/doc/ddb-pipe/docs/stream.md" ]
  [ -e "$root/usr/local/share/doc/ddb-pipe/docs/profiles.md" ]
}

@test "an installation that breaks off can be completed, and removed" {
  # A folder where a file should be.
  mkdir -p "$root/usr/local/share/man/man1/ddb-cat.1"
  run -1 install_it
  [ -x "$root/usr/local/bin/ddb-cat" ]
  install_it --uninstall
  [ "$(find "$root" -type f)" = '' ]

  run -1 install_it
  rmdir "$root/usr/local/share/man/man1/ddb-cat.1"
  install_it
  [ -s "$root/usr/local/share/man/man1/ddb-cat.1" ]
}

@test "another prefix is in the unit too, which then is where systemd looks" {
  install_it --prefix /opt/ddb-pipe
  [ -x "$root/opt/ddb-pipe/bin/ddb-cat" ]
  # shellcheck disable=SC2016  # systemd's variable
  grep -qx 'ExecStart=/opt/ddb-pipe/bin/migrate -p %i run $MIGRATE_RUN_OPTIONS' "$root/etc/systemd/system/migrate@.service"
  [ -s "$root/etc/sysusers.d/ddb-pipe.conf" ]
  run ! grep -r /usr/local "$root/etc"
}

@test "in a home there is no root, and no service: profiles are where programs look for them" {
  export HOME=$BATS_TEST_TMPDIR/me
  unset XDG_CONFIG_HOME DDB_PIPE_PROFILES
  "$home/scripts/install" --prefix "$HOME/.local" --from "$BIN"
  cd "$BATS_TEST_TMPDIR"
  run -0 "$HOME/.local/bin/ddb-parse" --check -p pictures
  [ "$(find "$HOME" -name '*.service' -o -name '*.conf')" = '' ]
  "$home/scripts/install" --prefix "$HOME/.local" --uninstall
  [ ! -e "$HOME/.local" ] && [ ! -e "$HOME/.config" ]
}

@test "a wrong option, and a folder without the programs, are said" {
  run -2 "$home/scripts/install" --perfix /usr
  [[ $output == *"there is no option \`--perfix\`"* ]]
  run -2 "$home/scripts/install" --destdir "$root" --from "$BATS_TEST_TMPDIR"
  [[ $output == *"there is no \`$BATS_TEST_TMPDIR/ddb-cat\`"* ]]
  [ ! -e "$root" ]
}
