"""Real kills and real disks: what a dying process, a full disk and a lost power leave behind is always good enough.

    python -m tests.kills points --trials 300      kill -9 at lines of the program
    python -m tests.kills syscalls                 kill -9, EIO and ENOSPC at system calls
    python -m tests.kills disk                     full disks of many sizes, power lost in the middle
    python -m tests.kills readers                  readers of the output, while its writer is killed
    python -m tests.kills recovery                 how long it takes to be at work again

fork_server.py is the process whose children die, launcher.py starts it; lines.py and tracer.py are the two ways to stop
a child, disk_model.py knows what a disk would have kept; jobs.py is the job that is killed, and what must hold of it.
"""
