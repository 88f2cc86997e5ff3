/* The client of the fork servers, in C: what standalone/call.py does, in a millisecond.

   warmcall LAUNCHER WORD...            as the interpreter of a launcher's #! line
   warmcall : TOOL OPTIONS INTERPRETER WORD...

   It only knows the way of a call that goes well. For everything else (no server yet, an odd environment) it becomes
   the client in Python, as long as the tool has not begun. Keys and frames are those of key.py and wire.py. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LOST 125
#define VERDICT_SECONDS 3600
#define ANSWER_SECONDS 5
#define LARGEST (16 * 1024 * 1024)

extern char **environ;

static const char *tool, *options = "", *interpreter = "", *client;
static char *client_python;
static char **words;       /* of the tool, after its name */
static char **arguments;   /* our own */
static volatile pid_t tool_pid;

/* --- bytes */

struct bytes { char *data; size_t length, room; };

static void slow(void);

static void add(struct bytes *to, const void *data, size_t length) {
    if (to->length + length > to->room) {
        to->room = 2 * (to->length + length) + 4096;
        to->data = realloc(to->data, to->room);
        if (!to->data) slow();
    }
    memcpy(to->data + to->length, data, length);
    to->length += length;
}

static void add_text(struct bytes *to, const char *text) { add(to, text, strlen(text)); }
static void add_field(struct bytes *to, const char *text) { add(to, text, strlen(text) + 1); }

