#!/usr/bin/env bats
#
# The units under a systemd that runs: installed as the README says, started, stopped, broken, begun anew. For root, as
# `sudo bats tests/systemd`; about a minute. What can be seen without a systemd is in tests/shell/units.bats.
#
# Bats sets variables, and single quotes hold what is for another shell.
# shellcheck disable=SC2016,SC2154

bats_require_minimum_version 1.5.0

# shellcheck source=tests/systemd/machine.bash
source "$BATS_TEST_DIRNAME/machine.bash"

readonly ITEMS=60000 STAMP=/var/lib/systemd/timers/stamp-migrate@orders.timer

setup_file() {
  export lacks machine_log=$BATS_FILE_TMPDIR/machine.log
  lacks=$(machine_lacks)
  [ -z "$lacks" ] || return 0
  local home
  home=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)
  machine_boot "$home" "${DDB_PIPE_BIN:-$home/target/release}"
  install_by_the_book
  start_postgres
  make_export
}

teardown_file() {
  [ -n "$lacks" ] || machine_end
}

setup() {
  [ -z "$lacks" ] || skip "$lacks"
  in_machine systemctl stop 'migrate@*.timer' 'migrate@*.service' 'brake*' --all
  in_machine systemctl reset-failed
  in_machine systemctl start postgresql
  in_machine rm -rf /var/lib/ddb-pipe /run/mail
  in_machine find /srv/exports -name '*-0000000b' -exec rm -r {} +
  settings --source /srv/exports/ -b 2000
  sql 'update brake set after = null' 'truncate orders'
  mark=$(date +%s.%N)
}

# What went wrong is in the journal.
teardown() {
  [ -n "$BATS_TEST_COMPLETED" ] || [ -n "$lacks" ] || in_machine journalctl --no-pager -o short-precise --since "@$mark"
}

# install_by_the_book: runs the commands of the README and of docs/operations.md that begin with `sudo`, but for those that
# begin or end a run, or look after one.
install_by_the_book() {
  local commands
  # A line that ends in a backslash goes on in the next one.
  commands=$(in_machine sed -n -e '/^## From a bucket/,/^## Installing/p' -e '/^## Under systemd/,/^## /p' \
    /run/source/README.md /run/source/docs/operations.md |
    sed -e ':joined' -e '/\\$/{N;s/\\\n *//;b joined' -e '}' | grep '^ *sudo ' |
    grep -vE 'sudo (-u|systemd-run|systemctl (start|stop|enable))')
  printf 'SERVER=127.0.0.1\nPG_USER=migration\nDATABASE=postgres\nDB_SSL=false\n' |
    in_machine tee /run/source/.env >/dev/null
  echo secret | in_machine tee /run/source/password >/dev/null
  in_machine env -u CARGO_TARGET_DIR SUDO_USER=reader bash -euc 'sudo() { "$@"; } && cd /run/source && eval "$1"' - "$commands"
  in_machine bash -euc 'printf "#!/bin/sh\ncat >/run/mail; echo \"\$*\" >>/run/mail" >/usr/local/bin/mail
    chmod +x /usr/local/bin/mail'
  # Nobody wants to wait a minute here.
  drop_in migrate@.service quick '[Service]' RestartSec=1
  drop_in migrate@.timer quick '[Timer]' RandomizedDelaySec=0
  # Of a unit that has ended nothing is remembered, unless another one names it.
  drop_in machine.target remember '[Unit]' After=migrate@orders.service
}

# drop_in UNIT NAME LINE...: adds to a unit.
drop_in() {
  in_machine mkdir -p "/etc/systemd/system/$1.d"
  printf '%s\n' "${@:3}" | in_machine tee "/etc/systemd/system/$1.d/$2.conf" >/dev/null
  in_machine systemctl daemon-reload
}

# settings OPTION...: the options of runs of `orders`.
settings() {
  printf 'MIGRATE_RUN_OPTIONS=%s\n' "$*" | in_machine tee /etc/ddb-pipe/orders.env >/dev/null
}

