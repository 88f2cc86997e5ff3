"""The suite must be able to fail, and no part of it may hide another's tests."""

from __future__ import annotations

import collections
import os
import subprocess
import threading

import pytest

from warmshell.testing import Census, LocationConformance, check_leaks, eventually_sync


def test_no_part_of_the_suite_hides_a_test_of_another():
    names = collections.Counter(
        name for part in LocationConformance.__mro__ for name in vars(part) if name.startswith("test_")
    )
    assert [name for name, count in names.items() if count > 1] == []
    assert len(names) > 190


def test_a_process_left_behind_is_found():
    with pytest.raises(AssertionError, match="sleep 1000"), check_leaks(0.1):
        process = subprocess.Popen(["sleep", "1000"])
    process.kill()
    process.wait()


def test_a_daemon_left_behind_is_found():
    with pytest.raises(AssertionError, match="sleep 1000") as caught, check_leaks(0.1) as mark:
        subprocess.run("(setsid sleep 1000 >/dev/null 2>&1 &) & exit 0", shell=True, check=True)
        eventually_sync(lambda: any("sleep 1000" in words for words in Census(mark).processes.values()))
    pid = int(str(caught.value).partition("process ")[2].partition(":")[0])
    os.kill(pid, 9)


def test_a_zombie_left_behind_is_found():
    with pytest.raises(AssertionError, match="process"), check_leaks(0.1):
        process = subprocess.Popen(["true"])
    process.wait()


def test_a_descriptor_left_behind_is_found():
    with pytest.raises(AssertionError, match="pipe:"), check_leaks(0.1):
        ends = os.pipe()
    for end in ends:
        os.close(end)


def test_a_thread_left_behind_is_found():
    end = threading.Event()
    with pytest.raises(AssertionError, match="thread lingering"), check_leaks(0.1):
        thread = threading.Thread(target=end.wait, name="lingering")
        thread.start()
    end.set()
    thread.join()


def test_a_temporary_file_left_behind_is_found(tmp_path):
    import tempfile

    with pytest.raises(AssertionError, match="file "), check_leaks(0.1, tmp_path):
        fd, name = tempfile.mkstemp()
        os.close(fd)
    os.unlink(name)


def test_nothing_left_behind_is_nothing_found(tmp_path):
    with check_leaks(5, tmp_path):
        subprocess.run(["true"], check=True)


def test_what_never_comes_true_is_said():
    with pytest.raises(AssertionError, match="the moon within 0"):
        eventually_sync(lambda: False, 0.02, "the moon")
