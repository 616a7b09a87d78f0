#!/usr/bin/env python3
"""A board that means harm: the forced command of a real sshd. The file `mode` beside it names what it does.

Standard library only: it runs as a program of its own. `MODES` says for each mode which command of the host meets it
and how that must end: `whole` (all that was announced lies in the folder), `refused` (one line, nothing outside the
folder, no file under an announced name), `left` (the host's own time limit ends it) or `any` of these.
"""

import hashlib
import io
import json
import os
import random
import sys
import tarfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ID = "build-0123456789ab-01234567"
OTHER = "probe-ba9876543210-76543210"
DATA = b"a log of a board\n" * 40
ESC = "\x1b]0;pwned\x07\x1b[31mE\u202e\u009b2J"
MIB = 1 << 20


def mark(data=DATA):
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}


NAMES = {
    "name_up": "../victim/new",
    "name_over": "../victim/precious",
    "name_absolute": os.path.join(HERE, "victim", "precious"),
    "name_slash": "a/b",
    "name_empty": "",
    "name_dot": ".",
    "name_dots": "..",
    "name_nul": "a\0b",
    "name_newline": "build.log\n",
    "name_escape": ESC,
    "name_long": "a" * 400,
    "name_hidden": ".bashrc",
    "name_option": "-rf",
    "name_bidi": "a\u202etxt.exe",
    "name_backslash": "..\\victim",
    "name_surrogate": "a\ud800",
}
MARKS = {
    "size_negative": {"bytes": -5, "sha256": "0" * 64},
    "size_huge": {"bytes": 1 << 60, "sha256": "0" * 64},
    "size_disk": {"bytes": 1 << 45, "sha256": "0" * 64},
    "size_text": {"bytes": "5", "sha256": "0" * 64},
    "size_fraction": {"bytes": 0.5, "sha256": "0" * 64},
    "hash_short": {"bytes": 5, "sha256": "0"},
    "hash_path": {"bytes": 5, "sha256": "../" * 21 + "x"},
}
STATES: dict[str, dict[str, object]] = {
    "id_path": {"id": "../../x"},
    "id_escape": {"id": "build-" + ESC},
    "state_unknown": {"state": "excellent"},
    "time_eternal": {"ended": 1e300},
    "time_before": {"started": -1.0},
    "outputs_many": {"outputs": {f"f{number}": mark() for number in range(200000)}},
    "outputs_list": {"outputs": ["build.log"]},
    "why_long": {"why": "x" * 5 * MIB},
}
RAW = {
    "raw_garbage": random.Random(1).randbytes(5000) + b"\n",
    "raw_deep": b"[" * 100000 + b"\n",
    "raw_deep_inside": b'{"host":' + b"[" * 100000 + b"]" * 100000 + b"}\n",
    "raw_deep_unknown": b'{"zzz":' + b'{"a":' * 100000 + b"1" + b"}" * 100000 + b"}\n",
    "raw_digits": b'{"host":"h","root":"/","python":"3","free":' + b"9" * 5000 + b',"rsync":false}\n',
    "raw_utf8": b'{"host":"\xff\xfe","root":"/","python":"3","free":1,"rsync":false}\n',
    "raw_nul": b"\0" * 1000 + b"\n",
    "raw_surrogate": b'{"host":"\\ud800","root":"\\udfff","python":"3","free":1,"rsync":false}\n',
    "raw_other_kind": b'["hello"]\n',
    "raw_missing": b"{}\n",
    "raw_empty": b"\n",
    "raw_half": b'{"host":"h"',
    "raw_refusal": (json.dumps({"error": "x", "text": ESC + "\n::error::pwned"}) + "\n").encode(),
    "raw_refusal_long": (json.dumps({"error": "x", "text": "y" * 5 * MIB}) + "\n").encode(),
}
HELLOS = ("hello_line", "hello_lines", "hello_drip", "hello_silent", "hello_dies", "stderr_flood", "stderr_escape")
FOLLOWS = (
    "follow_dies", "follow_dies_silently", "follow_back", "follow_flood", "follow_other", "follow_number",
    "follow_line", "follow_far",
)  # fmt: skip
SENDS = (
    "send_more", "send_less", "send_changed", "send_twice", "send_symlink", "send_hardlink", "send_device",
    "send_folder", "send_pax", "send_pax_small_many", "send_longname", "send_sparse", "send_other_name", "send_up",
    "send_garbage", "send_nothing", "send_refusal", "send_negative", "send_checksum", "send_half", "send_silent",
    "send_drip",
)  # fmt: skip
PUSHES = (
    "have_unknown", "have_traversal", "adopt_unknown", "adopt_never", "start_busy", "start_other", "start_silent",
    "receive_deaf", "receive_flood", "rsync_garbage", "done_without_engine",
)  # fmt: skip
FACTS = ("facts_escape", "facts_large", "facts_cores")
WHOLE = (
    "honest", "banner_on_stderr", "jobs_many", "text_escape", "swap_file", "swap_folder", "follow_words",
    "link_before", "send_trailing",
)  # fmt: skip
LASTING = ("follow_alive", "follow_rises")
"""What looks like a job that goes on; only the host's time limit for the job ends it."""
MODES = {
    **dict.fromkeys(WHOLE, ("attach", "whole")),
    **{mode: ("attach", "refused") for part in (NAMES, MARKS, STATES, RAW, HELLOS, FOLLOWS, SENDS) for mode in part},
    **dict.fromkeys(LASTING, ("attach", "left")),
    **dict.fromkeys(PUSHES, ("build", "refused")),
    **dict.fromkeys(FACTS, ("doctor", "any")),
}
SLOW = (
    "hello_drip",
    "hello_silent",
    "send_silent",
    "send_drip",
    "start_silent",
    "receive_deaf",
    "follow_dies_silently",
)