# start_postgres: as a unit of the name that Debian gives it; with the table, and a brake that holds a writer when so many
# rows are there.
start_postgres() {
  local bin
  # shellcheck source=scripts/packages
  bin=$(source "$BATS_TEST_DIRNAME/../../scripts/packages" && postgres_bin)
  in_machine install -d -o postgres -g postgres /var/lib/units
  printf secret | in_machine runuser -u postgres -- tee /var/lib/units/password >/dev/null
  in_machine runuser -u postgres -- "$bin/initdb" -D /var/lib/units/data -U postgres -E UTF8 --locale=C.UTF-8 --no-sync \
    --auth-local=peer --auth-host=scram-sha-256 --pwfile=/var/lib/units/password >/dev/null
  printf '%s\n' '[Service]' Type=notify User=postgres RuntimeDirectory=postgresql KillMode=mixed KillSignal=SIGINT \
    "ExecStart=$bin/postgres -D /var/lib/units/data -c unix_socket_directories=/run/postgresql -c fsync=off" |
    in_machine tee /etc/systemd/system/postgresql.service >/dev/null
  in_machine systemctl daemon-reload
  in_machine systemctl start postgresql
  sql "create role migration login password 'secret'" 'create role "ddb-pipe" login in role migration'
  in_machine bash -euc 'cd /tmp && export SERVER=127.0.0.1 PG_USER=postgres PASSWORD=secret DATABASE=postgres DB_SSL=false
    ddb-parse -p /etc/ddb-pipe/profiles/orders.toml </dev/null | pg-upsert --create'
  sql 'grant all on orders to migration' 'create table brake (after bigint)' 'insert into brake values (null)' \
    'grant select on brake to migration' \
    "create function hold() returns trigger language plpgsql as \$\$ begin
       if (select after from brake) <= (select count(*) from orders) then perform pg_advisory_xact_lock_shared(7); end if;
       return null; end \$\$" \
    'create trigger hold before insert on orders for each statement execute function hold()'
}

# sql COMMAND...: prints what PostgreSQL answers.
sql() {
  local commands=() command
  for command in "$@"; do commands+=(-c "$command"); done
  in_machine runuser -u postgres -- psql -X -q -A -t -v ON_ERROR_STOP=1 -d postgres "${commands[@]}"
}

# make_export: ITEMS orders in three files, with manifests.
make_export() {
  local id=01700000000000-0000000a part
  local key=AWSDynamoDB/$id
  local folder=/proc/$machine/root/srv/exports/$key
  mkdir -p "$folder/data"
  for part in 0 1 2; do
    seq "$((part * ITEMS / 3 + 1))" "$(((part + 1) * ITEMS / 3))" |
      sed 's/.*/{"Item":{"OrderId":{"S":"order-&"},"OrderNumber":{"N":"&"},"Note":{"S":"the note of the order &"}}}/' |
      gzip -1 >"$folder/data/$part.json.gz"
    printf '{"itemCount":%s,"dataFileS3Key":"%s"}\n' "$((ITEMS / 3))" "$key/data/$part.json.gz" >>"$folder/manifest-files.json"
  done
  summary "$id" '"exportTime":"2023-11-14T22:13:20.000Z"' >"$folder/manifest-summary.json"
}

# make_increment: one order is new, one is changed, one is deleted.
make_increment() {
  local id=01700001000000-0000000b
  local folder=/proc/$machine/root/srv/exports/AWSDynamoDB/$id
  # The folder that all increments share.
  mkdir -p "$folder" "$folder/../data"
  change() {
    printf '{"Metadata":{"WriteTimestampMicros":{"N":"1700000100000000"}},"Keys":{"OrderId":{"S":"%s"}}%s}\n' "$1" "$2"
  }
  image() {
    printf ',"%s":{"OrderId":{"S":"%s"},"OrderNumber":{"N":"%s"}}' "$1" "$2" "$3"
  }
  {
    change order-0 "$(image NewImage order-0 0)"
    change order-1 "$(image OldImage order-1 1)$(image NewImage order-1 1000)"
    change order-2 "$(image OldImage order-2 2)"
  } | gzip >"$folder/../data/changes.json.gz"
  echo '{"itemCount":3,"dataFileS3Key":"AWSDynamoDB/data/changes.json.gz"}' >"$folder/manifest-files.json"
  summary "$id" '"exportType":"INCREMENTAL_EXPORT","exportFromTime":"2023-11-14T22:13:20.000Z",
    "exportToTime":"2023-11-14T22:33:20.000Z","outputView":"NEW_AND_OLD_IMAGES"' >"$folder/manifest-summary.json"
}

