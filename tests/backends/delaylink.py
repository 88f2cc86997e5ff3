"""A slow link between two network namespaces: a pair of TUN devices, every IP packet delayed by the same time.

delaylink.py --device NAME --pid-file FILE --ms ONE_WAY NAMESPACE ADDRESS/BITS NAMESPACE ADDRESS/BITS

A namespace is a name, or "." for the present one. SIGUSR1 cuts the link (packets are lost), SIGUSR2 mends it.
Needs root and Linux; only the standard library, as it runs with whichever Python the system has.
"""

import argparse
import collections
import contextlib
import ctypes
import fcntl
import os
import selectors
import signal
import struct
import subprocess
import time

TUNSETIFF = 0x400454CA
IFF_TUN_NO_PI = 0x0001 | 0x1000
CLONE_NEWNET = 0x40000000
LONGEST = 65536

libc = ctypes.CDLL(None, use_errno=True)


def enter(namespace):
    """Have this process use a network namespace, given by an open descriptor."""
    if libc.setns(namespace, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def tun(space, device, address):
    """A TUN device with an address in a namespace."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY)
    target = os.open("/proc/self/ns/net" if space == "." else f"/run/netns/{space}", os.O_RDONLY)
    try:
        enter(target)
        fd = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        fcntl.ioctl(fd, TUNSETIFF, struct.pack("16sH22x", device.encode(), IFF_TUN_NO_PI))
        subprocess.run(["ip", "addr", "add", address, "dev", device], check=True)
        up = ["ip", "link", "set", device, "up", "mtu", "9000", "txqueuelen", "5000"]
        subprocess.run(up, check=True)
    finally:
        enter(own)
        os.close(own)
        os.close(target)
    return fd


class Link:
    """Both directions: packets wait in the order in which they came."""

    def __init__(self, first, second, seconds):
        self.delay = seconds
        self.carries = True
        self.waiting = collections.deque()
        self.selector = selectors.DefaultSelector()
        self.selector.register(first, selectors.EVENT_READ, second)
        self.selector.register(second, selectors.EVENT_READ, first)

    def run(self):
        while True:
            self.deliver()
            pause = max(0.0, self.waiting[0][0] - time.monotonic()) if self.waiting else None
            for key, _ in self.selector.select(pause):
                self.take(key.fd, key.data)

    def take(self, source, target):
        with contextlib.suppress(BlockingIOError):
            for _ in range(64):
                packet = os.read(source, LONGEST)
                if self.carries:
                    self.waiting.append((time.monotonic() + self.delay, target, packet))

    def deliver(self):
        now = time.monotonic()
        while self.waiting and self.waiting[0][0] <= now:
            _, target, packet = self.waiting.popleft()
            if self.carries:
                with contextlib.suppress(OSError):
                    os.write(target, packet)

    def cut(self):
        self.carries = False

    def mend(self):
        self.carries = True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--device", required=True)
    parser.add_argument("--pid-file", required=True)
    parser.add_argument("--ms", type=float, required=True)
    parser.add_argument("sides", nargs=4)
    options = parser.parse_args()
    near, near_address, far, far_address = options.sides
    ends = [tun(near, options.device, near_address), tun(far, options.device, far_address)]
    link = Link(*ends, options.ms / 1000)
    signal.signal(signal.SIGUSR1, lambda *_: link.cut())
    signal.signal(signal.SIGUSR2, lambda *_: link.mend())
    with contextlib.suppress(OSError):  # on a busy machine a plain process would add a delay of its own
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(10))
    with open(options.pid_file, "w") as file:
        file.write(str(os.getpid()))
    link.run()


main()
