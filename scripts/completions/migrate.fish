# Completion of `migrate` for fish. Commands and options are asked of `migrate --help`, so that a new one is known here.

function __migrate_profiles --description 'The profiles where migrate looks for them'
    set -l config ~/.config
    set -q XDG_CONFIG_HOME; and set config $XDG_CONFIG_HOME
    for folder in profiles (string split -n : -- "$DDB_PIPE_PROFILES") $config/ddb-pipe/profiles /etc/ddb-pipe/profiles
        for file in $folder/*.toml
            string replace -r '.*/(.*)\.toml$' '$1' -- $file
        end
    end
end

function __migrate_complete --description 'Defines the completions from the text of migrate --help'
    set -l part ''
    set -l commands
    set -l texts
    for line in (migrate --help 2>/dev/null)
        switch $line
            case 'Commands:*'
                set part commands
            case 'Options*'
                set part options
            case ''
                set part ''
        end
        if test "$part" = commands
            string match -qr '^  (?<name>[a-z][a-z-]*) *(?<text>.*)$' -- $line
            or continue
            set -a commands $name
            set -a texts "$text"
        else if test "$part" = options
            set -l option '(-(?<short>[a-zA-Z]))?(, )?(--(?<long>[a-z0-9-]+))?(?<value> [A-Z]\S*)?'
            string match -qr "^ {2,6}$option *(?<text>.*)\$" -- $line
            and test -n "$short$long"
            or continue
            set -l definition
            test -n "$short"; and set -a definition -s $short
            test -n "$long"; and set -a definition -l $long
            switch "$long"
                case profile
                    set -a definition -x -a '(__migrate_profiles; __fish_complete_suffix .toml)'
                case source log-dir
                    set -a definition -x -a '(__fish_complete_directories)'
                case source-type
                    set -a definition -x -a s3-dynamodb
                case target-type
                    set -a definition -x -a postgresql
                case '*'
                    test -n "$value"; and set -a definition -x
            end
            complete -c migrate $definition -d "$text"
        end
    end
    complete -c migrate -f
    for at in (seq (count $commands))
        complete -c migrate -n "not __fish_seen_subcommand_from $commands" -a $commands[$at] -d "$texts[$at]"
    end
end

__migrate_complete