def say(answer):
    sys.stdout.write((answer if isinstance(answer, str) else json.dumps(answer)) + "\n")
    sys.stdout.flush()


def put(data):
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def drip(seconds=1.0):
    while True:
        put(b" ")
        time.sleep(seconds)


def state_of(mode):
    outputs = {"build.log": mark()}
    if mode in NAMES:
        outputs = {NAMES[mode]: mark()}
    if mode in MARKS:
        outputs = {"build.log": MARKS[mode]}
    state: dict[str, object] = {
        "id": ID,
        "kind": "build",
        "state": "done",
        "why": "",
        "desk": "d",
        "title": "t",
        "outputs": outputs,
    }
    if mode == "text_escape":
        state.update(desk=ESC, title=ESC)
    state.update(STATES.get(mode, {}))
    return state


def hello(mode):
    if mode in RAW:
        put(RAW[mode])
        sys.exit(0)
    if mode == "hello_line":
        while True:
            put(b"A" * MIB)
    if mode == "hello_lines":
        while True:
            put(b"x\n" * 1000)
    if mode == "hello_drip":
        drip()
    if mode == "hello_silent":
        time.sleep(1000)
    if mode == "hello_dies":
        sys.exit(3)
    if mode == "stderr_flood":
        while True:
            os.write(2, b"x" * 65536)
    if mode == "stderr_escape":
        sys.stderr.write(ESC + "\n\n" + ESC)
        sys.exit(1)
    if mode == "banner_on_stderr":
        sys.stderr.write("Welcome\n" * 1000)
    say({"host": "h", "root": "/x", "python": "3.10", "free": 10**13, "rsync": mode == "rsync_garbage"})


