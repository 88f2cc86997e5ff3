# warmshell.sh: coprocesses for POSIX shells. See docs/coprocess.md and docs/fcli.md. Scripts and tools in dash, bash and
# busybox ash, tools in ksh, too.
#
#   . "$(warm coprocess library)"
#   warm_coprocess foo ./foo-tool        # from now on "foo WORD..." is served by a warm ./foo-tool
#   seq 3 | foo x y z >out.txt 2>err.txt
#
# A tool written in sh becomes a coprocess with its last line:  warm_serve main "$@"
#
# Descriptors 3 to 9 are used within calls; 9 stays open: all coprocesses end when the last process that has it is
# gone. Names that begin with _warm belong to this file.

_warm_nl='
'
_warm_tab='	'
_warm_cr=$(printf '\r.')
_warm_cr=${_warm_cr%.}
_warm_dir=
_warm_pipes=

# Whose mount a pipe without a name belongs to: such a pipe can be opened anew by its /proc name without waiting.
_warm_mount() {
    _warm_id=
    while IFS="$_warm_tab " read -r _warm_k _warm_v; do
        case $_warm_k in mnt_id:) _warm_id=$_warm_v ;; esac
    done 2>/dev/null <"/proc/self/fdinfo/$1"
}

# $1 as a JSON string in plain form, in _warm_q.
_warm_quote() {
    _warm_q=
    _warm_r=$1
    while :; do
        case $_warm_r in
        *[\"\\[:cntrl:]]*) ;;
        *) break ;;
        esac
        _warm_p=${_warm_r%%[\"\\[:cntrl:]]*}
        _warm_r=${_warm_r#"$_warm_p"}
        _warm_c=${_warm_r%"${_warm_r#?}"}
        _warm_r=${_warm_r#?}
        case $_warm_c in
        \") _warm_c='\u0022' ;;
        \\) _warm_c='\u005c' ;;
        "$_warm_nl") _warm_c='\u000a' ;;
        "$_warm_tab") _warm_c='\u0009' ;;
        "$_warm_cr") _warm_c='\u000d' ;;
        *) _warm_c=$(printf '\\u%04x' "'$_warm_c") ;;
        esac
        _warm_q=$_warm_q$_warm_p$_warm_c
    done
    _warm_q=\"$_warm_q$_warm_r\"
}

# The bytes of a string in plain form ($1, without its quotes), in _warm_t. Fails for what is not plain.
_warm_unquote() {
    _warm_t=
    _warm_r=$1
    while :; do
        case $_warm_r in
        *\\*) ;;
        *) break ;;
        esac
        _warm_t=$_warm_t${_warm_r%%\\*}
        _warm_r=${_warm_r#*\\}
        case $_warm_r in
        u0022*) _warm_c=\" ;;
        u005c*) _warm_c=\\ ;;
        u000a*) _warm_c=$_warm_nl ;;
        u0009*) _warm_c=$_warm_tab ;;
        u00[0-7]?* | udc[89a-f]?*)
            _warm_c=${_warm_r#u??}
            _warm_c=${_warm_c%"${_warm_c#??}"}
            _warm_c=$(printf "\\$(printf %o "0x$_warm_c").")
            _warm_c=${_warm_c%.}
            ;;
        *) return 1 ;;
        esac
        _warm_t=$_warm_t$_warm_c
        _warm_r=${_warm_r#?????}
    done
    _warm_t=$_warm_t$_warm_r
}

# ---- clients -------------------------------------------------------------------------------------------------------

