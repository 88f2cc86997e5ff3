/* The way of a call that goes well, for servers: what server.py and child.py do, without touching the memory that
   Python code touches, each page of which is copied for every call.

   An extension module that is compiled without Python's headers, once for all versions: it uses few functions of the
   stable interface, declared here. It hands everything out of the ordinary to the Python code, in the state that it
   has come to. Requests are those of wire.py, the table of what is watched is made by watch.py. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* --- of Python */

typedef struct object object;
struct method { const char *name; object *(*function)(object *, object *); int flags; const char *doc; };
struct definition {
    ssize_t references;
    void *type, *initialize;
    ssize_t index;
    object *copy;
    const char *name, *doc;
    ssize_t size;
    struct method *methods;
    void *slots, *traverse, *clear, *release;
};
enum { WITH_ARGUMENTS = 1, WITHOUT_ARGUMENTS = 4, INTERFACE = 3 };

extern object *PyModule_Create2(struct definition *, int);
extern int PyArg_ParseTuple(object *, const char *, ...);
extern object *Py_BuildValue(const char *, ...);
extern object *PyBytes_FromStringAndSize(const char *, ssize_t);
extern object *PyUnicode_DecodeFSDefaultAndSize(const char *, ssize_t);
extern int PyList_Append(object *, object *);
extern void Py_IncRef(object *), Py_DecRef(object *);
extern int PyBytes_AsStringAndSize(object *, char **, ssize_t *);
extern int PyErr_CheckSignals(void);
extern object *PyErr_NoMemory(void);
extern void PyOS_BeforeFork(void), PyOS_AfterFork_Parent(void), PyOS_AfterFork_Child(void);

/* --- what a server is */

enum { ROOM = 65536, BLOCK = 4096, DESCRIPTORS = 4, READING_MS = 10000, NOTHING = 0, INCOMING, RUNNING, CHILD, TOLD, STREAMS };

struct text { char *data; ssize_t length; };

static const int HANDLED[] = {SIGCHLD, SIGTERM};
static struct sigaction before[2];
static volatile sig_atomic_t told;
static pid_t server;
static object *lists[2]; /* sys.argv and sys.orig_argv */
static struct text key, cwd, environment, table, name, own;
static int listener, wake, wake_end, directory, guard, guard_high, counts_cwd;
static int streams_are = -1, streams_were = -1; /* kinds: what Python's are made for, -2 if for none; those of the last call */
static long served;
static double used;
static char request[ROOM];

