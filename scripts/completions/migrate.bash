# shellcheck shell=bash
#
# Completion of `migrate` for bash. Commands and options are asked of `migrate --help`, so that a new one is known here.

# _migrate_profiles: prints the names of the profiles where `migrate` looks for them.
_migrate_profiles() {
  local folder folders
  IFS=: read -ra folders <<<"profiles:${DDB_PIPE_PROFILES:-}"
  for folder in "${folders[@]}" "${XDG_CONFIG_HOME:-$HOME/.config}/ddb-pipe/profiles" /etc/ddb-pipe/profiles; do
    [ -z "$folder" ] || compgen -G "$folder/*.toml" | sed 's#.*/##; s#\.toml$##'
  done
}

# _migrate_files ACTION [PATTERN]: completes paths.
_migrate_files() {
  compopt -o filenames 2>/dev/null
  mapfile -t COMPREPLY < <(compgen "$@" -- "$current")
}

_migrate() {
  local current=$2 option=$3 help commands options word
  COMPREPLY=()
  # To bash `--option=value` is three words.
  if [ "$current" = = ]; then
    current=''
  elif [ "$option" = = ]; then
    option=${COMP_WORDS[COMP_CWORD - 2]}
  fi
  help=$("$1" --help 2>/dev/null) || return 0
  case $option in
    -p | --profile)
      if [[ $current == */* ]]; then
        _migrate_files -f
      else
        mapfile -t COMPREPLY < <(compgen -W "$(_migrate_profiles | sort -u)" -- "$current")
      fi
      return
      ;;
    --source | --log-dir) _migrate_files -d && return ;;
    --source-type) commands=s3-dynamodb options='' ;;
    --target-type) commands=postgresql options='' ;;
    *)
      # Of what else has a value nothing is known.
      ! grep -qE "^ +(-[a-z], )?$option [A-Z]" <<<"$help" || return 0
      commands=$(sed -nE '/^Commands:/,/^$/s/^  ([a-z][a-z-]*).*/\1/p' <<<"$help")
      options=$(sed -nE '/^Options/,/^$/s/^ {2,6}(-[a-zA-Z])?(, )?(--[a-z0-9-]+)?.*/\1 \3/p' <<<"$help")
      for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        ! grep -qxF -e "$word" <<<"$commands" || { commands='' && break; }
      done
      ;;
  esac
  # Options where one begins, or where nothing else can come.
  if [[ $current == -* || -z $commands ]]; then
    commands=$options
  fi
  mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$current")
}

complete -F _migrate migrate