# warm_coprocess NAME TOOL [WORD...]: the function NAME calls a warm TOOL. At most WARM_WORKERS (4) at once are warm.
warm_coprocess() {
    case $1 in
    '' | [0-9]* | *[!A-Za-z0-9_]*)
        echo "warm_coprocess: not a name for a function: $1" >&2
        return 2
        ;;
    esac
    if [ -z "$_warm_dir" ]; then
        _warm_dir=$(umask 077 && mktemp -d "${TMPDIR:-/tmp}/warmshell.XXXXXXXX") || return 2
        mkfifo -m 600 "$_warm_dir/life" || return 2
        exec 9<>"$_warm_dir/life"
        _warm_pipes=$(echo | { exec 3<&0 && _warm_mount 3 && echo "$_warm_id"; })
        # Whoever is the last to leave: the directory goes when descriptor 9 is nowhere open any more.
        # In a fork of its own: the script's own "wait" is not to wait for it. A keeper may write its last file while
        # rm is at work, which finds the directory not empty then.
        (sh -c 'cat; for i in 1 2 3 4 5 6 7 8 9; do rm -rf "$0" && break; done' "$_warm_dir" <"$_warm_dir/life" >/dev/null 2>&1 9>&- &)
    fi
    _warm_name=$1
    shift
    _warm_words=
    for _warm_w; do
        _warm_single "$_warm_w"
        _warm_words="$_warm_words $_warm_q"
    done
    eval "_warm_tool_$_warm_name=\$_warm_words"
    eval "$_warm_name() { warm_call $_warm_name \"\$@\"; }"
}

# $1 as one word for eval, in _warm_q.
_warm_single() {
    _warm_q=
    _warm_r=$1
    while :; do
        case $_warm_r in
        *\'*) ;;
        *) break ;;
        esac
        _warm_q=$_warm_q${_warm_r%%\'*}"'\\''"
        _warm_r=${_warm_r#*\'}
    done
    _warm_q="'$_warm_q$_warm_r'"
}

# warm_coprocess_end: let all coprocesses of this script go, unless other processes of it still use them.
warm_coprocess_end() {
    [ -z "$_warm_dir" ] || exec 9>&-
    _warm_dir=
}

# warm_call NAME [WORD...]: what the function NAME does.
warm_call() {
    _warm_name=$1
    shift
    if [ -z "$_warm_dir" ] || [ -e "$_warm_dir/$_warm_name.ordinary" ]; then
        eval "_warm_words=\$_warm_tool_$_warm_name"
        eval "command $_warm_words \"\$@\""
        return
    fi
    _warm_line=
    for _warm_w; do
        _warm_quote "$_warm_w"
        _warm_line=$_warm_line,$_warm_q
    done
    _warm_n=0
    while [ "$_warm_n" -lt "${WARM_WORKERS:-4}" ]; do
        _warm_n=$((_warm_n + 1))
        _warm_at=$_warm_dir/$_warm_name.$_warm_n
        mkdir "$_warm_at.lock" 2>/dev/null || continue
        if [ ${#_warm_line} -gt 32000 ]; then # more than a pipe takes at once: nobody may be there to read it
            rmdir "$_warm_at.lock"
            break
        fi
        if _warm_try "$@" 3<&0 4>&1 5>&2; then
            rmdir "$_warm_at.lock" 2>/dev/null
            return "$_warm_status"
        fi
        rmdir "$_warm_at.lock" 2>/dev/null
    done
    eval "_warm_words=\$_warm_tool_$_warm_name"
    eval "command $_warm_words \"\$@\""
}

# Serve the call by the worker at $_warm_at, whose lock is held; fails if nothing has been started.
_warm_try() {
    [ ! -e "$_warm_at.gone" ] || _warm_forget
    if [ ! -p "$_warm_at.request" ]; then
        _warm_first "$@"
    else
        _warm_later
    fi
}

_warm_forget() {
    rm -f "$_warm_at.request" "$_warm_at.response" "$_warm_at.in" "$_warm_at.out" "$_warm_at.err" "$_warm_at.gone"
}

# Start the tool with the words and the streams of this call: if it is no coprocess, it has done its work then.
_warm_first() {
    mkfifo -m 600 "$_warm_at.request" "$_warm_at.response" "$_warm_at.in" "$_warm_at.out" "$_warm_at.err" || return 1
    exec 6<>"$_warm_at.request" 7<>"$_warm_at.response"
    eval "_warm_words=\$_warm_tool_$_warm_name"
    eval "_warm_keep $_warm_words \"\$@\""
    _warm_ask "{\"argv\":[\"$_warm_name\"$_warm_line]}"
    case $_warm_answer in *'"exit":true'*) ! _warm_unread || _warm_answer= ;; esac
    exec 6>&- 7>&-
    case $_warm_answer in
    *'"streams"'* | *'"exit":true'*) ;;
    *)
        : >"$_warm_dir/$_warm_name.ordinary"
        : >"$_warm_at.stop"
        [ ! -s "$_warm_at.pid" ] || kill "$(cat "$_warm_at.pid")" 2>/dev/null
        ;;
    esac
    return 0
}