def follow(mode, request, state):
    offset = request["offset"]
    if mode == "follow_words":
        for number in range(5):
            say({"event": "line", "at": offset + number + 1, "run": "build", "text": ESC + "[bold]line[/bold][/x]"})
        say({"event": "phase", "at": offset + 9, "name": ESC + "\n::error::pwned"})
        say({"event": "unheard of", "at": offset + 10})
    if mode == "follow_dies":
        say({"event": "alive", "at": 1})
        sys.exit(3)
    if mode == "follow_dies_silently":
        sys.exit(3)
    if mode == "follow_rises":
        say({"event": "line", "at": offset + 1, "run": "b", "text": "x"})
        sys.exit(3)
    if mode == "follow_back":
        for number in range(100):
            say({"event": "line", "at": 100 - number, "run": "b", "text": "x"})
        sys.exit(3)
    number = 0
    while mode in ("follow_alive", "follow_flood"):
        number += 1
        text = "x" * 1000 if mode == "follow_flood" else ""
        say({"event": "line" if text else "alive", "at": number, "run": "b", "text": text})
        time.sleep(0 if text else 0.5)
    if mode == "follow_number":
        say({"event": 7, "at": "x"})
    if mode == "follow_far":
        say({"event": "line", "at": 1 << 62, "run": "b", "text": "x"})
    if mode == "follow_line":
        while True:
            put(b"A" * MIB)
    if mode == "follow_other":
        state = dict(state, id=OTHER)
    say({"event": "end", "at": offset + 100, "state": state})


def member(name, data=DATA, kind=tarfile.REGTYPE, link="", **fields):
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = len(data), kind, link
    for key, value in fields.items():
        setattr(info, key, value)
    return info.tobuf(tarfile.PAX_FORMAT) + data + b"\0" * (-len(data) % 512)


def swap(mode):
    """What somebody else on the host might do meanwhile; here the board does it, for it knows when."""
    out, victim = os.path.join(HERE, "out"), os.path.join(HERE, "victim")
    if mode == "swap_file":
        for name in [*os.listdir(out), "build.log"]:
            path = os.path.join(out, name)
            if os.path.lexists(path):
                os.unlink(path)
            os.symlink(os.path.join(victim, "precious"), path)
    if mode == "swap_folder":
        os.rename(out, out + ".moved")
        os.symlink(victim, out)


def send(mode, request):
    end = b"\0" * 1024
    if mode == "send_silent":
        time.sleep(1000)
    if mode == "send_drip":
        drip()
    if mode == "send_garbage":
        put(random.Random(2).randbytes(100000))
        sys.exit(0)
    if mode == "send_nothing":
        put(end)
        sys.exit(0)
    if mode == "send_refusal":
        say({"error": "x", "text": "no"})
        sys.exit(0)
    if mode == "send_more":
        info = tarfile.TarInfo("build.log")
        info.size = 1 << 40
        put(info.tobuf(tarfile.GNU_FORMAT))
        while True:
            put(b"\0" * MIB)
    odd = {
        "send_less": member("build.log", DATA[:-1]),
        "send_changed": member("build.log", DATA[:-1] + b"!"),
        "send_symlink": member("build.log", b"", tarfile.SYMTYPE, "/etc/passwd"),
        "send_hardlink": member("build.log", b"", tarfile.LNKTYPE, "/etc/passwd"),
        "send_device": member("build.log", b"", tarfile.CHRTYPE, devmajor=1, devminor=3),
        "send_folder": member("build.log", b"", tarfile.DIRTYPE),
        "send_sparse": member("build.log", DATA, tarfile.GNUTYPE_SPARSE),
        "send_other_name": member("other.log"),
        "send_up": member("../victim/precious"),
        "send_longname": member("build.log", b"../victim/precious\0", tarfile.GNUTYPE_LONGNAME) + member("x"),
    }
    if mode in odd:
        put(odd[mode] + end)
        sys.exit(0)
    if mode == "send_half":
        put(member("build.log")[:600])
        sys.exit(0)
    if mode == "send_negative":
        put(member("build.log", b"").replace(b"00000000000\0", b"\xff" * 11 + b"\0", 1) + end)
        sys.exit(0)
    if mode == "send_checksum":
        head = bytearray(member("build.log"))
        head[150] ^= 1
        put(bytes(head) + end)
        sys.exit(0)
    if mode == "send_pax":
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w|", format=tarfile.PAX_FORMAT) as tar:
            info = tarfile.TarInfo("build.log")
            info.size, info.pax_headers = len(DATA), {"comment": "x" * (20 * MIB)}
            tar.addfile(info, io.BytesIO(DATA))
        put(stream.getvalue())
        sys.exit(0)
    while mode == "send_pax_small_many":
        put(member("x", b"30 mtime=1.000000000000000000\n", tarfile.XHDTYPE))
    for name in request["names"]:
        swap(mode)
        put(member(name))
        if mode == "send_twice":
            put(member(name, b"x" * len(DATA)))
    put(end)
    while mode == "send_trailing":
        put(b"\0" * MIB)


