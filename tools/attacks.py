"""Write the table of attacks in docs/reference/security.md from the names of the tests.

python tools/attacks.py          writes it
python tools/attacks.py --check  exits 1 when it is not up to date

A test of attack 7 is named `test_attack_07_…`, one of two attacks `test_attack_07_08_…`.  An attack without a test
is an error.
"""

from __future__ import annotations

import re
import sys
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "reference" / "security.md"

_FROM = "<!-- attacks: tools/attacks.py -->\n"
_TO = "<!-- end of attacks -->"
_TEST = re.compile(r"^ *(?:async )?def test_attack_((?:\d\d_)+)(\w+)\(", re.MULTILINE)

ATTACKS = {
    "Tokens and sign-in": {
        1: "a token without a signature",
        2: "a token that is signed with our public key as a shared secret",
        3: "a key id that is a path, SQL, huge or no text",
        4: "a header that points to keys of the attacker",
        5: "a critical header that nobody knows",
        6: "duplicate members, deep nesting, a token of a megabyte",
        7: "a token for another audience",
        8: "a token of another issuer, or of one that is spelled alike",
        9: "times that are over, to come, missing or no numbers",
        10: "a token of an identity that was deleted",
        11: "a token of somebody who was disabled or lost a role",
        12: "a token of one kind in place of another",
        13: "an assertion that is sent twice, across restarts and replicas too",
        14: "an assertion for another audience",
        15: "an assertion that lives too long or begins later",
        16: "a proof of possession that does not fit the request",
        17: "an agent's token without its key",
        18: "a code of a sign-in that is used twice or without its verifier",
        19: "a refresh token that is used again",
        20: "a way back to another address",
        21: "an answer of another provider than the one that was asked",
        22: "a sign-in in somebody else's name, a session that was planted",
        23: "a token by a key that was retired",
        24: "a poisoned host name",
    },
    "Device codes and registration": {
        25: "guessing user codes",
        26: "guessing device codes",
        27: "polling too fast, or a thousand times at once",
        28: "redeeming a code of somebody else",
        29: "a code that was used, denied or is too old",
        30: "approval by somebody without the right, or who lost it since",
        31: "a code that was slipped to somebody",
        32: "registering something else than was consented to",
        33: "a flood of codes",
        34: "strange codes, scripts in names, framed and forged pages",
    },
    "Agents": {
        35: "the identity endpoint, asked by a browser or from elsewhere",
        36: "its secret, by who may not read it, twice, through a planted link",
        37: "ten thousand challenges",
        38: "a token of a machine for what it is not for",
        39: "a copied agent",
        40: "a change of keys that is cut short, and the old key afterwards",
        41: "a key that has expired",
        42: "a clock that is years off or set back",
        43: "an agent that asks for what belongs to another",
        44: "an agent at the resource API",
        45: "the first password, and ways out of the shell",
        46: "a server with a wrong certificate, old TLS, none",
        47: "a package of the agent that is forged, or older",
    },
    "Rights": {
        48: "starting a job without the right to grant",
        49: "owning the mover and not the target",
        50: "making the service use its rights for somebody without",
        51: "names of scopes that begin alike or are encoded",
        52: "role assignments that make no sense",
        53: "access that outlives its run, by any end",
        54: "changing what a job names between its start and its run",
        55: "setting what only the service sets",
        56: "a page token of another list, or a changed one",
    },
    "Input and data": {
        57: "paths that lead out of their folder",
        58: "links that lead out, files that are none",
        59: "a server that lists malicious names",
        60: "addresses that lead inside",
        61: "scripts in names and messages, formulas in exports",
        62: "requests in the name of somebody who is signed in",
        63: "requests that are huge, endless, deep or slow, and two in one",
        64: "archives that unpack elsewhere or without end",
        65: "secrets in logs, messages, files, arguments, addresses",
        66: "SQL, templates, shells, XML, line breaks in headers",
        67: "names, times and attributes that nobody expects",
        68: "a database that is put back",
        69: "records that are changed or removed, and such that cannot be written",
        70: "using up what others need",
        71: "what we are built from, and connections that nobody expects",
        72: "an older protocol, a provider that is away",
    },
}


def tests() -> dict[int, dict[Path, list[str]]]:
    """The tests of each attack, by file."""
    found: dict[int, dict[Path, list[str]]] = defaultdict(lambda: defaultdict(list))
    for file in sorted(ROOT.glob("tests/**/test_*.py")):
        for numbers, name in _TEST.findall(file.read_text()):
            for number in numbers.split("_")[:-1]:
                found[int(number)][file.relative_to(ROOT)].append(name)
    return found


def table() -> str:
    """The table; raises `LookupError` for an attack that nobody accounts for."""
    found = tests()
    lines = []
    known = {number for attacks in ATTACKS.values() for number in attacks}
    if set(found) - known:
        raise LookupError(f"tests of attacks that are not listed: {sorted(set(found) - known)}")
    for heading, attacks in ATTACKS.items():
        lines += ["", f"### {heading}", "", "| | attack | tests |", "|---|---|---|"]
        lines += [f"| {number} | {what} | {_shown(number, found)} |" for number, what in attacks.items()]
    return "\n".join([*lines, ""])


def _shown(number: int, found: dict[int, dict[Path, list[str]]]) -> str:
    if number not in found:
        raise LookupError(f"attack {number} has no test")
    return "<br>".join(
        f"[{file.stem}](../../{file}): " + ", ".join(f"`{name}`" for name in sorted(names))
        for file, names in found[number].items()
    )


def page(text: str) -> str:
    """The page with the table as it has to be."""
    head, begin, rest = text.partition(_FROM)
    _, end, tail = rest.partition(_TO)
    return head + begin + table() + end + tail


def main() -> int:
    """Write or check the table."""
    text = PAGE.read_text()
    try:
        wanted = page(text)
    except LookupError as trouble:
        print(trouble, file=sys.stderr)
        return 1
    if text != wanted and "--check" in sys.argv:
        print("docs/reference/security.md is not up to date. Run: python tools/attacks.py", file=sys.stderr)
        return 1
    if text != wanted:
        PAGE.write_text(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())
