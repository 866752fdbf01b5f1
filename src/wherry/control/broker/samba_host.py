"""What `smb_user` talks to, on the machine of the Samba server: users that live as long as a run.

Standard library only, so that this one file can be copied there: `samba_host.py CONFIG VERB`, with the request as
JSON on standard input.  CONFIG names Unix accounts that exist for this and that shares let in, by share and access:

    {"smb_conf": "/etc/samba/smb.conf",
     "accounts": {"data": {"write": ["wherry-data-1", "wherry-data-2"], "read": ["wherry-data-r1"]}}}

An account is a run's alone while it is in Samba's own user database, with the run's id as its description; that
database is all the state there is.  Closing takes the user away *and* ends the server processes that serve it: a
session that is open outlives both its user and `close-share`, after which it may connect anew.
"""

from __future__ import annotations

import fcntl
import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

Json = dict[str, Any]

_ID = re.compile(r"[A-Za-z0-9-]{8,64}")
_TRIES = 50
_PAUSE = 0.1


class Trouble(Exception):
    """What went wrong, without any secret."""


def main(arguments: list[str]) -> int:
    """One request; 0 and its answer on standard output, or 1 and a line on standard error."""
    try:
        path, verb = arguments
        config, told = json.loads(Path(path).read_text()), json.load(sys.stdin)
        if verb not in VERBS or (verb != "list" and not _ID.fullmatch(str(told.get("id", "")))):
            raise Trouble("the request is malformed")
        with Path(path).open() as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            sys.stdout.write(json.dumps(VERBS[verb](config, told)) + "\n")
    except (Trouble, OSError, ValueError, KeyError, TypeError) as trouble:
        sys.stderr.write(f"samba_host: {trouble}\n")
        return 1
    return 0


def open_user(config: Json, told: Json) -> Json:
    """Give an account of the share to the run, with a password of its own and an end."""
    accounts = config["accounts"].get(told["share"], {}).get(told["access"], [])
    taken = users(config)
    mine = [name for name, owner in taken.items() if owner == told["id"]]
    # One without a description was being made when something crashed.
    free = [*mine, *(name for name in accounts if not taken.get(name))]
    if not free:
        return {"full": True}
    user = free[0]
    password = f"{told['password']}\n{told['password']}\n"
    if user not in taken:
        run(config, "pdbedit", "-a", "-t", "-u", user, "-N", told["id"], text=password)
    run(config, "pdbedit", "-u", user, "-N", told["id"], "-K", str(int(told["until"])))
    run(config, "smbpasswd", "-s", user, text=password)
    return {"user": user}


def extend_user(config: Json, told: Json) -> Json:
    """Move the end on."""
    for user in owned(config, told["id"]):
        run(config, "pdbedit", "-u", user, "-K", str(int(told["until"])))
        return {}
    raise Trouble("there is no user of this run")


def close_user(config: Json, told: Json) -> Json:
    """Take the user away and end its sessions, in this order, so that none can begin meanwhile."""
    for user in owned(config, told["id"]):
        run(config, "smbpasswd", "-d", user)
        for _ in range(_TRIES):
            processes = serving(config, user)
            if not processes:
                break
            for process in processes:
                run(config, "smbcontrol", process, "shutdown")
            time.sleep(_PAUSE)
        else:
            raise Trouble(f"sessions of {user} are still open")
        run(config, "pdbedit", "-x", "-u", user)
    return {}


def list_users(config: Json, _told: Json) -> Json:
    """The ids of all runs that have a user."""
    return {"ids": sorted(owner for owner in users(config).values() if owner)}


VERBS = {"open": open_user, "extend": extend_user, "close": close_user, "list": list_users}


def owned(config: Json, run_id: str) -> list[str]:
    """The accounts that a run has."""
    return [name for name, owner in users(config).items() if owner == run_id]


def users(config: Json) -> dict[str, str]:
    """Samba's users, with the run that has each; only those that are ours to give."""
    ours = {
        name for by_access in config["accounts"].values() for names in by_access.values() for name in names
    }
    found: dict[str, str] = {}
    name = ""
    for line in run(config, "pdbedit", "-L", "-v").splitlines():
        field, _, value = line.partition(":")
        if field == "Unix username":
            name = value.strip()
        elif field == "Account desc" and name in ours:
            found[name] = value.strip()
    return found


def serving(config: Json, user: str) -> list[str]:
    """The server processes in which a user has a session."""
    told = json.loads(run(config, "smbstatus", "-p", "-j") or "{}")
    sessions = told.get("sessions", {}).values()
    return sorted({one["server_id"]["pid"] for one in sessions if one.get("username") == user})


def run(config: Json, program: str, *words: str, text: str = "") -> str:
    """What one of Samba's programs prints."""
    # smbpasswd takes the name of its configuration by another letter.
    option = "-c" if program == "smbpasswd" else "-s"
    done = subprocess.run(
        [program, option, config["smb_conf"], *words], input=text, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise Trouble(f"{program} {words[0]} ended with {done.returncode}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
