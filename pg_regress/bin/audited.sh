# shellcheck shell=bash
# What the tests share that look at the audit of whole servers; sourced after lib.sh. A server is named by its directory.

FAILED=0

# as USER DIRECTORY SQL…: what psql prints, of errors the SQLSTATE. Each argument is a message of its own.
as() {
    local user=$1 directory=$2 statement options=()
    shift 2
    for statement in "$@"; do
        options+=(--command "$statement")
    done
    "$PG_BINDIR/psql" --no-psqlrc --quiet --no-align --tuples-only --set VERBOSITY=sqlstate \
        --host "$(cat "$directory/socket_directory")" --port "$BR_PORT" --username "$user" \
        --dbname "${DATABASE:-audited}" "${options[@]}" 2>&1 || true
}

# check WHAT EXPECTED FOUND
check() {
    if [ "$2" = "$3" ]; then
        tally 1 0
    else
        tally 0 1
        FAILED=1
        printf '%s:\n  expected %s\n  found    %s\n' "$1" "$2" "$3"
    fi
}

# eventually WHAT EXPECTED COMMAND…: asks again until the answer is the expected one, or for far too long.
eventually() {
    local what=$1 expected=$2 since=$SECONDS found
    shift 2
    while found=$("$@"); [ "$found" != "$expected" ] && [ $((SECONDS - since)) -lt 120 ]; do
        sleep 0.1
    done
    check "$what" "$expected" "$found"
}

# What alice sees of a governed table, and what a statement that is refused leaves.
ACME='1|acme|***
3|acme|***'
REFUSED='ERROR:  42P01'

# world DIRECTORY: the database, its policies and their subject.
world() {
    DATABASE=postgres as postgres "$1" 'create database audited'
    check 'the world' '' "$(as postgres "$1" "
        set client_min_messages = warning;
        create extension betweenrows;
        create role alice login;
        create table accounts (id int primary key, org text, secret text);
        insert into accounts values (1, 'acme', 'raw-1'), (2, 'globex', 'raw-2'), (3, 'acme', 'raw-3');
        create table vault (id int);
        grant all on accounts, vault to alice;
        do \$\$ begin
            perform betweenrows.filter_rows('accounts', 'org = ''acme''', 'rows');
            perform betweenrows.mask_column('accounts', 'secret', '''***''', 'mask');
            perform betweenrows.deny_table('vault', 'vault');
        end \$\$")"
}

# reads MARK DIRECTORY: alice reads her rows, and is refused another table; the marks are MARK and MARK!.
reads() {
    check "alice reads, $1" "$ACME
$REFUSED" "$(as alice "$2" "table accounts /* <$1> */" "table vault /* <$1!> */")"
}

# The marks of statements and how these ended, of rows that a query finds.
MARKS="select coalesce(string_agg(substring(original_query from '<(.*)>') || ' ' || status, ', '
    order by substring(original_query from '<(.*)>') collate \"C\"), 'none') from"

# recorded DIRECTORY: of all rows in the table; spooled DIRECTORY: of what only the spool has; status DIRECTORY KEY
recorded() { as postgres "$1" "$MARKS betweenrows.query_audit where username = 'alice'"; }
spooled() {
    as postgres "$1" "$MARKS betweenrows.spooled_audit() s, jsonb_to_record(s) r (original_query text, status text)"
}
status() { as postgres "$1" "select betweenrows.audit_status() ->> '$2'"; }

# flush DIRECTORY
flush() { check "flush" t "$(as postgres "$1" 'select betweenrows.audit_flush(120000)')"; }

# intact DIRECTORY: the hash chain has nothing to say, nor has the audit lost anything.
intact() {
    check "the hash chain" '' "$(as postgres "$1" 'select * from betweenrows.verify_audit()')"
    check "lost or set aside" '0|0' "$(status "$1" dropped)|$(status "$1" files_set_aside)"
}

# set_conf DIRECTORY LINE…: for the next start
set_conf() {
    local directory=$1
    shift
    printf '%s\n' "$@" >>"$directory/data/postgresql.conf"
}

# another_server DIRECTORY: makes what is in DIRECTORY/data, a copy of another server's data, one with a socket of its own
# that is stopped with the script.
another_server() {
    SERVER_SOCKET=$1/socket
    [ ${#SERVER_SOCKET} -le 90 ] || SERVER_SOCKET=$(mktemp -d /tmp/betweenrows.XXXXXX)
    install -d -m 700 -o "$SERVER_USER" "$SERVER_SOCKET"
    printf '%s\n' "$SERVER_SOCKET" >"$1/socket_directory"
    set_conf "$1" "unix_socket_directories = '$SERVER_SOCKET'"
    TEST_SERVERS+=("$1")
}

# uncrashed DIRECTORY…
uncrashed() {
    local directory
    for directory in "$@"; do
        if grep -aE "$CRASH" "$directory/log"; then
            echo "the server crashed, see $directory/log"
            tally 0 1
            FAILED=1
        fi
    done
}