def facts(mode):
    found: dict[str, object] = {
        "files": {}, "commands": [], "places": {"trtexec": "/x"}, "paths": [], "architecture": "aarch64",
        "kernel": "5", "python": "3.8", "tensorrt": {"version": "8.5.2", "dla_cores": 2},
    }  # fmt: skip
    if mode == "facts_escape":
        found["files"] = {
            "/proc/device-tree/model": ESC,
            "/etc/nv_tegra_release": "# R35 (release), REVISION: 3.1 " + ESC,
        }
        found["commands"] = [{"command": ["nvpmodel", "-q"], "text": "NV Power Mode: " + ESC}]
        found.update(architecture=ESC, kernel=ESC, python=ESC, places={"trtexec": ESC}, paths=[ESC])
    if mode == "facts_large":
        found["commands"] = [{"command": ["jetson_clocks", "--show"], "text": "CPU " * MIB}]
    if mode == "facts_cores":
        found["tensorrt"] = {"version": ESC, "dla_cores": -5}
    say(found)


def answer(mode, command, request):
    state = state_of(mode)
    if command == "hello":
        hello(mode)
    elif command == "jobs":
        say({"jobs": [state] * (3000 if mode == "jobs_many" else 1)})
    elif command == "facts":
        facts(mode)
    elif command == "have":
        missing = {"have_unknown": ["0" * 64], "have_traversal": ["../../etc/passwd"], "start_other": []}
        pushed = ("adopt_unknown", "adopt_never", "receive_deaf", "receive_flood", "rsync_garbage")
        say({"missing": missing.get(mode, request["files"] if mode in pushed else []), "free": 10**13})
    elif command == "receive":
        if mode == "receive_deaf":
            time.sleep(1000)
        while mode == "receive_flood":
            put(b"x" * MIB)
        sys.stdin.buffer.read()
        say({"received": 1})
    elif command == "adopt":
        say({"wrong": {"adopt_unknown": ["0" * 64], "adopt_never": request["files"]}.get(mode, [])})
    elif command == "start":
        if mode == "start_silent":
            time.sleep(1000)
        if mode == "start_busy":
            say({"answer": "busy", "holder": {"kind": ESC, "id": [1], "desk": {"a": ESC}}})
            return
        job = request["job"]["id"] if mode != "start_other" else OTHER
        say({"answer": "started", "state": dict(state, id=job, state="running", outputs={})})
    elif command == "follow":
        follow(mode, request, dict(state, id=request["id"]))
    elif command == "send":
        send(mode, request)
    elif mode == "rsync_garbage":
        put(random.Random(3).randbytes(1000))
    else:
        say({"error": "refused", "text": command})


def main():
    with open(os.path.join(HERE, "mode")) as file:
        mode = file.read().strip()
    words = os.environ.get("SSH_ORIGINAL_COMMAND", "").split()
    if "-c" in words:
        sys.stdin.buffer.read()
        return
    request = {}
    if words and words[0] != "rsync":
        request = json.loads(sys.stdin.buffer.readline() or b"{}")
    answer(mode, words[-1] if words else "", request)


if __name__ == "__main__":
    main()
