#compdef migrate
#
# Completion of `migrate` for zsh. Commands and options are asked of `migrate --help`, so that a new one is known here.

# _migrate_profiles: the profiles where `migrate` looks for them, and paths.
_migrate_profiles() {
  local -a folders names
  folders=(profiles ${(s.:.)DDB_PIPE_PROFILES} ${XDG_CONFIG_HOME:-$HOME/.config}/ddb-pipe/profiles)
  folders+=(/etc/ddb-pipe/profiles)
  names=(${^folders}/*.toml(N:t:r))
  _alternative "profiles:profile:compadd -a names" 'files:file:_files -g "*.toml"'
}

_migrate() {
  local line part text value
  local -a commands specs names
  for line in ${(f)"$(_call_program commands $words[1] --help 2>/dev/null)"}; do
    case $line in
      (Commands:*) part=commands && continue ;;
      (Options*) part=options && continue ;;
      ([^ ]*) part='' ;;
    esac
    if [[ $part == commands && $line =~ '^  ([a-z][a-z-]*) *(.*)$' ]]; then
      commands+=("$match[1]:$match[2]")
    elif [[ $part == options && $line =~ '^ {2,6}(-[a-zA-Z])?(, )?(--[a-z0-9-]+)?( [A-Z][^ ]*)? *(.*)$' ]]; then
      names=(${match[1]:+$match[1]} ${match[3]:+$match[3]})
      (( $#names )) || continue
      value=${match[4]# } text=${match[5]//\]/\\]}
      case $names[-1] in
        (--profile) value=":profile:_migrate_profiles" ;;
        (--source | --log-dir) value=":folder:_files -/" ;;
        (--source-type) value=":type:(s3-dynamodb)" ;;
        (--target-type) value=":type:(postgresql)" ;;
        (*) value=${value:+":${value//:/\\:}: "} ;;
      esac
      for line in $names; do
        specs+=("($names)${line}${${(M)line:#--*}:+${value:+=}}[$text]$value")
      done
    fi
  done
  _arguments -s $specs "1:command:{_describe command commands}"
}

_migrate "$@"
