"""Programs that a sandbox must judge rightly, by name; texts of `test_sandbox`.

Hostile ones do on purpose what generated code does by accident. `{mark}` stands for something to
recognize a process by, `{path!r}` for a file outside the program's folder.
"""

GOOD = {
    "libraries": """
        from __future__ import annotations
        import bisect, collections, copy, datetime, decimal, fractions, functools, hashlib, heapq
        import itertools, json, math, operator, random, re, statistics, string, subprocess, typing
        assert hashlib.md5(b"x").hexdigest().startswith("9dd4e461")
        random.seed(0)
        assert datetime.datetime.now().year > 2000
    """,
    "numpy": "import numpy\nassert numpy.linalg.inv(numpy.eye(3)).sum() == 3",
    "asyncio": "import asyncio\nasyncio.run(asyncio.sleep(0.01))",
    "main": """
        import dataclasses, pickle
        @dataclasses.dataclass
        class Point:
            x: "int"
        assert __name__ == "__main__"
        assert pickle.loads(pickle.dumps(Point(3))) == Point(3)
    """,
    "own files": """
        import os, pathlib, shutil, sqlite3, tempfile
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "a")
            path.write_text("text")
            path.rename(path.with_name("b"))
            assert os.listdir(folder) == ["b"]
        os.mkdir("c"); os.chdir("c"); open("d", "w").close(); os.chdir(".."); shutil.rmtree("c")
        sqlite3.connect("base").execute("create table t (x)")
        assert os.listdir() == ["base"]
    """,
    "output and input": """
        import os, sys
        print("x" * 1_000_000); print("y", file=sys.stderr); print(file=open(os.devnull, "w"))
        assert sys.stdin.read() == ""
        assert sys.argv == ["program"]
    """,
    "text": "assert len('äöü€🙂') == 5\r\nassert '\\n' == chr(10)\r\n",
    "no secrets": "import os\nassert not {'HOME', 'PATH', 'USER', 'SEED_SECRET'} & set(os.environ)",
}

EARLY = {
    "sys.exit": "import sys\nsys.exit(0)",
    "SystemExit": "raise SystemExit",
    "os._exit": "import os\nos._exit(0)",
    "exit in a function": "def f():\n    exit()\nf()",
    "signal": "import signal\nsignal.raise_signal(signal.SIGTERM)",
    "syntax": "def",
    "null byte": "x = '\0'",
    "surrogate": "x = '\ud800'",
    "deep": "def f(): f()\nf()",
    "stack": """
        import sys
        sys.setrecursionlimit(10**9)
        class A:
            def __repr__(self):
                return repr(self)
        repr(A())
    """,
    "thread": "import threading\nthreading.Thread(target=print).start()",
    "native": "import ctypes",
    # Those that are after the token.
    "asks as the driver does": "import sys, os\nsys.audit('seed.end')\nos._exit(0)",
    "shouts": """
        import os
        for file in range(1, 64):
            try:
                os.write(file, b"passed" * 8)
            except OSError:
                pass
        os._exit(0)
    """,
    "spoils the driver": """
        import sys
        frame = sys._getframe()
        while frame.f_back:
            frame = frame.f_back
            assert not any(isinstance(value, bytes) for value in frame.f_locals.values())
            frame.f_globals["FAILED"] = 0
        import os
        os._exit = lambda status: None
        raise SystemExit
    """,
}

ENDLESS = {
    "loop": "while True: pass",
    "sleep": "import time\ntime.sleep(1000)",
    "deaf": """
        import signal
        for number in range(1, 32):
            try:
                signal.signal(number, signal.SIG_IGN)
            except OSError:
                pass
        while True:
            try:
                while True: pass
            except BaseException:
                pass
    """,
    "talks": "while True: print('x' * 1_000_000)",
    "waits for a signal": "import signal\nsignal.alarm(0)\nwhile True: signal.pause()",
    "closes everything": "import os\nos.closerange(0, 64)\nwhile True: pass",
}

PROCESSES = {
    "fork": "import os\nif not os.fork(): os.execv('/bin/sleep', ['sleep', '{mark}'])",
    "fork bomb": "import os\nwhile True:\n    try: os.fork()\n    except BaseException: pass",
    "system": "import os\nos.system('sleep {mark} &')",
    "popen": "import os\nos.popen('sleep {mark} &')",
    "spawn": "import os\nos.posix_spawn('/bin/sleep', ['sleep', '{mark}'], {{}})",
    "exec": "import os\nos.execv('/bin/sleep', ['sleep', '{mark}'])",
    "subprocess": """
        import subprocess
        try:
            subprocess.Popen(["sleep", "{mark}"], start_new_session=True)
        except Exception:
            pass
    """,
    "multiprocessing": "import multiprocessing as m\nm.get_context('fork').Process().start()",
    "below subprocess": "import _posixsubprocess\n_posixsubprocess.fork_exec()",
    "pty": "import pty\npty.fork()",
}

DAMAGE = {
    "write": "open({path!r}, 'w').write('x')",
    "append": "open({path!r}, 'ab').write(b'x')",
    "open": "import os\nos.open({path!r}, os.O_WRONLY)",
    "truncate": "import os\nos.truncate({path!r}, 0)",
    "remove": "import os\nos.remove({path!r})",
    "bytes": "import os\nos.unlink({path!r}.encode())",
    "pathlib": "import pathlib\npathlib.Path({path!r}).unlink()",
    "rename": "import os\nos.rename({path!r}, 'here')",
    "replace": "import os\nopen('here', 'w').close()\nos.replace('here', {path!r})",
    "chmod": "import os\nos.chmod({path!r}, 0)",
    "chmod of a file": "import os\nos.fchmod(os.open('/dev/null', os.O_RDONLY), 0o666)",
    "utime": "import os\nos.utime({path!r})",
    "rmtree": "import os, shutil\nshutil.rmtree(os.path.dirname({path!r}), True)\nos.mkdir('/x')",
    "symlink": "import os\nos.symlink({path!r}, 'a')\nopen('a', 'w')",
    "link": "import os\nos.link({path!r}, 'a')\nopen('a', 'w')",
    "parent": "import os\nopen(os.path.relpath({path!r}), 'w')",
    "folder": "import os\nfile = os.open('/', os.O_RDONLY)\nos.remove('victim', dir_fd=file)",
    "elsewhere": "import os\nos.chdir('/')\nopen('victim.txt', 'w')",
    "base": "import sqlite3\nsqlite3.connect({path!r})",
    "swallowed": "try: open({path!r}, 'w')\nexcept BaseException: pass",
    "fifo": "import os\nos.mkfifo({path!r} + 'x')",
    "fifo below os": "import posix\nposix.mkfifo({path!r} + 'x')",
    "patched": "import os\nos._exit = os.fsdecode = os.getcwd = str\nopen({path!r}, 'w')",
}