static struct bytes read_at(int directory, const char *path) {
    struct bytes all = {0};
    char chunk[65536];
    ssize_t got;
    int fd = openat(directory, path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return all;
    add(&all, "", 0);
    while ((got = read(fd, chunk, sizeof chunk)) > 0) add(&all, chunk, got);
    close(fd);
    add(&all, "", 1);
    all.length--;
    return all;
}

/* --- the slow way: the same in Python, which starts servers and runs tools cold */

static void slow(void) {
    if (client_python && client) {
        size_t count = 0;
        while (arguments[count]) count++;
        char **argv = calloc(count + 5, sizeof *argv);
        if (argv) {
            argv[0] = client_python, argv[1] = "-I", argv[2] = "-S", argv[3] = (char *)client;
            memcpy(argv + 4, arguments, count * sizeof *argv);
            execv(client_python, argv);
        }
    }
    char **argv = words - 1;
    argv[0] = (char *)tool;
    if (!*interpreter) execv(tool, argv);
    dprintf(2, "warm: cannot run %s: %s\n", tool, strerror(errno));
    _exit(127);
}

/* --- the key */

static const char *const DENIED[] = {
    "_", "PWD", "OLDPWD", "SHLVL", "WINDOWID", "TERM_SESSION_ID", "TMUX", "TMUX_PANE", "STY", "WINDOW", "SSH_TTY",
    "SSH_CLIENT", "SSH_CONNECTION", "XDG_SESSION_ID", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKE_TERMOUT",
    "MAKE_TERMERR", NULL};
static const char *const ALWAYS[] = {
    "PYTHON", "LC_", "LD_", "LANG", "TZ", "PATH", "HOME", "MALLOC_", "GLIBC_", "__PYVENV", "VIRTUAL_ENV", NULL};
static const char *const STATUS[] = {
    "Uid:", "Gid:", "Groups:", "Cap", "NoNewPrivs:", "Seccomp:", "Cpus_allowed:", NULL};
static const char *const SPACES[] = {"cgroup", "ipc", "mnt", "net", "pid", "user", "uts", NULL};

static int starts_with_one(const char *text, const char *const *beginnings) {
    for (; *beginnings; beginnings++)
        if (!strncmp(text, *beginnings, strlen(*beginnings))) return 1;
    return 0;
}

static void digest(const struct bytes *data, char *name) {
    const uint64_t primes[2] = {(1ULL << 61) - 1, 18446744073709551557ULL};
    for (int which = 0; which < 2; which++) {
        unsigned __int128 rest = 1;
        for (size_t at = 0, width; at < data->length; at += width) { /* eight bytes at a time: divisions cost most */
            uint64_t piece = 0;
            width = data->length - at < 8 ? data->length - at : 8;
            for (size_t next = 0; next < width; next++) piece = piece << 8 | (unsigned char)data->data[at + next];
            rest = (width == 8 ? rest << 64 : rest << 8 * width) | piece;
            rest %= primes[which];
        }
        sprintf(name + 16 * which, "%016llx", (unsigned long long)rest);
    }
}

struct shape { int cwd, whole, only, cold, terminal; struct bytes text; };

/* Whether the shape has the line "word name". */
static int has(const struct shape *shape, const char *word, const char *name, size_t length) {
    size_t before = strlen(word);
    for (const char *line = shape->text.data; line && *line; line = strchr(line, '\n'), line += line != NULL)
        if (!strncmp(line, word, before) && line[before] == ' ' && !strncmp(line + before + 1, name, length) &&
            line[before + 1 + length] == '\n')
            return 1;
    return 0;
}

static int has_line(const struct shape *shape, const char *word) {
    size_t length = strlen(word);
    for (const char *line = shape->text.data; line && *line; line = strchr(line, '\n'), line += line != NULL)
        if (!strncmp(line, word, length) && (line[length] == '\n' || line[length] == ' ')) return 1;
    return 0;
}

static struct shape shape_of(int directory) {
    struct shape shape = {0};
    struct bytes fields = {0};
    char name[64];
    struct stat found;
    add_field(&fields, tool), add_field(&fields, interpreter), add_text(&fields, options);
    digest(&fields, name);
    strcat(name, ".shape");
    shape.text = read_at(directory, name);
    if (!shape.text.data) return shape;
    shape.cwd = has_line(&shape, "cwd"), shape.whole = has_line(&shape, "whole");
    shape.only = has_line(&shape, "only"), shape.cold = has_line(&shape, "cold");
    shape.terminal = has_line(&shape, "terminal");
    if (shape.cold && (fstatat(directory, name, &found, 0) || time(NULL) - found.st_mtime > VERDICT_SECONDS))
        slow(); /* it is looked at again */
    return shape;
}

static int counts(const struct shape *shape, const char *entry, size_t length) {
    if (shape->whole) return 1;
    if (shape->only) return starts_with_one(entry, ALWAYS) || has(shape, "only", entry, length);
    for (const char *const *denied = DENIED; *denied; denied++)
        if (strlen(*denied) == length && !strncmp(entry, *denied, length))
            return has(shape, "plus", entry, length);
    return 1;
}

static int by_text(const void *one, const void *other) { return strcmp(*(char *const *)one, *(char *const *)other); }

static void add_environment(struct bytes *to, const struct shape *shape) {
    size_t count = 0, kept = 0;
    while (environ[count]) count++;
    char **sorted = calloc(count + 1, sizeof *sorted);
    if (!sorted) slow();
    for (size_t at = 0; at < count; at++) {
        char *equals = strchr(environ[at], '=');
        if (!equals || equals == environ[at]) slow();
        sorted[kept++] = environ[at];
    }
    qsort(sorted, kept, sizeof *sorted, by_text);
    for (size_t at = 1; at < kept; at++) { /* of two of one name Python takes the first */
        size_t length = strchr(sorted[at], '=') - sorted[at] + 1;
        if (!strncmp(sorted[at], sorted[at - 1], length)) slow();
    }
    for (size_t at = 0; at < kept; at++)
        if (counts(shape, sorted[at], strchr(sorted[at], '=') - sorted[at])) {
            add(to, "", 1);
            add_text(to, sorted[at]);
        }
    free(sorted);
}

struct context { struct bytes text; unsigned long long blocked, ignored; };

static struct context context_now(void) {
    struct context context = {0};
    struct stat root;
    char path[64], link[128], text[64];
    struct bytes status = read_at(AT_FDCWD, "/proc/self/status");
    for (char *line = status.data, *end; line && (end = strchr(line, '\n')); line = end + 1) {
        *end = 0;
        if (starts_with_one(line, STATUS)) add_text(&context.text, line), add_text(&context.text, "\n");
        else if (!strncmp(line, "SigBlk:", 7)) context.blocked = strtoull(line + 7, NULL, 16);
        else if (!strncmp(line, "SigIgn:", 7))
            context.ignored = strtoull(line + 7, NULL, 16) & ~(1ULL << 12 | 1ULL << 24);
    }
    struct bytes limits = read_at(AT_FDCWD, "/proc/self/limits"), cgroup = read_at(AT_FDCWD, "/proc/self/cgroup");
    if (!status.data || !limits.data || !cgroup.data || stat("/", &root)) slow();
    add(&context.text, limits.data, limits.length), add_text(&context.text, "\n");
    add(&context.text, cgroup.data, cgroup.length), add_text(&context.text, "\n");
    for (const char *const *space = SPACES; *space; space++) {
        sprintf(path, "/proc/self/ns/%s", *space);
        ssize_t length = readlink(path, link, sizeof link);
        if (length < 0) slow();
        add(&context.text, link, length), add_text(&context.text, "\n");
    }
    sprintf(text, "%llu:%llu", (unsigned long long)root.st_dev, (unsigned long long)root.st_ino);
    add_text(&context.text, text);
    return context;
}

static void key_of(const struct shape *shape, const struct context *context, char *name) {
    struct bytes all = {0};
    char terminals[4] = "---", *cwd = NULL;
    for (int fd = 0; fd < 3; fd++) terminals[fd] = isatty(fd) ? 't' : '-';
    if (shape->cwd && !(cwd = getcwd(NULL, 0))) slow();
    add_field(&all, tool), add_field(&all, interpreter), add_field(&all, options), add_field(&all, terminals);
    add_field(&all, cwd ? cwd : "");
    add_field(&all, "");
    add(&all, context->text.data, context->text.length);
    add(&all, "", 1);
    /* then an empty field, and each entry with a NUL before it */
    add_environment(&all, shape);
    digest(&all, name);
    free(all.data), free(cwd);
}

/* --- the call */

static int directory_of_servers(void) {
    char path[64];
    struct stat found;
    const char *asked = getenv("WARMSHELL_COPROCESS_DIR");
    if (!asked || !*asked) {
        sprintf(path, "/run/user/%u", getuid());
        if (!stat(path, &found) && found.st_uid == getuid()) strcat(path, "/warmshell-coprocess");
        else sprintf(path, "/tmp/warmshell-coprocess-%u", getuid());
        asked = path;
    }
    int fd = open(asked, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &found) || found.st_uid != geteuid() || found.st_mode & 077) slow();
    return fd;
}

