#!/usr/bin/env bats
#
# `migrate` alone: its command line, which programs it starts and how, signals, the files of a run, and the exit code it
# makes of theirs. The programs are stand-ins; whole migrations with the real ones are in tests/end-to-end.
#
# The bodies of the stand-ins and the backticks of messages are not for this shell; bats sets stderr and stderr_lines.
# shellcheck disable=SC2016,SC2154

bats_require_minimum_version 1.5.0

setup() {
  PATH="$BATS_TEST_DIRNAME/../../scripts:$PATH"
  export DDB_PIPE_BIN="$BATS_TEST_TMPDIR/bin"
  unset S3_BUCKET S3_PREFIX MIGRATE_LOG_DIR MIGRATE_LOG_FILE DDB_PIPE_PROFILES
  mkdir "$DDB_PIPE_BIN" "$BATS_TEST_TMPDIR/work"
  cd "$BATS_TEST_TMPDIR/work" || return
  mkfifo ready
  local name
  for name in ddb-list ddb-cat ddb-parse pg-upsert pg-verify; do stand_in "$name" 'trap "" TERM; cat >/dev/null'; done
  stand_in migrate-monitor 'echo "${0##*/} $*" >>monitor.argv; echo "$*"
    [ "$1" != follow ] || exec cat >>monitor.heard'
}

teardown() {
  [ ! -s migrate-pictures.pid ] || migrate -p pictures stop >/dev/null 2>&1 || true
  [ -z "${survivor:-}" ] || kill "$survivor" 2>/dev/null || true
  [ -z "${public:-}" ] || rm -r "$public"
}

# stand_in NAME BODY: puts a program NAME where `migrate` finds it. Asked which exports belong together, ddb-list prints what
# is in the file `chain`. Asked whether the profile can be used, without input, ddb-parse prints what is in the file `wrong`.
stand_in() {
  local asked=''
  case $1 in
    ddb-list) asked='[[ " $* " != *" --chain "* ]] || { [ ! -f chain ] || cat chain; echo "${0##*/} $*" >chain.argv; exit 0; }' ;;
    ddb-parse) asked='[ ! /dev/stdin -ef /dev/null ] || { [ ! -f wrong ] || { cat wrong >&2; exit 2; }; exit 0; }' ;;
  esac
  printf '#!/bin/bash\n%s\n%s\n' "$asked" "$2" >"$DDB_PIPE_BIN/$1"
  chmod +x "$DDB_PIPE_BIN/$1"
}

# recorders: programs that write down how they were called.
recorders() {
  local name
  for name in ddb-list ddb-cat ddb-parse pg-upsert pg-verify; do
    stand_in "$name" 'cat >/dev/null; echo "${0##*/} $*" >"${0##*/}.argv"'
  done
}

# calls: prints what the recorders wrote down.
calls() {
  cat ddb-list.argv ddb-cat.argv ddb-parse.argv pg-upsert.argv
}

# waiting: a source that says on the fifo `ready` that it runs, and ends with 75 at the first SIGTERM.
waiting() {
  stand_in ddb-list 'trap "exit 75" TERM; echo $$ >list.pid; echo up >ready; while :; do read -r -t 1 <><(:) || true; done'
}

# begin: starts a run in the background and returns when its programs run. It must not keep the descriptors of bats.
begin() {
  waiting
  migrate -p pictures start 3>&- 4>&-
  read -r _ <ready
}

@test "help is grouped, with examples whose options it lists" {
  local option
  run -0 migrate --help
  [[ $output == Usage:* ]]
  [ "$(grep -c '^Options' <<<"$output")" -gt 3 ]
  examples=$(sed -n '/^Examples:/,/^$/p' <<<"$output")
  [ "$(grep -c '^  migrate -p ' <<<"$examples")" -gt 1 ]
  # shellcheck disable=SC2013  # they have no spaces
  for option in $(grep -oE -- '--[a-z-]+' <<<"$examples"); do
    grep -qE -- "^ +$option " <<<"$output"
  done
}

@test "the version is that of the workspace, with the commit of the clone" {
  run -0 migrate --version
  [[ $output =~ ^'migrate '([0-9.]+)(' ('[0-9a-f]{7}' '[0-9]{4}-[0-9]{2}-[0-9]{2}')')?$ ]]
  grep -qx "version = \"${BASH_REMATCH[1]}\"" "$BATS_TEST_DIRNAME/../../Cargo.toml"
  [ "$(migrate -V)" = "$output" ]
}

@test "an archive has the version alone, inside another repository too" {
  unset "${!GIT_@}"
  tree=$BATS_TEST_TMPDIR/other/archive
  mkdir -p "$tree/scripts"
  cp "$BATS_TEST_DIRNAME/../../scripts/migrate" "$tree/scripts"
  [[ $("$tree/scripts/migrate" -V) =~ ^migrate\ [0-9.]+$ ]]
  commit=(git -c user.name=a -c user.email=a@example.com commit -q --allow-empty -m first)
  git -C "$tree/.." init -q
  (cd "$tree/.." && "${commit[@]}")
  [[ $("$tree/scripts/migrate" -V) =~ ^migrate\ [0-9.]+$ ]]
  # In a clone of its own it is of that one's commit, with the day in UTC, as the programs have it.
  git -C "$tree" init -q
  (cd "$tree" && GIT_COMMITTER_DATE='2026-01-01T01:59:00+02:00' "${commit[@]}")
  [[ $("$tree/scripts/migrate" -V) == *" ($(git -C "$tree" rev-parse --short=7 HEAD) 2025-12-31)" ]]
}

@test "wrong command lines end with 2 and one sentence" {
  run -2 --separate-stderr migrate run
  [ "${stderr_lines[0]}" = 'migrate: the profile is missing' ]
  run -2 --separate-stderr migrate -p pictures
  [ "${stderr_lines[0]}" = 'migrate: a command is missing' ]
  run -2 --separate-stderr migrate -p pictures rnu
  [ "${stderr_lines[0]}" = 'migrate: there is no command `rnu`' ]
  run -2 --separate-stderr migrate -p pictures run stop
  [ "${stderr_lines[0]}" = 'migrate: one command at a time: `run` or `stop`' ]
  run -2 --separate-stderr migrate -p pictures run --fast
  [ "${stderr_lines[0]}" = 'migrate: there is no option `--fast`' ]
  run -2 --separate-stderr migrate -p pictures run -b many
  [ "${stderr_lines[0]}" = 'migrate: `-b` takes a whole number, not `many`' ]
  run -2 --separate-stderr migrate run -p
  [ "${stderr_lines[0]}" = 'migrate: `-p` needs a value' ]
  run -2 --separate-stderr migrate run -p 'a b'
  [ "${stderr_lines[0]}" = 'migrate: `a b` cannot be the name of a profile' ]
}

