/* The client of a warm shell: sh -c SCRIPT by the server that holds one, and exit as it does.
 *
 * The same request as driver/client.py makes. Where there is no server, the client in Python starts one; what a warm
 * shell cannot serve is run by a new one. SERVER, SHELL and CLIENT are given by the launcher that compiles this.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include WARMSH_H

#define LOST 125

extern char **environ;

static char *shell[] = {SHELL, NULL};
static char *client[] = {CLIENT, NULL};

/* Become a program: the words, then ours from argv[1] on. */
static void become(char **words, int argc, char **argv)
{
    int count = 0;
    while (words[count])
        count++;
    char **all = calloc(count + argc + 1, sizeof *all);
    if (all) {
        memcpy(all, words, count * sizeof *all);
        memcpy(all + count, argv + 1, (argc - 1) * sizeof *all);
        execvp(all[0], all);
    }
    fprintf(stderr, "warm: cannot run %s: %s\n", words[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

/* See driver/shells.py. */
static int servable(int argc, char **argv)
{
    static const char *flags[] = {"-c", "-ec", "-ce", "-euc", "-uc", "-xc", "-exc", NULL};
    if (argc != 3)
        return 0;
    for (int i = 0; flags[i]; i++)
        if (!strcmp(argv[1], flags[i]))
            return !strstr(argv[2], "$$") && !strstr(argv[2], "${$}") && !strstr(argv[2], "$0");
    return 0;
}

/* The directory of the servers, which must be this user's alone; see forkserver/standalone/place.py. */
static int directory(void)
{
    char path[64];
    const char *base = getenv("WARMSHELL_COPROCESS_DIR");
    struct stat found;
    if (!base || !*base) {
        snprintf(path, sizeof path, "/run/user/%u", (unsigned)getuid());
        if (!stat(path, &found) && found.st_uid == getuid())
            snprintf(path, sizeof path, "/run/user/%u/warmshell-coprocess", (unsigned)getuid());
        else
            snprintf(path, sizeof path, "/tmp/warmshell-coprocess-%u", (unsigned)getuid());
        base = path;
    }
    int fd = open(base, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &found) || found.st_uid != geteuid() || found.st_mode & 077)
        return -1;
    return fd;
}

static int connected(void)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    struct ucred peer;
    socklen_t size = sizeof peer;
    int place = directory(), link = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    snprintf(name.sun_path, sizeof name.sun_path, "/proc/self/fd/%d/%s.sock", place, SERVER);
    if (place < 0 || link < 0 || connect(link, (struct sockaddr *)&name, sizeof name) ||
        getsockopt(link, SOL_SOCKET, SO_PEERCRED, &peer, &size) || peer.uid != geteuid())
        return -1;
    close(place);
    return link;
}

static char *append(char *at, const char *text)
{
    *at++ = 0;
    return stpcpy(at, text);
}

/* The whole request. */
static char *request(char **argv, size_t *size)
{
    mode_t mask = umask(077);
    umask(mask);
    size_t room = 256 + strlen(argv[1]) + strlen(argv[2]);
    for (char **e = environ; *e; e++)
        room += strlen(*e) + 1;
    char *data = malloc(room), *at = data ? data + 8 : NULL;
    if (!data)
        return NULL;
    at = stpcpy(at, SERVER);
    at = append(at, "-");
    *at++ = 0;
    at += sprintf(at, "%o 0 0 0 2", (unsigned)mask);
    at = append(at, argv[1]);
    at = append(at, argv[2]);
    for (char **e = environ; *e; e++)
        if (**e && strchr(*e + 1, '='))
            at = append(at, *e);
    uint32_t length = at - data - 8;
    memcpy(data, "WSF1", 4);
    for (int i = 0; i < 4; i++)
        data[4 + i] = length >> (8 * i);
    *size = at - data;
    return data;
}

/* Send it with the descriptors of the directory and the streams beside its first byte. */
static int sent(int link, const char *data, size_t size)
{
    int fds[4] = {open(".", O_PATH | O_DIRECTORY | O_CLOEXEC), 0, 1, 2};
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof fds)];
    } control = {0};
    struct iovec piece = {(void *)data, size};
    struct msghdr message = {.msg_iov = &piece, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control.room};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof fds);
    memcpy(CMSG_DATA(header), fds, sizeof fds);
    ssize_t done = sendmsg(link, &message, MSG_NOSIGNAL);
    for (size_t at = done; done >= 0 && at < size; at += done)
        if ((done = send(link, data + at, size - at, MSG_NOSIGNAL)) < 0)
            return 0;
    return done >= 0;
}

int main(int argc, char **argv)
{
    if (!servable(argc, argv))
        become(shell, argc, argv);
    size_t size;
    int link = connected();
    char *data = link < 0 ? NULL : request(argv, &size);
    if (!data || !sent(link, data, size))
        become(client, argc, argv);
    char answer[64] = "";
    ssize_t got, all = 0;
    while (!memchr(answer, '\n', all) && all < (ssize_t)sizeof answer - 1)
        if ((got = recv(link, answer + all, sizeof answer - 1 - all, 0)) > 0)
            all += got;
        else if (got == 0 || errno != EINTR)
            break;
    if (answer[0] == 'S')
        _exit(atoi(answer + 1));
    if (answer[0] == 'E')
        become(client, argc, argv);
    fprintf(stderr, "warm: the server of the shell was lost while it ran [status: unknown]\n");
    _exit(LOST);
}
