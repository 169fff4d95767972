#!/usr/bin/env bats
#
# Which commit a program says that it is of: shared/cli/build.rs, in source trees of several kinds.
#
# bats sets output.
# shellcheck disable=SC2154

bats_require_minimum_version 1.5.0

setup_file() {
  export SCRIPT=$BATS_FILE_TMPDIR/build
  CARGO_PKG_VERSION=0.1.0 rustc --edition 2024 -o "$SCRIPT" "$BATS_TEST_DIRNAME/../../shared/cli/build.rs"
}

setup() {
  # Nothing of the user's own git has a say.
  export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_CEILING_DIRECTORIES=$BATS_TEST_TMPDIR
  export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@example.com GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@example.com
  unset DDB_PIPE_COMMIT
  tree=$BATS_TEST_TMPDIR/tree
  mkdir -p "$tree/shared/cli"
}

# commit FOLDER: makes it a repository with one commit, of the last minute of 2025 in UTC, which elsewhere is in 2026.
commit() {
  git -C "$1" init -q
  GIT_COMMITTER_DATE='2026-01-01T01:59:00+02:00' git -C "$1" commit -q --allow-empty -m first
}

# says FOLDER: prints what the script says of a source tree: the version, and what is to be looked at for changes, from
# the folder of the crate.
says() {
  cd "$1/shared/cli" && "$SCRIPT"
}

@test "of a clone it is the commit that is checked out, with its day in UTC" {
  commit "$tree"
  run -0 says "$tree"
  [[ $output == *"cargo::rustc-env=DDB_PIPE_VERSION=0.1.0 ($(git -C "$tree" rev-parse --short=7 HEAD) 2025-12-31)"* ]]
}

# watched: prints which files are to be looked at, by paths from the folder of the crate.
watched() {
  says "$tree" | sed -n 's/^cargo::rerun-if-changed=//p' | grep -v '^build.rs$'
}

@test "a new commit is noticed, also when branches are packed" {
  commit "$tree"
  git -C "$tree" pack-refs --all
  cd "$tree/shared/cli"
  before=$(watched | xargs cat)
  [ -n "$before" ]
  git -C "$tree" commit -q --allow-empty -m second
  [ "$(watched | xargs cat)" != "$before" ]
}

@test "what is not there is not looked at: it would be taken for changed at every build" {
  commit "$tree"
  rm -r "$tree/.git/logs"
  cd "$tree/shared/cli"
  watched | xargs ls
}

@test "without git, or in an archive, it is the version alone" {
  run -0 says "$tree"
  [[ $output == *'DDB_PIPE_VERSION=0.1.0' ]]
  commit "$tree"
  PATH=/nowhere run -0 says "$tree"
  [[ $output == *'DDB_PIPE_VERSION=0.1.0' ]]
}

@test "an archive inside another repository is not of that one's commit" {
  mkdir "$tree/vendor" && mv "$tree/shared" "$tree/vendor"
  commit "$tree"
  run -0 says "$tree/vendor"
  [[ $output == *'DDB_PIPE_VERSION=0.1.0' ]]
}

@test "who packages says it in the environment" {
  DDB_PIPE_COMMIT='6552fbc 2026-11-24' run -0 says "$tree"
  [[ $output == *'DDB_PIPE_VERSION=0.1.0 (6552fbc 2026-11-24)'* ]]
}
