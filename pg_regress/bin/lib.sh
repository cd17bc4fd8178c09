# shellcheck shell=bash
# What the scripts beside this file share; sourced, never run. Everything these scripts write lies in two places:
#
#   BR_DATA_DIR   this clone's servers, builds and results; .data/ in the clone
#   BR_CACHE_DIR  what every clone of this user can use again: other majors of PostgreSQL, sources, build products
#
# Nothing is installed into the system's PostgreSQL. Servers run from a private copy of it in BR_DATA_DIR, so a
# cluster that runs on this machine never meets our library, and two clones never meet each other's.
set -euo pipefail

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
BIN=$ROOT/pg_regress/bin

# The caller's PGHOST, PGOPTIONS and the like must not reach a test. RUST_BACKTRACE would put backtraces into DETAIL.
mapfile -t inherited < <(compgen -e | grep '^PG' || true)
unset RUST_BACKTRACE "${inherited[@]}" inherited
export LC_ALL=C.UTF-8
# The daemon's queries are checked against what is kept in daemon/.sqlx, not against whatever DATABASE_URL names.
export SQLX_OFFLINE=true

BR_PG=${BR_PG:-15}
BR_PORT=${BR_PORT:-54329}
BR_DATABASE=shop
BR_CACHE_DIR=${BR_CACHE_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/betweenrows}
export BR_PG BR_PORT BR_DATABASE BR_CACHE_DIR
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$BR_CACHE_DIR/target}

# What a server's log says when a backend crashed; it recovers so quickly that a client may see nothing of it.
CRASH='PANIC: |TRAP: |was terminated by signal'

say() { printf '==> %s\n' "$*" >&2; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }

# run_as_server COMMAND…: as the account that servers run as. PostgreSQL refuses to run as root, everyone else is
# their own server account. It runs in RUN_IN, else in /: the caller's directory may be closed to that account.
if [ "$(id -u)" = 0 ]; then
    SERVER_USER=postgres
    run_as_server() { (cd "${RUN_IN:-/}" && exec runuser -u postgres -- "$@"); }
else
    SERVER_USER=$(id -un)
    run_as_server() { (cd "${RUN_IN:-/}" && exec "$@"); }
fi

# Counts for the closing line of `make test`: tally PASSED FAILED. Without a collector it does nothing.
tally() {
    if [ -n "${BR_TALLY:-}" ]; then
        printf '%s %s\n' "$1" "$2" >>"$BR_TALLY"
    fi
}

# Picks BR_DATA_DIR and makes it. A clone below a directory that is closed to the server's account (root's home, say)
# cannot hold a server's data, it then goes to /var/tmp under a name that belongs to this clone.
use_data_dir() {
    if [ -z "${BR_DATA_DIR:-}" ]; then
        BR_DATA_DIR=$ROOT/.data
        if ! run_as_server test -x "$ROOT"; then
            BR_DATA_DIR=/var/tmp/betweenrows-$(id -u)-$(printf %s "$ROOT" | cksum | cut -d' ' -f1)
            say "account $SERVER_USER cannot enter $ROOT: data is kept in $BR_DATA_DIR"
        fi
    fi
    mkdir -p "$BR_DATA_DIR"
    [ -O "$BR_DATA_DIR" ] || die "$BR_DATA_DIR belongs to somebody else; set BR_DATA_DIR"
    chmod 755 "$BR_DATA_DIR"
    run_as_server test -x "$BR_DATA_DIR" || die "account $SERVER_USER cannot enter $BR_DATA_DIR; set BR_DATA_DIR"
    export BR_DATA_DIR
}