@test "the pipeline, and which program gets which option" {
  recorders
  run -0 migrate -p pictures run -b 500 --gather 900 --max-rejects 0.5% -m -1000 --source exports --latest --create
  [ "$(calls)" = "ddb-list --latest --source exports --pending --profile pictures --log-dir $PWD
ddb-cat 
ddb-parse -p pictures --max-id=-1000
pg-upsert -p pictures -b 500 --gather 900 --max-rejects 0.5% --create --log-dir $PWD" ]
}

@test "doctor and plan hand the options of a run to migrate-check, whose exit code is theirs" {
  stand_in migrate-check 'echo "${0##*/} $*" >check.argv; exit 65'
  run -65 migrate -p pictures plan --json --source exports --latest -m 7 -b 500 --gather 900 --max-rejects 5 --create
  [ "$(cat check.argv)" = "migrate-check plan -p pictures --log-dir $PWD --latest --source exports --max-id=7 \
--batch-size 500 --gather 900 --max-rejects 5 --create --json" ]
  run -65 migrate doctor -p pictures --retries 1
  [ "$(cat check.argv)" = "migrate-check doctor -p pictures --log-dir $PWD --retries 1" ]
  run -65 migrate doctor -p pictures --source-type ddb --target-type pg
  run -2 --separate-stderr migrate doctor -p pictures --source-type mongo
  [ "${stderr_lines[0]}" = 'migrate: `doctor` knows the types s3-dynamodb and postgresql only' ]
}

@test "limits of retries go to each program that speaks to a service" {
  recorders
  migrate -p pictures run --retries 3 --retry-max-wait=9 --retry-for 60
  [ "$(cat ddb-cat.argv)" = 'ddb-cat --retries 3 --retry-max-wait 9 --retry-for 60' ]
  grep -q -- '--retries 3 --retry-max-wait 9 --retry-for 60$' ddb-list.argv
  grep -q -- '--retries 3 --retry-max-wait 9 --retry-for 60$' pg-upsert.argv
  [ "$(cat ddb-parse.argv)" = 'ddb-parse -p pictures' ]
  run -2 migrate -p pictures run --retries often
}

# rejects LINES: a rejects file with that many records, and stand-ins for what is done with it.
rejects() {
  local n
  for ((n = 0; n < $1; n++)); do echo '{}'; done >migrate-pictures.rejects.jsonl
  stand_in migrate-rejects 'echo "${0##*/} $*" >>rejects.argv
    case $1 in count) echo "$(wc -l <"$2") 0" ;; settle) cat >/dev/null; exec ./settle "$3" ;; esac'
  stand_in pg-upsert 'cat >/dev/null; echo "${0##*/} $*" >>rejects.argv'
  printf '#!/bin/bash\n%s\n' "$2" >settle
  chmod +x settle
}