# The keeper of one worker: makes a line of its end, and ends it when the script has ended. It is a program of its own,
# as a fork of this shell would have the streams that this shell has saved somewhere.
_warm_keeper='
at=$0 life=$1
shift
self=
read -r self rest 2>/dev/null </proc/self/stat
export FCLI_VERSION=1 FCLI_REQUEST_FIFO=$at.request FCLI_RESPONSE_FIFO=$at.response FCLI_STREAMS=1 FCLI_CLIENT_PID=$self
"$@" <&3 >&4 2>&5 3<&- 4>&- 5>&- 6>&- 7>&- &
pid=$!
exec 3<&- 4>&- 5>&-
echo "$pid" >"$at.pid"
(
    exec 7>&-
    cat "$life" &
    job=$!
    trap "kill \$job; exit 0" TERM
    wait "$job"
    exec 6>&-
    sleep 1 &
    job=$!
    wait "$job"
    kill "$pid"
    sleep 1 &
    job=$!
    wait "$job"
    kill -9 "$pid"
) &
holder=$!
exec 6>&-
wait "$pid"
status=$?
: >"$at.gone"
echo "{\"status\":$status,\"exit\":true}" >&7
kill "$holder"
'

_warm_keep() {
    (command sh -c "$_warm_keeper" "$_warm_at" "$_warm_dir/life" "$@" </dev/null >/dev/null 2>&1 9>&- &)
}