# summary ID FIELDS: prints the manifest of an export.
summary() {
  local table=arn:aws:dynamodb:eu-west-1:123456789012:table/Orders
  printf '{"exportArn":"%s/export/%s","tableArn":"%s","manifestFilesS3Key":"AWSDynamoDB/%s/manifest-files.json",%s}' \
    "$table" "$1" "$table" "$1" "$2"
}

# hold: when the table has 10,000 rows, writing waits, until `let_go`.
hold() {
  sql 'update brake set after = 10000'
  in_machine systemd-run -q --unit=brake --collect -p User=postgres \
    bash -c '{ echo "select pg_advisory_lock(7);"; exec sleep infinity; } | psql -X -q -d postgres >/dev/null'
  until_true 10 locked t
}

let_go() {
  in_machine systemctl stop brake
}

# locked t|f: whether somebody has the lock, or waits for it.
locked() {
  [ "$(sql "select count(*) > 0 from pg_locks where locktype = 'advisory' and granted = '$1'")" = t ]
}

# start_and_hold: starts a run, which then is in its middle.
start_and_hold() {
  hold
  in_machine systemctl start migrate@orders
  until_true 30 locked f
}

# night: starts the timer when its hour was missed.
night() {
  in_machine systemctl stop migrate@orders.timer
  in_machine mkdir -p /var/lib/systemd/timers
  in_machine touch -d '2 days ago' "$STAMP"
  in_machine systemctl start migrate@orders.timer
  until_true 10 night_came
}

night_came() {
  [ -n "$(in_machine find "$STAMP" -mmin -60)" ] && [ -z "$(in_machine systemctl list-jobs --no-legend)" ]
}

# property NAME: what systemd says of the service.
property() {
  in_machine systemctl show migrate@orders --value -p "$1"
}

# is NAME VALUE: whether it says that.
is() {
  [ "$(property "$1")" = "$2" ]
}

# ended: waits until the service has ended, restarts included.
ended() {
  until_true 60 has_ended
}

has_ended() {
  [[ $(property ActiveState) =~ ^(inactive|failed)$ ]]
}

# ended_well: it has ended as it should, and the table is right.
ended_well() {
  ended
  is Result success
  is ExecMainStatus 0
  [ "$(sql 'select count(*), sum(number), count(distinct note) from orders')" = \
    "$ITEMS|$((ITEMS * (ITEMS + 1) / 2))|$ITEMS" ]
}

# said TEXT: whether the journal has it, since this test began.
said() {
  in_machine journalctl -o cat -u migrate@orders --since "@$mark" | grep -F "$1"
}

# gets_on: whether the run has said how far it is.
gets_on() {
  [[ $(property StatusText) == *3* ]]
}

# watched_since MICROSECONDS: whether the run has said since then that it lives.
watched_since() {
  [ "$(property WatchdogTimestampMonotonic)" -gt "$1" ]
}

# mailed: whether root was told of a failure.
mailed() {
  in_machine grep -qsx -e '-s migrate@orders.service failed on units root' /run/mail
}

# pid_of PROGRAM: prints the process id that it has in the machine.
pid_of() {
  in_machine pgrep -x "$1"
}