static void be_patient(int link, int seconds) { /* 0: for ever */
    struct timeval patience = {.tv_sec = seconds};
    setsockopt(link, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    setsockopt(link, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
}

static int connected(int directory, const char *key) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    struct ucred peer;
    socklen_t length = sizeof peer;
    int link = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(address.sun_path, sizeof address.sun_path, "/proc/self/fd/%d/%s.sock", directory, key);
    if (link < 0) slow();
    be_patient(link, ANSWER_SECONDS);
    if (connect(link, (struct sockaddr *)&address, sizeof address) ||
        getsockopt(link, SOL_SOCKET, SO_PEERCRED, &peer, &length) || peer.uid != geteuid())
        slow();
    return link;
}

static void send_call(int link, const char *key, const struct context *context) {
    struct bytes body = {0};
    char numbers[128];
    size_t count = 0;
    mode_t mask = umask(077);
    umask(mask);
    while (words[count]) count++;
    add_field(&body, key), add_field(&body, tool);
    sprintf(numbers, "%o %d %llx %llx %zu", mask, getpriority(PRIO_PROCESS, 0), context->blocked, context->ignored, count);
    add_text(&body, numbers);
    for (size_t at = 0; at < count; at++) add(&body, "", 1), add_text(&body, words[at]);
    for (char **entry = environ; *entry; entry++) add(&body, "", 1), add_text(&body, *entry);
    if (body.length > LARGEST) slow();

    struct bytes all = {0};
    uint32_t length = body.length;
    int fds[4] = {open(".", O_PATH | O_DIRECTORY | O_CLOEXEC), 0, 1, 2};
    if (fds[0] < 0) slow();
    add(&all, "WSF1", 4), add(&all, &length, 4), add(&all, body.data, body.length);
    union { struct cmsghdr header; char room[CMSG_SPACE(sizeof fds)]; } control = {0};
    struct iovec piece = {.iov_base = all.data, .iov_len = all.length};
    struct msghdr message = {
        .msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control.room};
    control.header.cmsg_level = SOL_SOCKET, control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof fds);
    memcpy(CMSG_DATA(&control.header), fds, sizeof fds);
    while (piece.iov_len) {
        ssize_t sent = sendmsg(link, &message, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) slow();
        piece.iov_base = (char *)piece.iov_base + sent, piece.iov_len -= sent;
        message.msg_control = NULL, message.msg_controllen = 0;
    }
    close(fds[0]);
    free(body.data), free(all.data);
}