_warm_ask() {
    echo "$1" >&6
    IFS= read -r _warm_answer <&7 || _warm_answer='{"status":125}'
    _warm_status=${_warm_answer#*\"status\"}
    _warm_status=${_warm_status#*[: ]}
    _warm_status=${_warm_status#"${_warm_status%%[0-9]*}"}
    _warm_status=${_warm_status%%[!0-9]*}
}

# A warm worker opens the streams by name: pipes directly, everything else through FIFOs.
_warm_later() {
    exec 6<>"$_warm_at.request" 7<>"$_warm_at.response"
    if [ -e "$_warm_at.gone" ]; then # it ended before it was asked
        exec 6>&- 7>&-
        _warm_forget
        return 1
    fi
    _warm_cat4=
    _warm_cat5=
    _warm_feeder=
    IFS="$_warm_tab " read -r _warm_self _warm_v </proc/self/stat || _warm_self=
    _warm_request="{\"argv\":[\"$_warm_name\"$_warm_line]"
    _warm_environment
    _warm_quote "$PWD"
    _warm_request="$_warm_request,\"cwd\":$_warm_q"
    if _warm_direct 3; then :; else
        _warm_path=$_warm_at.in
        cat <&3 >"$_warm_path" 2>/dev/null 4>&- 5>&- 6>&- 7>&- 9>&- &
        _warm_feeder=$!
    fi
    _warm_place stdin
    _warm_out 4 stdout out
    _warm_out 5 stderr err
    _warm_ask "$_warm_request}"
    _warm_missed=1
    case $_warm_answer in
    *'"exit":true'*)
        ! _warm_unread || _warm_missed=0
        _warm_release
        ;;
    esac
    exec 6>&- 7>&-
    [ -z "$_warm_feeder" ] || kill "$_warm_feeder" 2>/dev/null
    [ -z "$_warm_cat4" ] || wait "$_warm_cat4"
    [ -z "$_warm_cat5" ] || wait "$_warm_cat5"
    [ "$_warm_missed" = 1 ]
}

# Whether the request that was written is still in the pipe: what ended has certainly not begun it.
_warm_unread() {
    echo >&6
    IFS= read -r _warm_v <&6
    [ -n "$_warm_v" ]
}

_warm_out() {
    if [ "$1" = 5 ] && [ -n "$_warm_self" ] && [ "/proc/$_warm_self/fd/4" -ef "/proc/$_warm_self/fd/5" ]; then
        _warm_place "$2" # one stream: the path of the other, so that their order is kept
        return
    fi
    if _warm_direct "$1"; then :; else
        _warm_path=$_warm_at.$3
        cat <"$_warm_path" >&"$1" 3<&- 6>&- 7>&- 9>&- &
        eval "_warm_cat$1=\$!"
    fi
    _warm_place "$2"
}

_warm_place() {
    _warm_quote "$_warm_path"
    _warm_request="$_warm_request,\"$1\":$_warm_q"
}

# Whether descriptor $1 may be opened anew; how, in _warm_path.
_warm_direct() {
    _warm_path=/proc/$_warm_self/fd/$1
    [ -n "$_warm_self" ] && [ -e "$_warm_path" ] || return 1
    [ ! "$_warm_path" -ef /dev/null ] || return 0
    [ -p "$_warm_path" ] || return 1
    _warm_mount "$1"
    [ -n "$_warm_id" ] && [ "$_warm_id" = "$_warm_pipes" ]
}

# The variables that WARM_ENV names, as they are now; others are as they were when the tool was started.
_warm_environment() {
    [ -n "${WARM_ENV-}" ] || return 0
    _warm_pairs=
    _warm_ifs=${IFS-unset}
    unset IFS
    for _warm_v in $WARM_ENV; do
        if eval "[ -n \"\${$_warm_v+x}\" ]"; then
            eval "_warm_quote \"\$$_warm_v\""
        else
            _warm_q=null
        fi
        _warm_pairs="$_warm_pairs,\"$_warm_v\":$_warm_q"
    done
    [ "$_warm_ifs" = unset ] || IFS=$_warm_ifs
    _warm_request="$_warm_request,\"env\":{${_warm_pairs#,}}"
}

# The worker has ended: nobody opens the other ends of its FIFOs any more.
_warm_release() {
    for _warm_v in in out err; do
        : 6<>"$_warm_at.$_warm_v"
    done
}

# ---- tools ---------------------------------------------------------------------------------------------------------

# warm_serve FUNCTION [WORD...]: run FUNCTION WORD..., or, started by an FCLI client, for each request in a fork.
warm_serve() {
    _warm_main=$1
    shift
    if [ "${FCLI_VERSION-}" != 1 ] || [ "${FCLI_CLIENT_PID:-$PPID}" != "$PPID" ]; then
        unset FCLI_VERSION FCLI_REQUEST_FIFO FCLI_RESPONSE_FIFO FCLI_CLIENT_PID FCLI_STREAMS FCLI_LOG
        "$_warm_main" "$@"
        return
    fi
    exec 6<"$FCLI_REQUEST_FIFO" 7>"$FCLI_RESPONSE_FIFO"
    _warm_let_go=${FCLI_STREAMS-}
    _warm_log=${FCLI_LOG:-/dev/null}
    _warm_hello=',"version":1,"features":["cd","cwd","echo","env","flush","streams","umask","version"]'
    _warm_more=$_warm_hello
    unset FCLI_VERSION FCLI_REQUEST_FIFO FCLI_RESPONSE_FIFO FCLI_CLIENT_PID FCLI_STREAMS FCLI_LOG
    while IFS= read -r _warm_line <&6; do
        _warm_status=0
        _warm_in= _warm_out= _warm_err= _warm_cwd= _warm_umask= _warm_count=0 _warm_kind= _warm_text=
        if _warm_split; then
            _warm_request
        else
            _warm_status=2
            _warm_more="$_warm_more,\"error\":\"not a request in plain form\""
        fi
        echo "{\"status\":$_warm_status$_warm_more}" >&7
        _warm_more=
    done
    exit 0
}

_warm_request() {
    case $_warm_kind in
    argv)
        eval "_warm_invoke $_warm_argv"
        if [ -n "$_warm_let_go" ]; then # readers of what it was started with wait for its end
            _warm_let_go=
            exec </dev/null >/dev/null
            exec 2>>"$_warm_log" || exec 2>/dev/null
        fi
        ;;
    cd) command cd "$_warm_text" 2>/dev/null || _warm_status=1 ;;
    env) _warm_export ;;
    echo)
        _warm_quote "$_warm_text"
        _warm_more="$_warm_more,\"echo\":$_warm_q"
        ;;
    version) _warm_more=$_warm_hello ;;
    flush) ;;
    *)
        _warm_status=2
        _warm_more="$_warm_more,\"error\":\"no request that is known\""
        ;;
    esac
}

