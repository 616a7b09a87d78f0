"""Stands by one program: when dlaflow dies, however it dies, the program goes with its whole group.

Run by its path (`python -I -S guard.py PARENT PIPE PROGRAM ...`) and never imported: a function that Popen calls
between fork and exec may deadlock in a process with threads, and the kernel's own signal at the parent's death reaches
one process, not those that it started (nsys starts trtexec). It ends as its program ends, by a signal too. PIPE
carries the number of the error when the program cannot be started.
"""

import ctypes
import os
import resource
import signal
import sys
import time

PR_SET_PDEATHSIG = 1
ORPHANED = signal.SIGUSR2
POLITE_SECONDS = 0.5


def main() -> None:
    parent, errors, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    alone = os.getpgrp() == os.getpid()
    os.set_inheritable(errors, False)
    # Until the program runs, the death of the parent ends this process and nothing else is there to end.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, ORPHANED)
    if os.getppid() != parent:
        return
    # In the terminal's own group Ctrl-C is dlaflow's to answer.
    signal.signal(signal.SIGINT, (lambda number, frame: None) if alone else signal.SIG_IGN)
    wanted = (ORPHANED, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_BLOCK, wanted)
    program = os.fork()
    if program == 0:
        for number in (signal.SIGPIPE, signal.SIGXFSZ, *([signal.SIGINT] if alone else [])):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, wanted)
        try:
            os.execvp(command[0], command)
        except OSError as error:
            os.write(errors, b"%d" % (error.errno or 0))
        os._exit(127)

    def orphaned(number: int, frame: object) -> None:
        if alone:
            os.killpg(0, signal.SIGKILL)
        # ssh at a prompt gives the terminal its echo back when it is asked to end.
        os.kill(program, signal.SIGTERM)
        time.sleep(POLITE_SECONDS)
        os.kill(program, signal.SIGKILL)

    def asked_to_end(number: int, frame: object) -> None:
        if not alone:
            os.kill(program, signal.SIGTERM)

    signal.signal(ORPHANED, orphaned)
    signal.signal(signal.SIGTERM, asked_to_end)
    os.close(errors)
    # The program's streams end with the program, not with its guard.
    null = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(null, stream)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, wanted)
    code = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
    if code < 0:
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(-code, signal.SIG_DFL) if -code not in (signal.SIGKILL, signal.SIGSTOP) else None
        os.kill(os.getpid(), -code)
    os._exit(code)


main()