static int keep(struct text *kept, object *bytes) {
    char *data;
    if (PyBytes_AsStringAndSize(bytes, &data, &kept->length)) return 0;
    free(kept->data);
    if (!(kept->data = malloc(kept->length + 1))) return PyErr_NoMemory(), 0;
    memcpy(kept->data, data, kept->length + 1);
    return 1;
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

static void say(int link, const char *text) {
    if (send(link, text, strlen(text), MSG_DONTWAIT | MSG_NOSIGNAL) < 0) return; /* it has gone */
}

/* --- what is watched: folders, each with names and what they were */

struct record { int64_t kind, numbers[6]; };

static int is_as_it_was(int folder, const char *path, const struct record *was) {
    struct stat found;
    if (fstatat(folder, path, &found, *path ? 0 : AT_EMPTY_PATH)) return was->kind == 'N';
    int64_t modified = found.st_mtim.tv_sec * 1000000000LL + found.st_mtim.tv_nsec;
    int64_t changed = found.st_ctim.tv_sec * 1000000000LL + found.st_ctim.tv_nsec;
    int64_t kind = S_ISREG(found.st_mode) ? 'R' : S_ISDIR(found.st_mode) ? 'D' : 'O';
    int64_t is[6] = {found.st_mode, found.st_ino, found.st_dev, found.st_size, modified, changed};
    size_t count = 6;
    if (was->kind == 'L') is[3] = modified, count = 4;
    else if (was->kind != kind) return 0;
    else if (kind == 'D') count = 3;
    else if (kind == 'O') is[1] = found.st_rdev, count = 2;
    return !memcmp(is, was->numbers, count * sizeof *is);
}

static int has_changed(void) {
    const char *at = table.data, *end = table.data + table.length;
    int folder = AT_FDCWD, same = 1;
    while (same && at < end) {
        struct record was;
        memcpy(&was, at, sizeof was);
        const char *path = at + sizeof was;
        at = path + strlen(path) + 1;
        if (was.kind == 'F') { /* the names that follow are in this one */
            if (folder >= 0) close(folder);
            folder = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        } else same = folder >= 0 && is_as_it_was(folder, path, &was);
    }
    if (folder >= 0) close(folder);
    return !same;
}

/* --- a request */

struct call {
    int fds[DESCRIPTORS], count, nice;
    ssize_t length;
    unsigned mask;
    unsigned long long blocked, ignored;
    char *words, *variables; /* they end where the next begins, and with the request */
    long number;
};

static void receive(int link, struct call *call) {
    union { struct cmsghdr header; char room[CMSG_SPACE(sizeof call->fds)]; } control;
    struct iovec piece = {.iov_base = request, .iov_len = sizeof request - 1};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.room};
    struct cmsghdr *header;
    call->length = recvmsg(link, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    call->count = 0;
    if (call->length < 0) return;
    for (header = CMSG_FIRSTHDR(&message); header; header = CMSG_NXTHDR(&message, header))
        if (header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
            call->count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(call->fds, CMSG_DATA(header), call->count * sizeof(int));
        }
    if (message.msg_flags & MSG_CTRUNC) call->count = -call->count; /* there were more */
    request[call->length] = 0;
}

static int has_variables(char *at, const char *end) {
    for (; at < end; at += strlen(at) + 1)
        if (!*at || !strchr(at + 1, '=')) return 0;
    return 1;
}

/* Whether it is whole and right, and for this server. */
static int is_fine(struct call *call) {
    char *at = request + 8, *end = request + call->length;
    uint32_t length;
    int read = 0;
    long count;
    struct stat found;
    if (call->length < 8 || call->count != DESCRIPTORS || memcmp(request, "WSF1", 4)) return 0;
    memcpy(&length, request + 4, sizeof length);
    if (length != (size_t)call->length - 8) return 0;
    if (end - at <= key.length || memcmp(at, key.data, key.length + 1)) return 0;
    at += key.length + 1;
    at += strlen(at) + 1;
    if (at >= end || strspn(at, "0123456789abcdef- ") != strlen(at)) return 0;
    if (sscanf(at, "%o %d %llx %llx %ld%n", &call->mask, &call->nice, &call->blocked, &call->ignored, &count, &read) < 5)
        return 0;
    if (at[read] || call->mask > 0777 || count < 0) return 0;
    at += read + 1;
    call->words = at, call->number = count;
    for (; count; count--, at += strlen(at) + 1)
        if (at > end) return 0;
    call->variables = at;
    return at <= end + 1 && has_variables(at, end) && !fstat(call->fds[0], &found) && S_ISDIR(found.st_mode);
}

static int is_here(const struct call *call) {
    char path[32], found[4097];
    if (!counts_cwd) return 1;
    sprintf(path, "/proc/self/fd/%d", call->fds[0]);
    return readlink(path, found, sizeof found) == cwd.length && !memcmp(found, cwd.data, cwd.length);
}

/* Which of 0, 1 and 2 can be sought in, as bits; -1 if streams for one would be made otherwise than for a pipe or
   /dev/null: a terminal, a place in a file that is not its beginning, unusual blocks. */
static int kinds_of(const struct call *call) {
    struct stat found;
    int kinds = 0;
    for (int fd = 0; fd < 3; fd++) {
        off_t place = lseek(call->fds[fd + 1], 0, SEEK_CUR);
        if (place > 0 || fstat(call->fds[fd + 1], &found) || found.st_blksize != BLOCK || S_ISDIR(found.st_mode)) return -1;
        if (S_ISCHR(found.st_mode) && isatty(call->fds[fd + 1])) return -1;
        kinds |= (place == 0) << fd;
    }
    return kinds;
}

/* --- the fork */

static const char *end_with_the_server(void) {
    char path[32];
    sprintf(path, "/proc/self/fd/%d", guard);
    int mine = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (mine < 0) return "open";
    int high = fcntl(mine, F_DUPFD_CLOEXEC, guard_high);
    close(mine);
    if (high < 0 || fcntl(high, F_SETOWN, -getpid()) || fcntl(high, F_SETSIG, SIGKILL) ||
        fcntl(high, F_SETFL, O_NONBLOCK | O_ASYNC))
        return "fcntl";
    return NULL;
}

/* What child.py does before it comes to the environment; says what cannot be done, or nothing. */
static const char *take_over(const struct call *call) {
    if (setpgid(0, 0)) return "setpgid";
    const char *failed = end_with_the_server();
    if (failed) return failed;
    for (size_t at = 0; at < own.length / sizeof(int); at++) close(((int *)own.data)[at]);
    if (fchdir(call->fds[0])) return "fchdir";
    for (int fd = 0; fd < 3; fd++)
        if (dup2(call->fds[fd + 1], fd) < 0) return "dup2";
    for (int at = 0; at < DESCRIPTORS; at++) close(call->fds[at]);
    umask(call->mask);
    if (call->nice != getpriority(PRIO_PROCESS, 0) && setpriority(PRIO_PROCESS, 0, call->nice))
        return errno == EPERM || errno == EACCES ? "" : "setpriority";
    return NULL;
}

static void take_signals(const struct call *call) {
    sigset_t blocked;
    for (int at = 0; at < 2; at++) sigaction(HANDLED[at], &before[at], NULL);
    if (call->ignored) return; /* Python has to know of these: it does the rest */
    sigemptyset(&blocked);
    for (int number = 1; number < 65; number++)
        if (call->blocked >> (number - 1) & 1) sigaddset(&blocked, number);
    sigprocmask(SIG_SETMASK, &blocked, NULL);
}

/* Behind the name of the tool; whether there was memory for them. */
static int add_words(const struct call *call) {
    const char *word = call->words;
    for (long left = call->number; left; left--, word += strlen(word) + 1) {
        object *text = PyUnicode_DecodeFSDefaultAndSize(word, strlen(word));
        if (!text || PyList_Append(lists[0], text) || (lists[1] && PyList_Append(lists[1], text))) return 0;
        Py_DecRef(text);
    }
    return 1;
}

static object *child(int link, const struct call *call, int kinds) {
    char text[64];
    const char *failed = take_over(call);
    if (failed) {
        snprintf(text, sizeof text, "E %s %s: %s\n", *failed ? "cold" : "stale", failed, strerror(errno));
        say(link, text);
        _exit(0);
    }
    take_signals(call);
    if (!add_words(call)) _exit(0); /* no memory: the client tries something else */
    ssize_t rest = request + call->length - call->variables;
    if (rest < 0) rest = 0;
    int same = rest == environment.length && !memcmp(call->variables, environment.data, rest);
    object *variables = PyBytes_FromStringAndSize(call->variables, same ? 0 : rest);
    int fresh = kinds >= 0 && kinds == streams_are;
    return Py_BuildValue("(iiiNKKi)", CHILD, link, same, variables, call->blocked, call->ignored, fresh);
}

/* Until the call has ended; whether it has, and all is told. */
static int ended(int link, pid_t pid) {
    struct pollfd looked[] = {{wake, POLLIN, 0}, {link, POLLRDHUP, 0}, {listener, POLLIN, 0}};
    char drained[256], text[32];
    siginfo_t found;
    for (;;) {
        int ready = poll(looked, 3, -1);
        if (ready < 0 && errno != EINTR) return 0;
        if (ready > 0 && (looked[1].revents || looked[2].revents)) return 0;
        found.si_pid = 0;
        if (told || waitid(P_PID, pid, &found, WEXITED | WSTOPPED | WNOHANG | WNOWAIT)) return 0;
        if (found.si_pid) break;
        if (PyErr_CheckSignals()) return 0;
        if (ready > 0 && read(wake, drained, sizeof drained) < 0) return 0;
    }
    if (found.si_code == CLD_STOPPED) return 0;
    waitpid(pid, NULL, 0);
    if (read(wake, drained, sizeof drained) < 0 && errno != EAGAIN) return 0;
    sprintf(text, "%c %d\n", found.si_code == CLD_EXITED ? 'S' : 'K', found.si_status);
    say(link, text);
    close(link);
    used = now();
    return 1;
}

static object *incoming(int link, const struct call *call) {
    ssize_t length = call->length > 0 ? call->length : 0;
    int count = call->count < 0 ? -call->count : call->count;
    return Py_BuildValue(
        "(iiNNi)", INCOMING, link, PyBytes_FromStringAndSize(request, length),
        PyBytes_FromStringAndSize((const char *)call->fds, count * sizeof(int)), call->count < 0);
}

/* One client; nothing if all is done. */
static object *call_of(int link) {
    struct call call = {.length = 0};
    struct pollfd looked[] = {{link, POLLIN, 0}, {wake, POLLIN, 0}, {listener, POLLIN, 0}};
    say(link, "R\n");
    if (poll(looked, 3, READING_MS) < 1 || !looked[0].revents || looked[1].revents) return incoming(link, &call);
    receive(link, &call);
    if (!is_fine(&call) || !is_here(&call) || has_changed()) return incoming(link, &call);
    int kinds = kinds_of(&call);
    double before = used;
    used = now();
    if (used - before > 1) utimensat(directory, name.data, NULL, 0);
    PyOS_BeforeFork();
    pid_t pid = fork();
    if (!pid) {
        PyOS_AfterFork_Child();
        return child(link, &call, kinds);
    }
    PyOS_AfterFork_Parent();
    if (pid < 0) return incoming(link, &call);
    for (int at = 0; at < DESCRIPTORS; at++) close(call.fds[at]);
    served++;
    if (ended(link, pid)) {
        int again = kinds >= 0 && streams_are > -2 && kinds != streams_are && kinds == streams_were;
        streams_were = kinds;
        return again ? Py_BuildValue("(ii)", STREAMS, kinds) : NULL;
    }
    return told ? Py_BuildValue("(i)", TOLD) : Py_BuildValue("(iii)", RUNNING, link, (int)pid);
}

/* --- for Python */

static object *serve(object *module, object *arguments) {
    struct pollfd looked[] = {{wake, POLLIN, 0}, {listener, POLLIN, 0}};
    struct ucred peer;
    int patience;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "i", &patience)) return NULL;
    for (;;) {
        int ready = poll(looked, 2, patience);
        if (PyErr_CheckSignals()) return NULL;
        if (told) return Py_BuildValue("(i)", TOLD);
        if (ready < 1 || looked[0].revents) return Py_BuildValue("(i)", NOTHING);
        int link = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (link < 0) return Py_BuildValue("(i)", NOTHING);
        socklen_t length = sizeof peer;
        if (getsockopt(link, SOL_SOCKET, SO_PEERCRED, &peer, &length) || (peer.uid != geteuid() && peer.uid)) {
            close(link);
            continue;
        }
        object *left = call_of(link);
        if (left) return left;
    }
}

