/* The least that starting programs can cost: WIDTH loops of vfork, execve and wait, nothing kept of what is written.
 *
 *     vfork_loops WIDTH COUNT PROGRAM [ARGUMENT…]
 */
#include <fcntl.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

static int loop(long count, char **argv) {
    for (; count > 0; count--) {
        int status;
        pid_t pid = vfork();
        if (pid == 0) {
            execve(argv[0], argv, environ);
            _exit(127);
        }
        if (pid < 0 || waitpid(pid, &status, 0) < 0 || status != 0) return 1;
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc < 4) return 2;
    long width = atol(argv[1]), count = atol(argv[2]);
    int null = open("/dev/null", O_RDWR), status, bad = 0;
    for (int fd = 0; fd < 2; fd++) dup2(null, fd); /* standard error stays, to say what is wrong */
    for (long each = 0; each < width; each++) {
        pid_t pid = fork();
        if (pid < 0) return 1;
        if (pid == 0) _exit(loop(count / width + (each < count % width), argv + 3));
    }
    while (wait(&status) > 0) bad |= status;
    return bad != 0;
}