# pg N: sets PG_BINDIR, PG_PKGLIBDIR, PG_SHAREDIR, PG_TOOLS of this clone's private copy of major N, and PG_CONFIG
# of the installation that it was copied from. The installation only serves headers and tools.
pg() {
    local major=$1 source copy
    PG_CONFIG=$("$BIN/pg-config" "$major")
    source=$("$PG_CONFIG" --bindir)
    copy=$BR_DATA_DIR/pg/$major
    exec {lock}>"$BR_DATA_DIR/pg.lock"
    flock "$lock"
    if [ "$(cat "$copy/version" 2>/dev/null)" != "$("$source/postgres" --version)" ]; then
        say "copying PostgreSQL $major into $copy"
        rm -rf "$copy"
        mkdir -p "$copy"
        # A copy finds its files through the way from the program to them, which has to stay the same.
        if [[ $source == /usr/lib/postgresql/* ]]; then
            mkdir -p "$copy/lib/postgresql" "$copy/share/postgresql"
            cp -a "/usr/lib/postgresql/$major" "$copy/lib/postgresql/"
            cp -aL "/usr/share/postgresql/$major" "$copy/share/postgresql/"
        else
            cp -a "$BR_CACHE_DIR/pg/$major/." "$copy/"
        fi
        "$source/postgres" --version >"$copy/version"
    fi
    exec {lock}>&-

    if [[ $source == /usr/lib/postgresql/* ]]; then
        PG_BINDIR=$copy/lib/postgresql/$major/bin
    else
        PG_BINDIR=$copy${source#"$BR_CACHE_DIR/pg/$major"}
    fi
    PG_PKGLIBDIR=$("$PG_BINDIR/pg_config" --pkglibdir)
    PG_SHAREDIR=$("$PG_BINDIR/pg_config" --sharedir)
    # The copy's programs look for their libpq where they were compiled for, and would take the system's.
    [ ! -e "$copy/lib/libpq.so.5" ] || export LD_LIBRARY_PATH=$copy/lib
    PG_TOOLS=$(realpath "$(dirname "$("$PG_BINDIR/pg_config" --pgxs)")/../test")
}

# install_extension N: builds this clone's extension for major N and puts it into the private copy.
# A running server has the old library and engine mapped: they are removed and written anew, never overwritten.
install_extension() {
    local engine
    engine=$("$BIN/engine")
    "$BIN/build" "$1"
    pg "$1"
    rm -f "$PG_PKGLIBDIR"/betweenrows{.so,_engine.cwasm} "$PG_SHAREDIR"/extension/betweenrows{.control,--*.sql}
    install -m 755 "$BR_DATA_DIR/build/$1/betweenrows.so" "$PG_PKGLIBDIR/"
    install -m 644 "$engine" "$PG_PKGLIBDIR/betweenrows_engine.cwasm"
    install -m 644 "$ROOT/extension/betweenrows.control" "$ROOT"/sql/betweenrows--*.sql "$PG_SHAREDIR/extension/"
}

# make_cluster DIRECTORY [OPTION…]: a new cluster in DIRECTORY/data, with its socket in SERVER_SOCKET. Only this socket is
# listened on; it trusts every role, so its directory is closed to other accounts. The options are for initdb.
make_cluster() {
    local dir=$1
    shift
    mkdir -p "$dir"
    chown "$SERVER_USER" "$dir"
    SERVER_SOCKET=$dir/socket
    # A socket's path has room for 107 bytes, ".s.PGSQL.54329" included.
    if [ ${#SERVER_SOCKET} -gt 90 ]; then
        SERVER_SOCKET=$(mktemp -d /tmp/betweenrows.XXXXXX)
        say "$dir is too long a path for a socket: it is in $SERVER_SOCKET"
    fi
    install -d -m 700 -o "$SERVER_USER" "$SERVER_SOCKET"
    printf '%s\n' "$SERVER_SOCKET" >"$dir/socket_directory"
    run_as_server "$PG_BINDIR/initdb" --pgdata "$dir/data" --username postgres --auth trust \
        --encoding UTF8 --no-locale --no-sync "$@" >"$dir/initdb.log" || die "initdb failed, see $dir/initdb.log"
    cat >>"$dir/data/postgresql.conf" <<CONF
listen_addresses = ''
unix_socket_directories = '$SERVER_SOCKET'
port = $BR_PORT
CONF
}

# server_port DIRECTORY: which may have been made with another BR_PORT.
server_port() { sed -n 's/^port = //p' "$1/data/postgresql.conf" | tail -n 1; }

server_runs() { run_as_server "$PG_BINDIR/pg_ctl" --pgdata "$1/data" status >/dev/null 2>&1; }

# start_server DIRECTORY, stop_server DIRECTORY: the latter may be called in any state.
start_server() {
    run_as_server "$PG_BINDIR/pg_ctl" --pgdata "$1/data" --log "$1/log" --wait --silent start && return
    tail -n 30 "$1/log" >&2
    die "the server did not start, its log is $1/log"
}

stop_server() {
    if server_runs "$1"; then
        # A backend that hangs must not keep a script from ending; the next start recovers.
        run_as_server "$PG_BINDIR/pg_ctl" --pgdata "$1/data" --mode fast --wait --timeout 30 --silent stop ||
            run_as_server "$PG_BINDIR/pg_ctl" --pgdata "$1/data" --mode immediate --wait --silent stop
    fi
}

# with_test_server NAME N PRELOAD: a throw-away server of major N in BR_DATA_DIR/run/NAME, stopped when the script
# ends. Results and the server's log stay there. Connect with --host "$SERVER_SOCKET" --port "$BR_PORT".
TEST_SERVERS=()
with_test_server() {
    SERVER_DIR=$BR_DATA_DIR/run/$1
    pg "$2"
    if [ -d "$SERVER_DIR" ]; then
        stop_server "$SERVER_DIR"
        remove_cluster "$SERVER_DIR"
    fi
    make_cluster "$SERVER_DIR"
    cat "$ROOT/pg_regress/postgresql.conf" - >>"$SERVER_DIR/data/postgresql.conf" <<CONF
shared_preload_libraries = '$3'
CONF
    TEST_SERVERS+=("$SERVER_DIR")
    trap 'for dir in "${TEST_SERVERS[@]}"; do stop_server "$dir"; done' EXIT
    start_server "$SERVER_DIR"
}

# remove_cluster DIRECTORY: the directory and its socket's, wherever that is.
remove_cluster() {
    local socket
    socket=$(cat "$1/socket_directory" 2>/dev/null || true)
    rm -rf "$1" ${socket:+"$socket"}
}

# Clones share the target directory, and cargo takes what another one built for this one's when it is younger than the
# files here: whoever comes after another clone makes its own files the youngest.
claim_builds() {
    [ "$(cat "$CARGO_TARGET_DIR/clone" 2>/dev/null)" != "$ROOT" ] || return 0
    find "$ROOT"/{policy,extension,decision,engine,daemon,pg_regress} -name '*.rs' -exec touch {} +
    mkdir -p "$CARGO_TARGET_DIR"
    printf '%s\n' "$ROOT" >"$CARGO_TARGET_DIR/clone"
}

use_data_dir
claim_builds
