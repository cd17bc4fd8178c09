# shellcheck shell=bash
# The daemon of `make up`, below the server that it has its store on: they are made and removed together. Sourced after
# lib.sh. Its files, all but the program closed to other accounts:
#
#   betweenrowsd   the program, a copy, so that a build does not change what runs
#   config.toml    its settings, with the administrator's password
#   state/         its keys
#   address        where it listens, once it does
#   pid, log, log.1
CONTROL=$BR_DATA_DIR/server/daemon
CONTROL_ROLE=betweenrowsd
CONTROL_PORT=54380

# A number in a file may belong to another process by now.
control_runs() {
    control_pid=$(cat "$CONTROL/pid" 2>/dev/null) && [ "/proc/$control_pid/exe" -ef "$CONTROL/betweenrowsd" ]
}

# control_setting KEY: of its configuration.
control_setting() { sed -n "s/^$1 = \"\(.*\)\"$/\1/p" "$CONTROL/config.toml"; }

stop_control() {
    control_runs || return 0
    kill "$control_pid"
    for _ in {1..250}; do
        control_runs || return 0
        sleep 0.1
    done
    say "the daemon does not end, it is killed"
    kill -KILL "$control_pid"
}

# The port that was asked for; else that of the last time, or the default one, or any when somebody else has that.
control_port() {
    local port=${BR_API_PORT:-}
    if [ -z "$port" ]; then
        port=$(sed 's/.*://' "$CONTROL/address" 2>/dev/null || echo $CONTROL_PORT)
        if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
            port=0
        fi
    fi
    echo "$port"
}

# start_control PROGRAM DATABASE_URL: unless that program runs already, where it should.
start_control() {
    local password port address=''
    if control_runs && cmp -s "$1" "$CONTROL/betweenrowsd" &&
        [ "${BR_API_PORT:-$(sed 's/.*://' "$CONTROL/address")}" = "$(sed 's/.*://' "$CONTROL/address")" ]; then
        return
    fi
    stop_control
    install -d -m 755 "$CONTROL"
    install -d -m 700 -o "$SERVER_USER" "$CONTROL/state"
    install -m 755 "$1" "$CONTROL/betweenrowsd"
    if [ -f "$CONTROL/config.toml" ]; then
        password=$(control_setting admin_password)
    else
        password=Br-$(od -An -N9 -tx1 /dev/urandom | tr -d ' \n')
    fi
    port=$(control_port)
    (umask 077 && cat >"$CONTROL/config.new") <<TOML
database_url = "$2"
bind_addr = "127.0.0.1:$port"
state_dir = "$CONTROL/state"
engine_file = "$PG_PKGLIBDIR/betweenrows_engine.cwasm"
admin_user = "admin"
admin_password = "$password"
TOML
    chown "$SERVER_USER" "$CONTROL/config.new"
    mv "$CONTROL/config.new" "$CONTROL/config.toml"

    say "starting the daemon"
    [ ! -f "$CONTROL/log" ] || mv "$CONTROL/log" "$CONTROL/log.1"
    install -m 600 -o "$SERVER_USER" /dev/null "$CONTROL/log"
    install -m 600 -o "$SERVER_USER" /dev/null "$CONTROL/pid"
    # shellcheck disable=SC2016 # for that shell
    run_as_server env -i PATH="$PATH" setsid --fork sh -c \
        'cd "$1" && echo $$ >pid && exec "$1/betweenrowsd" --config "$1/config.toml" serve </dev/null >>log 2>&1' sh "$CONTROL"
    for _ in {1..300}; do
        address=$(sed -n 's/.* listening address=\([^ ]*\).*/\1/p' "$CONTROL/log")
        if [ -n "$address" ] && curl --silent --fail --output /dev/null "http://$address/ready"; then
            echo "$address" >"$CONTROL/address"
            return
        fi
        [ ! -s "$CONTROL/pid" ] || control_runs || break
        sleep 0.1
    done
    tail -n 30 "$CONTROL/log" >&2
    die "the daemon did not start, its log is $CONTROL/log; BR_API_PORT chooses another port"
}