@test "rejects go through the pipeline again, and their programs get their options" {
  rejects 2 'rm "$1"'
  run -0 --separate-stderr migrate -p pictures retry-rejects -b 7 --retries 3
  [[ $stderr == *'Rejects that are left: 0' ]]
  file=$PWD/migrate-pictures.rejects
  [ "$(sort rejects.argv)" = "migrate-rejects count $file.jsonl
migrate-rejects records $file.jsonl
migrate-rejects settle records $file.jsonl $file.again.jsonl
pg-upsert --rejects $file.again.jsonl --receipts --max-rejects 100% --log-dir $PWD -b 7 --retries 3" ]
  [ ! -e migrate-pictures.pid ] && [ ! -e "$file.lock" ]
}

@test "rejects that are left end as 1, a failure as its own code, none as 0" {
  rejects 2 'echo "{}" >"$1"; exit 1'
  run -1 --separate-stderr migrate -p pictures retry-rejects
  [[ $stderr == *'Rejects that are left: 1' ]]
  stand_in pg-upsert 'cat >/dev/null; exit 69'
  run -69 migrate -p pictures retry-rejects
  : >migrate-pictures.rejects.jsonl
  run -0 migrate -p pictures retry-rejects
  rm migrate-pictures.rejects.jsonl
  # It may be the wrong folder.
  run -0 --separate-stderr migrate -p pictures retry-rejects
  [[ $stderr == *"Rejects that are left: 0; there were none in \`$PWD\`" ]]
  : >migrate-pictures.rejects.20250101.jsonl
  run -0 --separate-stderr migrate -p pictures retry-rejects
  [[ $stderr == *"; those of earlier runs are aside, in \`$PWD/migrate-pictures.rejects.*.jsonl\`" ]]
}

@test "options of a run are refused for rejects" {
  local option
  for option in --dry-run --metrics-emf; do
    run -2 --separate-stderr migrate -p pictures retry-rejects "$option"
    [ "$stderr" = 'migrate: an option of `run` does not go with `retry-rejects`' ]
  done
}

@test "options stand before or after the command, with a space or with =" {
  recorders
  migrate -p pictures -b 7 --s3-bucket b --s3-prefix a/ --max-id 9 run
  calls >before
  migrate run --profile=pictures --batch-size=7 --s3-bucket=b --s3-prefix=a/ --max-id=9
  calls >after
  diff before after
  grep -q -- '--s3-bucket b --s3-prefix a/ --pending' after
}

@test "a trial run looks at all files and commits nothing" {
  recorders
  migrate -p pictures run --dry-run
  run ! grep -q -- --pending ddb-list.argv
  grep -q -- --dry-run pg-upsert.argv
}

@test "a profile by its path gives the files of the run its name" {
  recorders
  migrate -p ./some/orders.toml run --log-dir logs
  [ -f logs/migrate-orders.exit ]
  [ "$(cat ddb-parse.argv)" = 'ddb-parse -p ./some/orders.toml' ]
}

@test "other sources and targets are programs on PATH" {
  recorders
  cp "$DDB_PIPE_BIN/ddb-list" "$DDB_PIPE_BIN/mongo-list"
  cp "$DDB_PIPE_BIN/ddb-cat" "$DDB_PIPE_BIN/mongo-cat"
  cp "$DDB_PIPE_BIN/pg-upsert" "$DDB_PIPE_BIN/lite-upsert"
  migrate -p pictures run --source-type mongo --target-type lite
  [ -f mongo-list.argv ] && [ -f mongo-cat.argv ] && [ -f lite-upsert.argv ] && [ -f ddb-parse.argv ]
}

@test "the names of the predecessor are the defaults" {
  recorders
  migrate -p pictures run --source-type s3-dynamodb --target-type postgresql
  [ "$(calls | wc -l)" = 4 ]
}

@test "a source that does not exist is named, and nothing starts" {
  recorders
  run -2 --separate-stderr migrate -p pictures run --source-type nope
  [ "$stderr" = 'migrate: there is no program `nope-list` on PATH for the type `nope`' ]
  [ "$output" = "" ]
  [ ! -e pg-upsert.argv ]
}

@test "rejected records end as 1, a stop as 75, a failure as its own code" {
  stand_in pg-upsert 'cat >/dev/null; exit 1'
  run -1 migrate -p pictures run
  stand_in ddb-cat 'exit 75'
  run -75 migrate -p pictures run
  stand_in ddb-parse 'exit 65'
  run -65 migrate -p pictures run
  stand_in pg-upsert 'exit 69'
  run -65 migrate -p pictures run
}

@test "a target that writes to nobody has failed" {
  stand_in pg-upsert 'kill -PIPE $$'
  run -141 migrate -p pictures run
}

@test "a writer whose reader has gone is no failure of its own" {
  stand_in ddb-list 'kill -PIPE $$'
  run -0 migrate -p pictures run
  stand_in pg-upsert 'exit 69'
  run -69 migrate -p pictures run
}

@test "a run leaves its exit code and the time, and no pid" {
  stand_in pg-upsert 'exit 65'
  run -65 migrate -p pictures run
  [[ $(cat migrate-pictures.exit) =~ ^65\ [0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z$ ]]
  [ ! -e migrate-pictures.pid ]
  [ "$(stat -c %a migrate-pictures.exit)" = 600 ]
}

@test "the files of a run are for its user only, whatever the umask; a stricter one stays" {
  stand_in pg-upsert 'cat >/dev/null; umask >mask; stat -c %a migrate-pictures.pid >mode; echo warning >>"$MIGRATE_LOG_FILE"; exit 1'
  umask 000
  run -1 migrate -p pictures run --log-dir .
  [ "$(cat mask mode)" = $'0077\n600' ]
  [ "$(stat -c %a migrate-pictures.log migrate-pictures.exit)" = $'600\n600' ]
  mkdir strict
  umask 0177
  run -1 migrate -p pictures run --log-dir strict
  [ "$(cat mask)" = 0177 ]
  umask 022
  rm migrate-pictures.*
  waiting
  migrate -p pictures start --log-dir new 3>&- 4>&-
  read -r _ <ready
  migrate -p pictures stop --log-dir new
  [ "$(stat -c %a new new/migrate-pictures.log new/migrate-pictures.exit)" = $'700\n600\n600' ]
}

@test "in the foreground programs are told to log to the file as well" {
  stand_in pg-upsert 'cat >/dev/null; echo "$MIGRATE_LOG_FILE" >file; exit 1'
  run -1 --separate-stderr migrate -p pictures run
  [ "$(cat file)" = "$PWD/migrate-pictures.log" ]
  # What `migrate` itself says is on both.
  [[ $stderr =~ ^[0-9-]{10}T[0-9:.]{12}Z\ WARN\ \[pictures\]\ .*rejected ]]
  [ "$stderr" = "$(cat migrate-pictures.log)" ]
}

@test "the folder of a run comes from --log-dir, MIGRATE_LOG_DIR, .env, in this order" {
  printf 'X=$(touch executed)\nMIGRATE_LOG_DIR="from file"\n' >.env
  migrate -p pictures run
  [ -f 'from file/migrate-pictures.exit' ]
  MIGRATE_LOG_DIR=from-environment migrate -p pictures run
  [ -f from-environment/migrate-pictures.exit ]
  MIGRATE_LOG_DIR=from-environment migrate -p pictures run --log-dir from-option
  [ -f from-option/migrate-pictures.exit ]
  [ ! -e executed ]
}

@test "a line of .env means to migrate what it means to the programs" {
  means() {
    printf '%s\n' "$1" >.env
    migrate -p pictures run
    mv "$2/migrate-pictures.exit" seen
  }
  means $'MIGRATE_LOG_DIR=first\nMIGRATE_LOG_DIR=second' first
  means 'MIGRATE_LOG_DIR=a/b   # why' a/b
  means 'MIGRATE_LOG_DIR=a#b' a#b
  means 'MIGRATE_LOG_DIR="a # b" # why' 'a # b'
  means " export MIGRATE_LOG_DIR = 'c d' # why" 'c d'
  means 'MIGRATE_LOG_DIR= # nothing' .
  means 'MIGRATE_LOG_DIR=a # $HOME' a
  means "MIGRATE_LOG_DIR='\$HOME'" '$HOME'
}

@test "what the programs would make of a line of .env, and migrate does not, is refused" {
  local value
  for value in '$HOME/runs' '"${HOME}/runs"' 'a\ b' '"a\"b"'; do
    echo "MIGRATE_LOG_DIR=$value" >.env
    run -2 --separate-stderr migrate -p pictures run
    [ "${stderr_lines[0]}" = 'migrate: cannot read MIGRATE_LOG_DIR of `.env`: it has a `$` or a backslash outside single quotes' ]
    [[ ${stderr_lines[1]} == 'hint: '* ]]
    # Who says it otherwise does not need it.
    run -0 migrate -p pictures run --log-dir .
  done
  echo 'MIGRATE_LOG_FORMAT=$NOTHING' >.env
  run -2 migrate -p pictures status
  [ "$(find . -mindepth 1 -type d)" = '' ]
}

@test "a folder that is meant from here is not one of CDPATH" {
  mkdir -p "$BATS_TEST_TMPDIR/else/logs"
  CDPATH=$BATS_TEST_TMPDIR/else run -0 migrate -p pictures run --log-dir logs
  [ -f logs/migrate-pictures.exit ]
  run -0 migrate -p pictures run --log-dir=-logs
  [ -f ./-logs/migrate-pictures.exit ]
}

# as_owner COMMAND...: runs it without root's right to read what is closed.
as_owner() {
  if [ "$(id -u)" = 0 ]; then
    setpriv --bounding-set=-dac_override,-dac_read_search "$@"
  else
    "$@"
  fi
}

@test "a .env that cannot be read is passed over, which is said once; what is in a closed folder is not seen" {
  stand_in pg-upsert 'cat >/dev/null; echo "$MIGRATE_DOTENV_PASSED_OVER" >told'
  echo 'MIGRATE_LOG_DIR=of-dotenv' >.env
  chmod 000 .env
  run -0 --separate-stderr as_owner migrate -p pictures run
  [ "${stderr#* }" = 'WARN [pictures] `.env` cannot be read by this user, and is passed over' ]
  # The programs need not say it again.
  [ "$(cat told)" = 1 ]
  [ -f migrate-pictures.exit ]
  stand_in migrate-monitor 'echo "$*"'
  folder=$PWD
  mkdir closed && cd closed && chmod 000 .
  run -3 --separate-stderr as_owner migrate -p pictures status --log-dir "$folder"
  chmod 700 "$folder/closed"
  [ "$stderr" = '' ]
  [[ $output == *' --last exit code 0 '* ]]
}

@test "in a checkout the profiles are those of the checkout, unless .env or the environment say otherwise" {
  stand_in ddb-parse 'cat >/dev/null; echo "$DDB_PIPE_PROFILES" >profiles'
  migrate -p pictures run
  [ "$(cat profiles)" = "$(cd "$BATS_TEST_DIRNAME/../../profiles" && pwd)" ]
  DDB_PIPE_PROFILES=/else migrate -p pictures run
  [ "$(cat profiles)" = /else ]
  # The programs read .env themselves.
  echo 'DDB_PIPE_PROFILES=/of/dotenv' >.env
  migrate -p pictures run
  [ "$(cat profiles)" = '' ]
}

@test "start returns when the run is on its way, stop when it has ended" {
  begin
  run -0 migrate -p pictures status
  read -r pid _ <migrate-pictures.pid
  [[ $output == *" --pid $pid" ]]
  run -0 migrate -p pictures stop
  [[ $output == 'pictures stopped: exit code 75 '* ]]
  run -3 migrate -p pictures status
  [[ $output == *' --last exit code 75 (stopped'* && $output != *' --pid '* ]]
  run -0 migrate -p pictures logs
  [[ $output == *'INFO [pictures] Ended with exit code 75: stopped'* ]]
}

@test "start says the pid, and logs to the file alone" {
  waiting
  stand_in pg-upsert 'trap "" TERM; echo "said by pg-upsert, log file <$MIGRATE_LOG_FILE>" >&2; cat >/dev/null'
  run -0 migrate -p pictures start 3>&- 4>&-
  read -r _ <ready
  read -r pid _ <migrate-pictures.pid
  [[ $output == *"(pid $pid)"* ]]
  migrate -p pictures stop
  grep -qx 'said by pg-upsert, log file <>' migrate-pictures.log
}

@test "start says of a log that cannot be written why" {
  mkdir migrate-pictures.log
  run -74 --separate-stderr migrate -p pictures start 3>&- 4>&-
  [ "$stderr" = "migrate: cannot write \`$PWD/migrate-pictures.log\`: Is a directory" ]
}

@test "start says why a run could not begin" {
  run -2 --separate-stderr migrate -p pictures start --source-type nope 3>&- 4>&-
  [[ $stderr == *'there is no program `nope-list`'*'the run did not start'* ]]
}

@test "a second run, start or reset of the same profile is refused while the first one lives" {
  begin
  run -2 --separate-stderr migrate -p pictures run
  [[ ${stderr_lines[0]} == 'migrate: the profile `pictures` is running already (pid '* ]]
  run -2 migrate -p pictures start
  run -2 migrate -p pictures reset
  run -0 migrate -p pictures status
}

@test "runs of different profiles do not meet" {
  begin
  stand_in ddb-list true
  run -0 migrate -p orders run
  run -0 migrate -p pictures status
}

@test "a pid that another process has now is neither trusted nor killed" {
  exec 5< <(echo up; exec tail -f /dev/null)
  other=$!
  read -r _ <&5
  echo "$other 1" >migrate-pictures.pid
  run -3 migrate -p pictures status
  run -0 migrate -p pictures stop
  [ "$output" = 'pictures is not running' ]
  kill -0 "$other"
  run -0 migrate -p pictures run
  kill -0 "$other"
  kill "$other"
}

# start_time PID: prints when the process began, in the kernel's ticks.
start_time() {
  sed 's/.*) //' "/proc/$1/stat" | cut -d ' ' -f 20
}

@test "whatever stands in the pid file, stop signals nobody but a run of the profile" {
  exec 5< <(echo up; exec tail -f /dev/null)
  other=$!
  read -r _ <&5
  began=$(start_time "$other")
  # Takes the place of the shell's own in `migrate`: that nothing is signalled must not be found out by signalling it.
  kill() { echo "$*" >>signalled; }
  export -f kill
  for content in '' ' ' garbage "$other" "$other " "$other 1" "$other $began" "$other $began more" "-$other $began" \
    "0$other $began" "+$other $began" "../proc/$other $began" "$other/task/$other $began" "self $began" "%1 $began" \
    "0 0" "0 $began" "1 1" "1 $(start_time 1)" "-1 -1" "-1 $began" "4194305 $began" "99999999999999999999 $began" \
    $'\n'"$other $began" "$(head -c 300 /dev/urandom | base64)"; do
    echo "$content" >migrate-pictures.pid
    run -3 --separate-stderr migrate -p pictures status
    [ "$stderr" = '' ]
    run -0 --separate-stderr migrate -p pictures stop
    [ "$output" = 'pictures is not running' ]
    [ "$stderr" = '' ]
  done
  printf '%s' "$other $began" >migrate-pictures.pid
  run -0 migrate -p pictures stop
  head -c 300 /dev/urandom >migrate-pictures.pid
  run -0 migrate -p pictures stop
  [ ! -e signalled ]
  # None of them is in the way of a run.
  run -0 migrate -p pictures run
  command kill "$other"
}

@test "a pid file that cannot be written is said with the reason" {
  recorders
  mkdir migrate-pictures.pid
  run -74 --separate-stderr migrate -p pictures run
  [ "$stderr" = "migrate: cannot write \`$PWD/migrate-pictures.pid\`: Is a directory" ]
}

@test "a pid file without a start time, as the predecessor wrote it, is no run" {
  echo $$ >migrate-pictures.pid
  run -3 migrate -p pictures status
  # A pid that no process has.
  true &
  wait $!
  echo $! >migrate-pictures.pid
  run -3 migrate -p pictures status
  run -0 migrate -p pictures stop
  run -0 migrate -p pictures run
}

@test "a run of another user is named as such, not called ended" {
  [ "$(id -u)" = 0 ] || skip 'only root can be two users'
  # The folders of the tests may be closed to others.
  public=$(mktemp -d /tmp/migrate.XXXXXX)
  cp "$(command -v migrate)" "$public"
  mkfifo "$public/ready"
  cd "$public"
  begin
  chmod 777 .
  run -2 --separate-stderr setpriv --reuid=65534 --clear-groups ./migrate -p pictures stop
  [[ ${stderr_lines[0]} == 'migrate: '*'migrate-pictures.pid` cannot be read: the run belongs to another user' ]]
  chmod 644 migrate-pictures.pid
  run -2 --separate-stderr setpriv --reuid=65534 --clear-groups ./migrate -p pictures stop
  [[ ${stderr_lines[0]} == 'migrate: the run (pid '*') belongs to another user' ]]
  run -0 migrate -p pictures stop
  [[ $output == 'pictures stopped: exit code 75 '* ]]
}

@test "a run whose process cannot be seen from here is neither disturbed nor taken for one that has ended" {
  recorders
  stand_in migrate-rejects true
  echo '999999999 1' >migrate-pictures.pid
  touch migrate-pictures.bookmark.json migrate-pictures.applied.jsonl
  exec 7<migrate-pictures.pid
  flock 7
  before=$(ls; cat migrate-pictures.pid)
  run -2 --separate-stderr migrate -p pictures run
  [ "${stderr_lines[0]}" = 'migrate: the profile `pictures` is running already' ]
  [ "${stderr_lines[1]}" = 'hint: its process cannot be seen from here, and may be in another container' ]
  for command in stop reset verify; do
    run -2 --separate-stderr migrate -p pictures "$command"
    [ "${stderr_lines[0]}" = 'migrate: the profile `pictures` is running' ]
  done
  [ "$(ls; cat migrate-pictures.pid)" = "$before" ]
  run -2 migrate -p pictures retry-rejects
  run -3 migrate -p pictures status
  [[ $output == *' --last it goes on; its process cannot be seen from here, and may be in another container' ]]
  exec 7<&-
  run -0 migrate -p pictures run
}

@test "a run in another PID namespace goes on when a second one is refused" {
  contained() { timeout 20 unshare --pid --fork --kill-child --mount-proc "$@" 3>&- 4>&-; }
  contained true 2>/dev/null || skip 'PID namespaces are not allowed'
  begin
  cp migrate-pictures.pid before
  read -r survivor _ <before
  run -2 contained migrate -p pictures run
  [[ $output == *'the profile `pictures` is running already'* ]]
  diff before migrate-pictures.pid
  [ ! -e migrate-pictures.exit ]
  run -0 migrate -p pictures stop
  [[ $output == 'pictures stopped: exit code 75 '* ]]
  [ ! -e migrate-pictures.pid ]
  survivor=''
}

@test "a run whose pid file somebody has replaced leaves that one" {
  stand_in pg-upsert 'cat >/dev/null; rm migrate-pictures.pid; echo "of another run" >migrate-pictures.pid'
  run -0 migrate -p pictures run
  [ "$(cat migrate-pictures.pid)" = 'of another run' ]
}

@test "programs that outlived migrate are told of, and not taken for a run that has ended" {
  echo '999999999 1' >migrate-pictures.pid
  touch migrate-pictures.bookmark.json
  flock migrate-pictures.bookmark.json bash -c 'echo up >ready; read -r _ <ready' 3>&- 4>&- &
  read -r _ <ready
  run -3 migrate -p pictures status
  [[ $output == *' --last migrate was killed, its programs are still at work'* ]]
  run -1 migrate -p pictures stop
  [[ $output == *'its programs are still at work'*'hint: '* ]]
  echo end >ready
  wait
  run -3 migrate -p pictures status
  [[ $output == *' --last ended without a word'* ]]
  run -0 migrate -p pictures stop
  [[ $output == *'pictures is not running'* ]]
}

@test "status says of a run that was killed that nobody knows its end, until the next one has ended" {
  waiting
  migrate -p pictures run >out 2>&1 3>&- 4>&- &
  run=$!
  read -r _ <ready
  # Its programs go on.
  survivor=$(cat list.pid)
  kill -KILL "$run"
  wait "$run" || true
  run -3 migrate -p pictures status
  [[ $output == *' --last ended without a word'* ]]
  # What outlives it does not keep its lock.
  kill -0 "$survivor"
  flock -n migrate-pictures.pid true
  stand_in ddb-list true
  migrate -p pictures run
  run -3 migrate -p pictures status
  [[ $output == *' --last exit code 0 '* ]]
}

@test "what the programs write to a terminal does not stop them" {
  stand_in pg-upsert 'cat >/dev/null; echo written >/dev/tty'
  run -0 timeout 20 script -qec 'stty tostop; migrate -p pictures run --progress none' /dev/null </dev/null 3>&- 4>&-
  [[ $output == *written* ]]
}

# counters: programs that count the signals they get; the source ends at the first, the others at the end of input.
counters() {
  local name
  for name in ddb-cat ddb-parse pg-upsert; do
    stand_in "$name" 'trap "echo TERM >>${0##*/}.signals" TERM; trap "echo INT >>${0##*/}.signals" INT; trap "echo HUP >>${0##*/}.signals" HUP
      echo up >>ready; while read -r _ || [ $? -gt 128 ]; do :; done'
  done
  stand_in ddb-list 'trap "echo TERM >>ddb-list.signals; exit 75" TERM; trap "echo INT >>ddb-list.signals; exit 75" INT
    trap "echo HUP >>ddb-list.signals" HUP
    echo up >>ready; while :; do read -r -t 1 <><(:) || true; done'
}

# one_each SIGNAL: every program got it once and nothing else.
one_each() {
  local name
  for name in ddb-list ddb-cat ddb-parse pg-upsert; do
    [ "$(cat "$name.signals")" = "$1" ]
  done
}

# signalled COMMAND...: runs `migrate` in the foreground, does COMMAND when all programs run, leaves the code in `code`.
signalled() {
  counters
  # Reading and writing, so that no program waits for the other end.
  exec 6<>ready
  local run _
  # With job control, as an interactive shell has it: a run in a group of its own, and SIGINT not ignored.
  set -m
  # With the signals of a login shell, whatever started the tests ignores.
  env --default-signal=HUP,INT,TERM migrate -p pictures run >out 2>&1 3>&- 4>&- 6>&- &
  run=$!
  set +m
  for _ in 1 2 3 4; do read -r _ <&6; done
  "$@" "$run"
  code=0
  wait "$run" || code=$?
}

@test "one SIGTERM to migrate is one for each program" {
  signalled kill -TERM
  [ "$code" = 75 ]
  one_each TERM
}

@test "Ctrl+C, a SIGINT to all that the terminal sees in front, is one signal for each program" {
  # shellcheck disable=SC2317  # called by `signalled`
  ctrl_c() { kill -INT -- "-$1"; }
  signalled ctrl_c
  [ "$code" = 75 ]
  one_each TERM
}

@test "a terminal that closes is one signal for each program" {
  # shellcheck disable=SC2317  # called by `signalled`
  hang_up() { kill -HUP -- "-$1"; }
  signalled hang_up
  [ "$code" = 75 ]
  one_each TERM
}

@test "a signal before the programs have started is a stop, and none starts" {
  recorders
  # It is asked for the lock just before.
  stand_in flock 'kill -TERM $PPID'
  run -75 env --default-signal=TERM migrate -p pictures run
  [ ! -e ddb-list.argv ]
  [ ! -e migrate-pictures.pid ]
  grep -q '^75 ' migrate-pictures.exit
}

@test "a signal that a program does not yet listen to is a stop" {
  stand_in ddb-list 'echo up >ready; while :; do read -r -t 1 <><(:) || true; done'
  env --default-signal=TERM migrate -p pictures run >out 2>&1 3>&- 4>&- &
  run=$!
  read -r _ <ready
  kill -TERM "$run"
  code=0
  wait "$run" || code=$?
  [ "$code" = 75 ]
}

@test "a second signal reaches the programs as well" {
  stand_in ddb-list 'trap "trap \"exit 143\" TERM; echo once >ready" TERM; echo up >ready; while :; do read -r -t 1 <><(:) || true; done'
  # One descriptor for both words: opened anew, the second could meet the end of the first.
  exec 6<>ready
  set -m
  env --default-signal=HUP,INT,TERM migrate -p pictures run >out 2>&1 3>&- 4>&- 6>&- &
  run=$!
  set +m
  read -r _ <&6
  kill -TERM "$run"
  read -r word <&6
  [ "$word" = once ]
  kill -TERM "$run"
  code=0
  wait "$run" || code=$?
  [ "$code" = 143 ]
}

@test "signals that come as the programs end change nothing of how they end" {
  local _
  stand_in pg-upsert 'trap "" TERM; cat >/dev/null; read -r _ _ _ up _ <"/proc/$PPID/stat"
    for _ in {1..100}; do kill -TERM "$up"; done; exit 65'
  for _ in {1..20}; do
    # The monitor is a child that lives on: a shell that has lost the end of another one would wait for this one.
    run -65 timeout -s KILL 30 migrate -p pictures run --export x
  done
}

@test "Ctrl+C ends none of the programs that are asked before a pipeline begins" {
  echo '{}' >migrate-pictures.rejects.jsonl
  stand_in migrate-rejects 'echo up >ready; read -r _ <go; echo "1 0"'
  mkfifo go
  set -m
  env --default-signal=INT migrate -p pictures retry-rejects >out 2>&1 3>&- 4>&- &
  run=$!
  set +m
  read -r _ <ready
  kill -INT -- "-$run"
  echo >go
  code=0
  wait "$run" || code=$?
  [ "$code" = 75 ]
}

@test "a stop while another process looks whether a run is alive is a stop" {
  # Which holds the lock until the signal has come.
  stand_in flock 'echo up >ready; read -r _ <go'
  mkfifo go
  set -m
  env --default-signal=INT migrate -p pictures run >out 2>&1 3>&- 4>&- &
  run=$!
  set +m
  read -r _ <ready
  kill -INT -- "-$run"
  echo >go
  code=0
  wait "$run" || code=$?
  [ "$code" = 75 ]
}

@test "a run that cannot start its programs says why, ends with 74 and notes nothing" {
  three_exports
  # With fewer and fewer descriptors, until those of the pipes are too many.
  local descriptors=30
  while
    rm -f migrate-pictures.applied.jsonl
    run bash -c "ulimit -n $descriptors; migrate -p pictures run"
    [ "$status" = 0 ]
  do
    descriptors=$((descriptors - 1))
  done
  [ "$status" = 74 ]
  [[ $output == *'Too many open files'*'Ended with exit code 74'* ]]
  [ ! -e migrate-pictures.applied.jsonl ]
  [ ! -e migrate-pictures.pid ]
  mkdir migrate-pictures.chain.jsonl
  run -74 migrate -p pictures run
  [[ $output == *'migrate-pictures.chain.jsonl: Is a directory'* ]]
  [ ! -e migrate-pictures.pid ]
}

# three_exports: of which the source says that they belong together; programs that write down how they were called.
three_exports() {
  local name
  printf '%s\n' '{"$chain":{"v":1,"source":"s3://b/","table":"T","exports":3}}' \
    '{"export":"01-a","type":"full","time":"2024-01-15T10:00:00Z","table":"T","items":1,"prefix":"s3://b/01-a/"}' \
    '{"export":"02-b","type":"incremental","from":"2024-01-15T09:55:00Z","to":"2024-01-15T10:15:00Z","view":"NEW_IMAGES"}' \
    '{"export":"03-c","type":"incremental","from":"2024-01-15T10:15:00Z","to":"2024-01-15T10:30:00Z","view":"NEW_IMAGES"}' >chain
  for name in ddb-list pg-upsert; do
    stand_in "$name" 'trap "" TERM; cat >/dev/null; echo "${0##*/} $*" >>"${0##*/}.calls"'
  done
}

# applied: prints the ids of the exports that are noted as applied.
applied() {
  jq -r .export migrate-pictures.applied.jsonl | xargs
}

@test "a full export and its increments are applied in order, each is noted, and the last one completes" {
  three_exports
  run -0 --separate-stderr migrate -p pictures run --create --source exports --retries 3
  [ "$(cat chain.argv)" = "ddb-list --chain --source exports --pending --profile pictures --log-dir $PWD --retries 3" ]
  [ "$(cat ddb-list.calls)" = "ddb-list --source exports --export 01-a --pending --profile pictures --log-dir $PWD --retries 3
ddb-list --source exports --export 02-b --pending --profile pictures --log-dir $PWD --retries 3
ddb-list --source exports --export 03-c --pending --profile pictures --log-dir $PWD --retries 3" ]
  [ "$(cat pg-upsert.calls)" = "pg-upsert -p pictures --create --no-completion --log-dir $PWD --retries 3
pg-upsert -p pictures --no-completion --log-dir $PWD --retries 3
pg-upsert -p pictures --log-dir $PWD --retries 3" ]
  [[ ${stderr_lines[0]} == *'INFO [pictures] Export 1 of 3: 01-a (full)' ]]
  [[ ${stderr_lines[1]} == *'Export 2 of 3: 02-b (2024-01-15T09:55:00Z to 2024-01-15T10:15:00Z)' ]]
  [[ ${stderr_lines[3]} == *'INFO [pictures] The table stands at 2024-01-15T10:30:00Z' ]]
  [ "$(jq -c 'del(.applied)' migrate-pictures.applied.jsonl)" = "$(tail -n 3 chain)" ]
  [[ $(jq -r .applied migrate-pictures.applied.jsonl | head -n 1) =~ ^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}Z$ ]]
  [ "$(stat -c %a migrate-pictures.applied.jsonl)" = 600 ]
  [ "$(ls migrate-pictures.*)" = $'migrate-pictures.applied.jsonl\nmigrate-pictures.exit\nmigrate-pictures.log' ]
  run -3 migrate -p pictures status
  [[ $output == *' --stands-at 2024-01-15T10:30:00Z' ]]

  # Nothing is new.
  sed -i 1q chain
  run -0 --separate-stderr migrate -p pictures run
  [[ $stderr == *'The table stands at 2024-01-15T10:30:00Z' ]]
  [ "$(wc -l <ddb-list.calls)" = 3 ]
  run -0 migrate -p pictures reset
  [ "${lines[1]}" = "deleted $PWD/migrate-pictures.applied.jsonl; the next run begins with a full export" ]
  [ ! -e migrate-pictures.applied.jsonl ]
}

@test "what stops or fails in the middle of several exports is where the next run goes on" {
  local code
  for code in 75 69 65; do
    three_exports
    stand_in pg-upsert "cat >/dev/null; echo >>count; [ \$(wc -l <count) != 2 ] || exit $code"
    run "-$code" --separate-stderr migrate -p pictures run
    [ "$(applied)" = 01-a ]
    [[ $stderr != *'The table stands at'* ]]
    grep -q "^$code " migrate-pictures.exit
    rm count migrate-pictures.applied.jsonl
  done
}

@test "rejects do not keep the next export from being applied, files that failed do" {
  three_exports
  stand_in pg-upsert 'cat >/dev/null; echo >>count; [ $(wc -l <count) != 2 ] || exit 1'
  run -1 --separate-stderr migrate -p pictures run
  [ "$(applied)" = '01-a 02-b 03-c' ]
  [[ $stderr == *'The table stands at 2024-01-15T10:30:00Z'*'Ended with exit code 1'* ]]
  rm count migrate-pictures.applied.jsonl
  stand_in pg-upsert 'cat >/dev/null; echo >>count; [ $(wc -l <count) != 2 ] || { echo "{}" >migrate-pictures.bookmark.json; exit 1; }'
  run -1 migrate -p pictures run
  [ "$(applied)" = 01-a ]
  [ "$(wc -l <count)" = 2 ]
}

@test "a stop that comes when an export is complete begins no other" {
  three_exports
  stand_in pg-upsert 'trap "" TERM; cat >/dev/null; read -r pid _ <migrate-pictures.pid; kill -TERM "$pid"'
  run -75 env --default-signal=TERM migrate -p pictures run
  [ "$(applied)" = 01-a ]
  [ "$(wc -l <ddb-list.calls)" = 1 ]
}

@test "a full export alone is applied as it always was, and noted for the increments that may follow" {
  three_exports
  sed -i 2q chain
  run -0 --separate-stderr migrate -p pictures run --create
  [ "$stderr" = '' ]
  [ "$(cat pg-upsert.calls)" = "pg-upsert -p pictures --create --log-dir $PWD" ]
  [ "$(applied)" = 01-a ]
  # A part of it is no state of the table.
  rm migrate-pictures.applied.jsonl
  migrate -p pictures run --max-id 10
  migrate -p pictures run --dry-run
  [ ! -e migrate-pictures.applied.jsonl ]
}

@test "a trial run goes through all exports and notes nothing" {
  three_exports
  run -0 migrate -p pictures run --dry-run --create
  [ "$(grep -c -- '--create --dry-run' pg-upsert.calls)" = 3 ]
  [ ! -e migrate-pictures.applied.jsonl ]
}

@test "an export by hand is applied alone and not noted" {
  three_exports
  migrate -p pictures run --export 03-c
  migrate -p pictures run --latest
  [ "$(cut -d ' ' -f 1-3 ddb-list.calls)" = $'ddb-list --export 03-c\nddb-list --latest --pending' ]
  [ ! -e chain.argv ] && [ ! -e migrate-pictures.applied.jsonl ]
}

@test "a part of several exports is refused, and so is their verification" {
  three_exports
  run -2 --separate-stderr migrate -p pictures run --max-id 10
  [[ ${stderr_lines[0]} == *'ERROR [pictures] `--max-id` takes a part of one export, and here are 3 to apply: name one with `--export ID`' ]]
  run -2 --separate-stderr migrate -p pictures verify
  [ "${stderr_lines[0]}" = 'migrate: here are a full export and 2 increments, and a verification compares with one export' ]
  [ "$(cat chain.argv)" = "ddb-list --chain --profile pictures --log-dir $PWD" ]
  [ ! -e ddb-list.calls ]
}

@test "when it cannot be found out which exports belong together nothing is applied" {
  recorders
  printf '#!/bin/bash\necho "there is a hole" >&2; exit 65\n' >"$DDB_PIPE_BIN/ddb-list"
  run -65 --separate-stderr migrate -p pictures run
  [[ ${stderr_lines[0]} == 'there is a hole' ]]
  [ ! -e pg-upsert.argv ] && [ ! -e migrate-pictures.pid ]
  run -65 migrate -p pictures verify
  [ ! -e pg-verify.argv ]
}

@test "an export that cannot be noted is said" {
  three_exports
  mkdir migrate-pictures.applied.new
  run -74 --separate-stderr migrate -p pictures run
  [[ ${stderr_lines[1]} == *'ERROR [pictures] cannot write `'*'migrate-pictures.applied.jsonl`: the next run applies this export again'* ]]
  [ "$(wc -l <ddb-list.calls)" = 1 ]
}

@test "status hands what it knows of the run to migrate-monitor" {
  run -3 migrate -p pictures status
  [ "$(cat monitor.argv)" = "migrate-monitor status --profile pictures --log-dir $PWD --last no run has ended yet" ]
  rm monitor.argv
  printf '{"applied":"x","type":"full","time":"2024-01-15T09:50:00Z"}\n' >migrate-pictures.applied.jsonl
  echo '0 2024-01-15T10:30:00Z' >migrate-pictures.exit
  run -3 migrate -p pictures status --json
  [ "$(cat monitor.argv)" = "migrate-monitor status --profile pictures --log-dir $PWD \
--last exit code 0 (all well) at 2024-01-15T10:30:00Z --json --stands-at 2024-01-15T09:50:00Z" ]
}

@test "status --watch shows the run until it ends, and then how it ended" {
  stand_in migrate-monitor 'echo "${0##*/} $*" >>monitor.argv; case "$*" in
    follow*) echo ready; exec cat >/dev/null ;;
    *--watch*) migrate -p pictures stop >/dev/null ;;
  esac'
  begin
  : >monitor.argv
  run -3 migrate -p pictures status --watch
  [[ $(sed -n 1p monitor.argv) == *' --watch --pid '* ]]
  [[ $(sed -n 2p monitor.argv) == *' --last exit code 75 (stopped, run again to go on) at '* ]]
}

@test "the monitor of a run gets its options, and programs are told where events go" {
  recorders
  stand_in pg-upsert 'cat >/dev/null; echo "{\"event\":\"x\"}" >"/dev/fd/$MIGRATE_EVENTS"'
  run -0 migrate -p pictures run --progress none --events e.jsonl --hook 'cat >h' --metrics-file m --metrics-listen 127.0.0.1:1 --metrics-emf
  [ "$(cat monitor.argv)" = "migrate-monitor follow --profile pictures --log-dir $PWD --command run --progress none \
--events e.jsonl --hook cat >h --metrics-file m --metrics-listen 127.0.0.1:1 --metrics-emf" ]
  [ "$(cat monitor.heard)" = $'{"event":"x"}\n{"exitCode":0}' ]
}

@test "where there is no terminal lines take the place of bars" {
  recorders
  migrate -p pictures run --progress bar 2>/dev/null
  [[ $(cat monitor.argv) == *' --progress plain'* ]]
  rm monitor.argv
  script -qec 'migrate -p pictures run' /dev/null </dev/null 3>&- 4>&- >/dev/null
  [[ $(cat monitor.argv) == *' --progress bar'* ]]
}

@test "at a terminal no program shows by itself how far it is, whatever is to be shown" {
  stand_in pg-upsert 'cat >/dev/null; [ ! -t 2 ] || echo >terminal'
  for look in bar plain none; do
    script -qec "migrate -p pictures run --progress $look" /dev/null </dev/null 3>&- 4>&- >/dev/null
    [ -e migrate-pictures.exit ] && [ ! -e terminal ]
  done
}

@test "a monitor that cannot begin is found out before anything is done" {
  recorders
  stand_in migrate-monitor 'echo "migrate-monitor: cannot serve metrics" >&2; exit 2'
  echo '0 2024-01-15T10:30:00Z' >migrate-pictures.exit
  run -2 --separate-stderr migrate -p pictures run --metrics-listen 127.0.0.1:1
  [ "$stderr" = 'migrate-monitor: cannot serve metrics' ]
  [ ! -e pg-upsert.argv ]
  [ ! -e migrate-pictures.pid ]
  # It is this run that ended, not an earlier one.
  grep -q '^2 ' migrate-pictures.exit
}

@test "a run in the background whose monitor cannot begin has not started" {
  recorders
  stand_in migrate-monitor 'echo "migrate-monitor: cannot serve metrics" >&2; exit 2'
  run -2 --separate-stderr migrate -p pictures start --metrics-listen 127.0.0.1:1 3>&- 4>&-
  [ "$output" = '' ]
  [[ $stderr == 'migrate-monitor: cannot serve metrics'*'the run did not start'* ]]
  grep -q '^2 ' migrate-pictures.exit
  [ ! -e migrate-pictures.pid ]
}

@test "a verification whose monitor cannot begin leaves the files of a run" {
  stand_in migrate-monitor 'echo "of a run that has begun meanwhile" >migrate-pictures.pid; exit 2'
  run -2 migrate -p pictures verify
  [ "$(cat migrate-pictures.pid)" = 'of a run that has begun meanwhile' ]
  [ ! -e migrate-pictures.exit ]
}

@test "a monitor that is killed does not harm the run" {
  recorders
  stand_in migrate-monitor 'echo $$ >monitor.pid; echo ready; exec cat >/dev/null'
  stand_in pg-upsert 'trap "" PIPE; cat >/dev/null; kill -9 "$(cat monitor.pid)"; while kill -0 "$(cat monitor.pid)" 2>/dev/null; do :; done
    { echo event; } 2>/dev/null >"/dev/fd/$MIGRATE_EVENTS" || true; echo done >upserted'
  run -0 migrate -p pictures run
  [ "$(cat upserted)" = 'done' ]
}

@test "what is said at all is said by the environment of the programs" {
  stand_in ddb-cat 'echo "$MIGRATE_LOG_LEVEL $MIGRATE_LOG_FORMAT" >level; cat >/dev/null'
  migrate -p pictures run -q
  [ "$(cat level)" = 'warn ' ]
  migrate -p pictures run -v --log-format json
  [ "$(cat level)" = 'debug json' ]
  migrate -p pictures run -vv
  [ "$(cat level)" = 'trace ' ]
}

@test "as JSON its own lines are JSON too" {
  stand_in pg-upsert 'cat >/dev/null; exit 1'
  run -1 --separate-stderr migrate -p pictures run --log-format json
  [ "$(jq -r '"\(.level) \(.profile) \(.program) \(.message)"' <<<"$stderr")" = \
    'WARN pictures migrate Ended with exit code 1: finished, but records were rejected or suppressed, or files failed' ]
}

@test "what its own lines look like comes from the option, the environment, .env, in this order" {
  stand_in pg-upsert 'cat >/dev/null; exit 75'
  printf 'MIGRATE_LOG_FORMAT=json\nMIGRATE_LOG_LEVEL=warn\n' >.env
  run -75 --separate-stderr migrate -p pictures run
  [ "$stderr" = '' ]
  run -75 --separate-stderr migrate -p pictures run -v
  [[ $stderr == '{"time":'* ]]
  MIGRATE_LOG_LEVEL=info MIGRATE_LOG_FORMAT=text run -75 --separate-stderr migrate -p pictures run
  [[ $stderr == *' INFO [pictures] Ended with exit code 75'* ]]
  MIGRATE_LOG_LEVEL=info MIGRATE_LOG_FORMAT=text run -75 --separate-stderr migrate -p pictures run --log-format json
  [[ $stderr == '{"time":'* ]]
}

@test "what was probably meant is said" {
  run -2 --separate-stderr migrate -p pictures rnu
  [ "${stderr_lines[1]}" = 'hint: did you mean run? run, start, stop, doctor, plan, status, logs, verify, reset and retry-rejects are' ]
  run -2 --separate-stderr migrate -p pictures run --bach-size 5
  [ "${stderr_lines[1]}" = 'hint: did you mean --batch-size? `migrate --help` lists them' ]
  run -2 --separate-stderr migrate -p pictures run --progress bars
  [ "${stderr_lines[1]}" = 'hint: did you mean bar? one of: bar plain none' ]
  run -2 --separate-stderr migrate -p pictures run --elephant
  [ "${stderr_lines[1]}" = 'hint: `migrate --help` lists them' ]
}

@test "every option that is parsed is one that --help lists, and one that can be meant" {
  local option
  # shellcheck disable=SC2013  # they have no spaces
  for option in $(sed -n '/^parse()/,/^}/p; /^value_of()/,/^}/p' "$BATS_TEST_DIRNAME/../../scripts/migrate" | grep -oE -- '--[a-z][a-z0-9-]+' | sort -u); do
    [ "$option" = --option ] || migrate --help | grep -qE -- "(^| )$option( |,|\$)"
  done
}

@test "logs shows the last 50 lines, or as many as asked for" {
  seq 100 >migrate-pictures.log
  run -0 migrate -p pictures logs
  [ "${lines[0]}" = 51 ]
  run -0 migrate -p pictures logs -n 2
  [ "$output" = $'99\n100' ]
}

@test "logs -f shows what is added" {
  seq 100 >migrate-pictures.log
  exec 5< <(exec migrate -p pictures logs -f -n 1 3>&- 4>&-)
  follower=$!
  read -r line <&5
  [ "$line" = 100 ]
  echo 101 >>migrate-pictures.log
  read -r line <&5
  [ "$line" = 101 ]
  kill "$follower"
}

@test "logs without a log says so" {
  run -1 --separate-stderr migrate -p pictures logs
  [[ $stderr == 'migrate: there is no log yet: '* ]]
}

@test "reset deletes the bookmark and nothing else" {
  touch migrate-pictures.bookmark.json migrate-pictures.rejects.jsonl migrate-orders.bookmark.json
  run -0 migrate -p pictures reset
  [ ! -e migrate-pictures.bookmark.json ]
  [ -e migrate-pictures.rejects.jsonl ] && [ -e migrate-orders.bookmark.json ]
  run -0 migrate -p pictures reset
  [[ $output == 'there is no bookmark'* ]]
}

@test "reset is refused while a program still holds the bookmark" {
  echo '{}' >migrate-pictures.bookmark.json
  exec 7<migrate-pictures.bookmark.json
  flock 7
  run -2 --separate-stderr migrate -p pictures reset
  [[ ${stderr_lines[0]} == 'migrate: a program still writes to `'*'migrate-pictures.bookmark.json`' ]]
  [ -e migrate-pictures.bookmark.json ]
  exec 7<&-
  run -0 migrate -p pictures reset
  [ ! -e migrate-pictures.bookmark.json ]
}

@test "a verification is the same pipeline with another last program, a bookmark and a log of its own" {
  recorders
  run -0 migrate -p pictures verify -b 500 --gather 900 -m 1000 --source exports --latest --retries 3
  local bookmark="$PWD/migrate-pictures.verify.bookmark.json"
  [ "$(cat ddb-list.argv)" = "ddb-list --latest --source exports --pending --bookmark $bookmark --profile pictures --log-dir $PWD --retries 3" ]
  [ "$(cat ddb-parse.argv)" = 'ddb-parse -p pictures --max-id=1000' ]
  [ "$(cat pg-verify.argv)" = "pg-verify -p pictures -b 500 --gather 900 --log-dir $PWD --retries 3" ]
  [ ! -e pg-upsert.argv ]
  stand_in pg-verify 'cat >/dev/null; echo "$MIGRATE_LOG_FILE" >file'
  migrate -p pictures verify
  [ "$(cat file)" = "$PWD/migrate-pictures.verify.log" ]
}

@test "a verification leaves what is said of the last run" {
  stand_in pg-upsert 'exit 65'
  run -65 migrate -p pictures run
  migrate -p pictures status >before || true
  stand_in pg-verify 'cat >/dev/null; exit 1'
  run -1 --separate-stderr migrate -p pictures verify
  [[ $stderr == *'rows are missing or differ'* ]]
  migrate -p pictures status >after || true
  diff before after
  [ ! -e migrate-pictures.pid ]
}

@test "records that were rejected are not what a verification says of the table" {
  recorders
  for name in ddb-cat ddb-parse; do
    stand_in "$name" 'cat >/dev/null; exit 1'
    run -0 migrate -p pictures verify
  done
  stand_in ddb-cat 'cat >/dev/null; exit 74'
  run -74 migrate -p pictures verify
}

@test "while a run is alive nothing is verified; one that is not complete is told" {
  begin
  run -2 --separate-stderr migrate -p pictures verify
  [[ ${stderr_lines[0]} == 'migrate: the profile `pictures` is running (pid '* ]]
  migrate -p pictures stop
  stand_in ddb-list true
  : >migrate-pictures.bookmark.json
  run -0 --separate-stderr migrate -p pictures verify
  [[ $stderr == *'WARN [pictures] The run is not complete'* ]]
}

@test "a stop reaches the programs of a verification" {
  waiting
  migrate -p pictures verify >out 2>&1 3>&- 4>&- &
  run=$!
  read -r _ <ready
  kill -TERM "$run"
  code=0
  wait "$run" || code=$?
  [ "$code" = 75 ]
}

@test "what belongs to a run is refused by a verification, and a target needs a program for it" {
  recorders
  run -2 migrate -p pictures verify --dry-run
  run -2 --separate-stderr migrate -p pictures verify --target-type lite
  [ "$stderr" = 'migrate: there is no program `lite-verify` on PATH for the type `lite`' ]
  cp "$DDB_PIPE_BIN/pg-verify" "$DDB_PIPE_BIN/lite-verify"
  migrate -p pictures verify --target-type lite
  [ -f lite-verify.argv ]
}

@test "reset forgets a verification too" {
  touch migrate-pictures.verify.bookmark.json migrate-pictures.verify.pending.jsonl migrate-pictures.verify.jsonl
  run -0 migrate -p pictures reset
  [ "${lines[0]}" = "deleted $PWD/migrate-pictures.verify.bookmark.json; the next verification begins anew" ]
  # It may be the wrong folder.
  [ "${lines[1]}" = "there is no bookmark in $PWD; the next run begins anew" ]
  [ "$(ls migrate-pictures.verify.*)" = migrate-pictures.verify.jsonl ]
}

@test "a profile that cannot be used is told before anything else is asked for" {
  recorders
  echo 'ddb-parse: there is no profile `nosuch`' >wrong
  for command in run verify; do
    run --separate-stderr -2 migrate -p nosuch "$command"
    [ "$stderr" = 'ddb-parse: there is no profile `nosuch`' ]
    [ ! -e ddb-list.argv ] && [ ! -e chain.argv ] && [ ! -e migrate-nosuch.pid ]
  done
}