static object *streams(object *module, object *arguments) {
    (void)module;
    return PyArg_ParseTuple(arguments, "i", &streams_are) ? Py_BuildValue("i", streams_are) : NULL;
}

static object *begin(object *module, object *arguments) {
    char text[32], said = 0;
    int link;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "i", &link)) return NULL;
    sprintf(text, "P %d\n", (int)getpid());
    if (send(link, text, strlen(text), MSG_NOSIGNAL) < 0) said = 'X';
    while (!said && recv(link, &said, 1, 0) < 0 && errno == EINTR) continue;
    close(link);
    return Py_BuildValue("i", said == 'G');
}

static void handle(int number) {
    int kept = errno;
    if (getpid() != server) _exit(128 + number); /* a child that has not become a call: its client has gone */
    if (number == SIGTERM) told = 1;
    if (write(wake_end, number == SIGTERM ? "T" : "C", 1) < 0) errno = 0; /* it is full: it wakes already */
    errno = kept;
}

static object *set_up(object *module, object *arguments) {
    object *bytes[5];
    struct text *texts[5] = {&key, &cwd, &environment, &name, &own};
    struct sigaction action = {.sa_handler = handle, .sa_flags = SA_ONSTACK};
    (void)module;
    if (!PyArg_ParseTuple(
            arguments, "SSSSSiiiiiiiO|O", &bytes[0], &bytes[1], &bytes[2], &bytes[3], &bytes[4], &counts_cwd, &listener,
            &wake, &wake_end, &directory, &guard, &guard_high, &lists[0], &lists[1]))
        return NULL;
    for (int at = 0; at < 5; at++)
        if (!keep(texts[at], bytes[at])) return NULL;
    for (int at = 0; at < 2; at++) {
        if (lists[at]) Py_IncRef(lists[at]);
        sigaction(HANDLED[at], &action, &before[at]);
    }
    server = getpid();
    used = now();
    return Py_BuildValue("i", server);
}