# Run the function in a fork, with everything that the request names.
_warm_invoke() {
    (
        exec 6<&- 7>&-
        [ -z "$_warm_in" ] || exec <"$_warm_in" || exit 126
        [ -z "$_warm_out" ] || exec >>"$_warm_out" || exit 126
        [ -z "$_warm_err" ] || exec 2>>"$_warm_err" || exit 126
        [ -z "$_warm_cwd" ] || command cd "$_warm_cwd" || exit 126
        [ -z "$_warm_umask" ] || umask "$_warm_umask"
        _warm_export
        shift
        "$_warm_main" "$@"
    )
    _warm_status=$?
}

_warm_export() {
    while [ "$_warm_count" -gt 0 ]; do
        eval "_warm_v=\$_warm_n$_warm_count"
        case $_warm_v in
        '' | [0-9]* | *[!A-Za-z0-9_]*) ;; # no shell can hold it
        *)
            if eval "[ -n \"\${_warm_v$_warm_count+x}\" ]"; then
                eval "$_warm_v=\$_warm_v$_warm_count && export $_warm_v"
            else
                unset "$_warm_v"
            fi
            ;;
        esac
        _warm_count=$((_warm_count - 1))
    done
}

# Take $_warm_line apart at its quotes, which are always syntax in plain form.
_warm_split() {
    case $- in *f*) _warm_f= ;; *) _warm_f=1 ;; esac
    _warm_ifs=$IFS
    set -f
    IFS=\"
    set -- $_warm_line
    IFS=$_warm_ifs
    [ -z "$_warm_f" ] || set +f
    _warm_argv=
    shift
    while [ $# -ge 2 ]; do
        _warm_k=$1
        _warm_sep=$2
        shift 2
        [ -n "$_warm_kind" ] || _warm_kind=$_warm_k
        case $_warm_k in
        argv)
            while [ $# -ge 2 ]; do
                _warm_unquote "$1" || return 1
                _warm_single "$_warm_t"
                _warm_argv="$_warm_argv $_warm_q"
                _warm_sep=$2
                shift 2
                case $_warm_sep in *]*) break ;; esac
            done
            ;;
        env)
            case $_warm_sep in *\}*) continue ;; esac
            while [ $# -ge 2 ]; do
                _warm_unquote "$1" || return 1
                _warm_count=$((_warm_count + 1))
                eval "_warm_n$_warm_count=\$_warm_t"
                _warm_sep=$2
                shift 2
                case $_warm_sep in
                *null*) unset "_warm_v$_warm_count" ;;
                *)
                    _warm_unquote "$1" || return 1
                    eval "_warm_v$_warm_count=\$_warm_t"
                    _warm_sep=$2
                    shift 2
                    ;;
                esac
                case $_warm_sep in *\}*) break ;; esac
            done
            ;;
        flush | version) ;;
        *)
            _warm_unquote "${1-}" || return 1
            case $_warm_k in
            cwd) _warm_cwd=$_warm_t ;;
            umask) _warm_umask=$_warm_t ;;
            stdin) _warm_in=$_warm_t ;;
            stdout) _warm_out=$_warm_t ;;
            stderr) _warm_err=$_warm_t ;;
            *) _warm_text=$_warm_t ;;
            esac
            [ $# -ge 2 ] || return 0
            shift 2
            ;;
        esac
    done
    [ -n "$_warm_kind" ]
}

# ---- a shell as a coprocess: the function that serves  sh -c SCRIPT  ------------------------------------------------

_warm_shell() {
    case $1 in
    -*c*)
        _warm_text=${1#-}
        while [ -n "$_warm_text" ]; do
            case $_warm_text in e*) set -e ;; u*) set -u ;; x*) _warm_k=x ;; esac
            _warm_text=${_warm_text#?}
        done
        _warm_text=$2
        shift 2
        [ $# -eq 0 ] || shift
        unset _warm_argv _warm_request _warm_line
        if [ "$_warm_k" = x ]; then set -x; fi
        eval "$_warm_text"
        ;;
    esac
}
