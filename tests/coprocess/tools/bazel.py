"""A persistent worker as Bazel would start it, with cancellation, several requests at once."""

import os
import sys
import threading

from warmshell.protocol.bazel import Codec, WorkResponse

assert sys.argv[-1] == "--persistent_worker"
codec = Codec("json" if os.environ["FORM"] == "bazel-json" else "proto")
lock, waiting = threading.Lock(), {}


def say(response):
    with lock:
        os.write(1, codec.response(response))


def work(request):
    what, *words = request.arguments
    if what == "die":
        os.write(2, b"I die\n")
        os._exit(3)
    elif what == "nonsense":
        os.write(1, b"\xff" * 20)
    elif what == "wait":
        waiting[request.request_id] = True
        with open(words[0], "w"):
            pass
    else:
        say(WorkResponse(int(words[0]), " ".join(request.arguments), request.request_id))


while data := os.read(0, 65536):
    for request in codec.requests(data):
        if request.cancel:
            if waiting.pop(request.request_id, False):
                say(WorkResponse(request_id=request.request_id, was_cancelled=True))
        else:
            threading.Thread(target=work, args=(request,)).start()