static object *watch(object *module, object *arguments) {
    object *bytes;
    (void)module;
    if (!PyArg_ParseTuple(arguments, "S", &bytes) || !keep(&table, bytes)) return NULL;
    return Py_BuildValue("i", has_changed());
}

static object *state(object *module, object *nothing) {
    (void)module, (void)nothing;
    return Py_BuildValue("(ld)", served, used);
}

static struct method methods[] = {
    {"set_up", set_up, WITH_ARGUMENTS, "Say what the server is."},
    {"watch", watch, WITH_ARGUMENTS, "Say what is watched; whether it has changed."},
    {"serve", serve, WITH_ARGUMENTS, "Serve until Python has something to do: in the server, or as a call."},
    {"streams", streams, WITH_ARGUMENTS, "Say for which kinds Python's streams are made."},
    {"begin", begin, WITH_ARGUMENTS, "In a call: say that it is ready; whether it is to begin."},
    {"state", state, WITHOUT_ARGUMENTS, "How many calls were served, and when the last one was."},
    {NULL, NULL, 0, NULL}};
static struct definition definition = {
    .references = 1, .name = "native", .doc = "The way of a call that goes well.", .size = -1, .methods = methods};

__attribute__((visibility("default"))) object *PyInit_native(void) { return PyModule_Create2(&definition, INTERFACE); }