/* The letter of the next answer, 0 at the end; its number. */
static char answer(int link, long *number) {
    static char data[4096];
    static size_t length;
    for (;;) {
        char *end = memchr(data, '\n', length);
        if (end) {
            char letter = data[0];
            *end = 0;
            *number = end - data > 2 ? strtol(data + 2, NULL, 10) : 0;
            length -= end + 1 - data;
            memmove(data, end + 1, length);
            return letter;
        }
        if (length == sizeof data) return 0;
        ssize_t got = recv(link, data + length, sizeof data - length, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return 0;
        length += got;
    }
}

static void to_group(int number) { int kept = errno; kill(-tool_pid, number); errno = kept; }
static void to_one(int number) { int kept = errno; kill(tool_pid, number); errno = kept; }

static void hand_on(void) {
    static const int group[] = {SIGINT, SIGQUIT, SIGTSTP, SIGWINCH, SIGHUP, SIGCONT, 0};
    static const int one[] = {SIGUSR1, SIGUSR2, SIGALRM, SIGTERM, SIGVTALRM, SIGPROF, SIGIO, 0};
    struct sigaction action = {0}, before;
    for (int which = 0; which < 2; which++)
        for (const int *number = which ? one : group; *number; number++) {
            sigaction(*number, NULL, &before);
            if (before.sa_handler == SIG_IGN) continue;
            action.sa_handler = which ? to_one : to_group;
            sigaction(*number, &action, NULL);
        }
}

static void die_of(int number) {
    struct rlimit limit;
    sigset_t set;
    if (!getrlimit(RLIMIT_CORE, &limit)) limit.rlim_cur = 0, setrlimit(RLIMIT_CORE, &limit);
    signal(number, SIG_DFL);
    sigemptyset(&set), sigaddset(&set, number), sigprocmask(SIG_UNBLOCK, &set, NULL);
    kill(getpid(), number);
    _exit(128 + number);
}

static void follow(int link) {
    long number;
    be_patient(link, 0);
    hand_on();
    send(link, "G", 1, MSG_NOSIGNAL);
    for (;;) switch (answer(link, &number)) {
        case 'S': _exit(number);
        case 'K': die_of(number); break;
        case 'T': kill(getpid(), SIGSTOP); break;
        case 0:
            kill(-tool_pid, SIGKILL);
            dprintf(2, "warm: the fork server was lost while %s ran: it was ended [status: unknown]\n", tool);
            _exit(LOST);
        }
}

/* --- what the launcher says */

static char *value_of(char *text, const char *name) {
    size_t length = strlen(name);
    for (char *line = text; line && *line; line = strchr(line, '\n'), line += line != NULL)
        if (*line == '#' && !strncmp(line + 1, name, length) && line[length + 1] == ' ') {
            char *value = strdup(line + length + 2);
            if (value) value[strcspn(value, "\n")] = 0;
            return value;
        }
    return NULL;
}

static void read_words(int argc, char **argv) {
    static char missing[] = "";
    arguments = argv + 1;
    if (argc >= 5 && !strcmp(argv[1], ":")) {
        tool = argv[2], options = argv[3], interpreter = argv[4], words = argv + 5;
        client_python = getenv("WARMSHELL_CLIENT"); /* for tests: python TAB client.py */
    } else {
        struct bytes text = argc >= 2 ? read_at(AT_FDCWD, argv[1]) : (struct bytes){0};
        char *value;
        if (!text.data || !(value = value_of(text.data, "tool"))) {
            dprintf(2, "warm: %s is no launcher\n", argc >= 2 ? argv[1] : "nothing");
            _exit(2);
        }
        tool = value, words = argv + 2;
        options = (value = value_of(text.data, "options")) ? value : missing;
        interpreter = (value = value_of(text.data, "interpreter")) ? value : missing;
        client_python = value_of(text.data, "client");
    }
    if (client_python && (client_python = strdup(client_python)) && strchr(client_python, '\t')) {
        char *tab = strchr(client_python, '\t');
        *tab = 0, client = tab + 1;
    }
    if (*interpreter) slow(); /* words joined by NUL: the client in Python has them right */
}

int main(int argc, char **argv) {
    char key[64];
    struct stat found;
    long number;
    read_words(argc, argv);
    for (int fd = 0; fd < 3; fd++)
        if (fstat(fd, &found) || (!fd && S_ISDIR(found.st_mode))) slow();
    struct context context = context_now();
    int directory = directory_of_servers();
    struct shape shape = shape_of(directory);
    if (shape.cold || (shape.terminal && (isatty(0) || isatty(1) || isatty(2)))) slow();
    key_of(&shape, &context, key);
    int link = connected(directory, key);
    char letter = answer(link, &number);
    if (letter == 'Q') {
        be_patient(link, 0);
        letter = answer(link, &number);
        be_patient(link, ANSWER_SECONDS);
    }
    if (letter == 'R') {
        send_call(link, key, &context);
        letter = answer(link, &number);
    }
    if (letter != 'P') close(link), slow();
    tool_pid = number;
    follow(link);
}