@test "a run goes to its end, with the password of the credential, and its lines are in the journal" {
  in_machine systemctl start migrate@orders
  ended_well
  is NRestarts 0
  said 'INFO [orders] Processing file [3/3]'
  [ "$(in_machine stat -c '%U %a' /var/lib/ddb-pipe /var/lib/ddb-pipe/migrate-orders.log)" = "ddb-pipe 700
ddb-pipe 600" ]
  run -3 in_machine runuser -u ddb-pipe -- migrate -p orders status --log-dir /var/lib/ddb-pipe
}

@test "a stop in mid-run ends with 75, which is a success, and the next start goes on" {
  start_and_hold
  in_machine systemctl stop --no-block migrate@orders
  until_true 10 is ActiveState deactivating
  let_go
  ended
  is ActiveState inactive
  is Result success
  is ExecMainStatus 75
  said 'INFO [orders] Ended with exit code 75'
  [ "$(sql 'select count(*) from orders')" -lt "$ITEMS" ]
  in_machine test -s /var/lib/ddb-pipe/migrate-orders.bookmark.json
  is NRestarts 0
  in_machine systemctl start migrate@orders
  ended_well
  said 'Resuming run'
}

@test "a stop while PostgreSQL does not answer is a kill in the end, after which the next start goes on" {
  drop_in migrate@orders.service impatient '[Service]' TimeoutStopSec=3
  start_and_hold
  in_machine systemctl stop migrate@orders
  is Result timeout
  is NRestarts 0
  drop_in migrate@orders.service impatient '[Service]'
  let_go
  in_machine systemctl start migrate@orders
  ended_well
}

@test "a stop by migrate itself is not undone by a restart" {
  start_and_hold
  in_machine bash -c 'kill -TERM "$(cut -d " " -f 1 /var/lib/ddb-pipe/migrate-orders.pid)"'
  let_go
  ended
  is Result success
  is ExecMainStatus 75
  is NRestarts 0
}

@test "pg-upsert is killed: the run begins again and goes on" {
  start_and_hold
  in_machine kill -KILL "$(pid_of pg-upsert)"
  let_go
  ended_well
  is NRestarts 1
  said 'status=137'
}

@test "migrate is killed: its programs end with it, and the run begins again and goes on" {
  start_and_hold
  local old
  old=$(pid_of pg-upsert)
  in_machine kill -KILL "$(property MainPID)"
  # The next run writes when this one's programs are gone.
  until_true 30 is NRestarts 1
  run ! in_machine test -e "/proc/$old"
  let_go
  ended_well
  is NRestarts 1
}

@test "what needs a person is not tried again, and fails" {
  settings --source /srv/exports/ --max-id many
  # Who starts it hears so at once.
  run ! in_machine systemctl start migrate@orders
  ended
  is ActiveState failed
  is ExecMainStatus 2
  is NRestarts 0
  said '`--max-id` takes a whole number'
  until_true 10 mailed
  in_machine grep -q 'takes a whole number' /run/mail
}

@test "a reject is a failure, too, with all that is good in the table; more than are allowed stop the run" {
  in_machine bash -c 'mkdir -p /srv/broken && cd /srv/broken && seq 2000 |
    sed "s/.*/{\"Item\":{\"OrderId\":{\"S\":\"&\"}}}/" | sed "7s/OrderId/Id/" | gzip >0.json.gz'
  settings --source /srv/broken/
  in_machine systemctl start migrate@orders
  ended
  is ActiveState failed
  is ExecMainStatus 1
  is NRestarts 0
  [ "$(sql 'select count(*) from orders')" = 1999 ]
  settings --source /srv/broken/ --max-rejects 0
  in_machine systemctl start migrate@orders
  ended
  is ActiveState failed
  is ExecMainStatus 65
  is NRestarts 0
}

@test "what does not mend itself is given up in the end" {
  drop_in migrate@orders.service few '[Unit]' StartLimitBurst=3
  # Nothing can be written there.
  in_machine install -d -o ddb-pipe /var/lib/ddb-pipe /var/lib/ddb-pipe/migrate-orders.pid
  run ! in_machine systemctl start migrate@orders
  ended
  is ActiveState failed
  drop_in migrate@orders.service few '[Unit]'
  [ "$(said status=74/ | wc -l)" = 3 ]
  said 'Start request repeated too quickly'
  until_true 10 mailed
}

@test "PostgreSQL goes away in mid-run and comes back: the run is tried again until it is there" {
  settings --source /srv/exports/ -b 2000 --retry-for 1
  start_and_hold
  in_machine systemctl kill -s KILL postgresql
  until_true 60 is NRestarts 1
  said 'status=69'
  in_machine systemctl restart postgresql
  let_go
  ended_well
  run ! in_machine test -e /run/mail
}

@test "a run says how it gets on and that it lives, and is left alone while it waits for PostgreSQL" {
  drop_in migrate@orders.service watch '[Service]' WatchdogSec=4
  start_and_hold
  is ActiveState active
  until_true 10 gets_on
  local seen
  seen=$(property WatchdogTimestampMonotonic)
  until_true 30 watched_since "$((seen + 6000000))"
  is NRestarts 0
  let_go
  ended_well
  drop_in migrate@orders.service watch '[Service]'
}

@test "a run that does not say any more that it lives is killed, and begun again" {
  drop_in migrate@orders.service watch '[Service]' WatchdogSec=4
  start_and_hold
  in_machine kill -STOP "$(pid_of migrate-monitor)"
  until_true 30 is NRestarts 1
  said 'Watchdog timeout (limit 4s)!'
  let_go
  ended_well
  drop_in migrate@orders.service watch '[Service]'
}

@test "other commands run on the files of the service by the recipe of the operations" {
  local recipe
  recipe=$(sed -n '/^    sudo systemd-run /,/[^\\]$/p' "$BATS_TEST_DIRNAME/../../docs/operations.md" |
    sed 's/pictures/orders/g; s/sudo //')
  in_machine bash -c 'mkdir -p /srv/rejected && echo "{\"Item\":{\"Id\":{\"N\":\"1\"}}}" | gzip >/srv/rejected/0.json.gz'
  settings --source /srv/rejected/
  in_machine systemctl start migrate@orders
  ended
  is ExecMainStatus 1
  # Nothing is mended: it is rejected again, which it hears of PostgreSQL with the password of the credential.
  run -1 in_machine bash -c "$recipe"
  [[ $output == *'Rejects that are left: 1'* ]]
  [ "$(in_machine stat -c %U /var/lib/ddb-pipe/migrate-orders.rejects.jsonl)" = ddb-pipe ]
  run -0 in_machine bash -c "${recipe/retry-rejects/reset}"
  [[ $output == *'there is no bookmark in /var/lib/ddb-pipe;'* ]]
}

@test "PostgreSQL by its socket, without a password" {
  printf '%s\n' SERVER=/run/postgresql PG_USER=ddb-pipe PASSWORD= "MIGRATE_RUN_OPTIONS=--source /srv/exports/" |
    in_machine tee /etc/ddb-pipe/orders.env >/dev/null
  in_machine systemctl start migrate@orders
  ended_well
}

@test "a timer: each night a run applies what is new, or ends well if there is nothing" {
  night
  ended_well
  make_increment
  night
  ended
  is Result success
  [ "$(sql "select count(*), max(number) filter (where order_id = 'order-1') from orders")" = "$ITEMS|1000" ]
  night
  ended
  is Result success
  [ "$(said 'The table stands at 2023-11-14T22:33:20Z' | wc -l)" = 2 ]
  in_machine systemctl list-timers 'migrate@*' | grep migrate@orders.service
}

@test "a timer that meets a run on its way leaves it alone" {
  start_and_hold
  local pid
  pid=$(property MainPID)
  night
  is MainPID "$pid"
  is NRestarts 0
  let_go
  ended_well
}

@test "it is enabled for each boot" {
  in_machine systemctl enable migrate@orders.service migrate@orders.timer
  [ "$(in_machine systemctl is-enabled migrate@orders.service migrate@orders.timer | xargs)" = 'enabled enabled' ]
  in_machine systemctl disable migrate@orders.service migrate@orders.timer
}
